"""Tables of rows in Cassandra: the first column of the key is the partition, the others order the rows within it.

A write's timestamp is the micro-batch's version, and a removed row is a tombstone of that version: of two micro-batches
the one with the higher version wins, whichever comes last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.cassandra.batches import run_in_batches
from retailpulse_kernel.stores.cassandra.connection import TUPLES
from retailpulse_kernel.stores.cassandra.rows import keyspace_ddl
from retailpulse_kernel.stores.cassandra.values import cql_type, from_cql, to_cql
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.rows import (
    prepared,
    refuse_empty,
    refuse_holes,
    refuse_long,
    require_key,
    require_same,
    split,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from cassandra.cluster import Session

__all__ = ["CassandraRows"]

_T = TypeVar("_T")

#: Bytes that one value of a key may have.
_KEY_BYTES = 65_535
#: Rows of one page of an answer.
_PAGE = 5_000


class CassandraRows:
    """What `CassandraStore` does with tables of rows; see `stores.base.RowStore`."""

    if TYPE_CHECKING:
        _settings: Settings
        keyspace: str

        def _run(self, request: Callable[[Session], _T]) -> _T: ...

    def check_rows(self, table: RowTable) -> None:
        """Refuse a table without a key, or with a list or a double in the key.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            Cassandra has no form for the table.
        """
        require_key(table, "Cassandra")

    def create_rows(self, table: RowTable) -> None:
        """Make the keyspace and the table where they are absent, and columns that are new.

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
            Cassandra can't be reached.
        """
        require_own(self._settings, f"Making the Cassandra table {table.name!r}")
        self.check_rows(table)
        columns = ", ".join(f'"{name}" {cql_type(kind)}' for name, kind in table.types.items())
        first, *others = (f'"{name}"' for name in table.key)
        made = (
            f"create table if not exists {self._place(table)} "
            f"({columns}, primary key ({', '.join([f'({first})', *others])}))"
        )
        query = (
            "select column_name, type, kind, position from system_schema.columns "
            "where keyspace_name = %s and table_name = %s"
        )

        def run(session: Session) -> None:
            session.execute(keyspace_ddl(self._settings))
            session.execute(made, timeout=60)
            found = session.execute(query, (self.keyspace, table.name)).all()
            kinds = {"partition_key": 0, "clustering": 1}
            key = sorted((kinds[c.kind], c.position, c.column_name) for c in found if c.kind in kinds)
            types = {column.column_name: column.type for column in found}
            require_same(table, "Cassandra", key=[name for _, _, name in key], types=types, wanted=cql_type)
            for name, kind in table.types.items():
                if name not in types:
                    session.execute(
                        f'alter table {self._place(table)} add if not exists "{name}" {cql_type(kind)}', timeout=60
                    )

        self._run(run)

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Set or remove rows with a write timestamp made of the micro-batch's version.

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
            A value has no form in Cassandra: the error names the column.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Cassandra can't be reached; the caller may write the same rows again.
        """
        require_own(self._settings, f"Writing the Cassandra table {table.name!r}")
        found = prepared(table, rows)
        refuse_empty(table, found, table.key[0], "Cassandra")
        refuse_long(table, found, table.key, _KEY_BYTES, "Cassandra")
        refuse_holes(table, found, "Cassandra")
        set_, removed = split(found)
        names, stamp = list(table.types), by.version * 1000
        insert = (
            f"insert into {self._place(table)} ({', '.join(_quoted(names))}) "
            f"values ({', '.join('?' * len(names))}) using timestamp ?"
        )
        delete = (
            f"delete from {self._place(table)} using timestamp ? "
            f"where {' and '.join(f'{name} = ?' for name in _quoted(table.key))}"
        )
        self._change(insert, _by_partition(table, set_, names), lambda values: [*values, stamp])
        self._change(delete, _by_partition(table, removed, table.key), lambda values: [stamp, *values])

    def expire_rows(self, table: RowTable, span: timedelta) -> list[str]:
        """Give rows a time to live, from when they are written.

        Parameters
        ----------
        table : RowTable
            The table; nothing is done where it is absent.
        span : timedelta
            From when a row is written, in whole seconds.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Cassandra can't be reached.
        """
        require_own(self._settings, f"Letting rows of the Cassandra table {table.name!r} go")
        query = "select table_name from system_schema.tables where keyspace_name = %s and table_name = %s"
        change = f"alter table {self._place(table)} with default_time_to_live = {int(span.total_seconds())}"

        def run(session: Session) -> list[str]:
            if not session.execute(query, (self.keyspace, table.name)).all():
                return []
            session.execute(change, timeout=60)
            return [table.name]

        return self._run(run)

    def read_rows(self, table: RowTable) -> pa.Table:
        """All rows that are there, page by page.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        NoSuchTable
            The table is absent.
        StoreUnavailable
            Cassandra can't be reached.
        """
        import pyarrow as pa

        select = f"select {', '.join(_quoted(table.types))} from {self._place(table)}"

        def run(session: Session) -> pa.Table:
            from cassandra.query import SimpleStatement

            statement = SimpleStatement(select, fetch_size=_PAGE)
            rows = session.execute(statement, execution_profile=TUPLES).all()
            columns = list(zip(*rows, strict=True)) or [()] * len(table.types)
            parts = zip(columns, table.types.values(), strict=True)
            return pa.table(
                [from_cql(values, kind) for values, kind in parts], names=[column.name for column in table.columns]
            )

        return self._run(run)

    def remove_rows(self, table: RowTable) -> None:
        """Remove the table with all that it holds.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Cassandra can't be reached.
        """
        require_own(self._settings, f"Removing the Cassandra table {table.name!r}")
        self._run(lambda session: session.execute(f"drop table if exists {self._place(table)}", timeout=60))

    def _change(
        self, cql: str, partitions: dict[Any, list[list[Any]]], bound: Callable[[list[Any]], list[Any]]
    ) -> None:
        """Run a statement for each row, in batches by partition."""
        if not partitions:
            return

        def run(session: Session) -> None:
            run_in_batches(session, cql, ([bound(values) for values in rows] for rows in partitions.values()))

        self._run(run)

    def _place(self, table: RowTable) -> str:
        return f'{self.keyspace}."{table.name}"'


def _quoted(names: Any) -> list[str]:
    """A column may be called as a word of CQL is."""
    return [f'"{name}"' for name in names]


def _by_partition(table: RowTable, rows: pa.Table, names: Sequence[str]) -> dict[Any, list[list[Any]]]:
    """The values of each row in the driver's types, by the partition that holds the row."""
    columns = [to_cql(table, name, rows[name]) for name in names]
    first = columns[list(names).index(table.key[0])]
    found: dict[Any, list[list[Any]]] = defaultdict(list)
    for partition, values in zip(first, zip(*columns, strict=True), strict=True):
        found[partition].append(list(values))
    return found
