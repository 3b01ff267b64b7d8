"""The correction of one job's tables, from where the last one ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime

from retailpulse_kernel.shop.tables import GRAINS, late_part
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.streaming.checkpoint.corrections import (
    Backfilled,
    Corrected,
    backfills_of,
    read_corrected,
    write_corrected,
)
from retailpulse_kernel.streaming.checkpoint.lateness import judged, read_places
from retailpulse_kernel.upkeep.correcting.events import late_rows
from retailpulse_kernel.upkeep.correcting.hours import hour_of, hours_of, open_hours
from retailpulse_kernel.upkeep.correcting.jobs import FigureJob
from retailpulse_kernel.upkeep.correcting.kept import LateFiles
from retailpulse_kernel.upkeep.correcting.result import CorrectedTable
from retailpulse_kernel.upkeep.correcting.tables import correct_table

__all__ = ["correct_job", "has_gone_back"]


def has_gone_back(job: FigureJob, folder: str, ends: Mapping[int, int]) -> bool:
    """Whether the job or the archive reads again what was corrected before: then the corrections stay meanwhile.

    Parameters
    ----------
    job : FigureJob
        The job.
    folder : str
        The job's folder of checkpoints.
    ends : mapping of int to int
        The offset of each partition up to which the job and the archive have come.
    """
    before = read_corrected(folder)
    return before is not None and any(ends.get(partition, 0) < end for partition, end in before.ends.items())


def correct_job(
    job: FigureJob,
    archive: Archive,
    folder: str,
    ends: Mapping[int, int],
    *,
    store_of: Callable[[str], FigureStore],
    now: datetime,
) -> list[CorrectedTable]:
    """Write what late events add to the tables of a job, and note how far.

    Parameters
    ----------
    job : FigureJob
        The job.
    archive : Archive
        The files.
    folder : str
        The job's folder of checkpoints.
    ends : mapping of int to int
        The offset of each partition up to which the job and the archive have come.
    store_of : callable
        Opens a store by its name.
    now : datetime
        The present time, UTC.
    """
    hours, before, epoch = hours_of(archive), read_corrected(folder), job.batches.epoch
    backfills = backfills_of(folder, epoch)
    files, of = LateFiles(archive, job.name), _digest(job, backfills)
    known = {} if before is None else before.hours
    gone = {hour: there for hour, there in known.items() if hour not in hours}
    if before is None or (before.epoch, before.of) != (epoch, of):
        known = gone
    kept = files.counts()
    lost = {} if before is None else {hour for hour in known if kept.get(hour, 0) != before.late.get(hour, 0)}
    changed = sorted(hour for hour, there in hours.items() if known.get(hour) != there or hour in lost)
    if not changed:
        return []
    first = hour_of(changed[0])
    places = read_places(archive, first)
    verdict = judged(places, job.batches, ends)
    # Ended from here on, all of these hours are corrected again.
    others = {hour: there for hour, there in known.items() if hour not in changed}
    write_corrected(folder, Corrected(epoch, of, dict(ends), others, kept, under_way=True))
    for hour, rows in late_rows(archive, places, verdict, changed).items():
        files.put(hour, rows)
    files.forget(gone)
    since = min(grain.start(first) for _, table in job.tables for grain in table.every)
    found = files.events([hour for hour in hours if hour_of(hour) >= GRAINS["hour"].start(since)])
    late = [one for one in found if job.counts(one.event)]
    tables, version = [], time.time_ns() // 1_000_000
    for name, table in job.tables:
        with closing(store_of(name)) as store:
            store.create(late_part(table))
            for grain in table.every:
                begin = grain.start(first)
                written = correct_table(
                    store, table, grain, late, since=begin, kept=[hour_of(hour) for hour in gone],
                    backfills=backfills, now=now, version=version,
                )  # fmt: skip
                count = sum(one.event.event_time >= begin for one in late)
                tables.append(CorrectedTable(name, table.physical(grain), job.name, count, written))
    still_open = open_hours(places, verdict)
    done = {hour: there for hour, there in hours.items() if hour not in still_open}
    write_corrected(folder, Corrected(epoch, of, dict(ends), others | done, files.counts()))
    return tables


def _digest(job: FigureJob, backfills: tuple[Backfilled, ...]) -> str:
    """A text that is another one when all is to be corrected again."""
    return hashlib.blake2b(repr((job.tables, backfills)).encode(), digest_size=16).hexdigest()
