"""Tables of rows in HBase: a row key of the key's values, and one cell in Avro that holds the whole row.

The row key is the values as text, joined by ``#``: what a text has that is neither a letter, a digit nor a usual sign
is escaped with ``%``, and an empty text is ``%`` alone. The cell's timestamp is the micro-batch's version. The schemas
that cells were written with stand in the table ``_schemas``, by table and fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import orjson

from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.frames import ColumnKind
from retailpulse_kernel.stores.hbase.avro import fingerprint, pack, schema_text, unpack
from retailpulse_kernel.stores.hbase.rows import FIGURES_CELL
from retailpulse_kernel.stores.rows import prepared, refuse_long, require_key, require_same, split

if TYPE_CHECKING:
    import happybase
    import pyarrow as pa

__all__ = [
    "BATCH_ROWS",
    "ROW_CELL",
    "SCHEMAS",
    "HBaseRows",
    "key_texts",
    "make_schemas",
    "make_table",
    "note_table",
    "noted",
    "remove_tables",
]

#: The table of the schemas, and the cell of a table's columns and key.
SCHEMAS: Final = "_schemas"
_TABLE: Final = b"f:table"
#: The one family of every table.
_FAMILY: Final = "f"
#: The one cell of a row.
ROW_CELL: Final = b"f:avro"
#: What a frame's columns hold, as far as a frame has a type for it.
_KINDS: Final[dict[str, ColumnKind]] = {
    "bool": "boolean", "int": "integer", "long": "integer", "double": "float", "string": "text", "date": "date",
    "timestamp": "time",
}  # fmt: skip
#: Bytes that a row key may have.
_KEY_BYTES: Final = 32_767
#: What a key holds as it is, beside letters, digits and ``_.-~``.
_SAFE: Final = " !$&'()*+,-./:;<=>?@[]^_`{|}~"
#: Puts in one request; the rate was measured to double from 1,000 to 5,000.
BATCH_ROWS: Final = 5_000

_T = TypeVar("_T")


class HBaseRows:
    """What `HBaseStore` does with tables of rows; see `stores.base.RowStore`."""

    if TYPE_CHECKING:
        _settings: Settings
        _run: Callable[[Callable[[happybase.Connection], _T]], _T]

    def check_rows(self, table: RowTable) -> None:
        """Refuse a table without a key, or with a list or a double in the key.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            HBase has no form for the table.
        """
        require_key(table, "HBase")

    def create_rows(self, table: RowTable) -> None:
        """Make the table where it is absent, and note its columns.

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
            HBase can't be reached.
        """
        require_own(self._settings, f"Making the HBase table {table.name!r}")
        self.check_rows(table)
        row = table.name.encode()

        def run(hbase: happybase.Connection) -> None:
            there = make_schemas(hbase)
            said = hbase.table(SCHEMAS).row(row).get(_TABLE)
            known: dict[str, Any] = {"key": table.key, "types": {}} if said is None else orjson.loads(said)
            if said is None and row in there:
                raise UsageError(
                    f"The HBase table {table.name!r} is there, and no job has made it as a table of rows.",
                    remedy="Write to a table of another name.",
                )
            require_same(table, "HBase", key=known["key"], types=known["types"], wanted=str)
            note_table(hbase, table, types=known["types"] | table.types)
            make_table(hbase, table.name, there)

        self._run(run)

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Put or delete rows with the micro-batch's version as their timestamp.

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
            A value has no form in HBase: the error names the column.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            HBase can't be reached; the caller may write the same rows again.
        """
        require_own(self._settings, f"Writing the HBase table {table.name!r}")
        found = prepared(table, rows)
        refuse_long(table, found, table.key, _KEY_BYTES, "HBase")
        put, removed = split(found)
        keys, gone = _row_keys(table, put), _row_keys(table, removed)
        cells = pack(table, put)

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.name).batch(timestamp=by.version, batch_size=BATCH_ROWS) as batch:
                for key, cell in zip(keys, cells, strict=True):
                    batch.put(key, {ROW_CELL: cell})
                for key in gone:
                    batch.delete(key, [ROW_CELL])

        self._run(run)

    def read_rows(self, table: RowTable) -> pa.Table:
        """All rows that are there.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        NoSuchTable
            The table is absent.
        StoreUnavailable
            HBase can't be reached.
        """

        def run(hbase: happybase.Connection) -> pa.Table:
            if table.name.encode() not in hbase.tables():
                raise NoSuchTable(
                    f"There is no HBase table {table.name!r}.", remedy="A job makes its tables when it first runs."
                )
            cells = [found[ROW_CELL] for _, found in hbase.table(table.name).scan(columns=[ROW_CELL], batch_size=1_000)]
            return unpack(table, cells, noted(hbase, table.name)[1])

        return self._run(run)

    def _shown(
        self, name: str, cells: Sequence[tuple[Any, bytes]], columns: Sequence[str] | None
    ) -> tuple[list[str], list[list[Any]], dict[int, ColumnKind]]:
        """Keys and cells of a table as a person looks at them: names, rows, and what the columns hold."""
        table, schemas = self._run(lambda hbase: noted(hbase, name))
        # A family or a cell that is asked for by its name holds the whole row.
        whole = {_FAMILY, ROW_CELL.decode(), FIGURES_CELL.decode()}
        all_of_it = not columns or not whole.isdisjoint(columns)
        names = [column for column in table.types if all_of_it or column in (columns or ())]
        rows = unpack(table, [cell for _, cell in cells], schemas).select(names).to_pylist()
        kinds: dict[int, ColumnKind] = {0: "text"}
        for place, column in enumerate(names, start=1):
            if kind := _KINDS.get(table.types[column]):
                kinds[place] = kind
        shown = [[key, *row.values()] for (key, _), row in zip(cells, rows, strict=True)]
        return ["row", *names], shown, kinds

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
            HBase can't be reached.
        """
        require_own(self._settings, f"Removing the HBase table {table.name!r}")

        self._run(lambda hbase: remove_tables(hbase, [table.name]))


def make_schemas(hbase: happybase.Connection) -> set[bytes]:
    """Make the table of the schemas where it is absent, and give the names of all tables.

    Parameters
    ----------
    hbase : happybase.Connection
        An open connection.
    """
    there = set(hbase.tables())
    make_table(hbase, SCHEMAS, there)
    return there


def make_table(hbase: happybase.Connection, name: str, there: Collection[bytes]) -> None:
    """Make a table where it is absent: of each cell it keeps the newest version.

    Parameters
    ----------
    hbase : happybase.Connection
        An open connection.
    name : str
        What HBase calls the table.
    there : collection of bytes
        The tables that are there.
    """
    if name.encode() not in there:
        hbase.create_table(name, {_FAMILY: {"max_versions": 1}})


def remove_tables(hbase: happybase.Connection, names: Iterable[str]) -> None:
    """Remove tables with all that they hold, and what is noted of them.

    Parameters
    ----------
    hbase : happybase.Connection
        An open connection.
    names : iterable of str
        What HBase calls them; some may be absent.
    """
    there = hbase.tables()
    for name in names:
        if name.encode() in there:
            hbase.delete_table(name, disable=True)
        if SCHEMAS.encode() in there:
            hbase.table(SCHEMAS).delete(name.encode())


def note_table(
    hbase: happybase.Connection, table: RowTable, *, name: str | None = None, types: Mapping[str, str] | None = None
) -> None:
    """Note a table's columns, and the schema that its cells are written with.

    Parameters
    ----------
    hbase : happybase.Connection
        Where the table of the schemas is.
    table : RowTable
        What a cell holds.
    name : str, optional
        What HBase calls the table; the table's name when absent.
    types : mapping of str to str, optional
        The columns that the table has had, with their types; those of the table when absent.
    """
    row, schema = (name or table.name).encode(), schema_text(table)
    said = {"key": table.key, "types": types or table.types}
    cells = {_TABLE: orjson.dumps(said), b"f:" + fingerprint(schema).hex().encode(): schema.encode()}
    known = hbase.table(SCHEMAS).row(row)
    if any(known.get(column) != cell for column, cell in cells.items()):
        hbase.table(SCHEMAS).put(row, cells)


def noted(hbase: happybase.Connection, name: str) -> tuple[RowTable, dict[bytes, str]]:
    """What a table is, and the schemas of its cells by their fingerprints.

    Parameters
    ----------
    hbase : happybase.Connection
        Where the table of the schemas is.
    name : str
        The table's name.
    """
    known = hbase.table(SCHEMAS).row(name.encode())
    said = orjson.loads(known[_TABLE])
    table = RowTable(name, tuple(Column(*column) for column in said["types"].items()), tuple(said["key"]))
    schemas = {bytes.fromhex(cell[2:].decode()): text.decode() for cell, text in known.items() if cell != _TABLE}
    return table, schemas


def _row_keys(table: RowTable, rows: pa.Table) -> list[bytes]:
    """The rows' keys; different values never make the same key."""
    parts = [key_texts(rows[name], table.types[name]) for name in table.key]
    keys = ["#".join(values).encode() for values in zip(*parts, strict=True)]
    longest = max(range(len(keys)), key=lambda place: len(keys[place]), default=0)
    if keys and len(keys[longest]) > _KEY_BYTES:
        name = max(table.key, key=lambda name: len(parts[table.key.index(name)][longest]))
        raise UsageError(
            f"A row key in HBase has at most {_KEY_BYTES:,} bytes, and one of the table {table.name!r} would have "
            f"{len(keys[longest]):,}, most of them for the column {name!r}.",
            remedy=f"Shorten the column, or use a hash as the key: `F.sha2({name!r}, 256)`.",
        )
    return keys


def key_texts(values: pa.ChunkedArray, kind: str) -> Sequence[str]:
    """A column of a key as text: times and dates sort as they follow one another.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        The column, without nulls.
    kind : str
        Its type, as `Column.type` has it.
    """
    found: list[Any] = values.to_pylist()
    match kind.partition("(")[0]:
        case "string":
            return [quote(text, safe=_SAFE) or "%" for text in found]
        case "binary":
            return [value.hex() or "%" for value in found]
        case "timestamp":
            return [value.isoformat(timespec="microseconds").replace("+00:00", "Z") for value in found]
        case "date":
            return [value.isoformat() for value in found]
        case "decimal":
            return [format(value, "f") for value in found]
    return [str(value).lower() for value in found]
