"""HBase, through its Thrift server: sessions and users."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import orjson

from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.metrics import FIGURES, Figure, Kind
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import Row, combined, in_range
from retailpulse_kernel.stores.connection import Reconnecting, unavailable, why_unreachable
from retailpulse_kernel.stores.frames import ColumnKind, to_frame
from retailpulse_kernel.tables import FigureTable, Grain

if TYPE_CHECKING:
    import happybase
    import pandas as pd

__all__ = ["HBaseStore"]

#: Puts in one request; the rate was measured to double from 1,000 to 5,000.
_BATCH_ROWS = 5_000
#: The one cell of a figure table's row.
_FAMILY, _CELL = "f", b"f:row"
#: What a key holds as it is, beside letters, digits and ``_.-~``.
_SAFE = " !$&'()*+,-./:;<=>?@[]^_`{|}~"
_PLAIN = re.compile(f"[A-Za-z0-9{re.escape(_SAFE)}]*")
#: Milliseconds that a request may take.
_REQUEST_TIMEOUT = 30_000

_T = TypeVar("_T")


class HBaseStore:
    """HBase, connected when it is first used.

    A row's key is ``<window's start>#<dimension>#...``, so that a scan by prefix is a scan by
    time. Its dimensions and figures are one JSON object in the one cell ``f:row``: a cell each was
    measured to take HBase five times as long to write.

    Parameters
    ----------
    settings : Settings
        Its profile has the Thrift server's address, its namespace the tables' prefix.
    """

    name = "hbase"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = (settings.profile.hbase.host, settings.profile.hbase.port)
        self._connection = Reconnecting(self._connect, close=lambda thrift: thrift.close(), is_lost=_is_lost)

    # -- connection -------------------------------------------------------------------------

    def _connect(self) -> happybase.Connection:
        import happybase

        # happybase has one timeout for everything; connecting shall not take as long as a scan may.
        if why := why_unreachable([self._host]):
            raise OSError(why)
        return happybase.Connection(
            *self._host, table_prefix=self._settings.namespace.hbase_prefix, timeout=_REQUEST_TIMEOUT
        )

    def _run(self, request: Callable[[happybase.Connection], _T]) -> _T:
        """Run a request; a lost connection becomes `StoreUnavailable`, a bad request `UsageError`."""
        import happybase  # noqa: F401  (makes the module Hbase_thrift)
        from Hbase_thrift import IllegalArgument
        from Hbase_thrift import IOError as HBaseIOError
        from thriftpy2.thrift import TException

        try:
            return self._connection.run(request)
        except (IllegalArgument, HBaseIOError) as error:
            said = _text(error.message).splitlines()[0]
            if isinstance(error, IllegalArgument) or "NotFoundException" in said or "NoSuchColumnFamily" in said:
                raise UsageError(
                    f"HBase can't do this: {said}", remedy="`rp.hbase.tables()` lists the namespace's tables."
                ) from error
            raise self._unavailable(said) from error
        except (TException, OSError) as error:
            why = why_unreachable([self._host]) or getattr(error, "message", None) or str(error)
            raise self._unavailable(why) from error

    def _unavailable(self, why: str) -> Exception:
        return unavailable(self._settings, "hbase", "HBase's Thrift server", [self._host], why, service="hbase-thrift")

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        self._connection.close()

    def ping(self) -> str:
        """The number of the namespace's tables."""
        return f"{len(self.tables())} tables"

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The namespace's tables, without their prefix."""
        return sorted(name.decode() for name in self._run(lambda hbase: hbase.tables()))

    def get(self, table: str, key: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """One row's values by column, typed as in `scan`; empty when there is none.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        return _record(
            self._run(lambda hbase: self._known(hbase, table).row(key.encode(), columns=_asked_for(columns))), columns
        )

    def scan(
        self,
        table: str,
        prefix: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = 1_000,
    ) -> pd.DataFrame:
        """Rows by prefix of their key.

        Parameters
        ----------
        table : str
            Without the namespace's prefix.
        prefix : str, optional
            Of the row key, such as ``"20191001T02"``.
        columns : sequence of str, optional
            Names of dimensions and figures, such as ``"revenue"``; in a table of another kind
            ``family:qualifier`` or ``family``.
        limit : int, optional
            At most this many rows; None for all. ``.attrs["more"]`` says whether rows were cut.

        Returns
        -------
        pandas.DataFrame
            The key under ``row``, then a column for each dimension and figure. Figures have their
            types (money is `decimal.Decimal`, times are UTC). A table of another kind has a column
            for each ``family:qualifier``, as text.

        Raises
        ------
        UnknownName
            There is no such table.
        """

        def run(hbase: happybase.Connection) -> list[tuple[bytes, dict[bytes, bytes]]]:
            rows = self._known(hbase, table).scan(
                row_prefix=prefix.encode() if prefix else None,
                columns=_asked_for(columns),
                limit=None if limit is None else limit + 1,
                batch_size=1_000,
            )
            return list(rows)

        found = self._run(run)
        records = [(_text(key), _record(cells, columns)) for key, cells in found[:limit]]
        names = list(dict.fromkeys(name for _, record in records for name in record))
        kinds: dict[int, ColumnKind] = {}
        for place, name in enumerate(names, start=1):
            if (figure := _figure(name)) and (kind := _COLUMN_KINDS.get(figure.measure.kind)):
                kinds[place] = kind
        rows = ([key, *(record.get(name) for name in names)] for key, record in records)
        return to_frame(["row", *names], rows, kinds, more=limit is not None and len(found) > limit)

    def _known(self, hbase: happybase.Connection, table: str) -> happybase.Table:
        known = [name.decode() for name in hbase.tables()]
        if table not in known:
            raise UnknownName("HBase table", table, known)
        return hbase.table(table)

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the table of each grain where it is absent."""

        def run(hbase: happybase.Connection) -> None:
            there = hbase.tables()
            for grain in table.every:
                if (name := table.physical(grain)).encode() not in there:
                    hbase.create_table(name, {_FAMILY: {"max_versions": 1}})

        self._run(run)

    def remove(self, table: FigureTable) -> None:
        """Remove the table of each grain with all that it holds."""

        def run(hbase: happybase.Connection) -> None:
            there = hbase.tables()
            for grain in table.every:
                if (name := table.physical(grain)).encode() in there:
                    hbase.delete_table(name, disable=True)

        self._run(run)

    def drop(self) -> None:
        """Remove the namespace's tables with all that they hold."""
        for name in self.tables():
            self._run(lambda hbase, name=name: hbase.delete_table(name, disable=True))  # type: ignore[misc]

    def write(self, table: FigureTable, grain: Grain, rows: Sequence[Row], *, version: int) -> None:
        """Put rows with the version as their timestamp."""
        columns = (*table.by, *(figure.name for figure in table.figures))
        puts = [
            (self._key(table, grain, row), {_CELL: orjson.dumps({c: row[c] for c in columns}, default=_plain)})
            for row in rows
        ]

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.physical(grain)).batch(timestamp=version, batch_size=_BATCH_ROWS) as batch:
                for key, cells in puts:
                    batch.put(key, cells)

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
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, by a scan over time."""
        start = _stamp(since, grain).encode() if since else None
        # The first window that starts at `until` or later is where the scan stops.
        stop = _stamp(until + grain.width - timedelta(microseconds=1), grain).encode() if until else None
        found = self._run(
            lambda hbase: list(
                hbase.table(table.physical(grain)).scan(row_start=start, row_stop=stop, batch_size=5_000)
            )
        )
        rows = (self._row(table, grain, key, cells) for key, cells in found)
        return combined((row for row in rows if in_range(row[grain.name], since, until)), table, grain, figures, by)

    @staticmethod
    def _key(table: FigureTable, grain: Grain, row: Row) -> bytes:
        return "#".join((_stamp(row[grain.name], grain), *(_escaped(str(row[d])) for d in table.by))).encode()

    @staticmethod
    def _row(table: FigureTable, grain: Grain, key: bytes, cells: dict[bytes, bytes]) -> Row:
        stamp = key.split(b"#", 1)[0].decode()
        found = orjson.loads(cells[_CELL])
        row: Row = {grain.name: datetime.strptime(stamp, _STAMPS[grain.name]).replace(tzinfo=UTC)}
        row |= {name: found[name] for name in table.by}
        row |= {figure.name: _decode(figure, found.get(figure.name)) for figure in table.figures}
        return row


_STAMPS = {"minute": "%Y%m%dT%H%M", "hour": "%Y%m%dT%H", "day": "%Y%m%d"}
_COLUMN_KINDS: dict[Kind, ColumnKind] = {
    Kind.COUNT: "integer", Kind.SUM: "integer", Kind.FIRST: "time", Kind.LAST: "time",
}  # fmt: skip


def _is_lost(error: Exception) -> bool:
    from Hbase_thrift import IllegalArgument
    from Hbase_thrift import IOError as HBaseIOError
    from thriftpy2.thrift import TException

    return isinstance(error, (TException, OSError)) and not isinstance(error, (IllegalArgument, HBaseIOError))


def _escaped(dimension: str) -> str:
    """A part of a key: '#' separates and '%' escapes, so different dimensions never make the same key."""
    return dimension if _PLAIN.fullmatch(dimension) else quote(dimension, safe=_SAFE)


@lru_cache(maxsize=1_000)
def _stamp(moment: datetime, grain: Grain) -> str:
    return moment.astimezone(UTC).strftime(_STAMPS[grain.name])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _asked_for(columns: Sequence[str] | None) -> list[bytes] | None:
    """What HBase itself can select by; it does not see what is within a cell."""
    return [column.encode() for column in columns] if columns and all(":" in column for column in columns) else None


def _record(cells: dict[bytes, bytes], columns: Sequence[str] | None) -> dict[str, Any]:
    """A row as a person wants it; of its cells what was asked for by name, by family or by a name within the cell."""
    record: dict[str, Any] = {}
    for cell, value in sorted(cells.items()):
        column = _text(cell)
        asked_for = not columns or column in columns or column.partition(":")[0] in columns
        fields = (_unpacked(value) if cell == _CELL else None) or {column: _text(value)}
        record |= {name: found for name, found in fields.items() if asked_for or name in (columns or ())}
    return record


def _unpacked(value: bytes) -> dict[str, Any] | None:
    """What a figure table's cell holds; None for someone else's cell that has the same name."""
    try:
        found = orjson.loads(value).items()
        return {name: _decode(figure, field) if (figure := _figure(name)) else field for name, field in found}
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return None


def _figure(name: str) -> Figure | None:
    """The figure of a name, if there is one."""
    figure = FIGURES.get(name)
    return figure if isinstance(figure, Figure) else None


def _plain(value: Any) -> str:
    """What JSON has no type for."""
    return format(value, "f") if isinstance(value, Decimal) else b64encode(value).decode()


def _decode(figure: Figure, value: Any) -> Any:
    if value is None:
        return None
    match figure.measure.kind:
        case Kind.USERS:
            return b64decode(value)
        case Kind.MONEY:
            return Decimal(value)
        case Kind.FIRST | Kind.LAST:
            return datetime.fromisoformat(value)
        case _:
            return value
