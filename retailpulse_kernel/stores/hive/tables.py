"""Tables of rows in Hive: a Parquet file for each micro-batch, which a repeated micro-batch replaces.

Without a key, the files are the table. With a key, they are the table ``NAME_changes``, each row with the version of
its micro-batch and whether it was removed, and ``NAME`` is a view of the newest row of each key. The files are not
merged yet: a table that is written every few seconds for weeks gets slow to read.

Hive 4's vectorised execution shows an empty list as a list of one element once rows were sorted, as the view does. The
files are right, and so is what `HiveRows.read_rows` gives.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.files import whole_file
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.hive.selection import file_condition
from retailpulse_kernel.stores.rows import (
    check_key,
    check_name,
    element_of,
    last_of_each,
    prepared,
    require_same,
    schema_of,
)
from retailpulse_kernel.stores.selecting import Conditions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HiveRows"]

_VERSION: Final = "_version"
_ROW: Final = "_row"
#: The table's property that holds the key's columns.
_KEY: Final = "retailpulse.key"
_TYPES: Final = {"bool": "boolean", "long": "bigint"}
#: What tells Hive that dates and times are of the calendar of today back to the first year, and in UTC.
_CALENDAR: Final = {
    "writer.date.proleptic": "true",
    "writer.time.zone": "UTC",
    "writer.zone.conversion.legacy": "false",
}


class HiveRows:
    """What `HiveStore` does with tables of rows; see `stores.base.RowStore`."""

    if TYPE_CHECKING:
        _settings: Settings
        database: str
        tables: Callable[[], list[str]]
        _rows: Callable[[str], list[tuple[Any, ...]]]

        @property
        def location(self) -> Path:
            """The archive's folder."""

    def check_rows(self, table: RowTable) -> None:
        """Refuse a table with the archive's name, or with a list or a double in the key.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            Hive has no form for the table.
        """
        check_name(table)
        check_key(table)
        if table.name == self.location.name:
            raise UsageError(f"The Hive table {table.name!r} is the archive's.", remedy="Take another name.")

    def create_rows(self, table: RowTable) -> None:
        """Make the database, the table and its view where they are absent, and columns that are new.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            A table of this name has another key, or another type of a column.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Hive can't be reached.
        """
        require_own(self._settings, f"Making the Hive table {table.name!r}")
        self.check_rows(table)
        self._rows(f"create database if not exists `{self.database}`")
        there, stored = self.tables(), _stored(table)
        found = next((name for name in (_changes(table), table.name) if name in there), None)
        types = self._known(table, found) if found else {}
        self._folder(table).mkdir(parents=True, exist_ok=True)
        if not found:
            columns = {name: _hive(kind) for name, kind in table.types.items()}
            columns |= {_VERSION: "bigint", DELETED: "boolean"} if table.is_keyed else {}
            self._rows(
                f"create external table if not exists `{self.database}`.`{stored}` ({_declared(columns)}) "
                f"stored as parquet location '{self._folder(table).as_uri()}' "
                # Files come without Hive's knowledge: what it has counted says nothing.
                f"tblproperties ('{_KEY}'='{','.join(table.key)}', 'DO_NOT_UPDATE_STATS'='true')"
            )
        elif more := {name: _hive(kind) for name, kind in table.types.items() if name not in types}:
            self._rows(f"alter table `{self.database}`.`{stored}` add columns ({_declared(more)})")
        if table.is_keyed:
            names = dict.fromkeys([*table.types, *types])
            self._rows(self._view(table, [name for name in names if name not in (_VERSION, DELETED)]))

    def _known(self, table: RowTable, stored: str) -> dict[str, str]:
        """The columns of the table that is there and their types; another key or type is refused."""
        place = f"`{self.database}`.`{stored}`"
        said = dict(row[:2] for row in self._rows(f"show tblproperties {place}"))
        if _KEY not in said:
            raise UsageError(
                f"The Hive table {stored!r} is there, and no job has made it as a table of rows.",
                remedy="Write to a table of another name.",
            )
        types = {name: kind for name, kind, *_ in self._rows(f"describe {place}") if name and name[0] != "#"}
        key = tuple(filter(None, said[_KEY].split(",")))
        require_same(table, "Hive", key=key, types=types, wanted=_hive)
        return types

    def _view(self, table: RowTable, names: list[str]) -> str:
        """The statement that makes the view of the newest row of each key."""
        key = ", ".join(f"`{name}`" for name in table.key)
        columns = ", ".join(f"`{name}`" for name in names)
        place = f"row_number() over (partition by {key} order by `{_VERSION}` desc) `{_ROW}`"
        return (
            f"create or replace view `{self.database}`.`{table.name}` as select {columns} from ("
            f"select {columns}, `{DELETED}`, {place} "
            f"from `{self.database}`.`{_changes(table)}`) newest where `{_ROW}` = 1 and not `{DELETED}`"
        )

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Write a micro-batch's rows into a file of its own, in place of what the micro-batch wrote before.

        Parameters
        ----------
        table : RowTable
            The table.
        rows : pyarrow.Table
            The table's columns, and on wish `shop.rows.DELETED`.
        by : MicroBatch
            Who writes.

        Raises
        ------
        UsageError
            A column is absent, does not fit, or is null in a key.
        NoSuchTable
            The table is absent.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        """
        require_own(self._settings, f"Writing the Hive table {table.name!r}")
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = prepared(table, rows)
        if table.is_keyed:
            found = found.append_column(_VERSION, pa.repeat(by.version, len(found)))
        else:
            found = found.drop_columns([DELETED])
        writer = hashlib.blake2b(by.writer.encode(), digest_size=4).hexdigest()
        file = self._there(table) / f"e{by.epoch:04d}-b{by.batch:09d}-{writer}.parquet"
        if not len(found):
            file.unlink(missing_ok=True)
            return
        schema = pa.schema([field.with_type(_without_zone(field.type)) for field in found.schema])
        with whole_file(file) as target, pq.ParquetWriter(target, schema, store_schema=False) as parquet:
            parquet.write_table(found.cast(schema))
            parquet.add_key_value_metadata(_CALENDAR)

    def read_rows(self, table: RowTable) -> pa.Table:
        """All rows that are there, straight from the files; with a key the newest of each.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        NoSuchTable
            The table is absent.
        """
        return self._newest(table, self._files(table).to_table())

    def select_rows(self, table: RowTable, conditions: Conditions) -> pa.Table:
        """The rows that meet the conditions: of a table with a key, those on the key's columns.

        Parameters
        ----------
        table : RowTable
            The table.
        conditions : Conditions
            Which rows are wanted.

        Raises
        ------
        NoSuchTable
            The table is absent.
        """
        # An older row of a key must not appear where the newest one does not meet a condition.
        condition = file_condition(table, conditions, table.key if table.is_keyed else tuple(table.types))
        files = self._files(table)
        if table.is_keyed or conditions.limit is None:
            return self._newest(table, files.to_table(filter=condition))
        return self._newest(table, files.head(conditions.limit, filter=condition))

    def _files(self, table: RowTable) -> Any:
        """The files as a data set of Arrow."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        files = sorted(map(str, self._there(table).glob("e*.parquet")))
        fields = [pa.field(field.name, _without_zone(field.type)) for field in schema_of(table)]
        fields += [pa.field(_VERSION, pa.int64()), pa.field(DELETED, pa.bool_())] if table.is_keyed else []
        return ds.dataset(files, schema=pa.schema(fields), format="parquet")

    def _newest(self, table: RowTable, found: pa.Table) -> pa.Table:
        """The rows of the files as the table has them: with a key the newest of each."""
        import pyarrow.compute as pc

        if table.is_keyed:
            # Of one version there is one row of a key: the last one of each key is the newest.
            found = last_of_each(found.sort_by(_VERSION), list(table.key))
            found = found.filter(pc.invert(found[DELETED]))
        return found.select(list(table.types)).cast(schema_of(table))

    def remove_rows(self, table: RowTable) -> None:
        """Remove the table and its view with all files, whether the one that is there has a key or not.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Hive can't be reached.
        """
        require_own(self._settings, f"Removing the Hive table {table.name!r}")
        self.check_rows(table)
        stored = table.name
        if self.database in {name for (name,) in self._rows("show databases")}:
            if self._has_changes(table):
                stored = _changes(table)
                self._rows(f"drop view if exists `{self.database}`.`{table.name}`")
            self._rows(f"drop table if exists `{self.database}`.`{stored}`")
        for name in {stored, _stored(table)}:
            shutil.rmtree(self.location.parent / name, ignore_errors=True)  # an external table leaves its files

    def _has_changes(self, table: RowTable) -> bool:
        """Whether the table that is there has a key: its rows are in a table of changes."""
        if _changes(table) not in self.tables():
            return False
        place = f"`{self.database}`.`{_changes(table)}`"
        return bool(dict(row[:2] for row in self._rows(f"show tblproperties {place}")).get(_KEY))

    def _folder(self, table: RowTable) -> Path:
        return self.location.parent / _stored(table)

    def _there(self, table: RowTable) -> Path:
        folder = self._folder(table)
        if not folder.is_dir():
            raise NoSuchTable(
                f"There is no Hive table {table.name!r}.", remedy="A job makes its tables when it first runs."
            )
        return folder


def _changes(table: RowTable) -> str:
    return f"{table.name}_changes"


def _stored(table: RowTable) -> str:
    """The name of the table that has the files."""
    return _changes(table) if table.is_keyed else table.name


def _hive(kind: str) -> str:
    """Hive's type of a column."""
    if (element := element_of(kind)) is not None:
        return f"array<{_hive(element)}>"
    return _TYPES.get(kind, kind)


def _declared(columns: dict[str, str]) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in columns.items())


def _without_zone(kind: pa.DataType) -> pa.DataType:
    """A time's type as Hive has it: a day and a time of day, by this package's rule in UTC."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.list_(_without_zone(kind.value_type))
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind
