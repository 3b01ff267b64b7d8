"""The late events of a job, as the archive has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.streaming.checkpoint.lateness import Judged, Places
from retailpulse_kernel.upkeep.correcting.hours import hour_of

__all__ = ["late_rows"]

#: Partition, offset and event time in milliseconds: of several events in a message, those of one time are judged alike.
_Place = tuple[int, int, int]
_HOUR = timedelta(hours=1)


def late_rows(
    archive: Archive, places: Places, judged: Judged, hours: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The archive's rows of some hours that a job called late, without ids that it accepted as well.

    Parameters
    ----------
    archive : Archive
        The files.
    places : Places
        Of the archive's events from the first of the hours on.
    judged : Judged
        What the job made of them.
    hours : sequence of str
        As `hours_of` names them, in order.
    """
    late, taken = _chosen(places, judged.late), _chosen(places, judged.taken)
    if not late:
        return {hour: [] for hour in hours}
    offsets = sorted({offset for _, offset, _ in late})
    found = {
        hour: [row for row in _rows(archive, start, start + _HOUR, "kafka_offset", offsets) if _place(row) in late]
        for hour, start in ((hour, hour_of(hour)) for hour in hours)
    }
    ids = sorted({row["event_id"] for rows in found.values() for row in rows})
    columns = ("event_id", "event_time", "kafka_partition", "kafka_offset")
    accepted = {
        row["event_id"]
        for row in _rows(archive, hour_of(hours[0]), None, "event_id", ids, columns)
        if (place := _place(row)) in taken and place not in late
    }
    return {hour: [row for row in rows if row["event_id"] not in accepted] for hour, rows in found.items()}


def _chosen(places: Places, flags: Any) -> set[_Place]:
    columns = (places.partitions, places.offsets, places.times_ms)
    return set(zip(*(column[flags].tolist() for column in columns), strict=True))


def _rows(
    archive: Archive,
    since: datetime,
    until: datetime | None,
    name: str,
    values: list[Any],
    columns: Sequence[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """The archive's rows with some values of a column."""
    for batch in archive.record_batches(since, until, columns=columns, only={name: values}):
        yield from batch.to_pylist()


def _place(row: Mapping[str, Any]) -> _Place:
    return row["kafka_partition"], row["kafka_offset"], ms_of(row["event_time"])
