"""HBase, through its Thrift server: sessions and users."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from retailpulse_kernel.errors import StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.metrics import Figure, Kind
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import Row
from retailpulse_kernel.tables import FigureTable, Grain

if TYPE_CHECKING:
    import happybase
    import pandas as pd

__all__ = ["HBaseStore"]

#: Puts in one request; the rate was measured to double from 1,000 to 5,000.
_BATCH_ROWS = 5_000
_KEYS, _FIGURES = b"k:", b"f:"

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
        self._address = settings.profile.hbase
        self._prefix = settings.namespace.hbase_prefix
        self._connection: happybase.Connection | None = None

    # -- connection -------------------------------------------------------------------------

    def _connect(self) -> happybase.Connection:
        import happybase

        return happybase.Connection(
            self._address.host, self._address.port, table_prefix=self._prefix, timeout=30_000, autoconnect=True
        )

    def _guarded(self, action: Callable[[happybase.Connection], _T]) -> _T:
        """Run a request; once more on a new connection, as the server closes idle ones after 60 s."""
        import happybase  # noqa: F401  (makes the module Hbase_thrift)
        from Hbase_thrift import IllegalArgument
        from Hbase_thrift import IOError as HBaseIOError
        from thriftpy2.thrift import TException

        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return action(self._connection)
            except IllegalArgument as error:
                raise UsageError(f"HBase can't do this: {_text(error.message)}") from error
            except HBaseIOError as error:
                message = _text(error.message)
                if "TableNotFoundException" in message or "NoSuchColumnFamily" in message:
                    raise UsageError(f"HBase can't do this: {message.splitlines()[0]}") from error
                self.close()
                if attempt == 2:
                    raise self._unavailable(message.splitlines()[0]) from error
            except (TException, OSError, socket.error) as error:
                self.close()
                if attempt == 2:
                    raise self._unavailable(str(error)) from error
        raise AssertionError("unreachable")

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            "hbase",
            f"HBase's Thrift server at {self._address.host}:{self._address.port} does not answer ({why}).",
            remedy="Start it with `retailpulse up hbase-thrift`, or check the profile.",
        )

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._connection is not None:
            try:
                self._connection.close()
            except Exception:  # a broken connection can't always be closed in order
                pass
        self._connection = None

    def ping(self) -> str:
        """The number of tables, as a sign of life."""
        return f"{len(self._guarded(lambda c: c.tables()))} tables"

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The namespace's tables, without their prefix."""
        return sorted(name.decode() for name in self._guarded(lambda c: c.tables()))

    def get(self, table: str, key: str, columns: Sequence[str] | None = None) -> dict[str, str]:
        """One row as text by column; empty when there is none."""
        wanted = [c.encode() for c in columns] if columns else None
        row = self._guarded(lambda c: c.table(table).row(key.encode(), columns=wanted))
        return {column.decode(): _text(value) for column, value in row.items()}

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
        """
        import pandas as pd

        if table not in self.tables():
            raise UnknownName("HBase table", table, self.tables())
        wanted = [c.encode() for c in columns] if columns else None
        found = self._guarded(
            lambda c: list(
                c.table(table).scan(
                    row_prefix=prefix.encode() if prefix else None,
                    columns=wanted,
                    limit=limit + 1 if limit else None,
                    batch_size=1_000,
                )
            )
        )
        more = limit is not None and len(found) > limit
        rows = [
            {"row": key.decode(), **{c.decode(): _text(v) for c, v in data.items()}} for key, data in found[:limit]
        ]
        frame = pd.DataFrame(rows)
        frame.attrs["more"] = more
        return frame

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the table of each grain where it is absent."""
        for grain in table.every:
            name = table.physical(grain)
            if name not in self.tables():
                self._guarded(lambda c, name=name: c.create_table(name, {"k": {"max_versions": 1}, "f": {}}))

    def drop(self) -> None:
        """Remove the namespace's tables with all that they hold."""
        for name in self.tables():
            self._guarded(lambda c, name=name: c.delete_table(name, disable=True))

    def write(self, table: FigureTable, grain: Grain, rows: Sequence[Row], *, version: int) -> None:
        """Put rows with the version as their timestamp."""
        name = table.physical(grain)
        puts = [(self._key(table, grain, row), self._cells(table, row)) for row in rows]

        def run(connection: happybase.Connection) -> None:
            with connection.table(name).batch(timestamp=version, batch_size=_BATCH_ROWS) as batch:
                for key, cells in puts:
                    batch.put(key, cells)

        self._guarded(run)

    def read(
        self, table: FigureTable, grain: Grain, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, by a scan over time."""
        start = _stamp(since, grain).encode() if since else None
        stop = _stamp(until, grain).encode() if until else None
        found = self._guarded(
            lambda c: list(c.table(table.physical(grain)).scan(row_start=start, row_stop=stop, batch_size=5_000))
        )
        rows = (self._row(table, grain, key, cells) for key, cells in found)
        # The stop key is rounded down to the window, so the last one is checked here.
        return [r for r in rows if until is None or r[grain.name] < until]

    @staticmethod
    def _key(table: FigureTable, grain: Grain, row: Row) -> bytes:
        # '#' separates and '%' escapes, so different dimensions never make the same key.
        parts = (quote(str(row[d]), safe=" !$&'()*+,-./:;<=>?@[]^_`{|}~") for d in table.by)
        return "#".join((_stamp(row[grain.name], grain), *parts)).encode()

    @staticmethod
    def _cells(table: FigureTable, row: Row) -> dict[bytes, bytes]:
        cells = {_KEYS + d.encode(): str(row[d]).encode() for d in table.by}
        for figure in table.figures:
            value = row[figure.name]
            if value is not None:
                cells[_FIGURES + figure.name.encode()] = _encode(figure, value)
        return cells

    @staticmethod
    def _row(table: FigureTable, grain: Grain, key: bytes, cells: dict[bytes, bytes]) -> Row:
        stamp = key.split(b"#", 1)[0].decode()
        row: Row = {grain.name: datetime.strptime(stamp, _STAMPS[grain.name]).replace(tzinfo=UTC)}
        row |= {d: cells[_KEYS + d.encode()].decode() for d in table.by}
        for figure in table.figures:
            value = cells.get(_FIGURES + figure.name.encode())
            row[figure.name] = None if value is None else _decode(figure, value)
        return row


_STAMPS = {"minute": "%Y%m%dT%H%M", "hour": "%Y%m%dT%H", "day": "%Y%m%d"}


def _stamp(moment: datetime, grain: Grain) -> str:
    return moment.astimezone(UTC).strftime(_STAMPS[grain.name])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _encode(figure: Figure, value: Any) -> bytes:
    match figure.measure.kind:
        case Kind.USERS:
            return bytes(value)
        case Kind.MONEY:
            return format(value, "f").encode()
        case Kind.FIRST | Kind.LAST:
            return value.astimezone(UTC).isoformat(timespec="milliseconds").encode()
        case _:
            return str(value).encode()


def _decode(figure: Figure, value: bytes) -> Any:
    match figure.measure.kind:
        case Kind.USERS:
            return value
        case Kind.MONEY:
            return Decimal(value.decode())
        case Kind.FIRST | Kind.LAST:
            return datetime.fromisoformat(value.decode())
        case _:
            return int(value)

