"""The figures of the last hours by minute and key: stored rows, and what the tail adds to each.

One rule joins them. A stored row holds exactly the messages before some offsets; the tail adds
those events of the same key that stand at or behind them. When the row is read again, its offsets
have moved on and the tail adds less. So what is shown for a minute is what `rp.figures` says for it,
as soon as the job has taken the last message of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from retailpulse_kernel.live.stream.stored import Batches, Offsets, Rows
from retailpulse_kernel.live.stream.tail import ADDITIVE, Key, Parts, Tail, TailEvent

__all__ = ["Cell", "Cube", "Reading"]

_NOTHING: Parts = tuple(figure.combine(()) for figure in ADDITIVE)


class Cell(NamedTuple):
    """The figures of one minute and key, as they are shown."""

    minute: int
    key: Key
    parts: Parts


@dataclass(frozen=True)
class Reading:
    """Rows of some minutes as they were read, and what was known before they were.

    Attributes
    ----------
    minutes : frozenset of int
        All that were asked for: one without a row is empty.
    read_at : int
        The newest batch that had an account.
    reached : dict
        The offsets that it, or an epoch before, had come to.
    """

    minutes: frozenset[int]
    rows: Rows
    read_at: int
    reached: Offsets


@dataclass
class _Minute:
    """The stored rows of a minute: the messages in any row that is not in `keys`, and the rows."""

    reached: Offsets
    rows: dict[Key, tuple[Parts, Offsets]] = field(default_factory=dict)

    def holds(self, event: TailEvent) -> bool:
        row = self.rows.get(event.key)
        return event.offset < (self.reached if row is None else row[1]).get(event.partition, 0)


class Cube:
    """Minutes that were read, plus the tail; it knows what has changed since any of its versions."""

    def __init__(self) -> None:
        self.tail = Tail()
        self.version = 0
        self._minutes: dict[int, _Minute] = {}
        self._cells: dict[tuple[int, Key], Parts] = {}
        #: When each cell changed last, the newest change at the end.
        self._changed: dict[tuple[int, Key], int] = {}

    @property
    def minutes(self) -> set[int]:
        """The minutes that were read."""
        return set(self._minutes)

    def __len__(self) -> int:
        return len(self._cells)

    # -- what comes in ----------------------------------------------------------------------

    def append(self, events: Iterable[TailEvent]) -> None:
        """Add new events of the tail, each to its minute's stored rows.

        Parameters
        ----------
        events : iterable of TailEvent
            In the order of their offsets, by partition.
        """
        events = list(events)
        self.tail.add(events)
        for event in events:
            minute = self._minutes.get(event.minute)
            if minute is not None and not minute.holds(event):
                self._set(event.minute, event.key, self._sum(self._cells.get((event.minute, event.key)), event.parts))

    def adopt(self, reading: Reading, batches: Batches, *, alone: bool = False) -> bool:
        """Replace the stored rows of some minutes; False while a row's batch has no account yet.

        With `alone` no tail is added to them, and it does not matter which messages they hold.

        Parameters
        ----------
        reading : Reading
            Minutes as the store has them.
        batches : Batches
            Say up to which offsets each stored row holds events.
        alone : bool
            Take the stored rows as all that there is.
        """
        found = {minute: _Minute(reading.reached) for minute in reading.minutes}
        for row in reading.rows:
            reached = batches.of(row, reading.read_at, reading.reached)
            if reached is None:
                if not alone:
                    return False
                reached = reading.reached
            found[row.window].rows[row.key] = (row.parts, reached)
        self._minutes.update(found)
        cells: dict[tuple[int, Key], Parts] = {
            (minute, key): parts for minute, stored in found.items() for key, (parts, _) in stored.rows.items()
        }
        for event in self.tail.events:
            stored_minute = found.get(event.minute)
            if stored_minute is not None and not stored_minute.holds(event):
                cells[event.minute, event.key] = self._sum(cells.get((event.minute, event.key)), event.parts)
        for minute, key in [place for place in self._cells if place[0] in found and place not in cells]:
            self._set(minute, key, _NOTHING)  # what the tail took for an event was none
        for (minute, key), parts in cells.items():
            self._set(minute, key, parts)
        return True

    def settle(self, batches: Batches) -> set[int]:
        """Forget what stored rows hold; the minutes whose stored rows must be read again.

        Parameters
        ----------
        batches : Batches
            Say up to which offsets each stored row holds events.
        """
        reached = batches.reached()
        touched = {minute for minute in self.tail.touched(reached) if minute in self._minutes}
        self.tail.drop({minute: stored.reached for minute, stored in self._minutes.items()}, reached)
        # An event of a minute whose rows are older than the event's batch is in neither of them.
        return touched & {event.minute for event in self.tail.events}

    def clear_tail(self) -> set[int]:
        """Show stored rows alone; the minutes that had more."""
        had = {event.minute for event in self.tail.events} & self.minutes
        for event in self.tail.events:
            if event.minute in had:
                row = self._minutes[event.minute].rows.get(event.key)
                self._set(event.minute, event.key, _NOTHING if row is None else row[0])
        self.tail.events.clear()
        return had

    def forget(self, before: int) -> None:
        """Drop the minutes before some moment, in epoch seconds.

        Parameters
        ----------
        before : int
            Seconds since 1970.
        """
        for minute in [minute for minute in self._minutes if minute < before]:
            del self._minutes[minute]
        for place in [place for place in self._cells if place[0] < before]:
            del self._cells[place]
            self._changed.pop(place, None)

    # -- what goes out ----------------------------------------------------------------------

    def cells(self, since: int = -1) -> Iterator[Cell]:
        """The cells that have changed after a version, the newest change first.

        Parameters
        ----------
        since : int
            A version; every cell when absent.
        """
        for place in reversed(self._changed):
            if self._changed[place] <= since:
                return
            yield Cell(*place, self._cells[place])

    def _set(self, minute: int, key: Key, parts: Parts) -> None:
        place = minute, key
        if self._cells.get(place) == parts:
            return
        self.version += 1
        self._cells[place] = parts
        self._changed.pop(place, None)
        self._changed[place] = self.version

    @staticmethod
    def _sum(known: Parts | None, parts: Parts) -> Parts:
        if known is None:
            return parts
        return tuple(
            figure.combine(pair) for figure, pair in zip(ADDITIVE, zip(known, parts, strict=True), strict=True)
        )
