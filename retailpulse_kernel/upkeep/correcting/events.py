"""The late events of a job, each once, as the archive has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.streaming.checkpoint.lateness import Judged, Places
from retailpulse_kernel.upkeep.correcting.jobs import FigureJob

__all__ = ["LateEvent", "late_events"]

#: Partition, offset and event time in milliseconds: of several events in a message, those of one time are judged alike.
_Place = tuple[int, int, int]


class LateEvent(NamedTuple):
    """An event that a job called late.

    Attributes
    ----------
    event : Event
        The event.
    partition, offset : int
        Where it stands in the topic.
    """

    event: Event
    partition: int
    offset: int


def late_events(
    archive: Archive, job: FigureJob, places: Places, judged: Judged, since: datetime | None
) -> list[LateEvent]:
    """The events that a job called late and that count for it, each id once, and none that it accepted as well.

    Parameters
    ----------
    archive : Archive
        The files.
    job : FigureJob
        The job.
    places : Places
        Of the archive's events from `since` on.
    judged : Judged
        What the job made of them.
    since : datetime or None
        From which event time on.
    """
    late = _chosen(places, judged.late)
    if not late:
        return []
    found: dict[str, tuple[int, LateEvent]] = {}
    for row in _rows(archive, since, "kafka_offset", sorted({offset for _, offset, _ in late})):
        if _place(row) not in late:
            continue
        event = _event(archive, row)
        arrival = 0 if row["arrival"] is None else ms_of(row["arrival"])
        one = LateEvent(event, row["kafka_partition"], row["kafka_offset"])
        before = found.get(event.event_id)
        if before is None or (arrival, *one[1:]) < (before[0], *before[1][1:]):
            found[event.event_id] = arrival, one
    taken = _chosen(places, judged.taken)
    accepted = {
        row["event_id"]
        for row in _rows(archive, since, "event_id", sorted(found))
        if (place := _place(row)) in taken and place not in late
    }
    return [one for name, (_, one) in found.items() if name not in accepted and job.counts(one.event)]


def _chosen(places: Places, flags: Any) -> set[_Place]:
    columns = (places.partitions, places.offsets, places.times_ms)
    return set(zip(*(column[flags].tolist() for column in columns), strict=True))


def _rows(archive: Archive, since: datetime | None, name: str, values: list[Any]) -> Iterator[Mapping[str, Any]]:
    """The archive's rows with some values of a column."""
    for batch in archive.record_batches(since, only={name: values}):
        yield from batch.to_pylist()


def _place(row: Mapping[str, Any]) -> _Place:
    return row["kafka_partition"], row["kafka_offset"], ms_of(row["event_time"])


def _event(archive: Archive, row: Mapping[str, Any]) -> Event:
    names = (field.name for field in archive.contract.columns)
    return reader_of(archive.contract.decoding).event(**{name: row[name] for name in names})
