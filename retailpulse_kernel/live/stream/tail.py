"""The newest messages of the topic, judged as the jobs judge them.

What is folded here fills the moment until the job that writes `CATEGORY` has taken the same messages: then its
stored figures take their place (see `retailpulse_kernel.live.stream.cube`). So a reader that starts in
the middle of the topic, and can't know every id and clock before, is wrong for that moment at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.formats.reading import TopicReader
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.lateness import PartitionClock
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.kafka.store import Message

__all__ = ["ADDITIVE", "TABLE", "Judge", "Key", "Parts", "Tail", "TailEvent"]

#: The figures of the table `CATEGORY` that are shown live; sketches of users can't be taken apart again.
ADDITIVE = tuple(figure for figure in CATEGORY.figures if figure.rules.value is not Value.SKETCH)

#: What a live view holds: the table `CATEGORY` without its sketches.
TABLE = replace(CATEGORY, figures=ADDITIVE)

Key = tuple[str, ...]
"""The dimensions of `CATEGORY`, in its order."""

Parts = tuple[object, ...]
"""A value for each of `ADDITIVE`."""

#: Ids that are remembered; the job remembers all of its watermark's.
_IDS = 200_000


class TailEvent(NamedTuple):
    """An accepted event of the tail, by its place in the topic; `minute` is in epoch seconds."""

    partition: int
    offset: int
    minute: int
    key: Key
    parts: Parts


def parts_of(event: Event) -> Parts:
    """What an event adds to each of `ADDITIVE`.

    Parameters
    ----------
    event : Event
        A valid one.
    """
    return tuple(figure.combine((figure.of_event(event),)) for figure in ADDITIVE)


class Judge:
    """Says of each event what the jobs will say, as far as it has seen the topic.

    Parameters
    ----------
    delay_ms : int
        The job's watermark, in milliseconds.
    reader : TopicReader, optional
        Reads the topic's messages; one of the shipped contract when absent.

    Attributes
    ----------
    late, duplicate, bad : int
        Events so far.
    newest_ms : int
        The broker's time of the newest message.
    """

    def __init__(self, delay_ms: int, reader: TopicReader | None = None) -> None:
        self.delay_ms = delay_ms
        self._reader = reader or TopicReader()
        self.late = self.duplicate = self.bad = 0
        self.newest_ms = 0
        self._clocks: dict[int, PartitionClock] = {}
        self._ids: dict[str, None] = {}

    def judge(self, message: Message) -> list[TailEvent]:
        """The events that a message adds: those that are not bad, late or duplicates.

        Parameters
        ----------
        message : Message
            Each partition's in the order of their offsets.
        """
        self.newest_ms = max(self.newest_ms, message.arrival_ms)
        place = (message.value, message.partition, message.offset)
        found = self._reader.events(*place, arrival_ms=message.arrival_ms)
        return [added for event in found if (added := self._added(message, event)) is not None]

    def _added(self, message: Message, event: Event | EventError) -> TailEvent | None:
        if isinstance(event, EventError):
            self.bad += 1
            return None
        event_ms = ms_of(event.event_time)
        clock = self._clocks.setdefault(message.partition, PartitionClock(self.delay_ms))
        late = clock.is_late(event_ms)
        clock.advance(event_ms, message.arrival_ms)
        if late:
            self.late += 1
            return None
        if event.event_id in self._ids:
            self.duplicate += 1
            return None
        self._ids[event.event_id] = None
        if len(self._ids) > _IDS:
            del self._ids[next(iter(self._ids))]
        key = tuple(getattr(event, dimension) for dimension in CATEGORY.by)
        return TailEvent(message.partition, message.offset, event_ms // 60_000 * 60, key, parts_of(event))


class Tail:
    """The events of the topic that the stored figures may not hold yet, in the order of their coming."""

    def __init__(self) -> None:
        self.events: list[TailEvent] = []

    def add(self, events: Iterable[TailEvent]) -> None:
        """Take new events.

        Parameters
        ----------
        events : iterable of TailEvent
            In the order of their offsets, by partition.
        """
        self.events.extend(events)

    def touched(self, before: Mapping[int, int]) -> set[int]:
        """The minutes of those events whose offsets are smaller than some.

        Parameters
        ----------
        before : mapping
            An offset for each partition.
        """
        return {event.minute for event in self.events if event.offset < before.get(event.partition, 0)}

    def drop(self, finished: Mapping[int, Mapping[int, int]], otherwise: Mapping[int, int]) -> None:
        """Forget events that stored figures hold for sure.

        Parameters
        ----------
        finished : mapping of int to mapping
            For each minute the offsets that its stored rows reach at least, by partition.
        otherwise : mapping of int to int
            The same for any other minute.
        """
        self.events = [
            event
            for event in self.events
            if event.offset >= finished.get(event.minute, otherwise).get(event.partition, 0)
        ]
