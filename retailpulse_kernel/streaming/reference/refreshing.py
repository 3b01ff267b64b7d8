"""The reference tables of a run: each is read before the queries start, and again while they run.

The first reading must succeed. After that the job goes on with the version that it has, whatever becomes of the source.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from retailpulse_kernel.ground.errors import cause_line
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import milliseconds, span_of
from retailpulse_kernel.shop.contract.model import NEVER, ReferenceTable
from retailpulse_kernel.stores.reference_tables import read_table
from retailpulse_kernel.streaming.reference.versions import Versions

__all__ = ["References", "TableState"]

_LOOK_SECONDS: Final = 0.5
#: A source that failed is asked again after this, also where the table is read seldom.
_AGAIN_MS: Final = 30_000


@dataclass(frozen=True)
class TableState:
    """What a run knows of a reference table.

    Attributes
    ----------
    name : str
        The table's name.
    version : str
        The newest version.
    read_ms : int
        When the table was read last, in milliseconds since 1970.
    error : str
        Why it could not be read since; empty where it could.
    """

    name: str
    version: str
    read_ms: int
    error: str = ""


class References:
    """The reference tables of a run.

    Parameters
    ----------
    settings : Settings
        In whose namespace the tables are.
    tables : sequence of ReferenceTable
        Those that the job's queries join.
    epoch : str
        The folder of the epoch that keeps the versions.
    tell : callable
        Called with the state of a table whenever it was read, or could not be.
    """

    def __init__(
        self,
        settings: Settings,
        tables: Sequence[ReferenceTable],
        epoch: str,
        tell: Callable[[TableState], object] = lambda state: None,
    ) -> None:
        self._settings, self._tables, self._epoch, self._tell = settings, tuple(tables), epoch, tell
        self._states: dict[str, TableState] = {}
        self._next_ms: dict[str, float] = {}
        self._over = threading.Event()

    def begin(self, *, now_ms: int | None = None) -> None:
        """Make sure that each table has a version; one whose time has come is read again, if that can be.

        Parameters
        ----------
        now_ms : int, optional
            The time, in milliseconds since 1970; the present when absent.

        Raises
        ------
        UsageError
            A table that has no version yet is not there, or its rows do not fit.
        StoreUnavailable
            The store of a table that has no version yet does not answer.
        """
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        for table in self._tables:
            if (newest := Versions(self._epoch, table).newest) is None:
                self._read(table, now_ms)
            else:
                self._reached(table, TableState(table.name, newest.version, newest.read_ms))
        self.look(now_ms=now_ms)

    def look(self, *, now_ms: int | None = None) -> None:
        """Read each table again whose time has come; what fails leaves the version that is there.

        Parameters
        ----------
        now_ms : int, optional
            The time, in milliseconds since 1970; the present when absent.
        """
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        for table in self._tables:
            if now_ms < self._next_ms[table.name]:
                continue
            try:
                self._read(table, now_ms)
            except Exception as error:
                self._next_ms[table.name] = now_ms + min(_every_ms(table), _AGAIN_MS)
                self._states[table.name] = replace(self._states[table.name], error=cause_line(error))
                self._tell(self._states[table.name])

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Read the tables again in a thread of its own while the block lasts: a slow source holds up no batch."""

        def follow() -> None:
            while not self._over.wait(_LOOK_SECONDS):
                self.look()

        thread = threading.Thread(target=follow, name="reference-tables", daemon=True)
        if self._tables:
            thread.start()
        try:
            yield
        finally:
            self._over.set()

    def _read(self, table: ReferenceTable, now_ms: int) -> None:
        rows = read_table(self._settings, table)
        if self._over.is_set():  # the source was slow, and the epoch is not this run's any more
            return
        version = Versions(self._epoch, table).put(rows, now_ms=now_ms)
        self._reached(table, TableState(table.name, version, now_ms))

    def _reached(self, table: ReferenceTable, state: TableState) -> None:
        self._states[table.name] = state
        self._next_ms[table.name] = state.read_ms + _every_ms(table)
        self._tell(state)


def _every_ms(table: ReferenceTable) -> float:
    return float("inf") if table.every == NEVER else milliseconds(span_of(table.every))
