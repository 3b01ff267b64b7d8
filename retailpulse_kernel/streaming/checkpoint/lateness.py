"""Which of the archive's events a job has called late.

The archive is written by another job, with a watermark of its own, so its column ``late`` says nothing of other jobs.
Lateness is a rule of the topic (`retailpulse_kernel.shop.lateness`): the archive has of each event the place in the
topic and the broker's time, and the accounts have how each micro-batch judged. An event is late only because of events
after it, so rows from some event time on tell of all events from this time on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from retailpulse_kernel.shop.lateness import UNSTAMPED, running_clocks
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["Judged", "Places", "judged", "read_places"]


class Places(NamedTuple):
    """Where events stand in the topic, and when they happened and came.

    Attributes
    ----------
    partitions, offsets : numpy.ndarray of int64
        The events' places.
    times_ms, arrivals_ms : numpy.ndarray of int64
        The events' times and the broker's times of their messages, in milliseconds since 1970.
    """

    partitions: Numbers
    offsets: Numbers
    times_ms: Numbers
    arrivals_ms: Numbers


class Judged(NamedTuple):
    """What a job made of events.

    Attributes
    ----------
    taken : numpy.ndarray of bool
        Whether the job has taken the event's message.
    late : numpy.ndarray of bool
        Whether the job called the event late.
    """

    taken: Flags
    late: Flags


def read_places(archive: Archive, since: datetime | None = None) -> Places:
    """The places of the archive's events.

    Parameters
    ----------
    archive : Archive
        The files.
    since : datetime, optional
        Only events from this time on; all when absent.
    """
    import numpy as np

    names = ("kafka_partition", "kafka_offset", "event_time", "arrival")
    found: list[list[Numbers]] = [[np.empty(0, np.int64)] for _ in names]
    for batch in archive.record_batches(since, columns=names):
        for name, columns in zip(names, found, strict=True):
            columns.append(_numbers(batch[name]))
    return Places(*map(np.concatenate, found))


def judged(places: Places, job: JobBatches, ends: Mapping[int, int]) -> Judged:
    """What a job made of events, as far as it has taken them.

    Parameters
    ----------
    places : Places
        All events of the archive from some event time on.
    job : JobBatches
        The micro-batches of the job.
    ends : mapping of int to int
        The offset of each partition up to which the job is asked.
    """
    import numpy as np

    taken = np.zeros(len(places.offsets), np.bool_)
    late = np.zeros(len(places.offsets), np.bool_)
    order = np.lexsort((places.offsets, places.partitions))
    numbers, firsts = np.unique(places.partitions[order], return_index=True)
    for partition, rows in zip(numbers, np.split(order, firsts[1:]), strict=True):
        batches = [(batch.spans[partition], batch.account) for batch in job.batches if partition in batch.spans]
        if not batches:
            continue
        offsets, times_ms = places.offsets[rows], places.times_ms[rows]
        clocks = running_clocks(times_ms, places.arrivals_ms[rows])[:-1]
        of = np.searchsorted([start for (start, _), _ in batches], offsets, side="right") - 1
        reached = np.array([end for (_, end), _ in batches])[of]
        taken[rows] = (of >= 0) & (offsets < reached) & (offsets < ends.get(int(partition), 0))
        marks = np.array([account.watermark_ms for _, account in batches])[of]
        delays = np.array([account.delay_ms for _, account in batches])[of]
        bounded = np.array([account.bounded for _, account in batches])[of]
        late[rows] = (times_ms <= marks) | (~bounded & (times_ms <= clocks - delays))
    return Judged(taken, late & taken)


def _numbers(column: object) -> Numbers:
    """A column of whole numbers, or of times in milliseconds; a message without a time is `UNSTAMPED`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):  # type: ignore[attr-defined]
        column = pc.divide(pc.cast(column, pa.int64()), 1000)
    return pc.fill_null(pc.cast(column, pa.int64()), UNSTAMPED).to_numpy(zero_copy_only=False)
