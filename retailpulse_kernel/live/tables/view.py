"""``rp.live("carts")``: a table, figures or a statement, read every few seconds, with charts by what the columns are.

A thread of the kernel reads, so a running cell does not stop the view. A page asks for the next picture once it has
painted the last one. So there is never more than one picture under way, and a slow page gets the newest.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import traitlets

from retailpulse_kernel.ground.errors import RetailPulseError, UsageError, cause_line
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.ground.spans import iso_text, moment_at, span_of
from retailpulse_kernel.live import assets
from retailpulse_kernel.live.tables import charts, numbers, picture
from retailpulse_kernel.live.tables.reading import Reading, Source
from retailpulse_kernel.live.widget import ChartWidget

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableView"]

#: Seconds without a word of a page after which the view rests, and after which a page no longer keeps others waiting.
_IDLE, _SLOW = 60.0, 5.0
#: How many times as long as a read takes there is none: a table that is slow to read is read less often.
_BREAK = 4
_SHORTEST, _LONGEST = timedelta(seconds=0.5), timedelta(hours=1)


class TableView(ChartWidget):
    """A live view of a table, of figures or of a statement; `Workbench.live` makes it.

    Parameters
    ----------
    source : Source
        What is read.
    chart : str
        ``"auto"``, ``"line"``, ``"bar"``, ``"number"`` or ``"table"``.
    refresh : str or timedelta
        How often it is read.
    currency : str
        The currency that is drawn at first; that of most rows when empty.

    Attributes
    ----------
    picture : dict
        What is shown, for the page and for a page that is opened again.

    Raises
    ------
    UnknownName
        There is no such chart.
    UsageError
        It would be read too often or too rarely.
    """

    _esm = assets.module("table.mjs")
    options = traitlets.Dict().tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)

    def __init__(
        self, source: Source, *, chart: str = "auto", refresh: str | timedelta = "2s", currency: str = ""
    ) -> None:
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._source, self._chart, self._every = source, charts.chosen(chart), _refresh(refresh)
        self._by: str | None = None
        self._currency = currency
        self._until: datetime | None = None
        self._reading: Reading | None = None
        self._newest: dict[str, Any] = {}
        self._number = 0
        #: What each page has painted last, and when it was heard of.
        self._pages: dict[str, tuple[int, float]] = {}
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        self._asked = False
        self._thread: threading.Thread | None = None
        reach = source.reach
        super().__init__(
            options={"title": source.title, "reach": 0 if reach is None else int(reach.total_seconds())}, picture={}
        )

    @property
    def frame(self) -> pd.DataFrame:
        """The rows that the view shows, exact; they are read where nothing has been read yet.

        Raises
        ------
        RetailPulseError
            Nothing has been read yet, and the table can't be read.
        """
        if self._reading is None:
            self._read(self._until)
        assert self._reading is not None
        return self._reading.frame

    def stop(self) -> None:
        """Read no more; what was painted last stays."""
        self._stopped.set()
        self._wake.set()

    def close(self) -> None:
        """End the view and remove it."""
        self.stop()
        super().close()

    # -- what pages say ---------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        page = str(message.get("page"))
        with self._lock:
            if message.get("op") == "bye":
                self._pages.pop(page, None)
            else:
                self._pages[page] = (int(message.get("seen", 0)), time.monotonic())
            if message.get("op") == "ask":
                self._change(message)
            if self._stopped.is_set():
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="retailpulse-live-table", daemon=True)
                self._thread.start()
        self._wake.set()

    def _change(self, message: dict[str, Any]) -> None:
        """Draw by something else, another currency or another time from now on."""
        self._by = message.get("by", self._by)
        self._currency = str(message.get("currency", self._currency))
        if "until" in message:
            until = message["until"]
            self._until = None if until is None else moment_at(int(until))
        self._asked = True

    # -- the thread -------------------------------------------------------------------------

    def _serve(self) -> None:
        due = 0.0
        while not self._rests():
            self._wake.clear()
            if self._asked or time.monotonic() >= due:
                self._asked = False
                began = time.monotonic()
                self._paint(began)
                now = time.monotonic()
                due = now + max(self._every - (now - began), _BREAK * (now - began))
            self._hand_on()
            self._wake.wait(max(due - time.monotonic(), 0.05))

    def _rests(self) -> bool:
        """Whether nobody looks; the next word of a page starts another thread."""
        with self._lock:
            heard = max((at for _, at in self._pages.values()), default=0.0)
            rests = self._stopped.is_set() or time.monotonic() - heard > _IDLE
            if rests:
                self._thread = None
            return rests

    def _paint(self, began: float) -> None:
        """Make the newest picture; one that can't be read keeps the rows of the one before, and says why."""
        until = self._until  # a page may ask for another end while this one is read
        try:
            made = self._made(self._read(until))
            said = {"note": " ".join(made.pop("notes")), "failed": False}
        except Exception as error:  # a thread that dies would leave the view standing still without a word
            text = str(error) if isinstance(error, RetailPulseError) else cause_line(error)
            made, said = dict(self._newest), {"note": text, "failed": True}
        self._number += 1
        when = {
            "number": self._number,
            "read": iso_text(datetime.now(UTC), "seconds"),
            "took": round(1000 * (time.monotonic() - began)),
            "until": None if until is None else iso_text(until, "minutes"),
        }
        self._newest = {**made, **said, **when}

    def _read(self, until: datetime | None) -> Reading:
        with self._reading_lock, unsaid():
            self._reading = self._source.read(self._by, until)
            return self._reading

    def _made(self, reading: Reading) -> dict[str, Any]:
        currencies = numbers.currencies_of(reading)
        currency = self._currency if self._currency in currencies else next(iter(currencies), "")
        return {
            **picture.table(reading.frame),
            "key": list(reading.key),
            "tiles": numbers.tiles(reading, self._chart, currency),
            "charts": charts.drawn(reading, self._chart, currency),
            "by": reading.by,
            "dimensions": list(reading.dimensions),
            "currency": currency,
            "currencies": currencies if any(one.currency for one in numbers.numbers_of(reading, currency)) else [],
            "notes": reading.notes,
        }

    def _hand_on(self) -> None:
        """Send the newest picture once every page that looks has painted the one before."""
        sent = self.picture.get("number", 0)
        with self._lock:
            now = time.monotonic()
            looking = [seen for seen, at in self._pages.values() if now - at < _SLOW]
        if self._newest.get("number", 0) > sent and looking and all(seen == sent for seen in looking):
            self.picture = self._newest


def _refresh(refresh: str | timedelta) -> float:
    """Seconds between two reads."""
    span = span_of(refresh)
    if not _SHORTEST <= span <= _LONGEST:
        raise UsageError(f"A live view can't be read every {refresh}.", remedy="Choose a time from 0.5s to 1h.")
    return span.total_seconds()
