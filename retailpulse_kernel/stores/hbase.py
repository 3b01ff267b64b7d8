"""HBase, through its Thrift server: sessions and users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

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
_KEYS, _FIGURES = "k:", "f:"
#: Milliseconds that a request may take.
_REQUEST_TIMEOUT = 30_000

_T = TypeVar("_T")


class HBaseStore:
    """HBase, connected when it is first used.

    A row's key is ``<window's start>#<dimension>#...``, so that a scan by prefix is a scan by
    time; family ``k`` repeats the dimensions, family ``f`` holds the figures, all as text.

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
        """One row's values by ``family:qualifier``, typed as in `scan`; empty when there is none.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        row = self._run(lambda hbase: self._known(hbase, table).row(key.encode(), columns=_encoded(columns)))
        return {_text(column): _value(_text(column), value) for column, value in row.items()}

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
            ``family:qualifier`` or ``family``.
        limit : int, optional
            At most this many rows; None for all. ``.attrs["more"]`` says whether rows were cut.

        Returns
        -------
        pandas.DataFrame
            The key under ``row``, then a column for each ``family:qualifier``. Figures have their
            types (money is `decimal.Decimal`, times are UTC); everything else is text.

        Raises
        ------
        UnknownName
            There is no such table.
        """

        def run(hbase: happybase.Connection) -> list[tuple[bytes, dict[bytes, bytes]]]:
            rows = self._known(hbase, table).scan(
                row_prefix=prefix.encode() if prefix else None,
                columns=_encoded(columns),
                limit=None if limit is None else limit + 1,
                batch_size=1_000,
            )
            return list(rows)

        found = self._run(run)
        names = sorted({column for _, cells in found for column in cells}, key=lambda name: (name[:1] != b"k", name))
        texts = [_text(name) for name in names]
        rows = (
            [_text(key), *(_value(text, cells.get(name)) for name, text in zip(names, texts, strict=True))]
            for key, cells in found[:limit]
        )
        kinds: dict[int, ColumnKind] = {}
        for place, text in enumerate(texts, start=1):
            if (figure := _figure(text)) and (kind := _COLUMN_KINDS.get(figure.measure.kind)):
                kinds[place] = kind
        return to_frame(["row", *texts], rows, kinds, more=limit is not None and len(found) > limit)

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
                    hbase.create_table(name, {"k": {"max_versions": 1}, "f": {"max_versions": 1}})

        self._run(run)

    def drop(self) -> None:
        """Remove the namespace's tables with all that they hold."""
        for name in self.tables():
            self._run(lambda hbase, name=name: hbase.delete_table(name, disable=True))  # type: ignore[misc]

    def write(self, table: FigureTable, grain: Grain, rows: Sequence[Row], *, version: int) -> None:
        """Put rows with the version as their timestamp."""
        puts = [(self._key(table, grain, row), self._cells(table, row)) for row in rows]

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
        # '#' separates and '%' escapes, so different dimensions never make the same key.
        parts = (quote(str(row[d]), safe=" !$&'()*+,-./:;<=>?@[]^_`{|}~") for d in table.by)
        return "#".join((_stamp(row[grain.name], grain), *parts)).encode()

    @staticmethod
    def _cells(table: FigureTable, row: Row) -> dict[bytes, bytes]:
        dimensions = {f"{_KEYS}{name}".encode(): str(row[name]).encode() for name in table.by}
        figures = {f"{_FIGURES}{f.name}".encode(): _encode(f, row[f.name]) for f in table.figures}
        return dimensions | figures

    @staticmethod
    def _row(table: FigureTable, grain: Grain, key: bytes, cells: dict[bytes, bytes]) -> Row:
        stamp = key.split(b"#", 1)[0].decode()
        row: Row = {grain.name: datetime.strptime(stamp, _STAMPS[grain.name]).replace(tzinfo=UTC)}
        row |= {name: cells[f"{_KEYS}{name}".encode()].decode() for name in table.by}
        row |= {f.name: _decode(f, cells.get(f"{_FIGURES}{f.name}".encode())) for f in table.figures}
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


def _stamp(moment: datetime, grain: Grain) -> str:
    return moment.astimezone(UTC).strftime(_STAMPS[grain.name])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _encoded(columns: Sequence[str] | None) -> list[bytes] | None:
    return [column.encode() for column in columns] if columns else None


def _figure(column: str) -> Figure | None:
    """The figure that a column holds, if it is one of the known ones."""
    figure = FIGURES.get(column.removeprefix(_FIGURES)) if column.startswith(_FIGURES) else None
    return figure if isinstance(figure, Figure) else None


def _value(column: str, cell: bytes | None) -> Any:
    """A cell as a person wants it."""
    if cell is None:
        return None
    figure = _figure(column)
    try:
        return _decode(figure, cell) if figure else _text(cell)
    except (ArithmeticError, ValueError):  # someone else's table, whose column has a figure's name
        return _text(cell)


def _encode(figure: Figure, value: Any) -> bytes:
    if value is None:
        return b""  # a cell that is not put would leave an older value
    match figure.measure.kind:
        case Kind.USERS:
            return bytes(value)
        case Kind.MONEY:
            return format(value, "f").encode()
        case Kind.FIRST | Kind.LAST:
            return value.astimezone(UTC).isoformat(timespec="milliseconds").encode()
        case _:
            return str(value).encode()


def _decode(figure: Figure, cell: bytes | None) -> Any:
    if not cell:
        return None
    match figure.measure.kind:
        case Kind.USERS:
            return cell
        case Kind.MONEY:
            return Decimal(cell.decode())
        case Kind.FIRST | Kind.LAST:
            return datetime.fromisoformat(cell.decode())
        case _:
            return int(cell)
