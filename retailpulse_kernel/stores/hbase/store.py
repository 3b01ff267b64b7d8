"""HBase, through its Thrift server: sessions and users."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import NoSuchTable, StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import range_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.figures import FIGURES, Figure
from retailpulse_kernel.shop.tables import CATEGORY, SESSION, USER, FigureTable, Grain, Row
from retailpulse_kernel.shop.windows import grain_with
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.connection import Reconnecting
from retailpulse_kernel.stores.figure_rows import Only, Rows, arrow_rows, combined, in_range, is_among
from retailpulse_kernel.stores.frames import FIGURE_COLUMNS, ColumnKind, Form, checked_limit, cut, shaped, to_frame
from retailpulse_kernel.stores.hbase.avro import is_record, schema_of_record
from retailpulse_kernel.stores.hbase.connection import connect, explained
from retailpulse_kernel.stores.hbase.migration import forget_old, move_in
from retailpulse_kernel.stores.hbase.rows import as_rows, decode, own_schemas, pack_cells, pack_keys, stamp, unpacker
from retailpulse_kernel.stores.hbase.selection import HBaseSelection
from retailpulse_kernel.stores.hbase.tables import ROW_CELL, SCHEMAS, make_schemas, note_table, noted

if TYPE_CHECKING:
    import happybase

__all__ = ["HBaseStore"]

#: Puts in one request; the rate was measured to double from 1,000 to 5,000.
_BATCH_ROWS = 5_000
#: The one cell of a figure table's row.
_FAMILY, _CELL = "f", b"f:row"

#: Names of Java's classes, and of the region where a request failed.
_JAVA = re.compile(r"^(?:[\w.$]+(?:Exception|Error): )+| in region .*")

_T = TypeVar("_T")


class HBaseStore(HBaseSelection, FigureStore):
    """HBase, connected when it is first used.

    A row's dimensions and figures are one Avro record in the one cell ``f:row``: a cell each was
    measured to take HBase five times as long to write. See `retailpulse_kernel.stores.hbase.rows`.

    Parameters
    ----------
    settings : Settings
        Its profile has the Thrift server's address, its namespace the tables' prefix.
    """

    name = "hbase"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Reconnecting(
            lambda: connect(settings), close=lambda thrift: thrift.close(), is_lost=_is_lost
        )

    # -- connection -------------------------------------------------------------------------

    def _run(self, request: Callable[[happybase.Connection], _T]) -> _T:
        """Run a request; a lost connection becomes `StoreUnavailable`, a bad request `UsageError`."""
        require_extra("hbase")

        import happybase  # noqa: F401  (makes the module Hbase_thrift)
        from Hbase_thrift import IllegalArgument
        from Hbase_thrift import IOError as HBaseIOError
        from thriftpy2.thrift import TException

        try:
            return self._connection.run(request)
        except (IllegalArgument, HBaseIOError) as error:
            whole = _text(error.message)
            said = _JAVA.sub("", whole.splitlines()[0])
            if "TableNotFoundException" in whole:
                raise NoSuchTable(
                    f"HBase can't do this: {said.rstrip('.')}.",
                    remedy="`rp.hbase.tables()` lists what is there; a job makes its tables when it first runs.",
                ) from error
            if isinstance(error, IllegalArgument) or "NotFoundException" in whole or "NoSuchColumnFamily" in whole:
                raise UsageError(
                    f"HBase can't do this: {said.rstrip('.')}.",
                    remedy="`rp.hbase.tables()` lists the namespace's tables.",
                ) from error
            raise explained(self._settings, StoreUnavailable("hbase", said)) from error
        except (TException, OSError) as error:
            raise explained(self._settings, error) from error

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        self._connection.close()

    def ping(self) -> str:
        """The number of the namespace's tables."""
        return f"{len(self.tables())} tables"

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The namespace's tables, without their prefix."""
        return sorted(name.decode() for name in self._run(lambda hbase: hbase.tables()) if name != SCHEMAS.encode())

    def columns(self, table: str | None = None) -> dict[str, list[str]]:
        """The names within each of the namespace's tables, or within one, as far as its first row shows them.

        Parameters
        ----------
        table : str, optional
            A stored table's name; all tables when absent.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        with unsaid():
            return {
                name: list(self.scan(name, limit=1).columns[1:])
                for name in (self.tables() if table is None else [table])
            }

    def get(self, table: str, key: str | bytes, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """One row's values by column, typed as in `scan`; empty when there is none.

        Parameters
        ----------
        table : str
            A table of the namespace, by its name without the namespace.
        key : str or bytes
            The row's key.
        columns : sequence of str, optional
            Those that are wanted; all when absent.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        cells = self._run(lambda hbase: self._known(hbase, table).row(_key(key), columns=_asked_for(columns)))
        if (cell := _packed(cells)) is not None:
            names, (values,), _ = self._shown(table, [(key, cell)], columns)
            return dict(zip(names[1:], values[1:], strict=True))
        return _record(cells, columns)

    def scan(
        self,
        table: str,
        prefix: str | bytes | None = None,
        *,
        columns: Sequence[str] | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        last: str | timedelta | None = None,
        limit: int | None = 1_000,
        as_: Form = "pandas",
        count_for: float = 0,
    ) -> Any:
        """Rows by prefix of their key, or by time.

        Parameters
        ----------
        table : str
            Without the namespace's prefix.
        prefix : str, optional
            Of the row key, such as ``"20191001T02"``.
        columns : sequence of str, optional
            Names of dimensions and figures, such as ``"revenue"``; in a table of another kind
            ``family:qualifier`` or ``family``.
        since, until : datetime or str, optional
            Windows that start in ``[since, until)``, the shop's time unless they have a zone, in a table whose keys
            begin with a window's start (``…_minute``, ``…_5m``, ``…_week``). HBase reads only those.
        last : str or timedelta, optional
            Windows that start in the newest span (``"2h"``), instead of `since`.
        limit : int, optional
            At most this many rows; None for all. Where others are left out, a note says so; ``.attrs["more"]``
            keeps whether there are.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.
        count_for : float
            Seconds to go on counting rows that `limit` cuts off.

        Returns
        -------
        pandas.DataFrame
            The key under ``row``, then a column for each dimension and figure. Figures have their
            types (money is `decimal.Decimal`, or ``float64`` with ``as_="float"``; times are UTC). A table of
            another kind has a column for each ``family:qualifier``, as text.

        Raises
        ------
        UnknownName
            There is no such table.
        UsageError
            A time range of a table whose keys have no time, or beside a prefix.
        """
        checked_limit(limit)
        calendar = contract_of(self._settings).shop.calendar
        selection = _selection(table, prefix, *range_of(last, since, until, calendar=calendar), calendar)

        def run(hbase: happybase.Connection) -> tuple[list[tuple[bytes, dict[bytes, bytes]]], dict[str, Any]]:
            rows = self._known(hbase, table).scan(
                **selection,
                columns=_asked_for(columns),
                # Without an end to count to, HBase is asked for no more than is wanted.
                limit=None if limit is None or count_for else limit + 1,
                batch_size=1_000,
            )
            return cut(rows, limit, count_for=count_for or 60)

        found, attributes = self._run(run)
        if limit is not None and not count_for and attributes["more"]:
            attributes["total"] = None
        packed = [(_read(key), cell) for key, cells in found if (cell := _packed(cells)) is not None]
        shown = self._shown(table, packed, columns) if packed else ([], [], {})
        if packed and len(packed) == len(found):
            return shaped(to_frame(*shown, **attributes), as_)
        # A table that is younger than its first cells has some of both forms.
        unpacked = {row[0]: dict(zip(shown[0][1:], row[1:], strict=True)) for row in shown[1]}
        records = [(read := _read(key), unpacked.get(read) or _record(cells, columns)) for key, cells in found]
        names = list(dict.fromkeys(name for _, record in records for name in record))
        kinds: dict[int, ColumnKind] = {0: "text"}
        for place, name in enumerate(names, start=1):
            figure = _figure(name)
            if figure is None:
                kinds[place] = "text"
            elif kind := FIGURE_COLUMNS.get(figure.rules.value):
                kinds[place] = kind
        rows = ([key, *(record.get(name) for name in names)] for key, record in records)
        return shaped(to_frame(["row", *names], rows, kinds, **attributes), as_)

    def _known(self, hbase: happybase.Connection, table: str) -> happybase.Table:
        known = [name.decode() for name in hbase.tables()]
        if table not in known:
            raise UnknownName("HBase table", table, known)
        return hbase.table(table)

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the table of each grain where it is absent.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            HBase can't be reached.
        """
        require_own(self._settings, f"Making the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            there = make_schemas(hbase)
            for grain in table.every:
                if (name := table.physical(grain)).encode() not in there:
                    hbase.create_table(name, {_FAMILY: {"max_versions": 1}})
                note_table(hbase, as_rows(table), name=name)
            move_in(hbase, self._settings.namespace, [table.physical(grain) for grain in table.every])

        self._run(run)

    def remove(self, table: FigureTable) -> None:
        """Remove the table of each grain with all that it holds.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            HBase can't be reached.
        """
        require_own(self._settings, f"Removing the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            there = hbase.tables()
            for grain in table.every:
                if (name := table.physical(grain)).encode() in there:
                    hbase.delete_table(name, disable=True)
                if SCHEMAS.encode() in there:
                    hbase.table(SCHEMAS).delete(name.encode())
            forget_old(hbase, self._settings.namespace, [table.physical(grain) for grain in table.every])

        self._run(run)

    def drop(self) -> None:
        """Remove the namespace's tables with all that they hold."""
        require_own(self._settings, "Removing the HBase tables")
        for name in (*self.tables(), *self._run(_schemas)):
            self._run(lambda hbase, name=name: hbase.delete_table(name, disable=True))  # type: ignore[misc]
        shipped = [table.physical(grain) for table in (CATEGORY, SESSION, USER) for grain in table.every]
        self._run(lambda hbase: forget_old(hbase, self._settings.namespace, shipped))

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Put rows with the version as their timestamp.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        rows : Rows
            Each has the window's start, all dimensions and all figures.
        version : int
            Of two writes of a key the one with the higher version stays, in milliseconds.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """
        found = arrow_rows(table, grain, rows)
        cells = list(zip(pack_keys(table, grain, found), pack_cells(table, found), strict=True))
        self._put(table, grain, cells, version)

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Cells by row key, under the table's newest schema."""
        start = _start_at_or_after(since, grain) if since else None
        cells = self._run(
            lambda hbase: {
                key: cells[_CELL]
                for key, cells in hbase.table(table.physical(grain)).scan(row_start=start, batch_size=_BATCH_ROWS)
            }
        )
        own = own_schemas(table)
        if older := [item for item in cells.items() if not is_record(item[1]) or schema_of_record(item[1]) not in own]:
            schemas = self._schemas_of(table, grain, [cell for _, cell in older])
            unpack = unpacker(table, grain, schemas)
            rows = arrow_rows(table, grain, [unpack(*item) for item in older])
            cells |= zip((key for key, _ in older), pack_cells(table, rows), strict=True)
        return cells

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Put cells with the version as their timestamp."""
        self._put(table, grain, rows.items(), version)

    def _put(self, table: FigureTable, grain: Grain, cells: Collection[tuple[bytes, bytes]], version: int) -> None:
        require_own(self._settings, f"Writing the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.physical(grain)).batch(timestamp=version, batch_size=_BATCH_ROWS) as batch:
                for key, cell in cells:
                    batch.put(key, {_CELL: cell})

        self._run(run)

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Remove the one cell of rows, up to the version as its timestamp."""
        require_own(self._settings, f"Deleting from the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.physical(grain)).batch(timestamp=version, batch_size=_BATCH_ROWS) as batch:
                for key in keys:
                    batch.delete(key, [_CELL])

        self._run(run)

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, by a scan over time; `only` is looked at here.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        since, until : datetime, optional
            The range of window starts, without its end; None is not a bound.
        figures : sequence of Figure, optional
            Some of the table's; all when absent.
        by : sequence of str, optional
            The dimensions to keep; all of the table's when absent.
        only : Only, optional
            The values that are wanted of some dimensions; of a dot path also what is below it. None is any.

        Raises
        ------
        NoSuchTable
            The stored table is absent.
        """
        found = self._scanned(table, grain, since, until)
        kept = (row for row, _ in found if is_among(row, only))
        return combined(kept, table, grain, figures, by)

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        """Rows with their cell's timestamp."""
        return self._scanned(replace(table, figures=tuple(figures)), grain, since, until)

    def _scanned(
        self, table: FigureTable, grain: Grain, since: datetime | None, until: datetime | None
    ) -> list[tuple[Row, int]]:
        """The rows whose windows start in ``[since, until)``, each with its cell's timestamp."""
        bounds = {
            "row_start": stamp(since, grain).encode() if since else None,
            "row_stop": _start_at_or_after(until, grain) if until else None,
        }
        found = self._run(
            lambda hbase: list(
                hbase.table(table.physical(grain)).scan(**bounds, include_timestamp=True, batch_size=_BATCH_ROWS)
            )
        )
        schemas = self._schemas_of(table, grain, [cells[_CELL][0] for _, cells in found])
        unpack = unpacker(table, grain, schemas)
        rows = ((unpack(key, cells[_CELL][0]), cells[_CELL][1]) for key, cells in found)
        return [(row, version) for row, version in rows if in_range(row[grain.name], since, until)]

    def _schemas_of(self, table: FigureTable, grain: Grain, cells: Sequence[bytes]) -> Mapping[bytes, str]:
        """The schemas of cells: they are looked up where a figure was added or removed since."""
        own = own_schemas(table)
        if all(schema_of_record(cell) in own for cell in cells if is_record(cell)):
            return own
        return self._run(lambda hbase: noted(hbase, table.physical(grain)))[1]


def _packed(cells: Mapping[bytes, bytes]) -> bytes | None:
    """The record of a row, where the row is one."""
    cell = cells.get(ROW_CELL, cells.get(_CELL, b""))
    return cell if is_record(cell) else None


def _schemas(hbase: happybase.Connection) -> list[str]:
    """The table of the schemas of rows, where there is one."""
    return [SCHEMAS] if SCHEMAS.encode() in hbase.tables() else []


def _selection(
    table: str, prefix: str | bytes | None, since: datetime | None, until: datetime | None, calendar: Calendar
) -> dict[str, bytes]:
    """Where a scan begins and ends."""
    if since is None and until is None:
        return {"row_prefix": _key(prefix)} if prefix else {}
    width = grain_with(table.rpartition("_")[2])
    if width is None or prefix:
        raise UsageError(
            f"A scan of {table!r} can't have a time range"
            + (" and a prefix." if prefix else ": its keys do not begin with a time."),
            remedy="Give a prefix of the row's key, or since and until.",
        )
    bounds, grain = {}, width.within(calendar)
    if since is not None:
        bounds["row_start"] = _start_at_or_after(since, grain)
    if until is not None:
        bounds["row_stop"] = _start_at_or_after(until, grain)
    return bounds


def _start_at_or_after(moment: datetime, grain: Grain) -> bytes:
    """The key's beginning of the first window that starts at a time or later."""
    return stamp(grain.start_from(moment), grain).encode()


def _is_lost(error: Exception) -> bool:
    from Hbase_thrift import IllegalArgument
    from Hbase_thrift import IOError as HBaseIOError
    from thriftpy2.thrift import TException

    return isinstance(error, (TException, OSError)) and not isinstance(error, (IllegalArgument, HBaseIOError))


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _read(value: bytes) -> str | bytes:
    """A key or a cell as text; as the bytes that it is where it is not text: two different ones never look alike."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _key(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _asked_for(columns: Sequence[str] | None) -> list[bytes] | None:
    """What HBase itself can select by; it does not see what is within a cell."""
    return [column.encode() for column in columns] if columns and all(":" in column for column in columns) else None


def _record(cells: dict[bytes, bytes], columns: Sequence[str] | None) -> dict[str, Any]:
    """A row as a person wants it; of its cells what was asked for by name, by family or by a name within the cell."""
    record: dict[str, Any] = {}
    for cell, value in sorted(cells.items()):
        column = _text(cell)
        asked_for = not columns or column in columns or column.partition(":")[0] in columns
        fields = (_unpacked(value) if cell == _CELL else None) or {column: _read(value)}
        record |= {name: found for name, found in fields.items() if asked_for or name in (columns or ())}
    return record


def _unpacked(value: bytes) -> dict[str, Any] | None:
    """What a figure table's cell holds; None for someone else's cell that has the same name."""
    try:
        found = orjson.loads(value).items()
        return {name: decode(figure, field) if (figure := _figure(name)) else field for name, field in found}
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return None


def _figure(name: str) -> Figure | None:
    """The figure of a name, if there is one."""
    figure = FIGURES.get(name)
    return figure if isinstance(figure, Figure) else None
