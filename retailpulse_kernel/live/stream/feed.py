"""The feed of a live view: a loop that keeps a `Cube` up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from retailpulse_kernel.ground.errors import cause_line
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.corrections import Corrections
from retailpulse_kernel.live.stream.cube import Cube, Reading
from retailpulse_kernel.live.stream.health import Health
from retailpulse_kernel.live.stream.rates import DayRates
from retailpulse_kernel.live.stream.state import Clocks, State
from retailpulse_kernel.live.stream.stored import Followed, Offsets, Rows, StoredFigures
from retailpulse_kernel.live.stream.tail import Judge
from retailpulse_kernel.live.stream.topic import Topic
from retailpulse_kernel.shop.formats.reading import topic_reader
from retailpulse_kernel.shop.tables import GRAINS

__all__ = ["FOLDED_RATE", "Feed"]

#: Hours that are kept by the minute, and by the hour.
MINUTE_HOURS, HISTORY_HOURS = 6, 25
#: Messages a second above which folding them would take a core: the stored figures alone are followed then.
FOLDED_RATE = 10_000.0
#: Messages that stored figures may be behind, for the same reason.
_FOLDED_MESSAGES = 100_000
#: Messages that are read before the first one that counts, to know ids and clocks.
_PRELUDE = 5_000
_HOUR, _MINUTE = 3_600, 60
#: Seconds between two readings of: the topic's end; minutes in change without the tail; what may have been written
#: behind the view's back, as by a backfill; the hours.
_LOOK, _CHANGING, _AGAIN, _HOURS = 0.5, 2.0, 60.0, 300.0
#: Seconds between two readings of what late events have added, and of the rates.
_BESIDE = 20.0
#: Seconds that the account of a batch may come after its rows, before they are read again.
_PATIENCE = 10.0
#: How far behind the newest minute a job may still change one: its watermark, and a little.
_OPEN_MINUTES = 12


class Feed:
    """Stored figures and tail of one namespace, followed until `stop`.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    fold_up_to : float
        Messages a second above which the stored figures alone are followed.
    """

    def __init__(self, settings: Settings, *, fold_up_to: float = FOLDED_RATE) -> None:
        self.settings = settings
        self._reader = topic_reader(settings)
        self._fold_up_to = fold_up_to
        self.cube = Cube()
        self.hours: Rows = []
        self.hours_version = 0
        self.corrections = Corrections()
        self.rates = DayRates(settings)
        self.health = Health()
        self.state = State()
        self._ended = threading.Event()
        self._parts: list[Any] = []
        self._reset()

    def _reset(self) -> None:
        self._due = Clocks()
        self._due.due("again", _AGAIN)
        self._judge: Judge | None = None
        self._unread: list[int] = []
        self._held: Reading | None = None
        self._stale: set[int] = set()
        self._begin: Offsets = {}
        self._end: Offsets = {}
        self._unknown_rows = False
        self._newest = 0
        self._held_since = 0.0
        self._adopted = 0
        self._settled: tuple[Offsets, int] | None = None

    # -- the loop ---------------------------------------------------------------------------

    def run(self, step: Callable[[], float]) -> None:
        """Follow until `stop`; servers that are down are waited for.

        Parameters
        ----------
        step : callable
            Called after each look; says how many seconds the next one may take.
        """
        while not self._ended.is_set():
            try:
                self._open()
                wait = step()
                while not self._ended.is_set():
                    self.look(wait)
                    wait = step()
            except Exception as error:  # a loop that dies would leave the view standing still without a word
                self.state.note = cause_line(error)
                self._wait(2.0, step)
            finally:
                self._close()

    def _wait(self, seconds: float, step: Callable[[], float]) -> None:
        """Do nothing but answer the browsers."""
        until = time.monotonic() + seconds
        while not self._ended.is_set() and time.monotonic() < until:
            self._ended.wait(step())

    def stop(self) -> None:
        """End the loop."""
        self._ended.set()

    def _open(self) -> None:
        self._reset()
        self._stale |= self.cube.clear_tail()  # it is read again
        self.topic = Topic(self.settings)
        self._parts = [self.topic]
        self.stored = StoredFigures(self.settings)
        self._parts.append(self.stored)
        self.followed = Followed(self.settings)
        self._parts.append(self.followed)
        self.health.add(self.followed.all())

    def _close(self) -> None:
        for part in self._parts:
            part.close()
        self._parts = []

    # -- one look ---------------------------------------------------------------------------

    def look(self, wait: float = 0.1) -> None:
        """Take what is new from Kafka and Cassandra, waiting for messages for some seconds at most.

        Parameters
        ----------
        wait : float
            Seconds.
        """
        if self._due.due("end", _LOOK):
            self._begin, self._end = self.topic.bounds()
            self.health.add(self.followed.poll())
            self._decide()
        if self.topic.following:
            self._take_tail(wait)
        else:
            self._ended.wait(wait)
        self._set_edge()
        self._settle()
        self._read_stored()

    def _decide(self) -> None:
        """Whether to fold the tail."""
        batches, state = self.followed.batches, self.state
        reached = batches.reached()
        behind = {p: max(reached.get(p, 0), first) for p, first in self._begin.items()}
        state.lag = sum(max(end - behind.get(p, 0), 0) for p, end in self._end.items())
        state.rate = self.topic.rate
        # Once it rests, it goes on only when there is clearly less to do.
        ease = 1.0 if self.topic.following or self._judge is None else 0.5
        if batches.newest is None and self._due.due("rows", _AGAIN):
            self._unknown_rows = self.stored.newest_hour() is not None
        why = ""
        if (batches.newest is None and self._unknown_rows) or (batches.newest and not batches.start_ms):
            why = "It is not known which messages the stored figures hold: stored figures only."
        elif state.rate > self._fold_up_to * ease:
            why = f"{state.rate:,.0f} events/s are more than a view can fold: stored figures only."
        elif state.lag > _FOLDED_MESSAGES * ease:
            newest = batches.newest
            job = "The job has never run" if newest is None else f"{newest.job} is {state.lag:,} messages behind"
            why = f"{job}: stored figures only."
        state.note, state.folding = why, not why
        if why and (self.topic.following or self._judge is None):
            self.topic.rest()
            self._judge = self._judge or Judge(0, self._reader)
            self._stale |= self.cube.clear_tail()
        elif not why and not self.topic.following:
            newest = batches.newest
            self._judge = Judge(newest.delay_ms if newest else 600_000, self._reader)
            share = _PRELUDE // max(len(behind), 1)
            self._stale |= self._newest_minutes(_OPEN_MINUTES) if self.state.edge else set()
            self.topic.follow({p: max(self._begin[p], offset - share) for p, offset in behind.items()})

    def _take_tail(self, wait: float) -> None:
        messages = self.topic.poll(wait)
        if not messages:
            return
        assert self._judge is not None
        events = [event for message in messages for event in self._judge.judge(message)]
        self.cube.append(events)
        reached = self.followed.batches.reached()
        if any(event.offset < reached.get(event.partition, 0) for event in events):
            self._settled = None  # the job was faster
        self.state.newest_ms = self._judge.newest_ms

    def _settle(self) -> None:
        """Forget of the tail what stored rows hold, where that may be more than it was; the tail can be long."""
        now = (self.followed.batches.reached(), self._adopted)
        if now != self._settled:
            self._settled = now
            self._stale |= self.cube.settle(self.followed.batches)

    def _set_edge(self) -> None:
        """The present minute is the newest; of a topic with older times, the newest that has events."""
        now = int(time.time())
        present = now // _MINUTE * _MINUTE + _MINUTE
        if self._due.due("edge", _HOURS) or (self.state.edge <= 0):
            hour = self.stored.newest_hour()
            self._newest = 0 if hour is None else hour + _HOUR
        newest = max([self._newest, *(event.minute + _MINUTE for event in self.cube.tail.events[-1:])])
        old = newest and present - newest > HISTORY_HOURS * _HOUR
        edge = newest if old else present
        if edge != self.state.edge:
            jumped = not self.state.edge or abs(edge - self.state.edge) > _HOUR
            self._stale |= set() if jumped else set(range(self.state.edge, edge, _MINUTE))
            self.state.edge = edge
            self.state.hour_phase = self.stored.hour_of(edge) % _HOUR
            if jumped:
                self._unread = self._all_hours()
            self.cube.forget(edge - (MINUTE_HOURS + 1) * _HOUR)

    # -- stored figures ---------------------------------------------------------------------

    def _read_stored(self) -> None:
        """Read what may have changed, an hour of history at most, and let the view go on."""
        if self._held is not None:
            if not self._adopt(self._held):
                if time.monotonic() - self._held_since < _PATIENCE:
                    return
                self._stale |= self._held.minutes
            self._held = None
        if self._unread:
            start = self._unread.pop(0)
            self._read(range(start, min(start + _HOUR, self.state.edge), _MINUTE))
            self.state.loaded = not self._unread
            oldest = self._hour_from(self.state.edge - (MINUTE_HOURS + 1) * _HOUR)
            self.state.minutes_from = oldest if self.state.loaded else max(start, oldest)
            return
        if not self.state.folding and self._due.due("changing", _CHANGING):
            self._stale |= self._newest_minutes(2)
        if self._due.due("open", 10.0 if not self.state.folding else _AGAIN):
            self._stale |= self._newest_minutes(_OPEN_MINUTES)
        if self._due.due("again", _AGAIN * MINUTE_HOURS) and self.state.loaded:
            self._unread = self._unread or self._all_hours()
        if self._stale and self._due.due("stale", 0.5):
            stale, self._stale = self._stale, set()
            self._read(stale)
        elif self._due.due("hours", _HOURS):
            self._read_hours()
        elif self._due.due("beside", _BESIDE):
            self._read_corrections()
            self.rates.read(self._hours()[0], self.state.edge)

    def _newest_minutes(self, count: int) -> set[int]:
        return {self.state.edge - _MINUTE * (i + 1) for i in range(count)}

    def _all_hours(self) -> list[int]:
        last = self._hour_from(self.state.edge)
        return [last - hour * _HOUR for hour in range(1, MINUTE_HOURS + 2)]

    def _hour_from(self, moment: int) -> int:
        """The start of the first hour that begins at a moment or later."""
        return self.stored.hour_of(moment + _HOUR - 1)

    def _read(self, minutes: Iterable[int]) -> None:
        batches = self.followed.batches
        wanted, number, reached = frozenset(minutes), batches.number, batches.reached()
        if not wanted:
            return
        rows = [row for start, end in _spans(wanted) for row in self.stored.rows(GRAINS["minute"], start, end)]
        reading = Reading(wanted, rows, number, reached)
        if not self._adopt(reading):
            self._held, self._held_since = reading, time.monotonic()

    def _adopt(self, reading: Reading) -> bool:
        self.health.add(self.followed.poll())
        adopted = self.cube.adopt(reading, self.followed.batches, alone=not self.state.folding)
        self._adopted += adopted
        return adopted

    def _hours(self) -> tuple[int, int]:
        """The range that is known by the hour."""
        last = self.stored.hour_of(self.state.edge)
        return last - HISTORY_HOURS * _HOUR, last - (MINUTE_HOURS - 1) * _HOUR

    def _read_corrections(self) -> None:
        edge = self.state.edge
        self.corrections.read(
            lambda: self.stored.additions(GRAINS["minute"], edge - (MINUTE_HOURS + 1) * _HOUR, edge),
            lambda: self.stored.additions(GRAINS["hour"], *self._hours()),
        )

    def _read_hours(self) -> None:
        rows = self.stored.rows(GRAINS["hour"], *self._hours())
        if rows != self.hours:
            self.hours, self.hours_version = rows, self.hours_version + 1


def _spans(minutes: Iterable[int]) -> list[tuple[int, int]]:
    """Minutes as ranges without gaps."""
    spans: list[tuple[int, int]] = []
    for minute in sorted(minutes):
        if spans and spans[-1][1] == minute:
            spans[-1] = (spans[-1][0], minute + _MINUTE)
        else:
            spans.append((minute, minute + _MINUTE))
    return spans
