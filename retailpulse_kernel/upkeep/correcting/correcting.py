"""The correction itself: find what came late, and write what it adds beside each table of figures.

What is written are absolute values, computed from the archive, and how far they go is noted at the end. So a correction
that was killed anywhere is done again as a whole by the next one, and changes what was left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime

import filelock

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.stores.registry import event_archive, figure_store
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches, newest_epochs
from retailpulse_kernel.streaming.plan.finding import archiver
from retailpulse_kernel.upkeep.correcting.job import correct_job, has_gone_back
from retailpulse_kernel.upkeep.correcting.jobs import figure_jobs
from retailpulse_kernel.upkeep.correcting.result import CorrectedTable, Corrections

__all__ = ["correct"]

_WAIT_SECONDS = 60


def correct(settings: Settings, *, now: datetime | None = None) -> Corrections:
    """Write what the late events of the archive add to each table of figures, once, whatever ends it on the way.

    Only windows are computed in whose hours the archive has got events since the last correction.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    now : datetime, optional
        The present time, UTC, when absent.

    Raises
    ------
    JobError
        Another correction of the namespace does not end.
    StoreUnavailable
        A store does not answer.
    """
    require_own(settings, "Correcting figures")
    began = time.monotonic()
    with closing(event_archive(settings)) as store:
        archive: Archive = store.archive
        accounts = newest_epochs(read_accounts(settings), settings.namespace.events_topic)
        plan = archiver(settings)
        if plan is None or plan.job not in accounts or not archive.root.is_dir():
            notes = ["Nothing is corrected: no job has archived events yet."]
            return Corrections(settings.namespace.name, round(time.monotonic() - began, 3), notes=notes)
        if plan.conditions or plan.refuses(plan.topic):
            notes = [f"Nothing is corrected: the job {plan.job} archives only some of the events."]
            return Corrections(settings.namespace.name, round(time.monotonic() - began, 3), notes=notes)
        lock = filelock.FileLock(archive.root / ".correcting.lock")
        try:
            with lock.acquire(timeout=_WAIT_SECONDS):
                tables, notes = _correct(settings, archive, accounts, accounts[plan.job].ends, now)
        except filelock.Timeout:
            raise JobError(
                "Another correction of the namespace has run for more than a minute.",
                remedy="Wait for its end; the next one takes up what it leaves out.",
            ) from None
    return Corrections(settings.namespace.name, round(time.monotonic() - began, 3), tables, notes)


def _correct(
    settings: Settings,
    archive: Archive,
    accounts: Mapping[str, JobBatches],
    archived: Mapping[int, int],
    now: datetime | None,
) -> tuple[list[CorrectedTable], list[str]]:
    jobs, notes = figure_jobs(settings, accounts, contract_of(settings).decoding)
    tables: list[CorrectedTable] = []
    for job in jobs:
        folder = f"{settings.checkpoints}/{job.name}"
        ends = {partition: min(end, archived.get(partition, 0)) for partition, end in job.batches.ends.items()}
        if has_gone_back(job, folder, ends):
            notes.append(f"The tables of {job.name} are corrected again once a new epoch has caught up.")
            continue
        tables += correct_job(
            job, archive, folder, ends,
            store_of=lambda name: figure_store(name, settings), now=now or datetime.now(UTC),
        )  # fmt: skip
    return tables, notes
