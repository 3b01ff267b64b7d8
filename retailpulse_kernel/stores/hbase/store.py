"""HBase, through its Thrift server: sessions and users."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
from retailpulse_kernel.shop.tables import CATEGORY, SESSION, USER
from retailpulse_kernel.shop.windows import grain_with
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.connection import Reconnecting
from retailpulse_kernel.stores.frames import FIGURE_COLUMNS, ColumnKind, Form, checked_limit, cut, shaped, to_frame
from retailpulse_kernel.stores.hbase.avro import is_record
from retailpulse_kernel.stores.hbase.connection import connect, explained
from retailpulse_kernel.stores.hbase.figures import HBaseFigures
from retailpulse_kernel.stores.hbase.migration import forget_old
from retailpulse_kernel.stores.hbase.rows import FIGURES_CELL, decode, stamp_from
from retailpulse_kernel.stores.hbase.selection import HBaseSelection
from retailpulse_kernel.stores.hbase.tables import ROW_CELL, SCHEMAS

if TYPE_CHECKING:
    import happybase

__all__ = ["HBaseStore"]

#: Names of Java's classes, and of the region where a request failed.
_JAVA = re.compile(r"^(?:[\w.$]+(?:Exception|Error): )+| in region .*")

_T = TypeVar("_T")


class HBaseStore(HBaseSelection, HBaseFigures):
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
        known = [name.decode() for name in hbase.tables() if name != SCHEMAS.encode()]
        if table not in known:
            raise UnknownName("HBase table", table, known)
        return hbase.table(table)

    def drop(self) -> None:
        """Remove the namespace's tables with all that they hold."""
        require_own(self._settings, "Removing the HBase tables")
        for name in (*self.tables(), *self._run(_schemas)):
            self._run(lambda hbase, name=name: hbase.delete_table(name, disable=True))  # type: ignore[misc]
        shipped = [table.physical(grain) for table in (CATEGORY, SESSION, USER) for grain in table.every]
        self._run(lambda hbase: forget_old(hbase, self._settings.namespace, shipped))


def _packed(cells: Mapping[bytes, bytes]) -> bytes | None:
    """The record of a row, where the row is one."""
    cell = cells.get(ROW_CELL, cells.get(FIGURES_CELL, b""))
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
        bounds["row_start"] = stamp_from(since, grain)
    if until is not None:
        bounds["row_stop"] = stamp_from(until, grain)
    return bounds


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
        fields = (_unpacked(value) if cell == FIGURES_CELL else None) or {column: _read(value)}
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
