"""Retiring a job for good, in an order that may be done again after a crash.

The job is held first, so that nothing starts the job any more. The plans in the checkpoint and the promoted versions
say which tables are the job's: they are removed last.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from typing import Any

import filelock

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.copying import discard_tables, kept_archive
from retailpulse_kernel.promotion.cutover.overview import runs_folder, runs_of
from retailpulse_kernel.promotion.cutover.retirement import Retirement, retirement_of
from retailpulse_kernel.promotion.cutover.row_copying import discard_row_tables
from retailpulse_kernel.promotion.cutover.staging import last_file, staging_of
from retailpulse_kernel.promotion.cutover.tables import archives
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.shop.tables import with_late_part
from retailpulse_kernel.stack.airflow import delete_dag
from retailpulse_kernel.stores.base import EventArchive
from retailpulse_kernel.stores.kafka.topics import topic_states
from retailpulse_kernel.stores.registry import can, event_archive, figure_store, row_store
from retailpulse_kernel.streaming.checkpoint.accounts import Ledger
from retailpulse_kernel.streaming.checkpoint.epochs import remove_checkpoint
from retailpulse_kernel.streaming.checkpoint.writer import drain_file, writer_lock
from retailpulse_kernel.streaming.plan.data import TablePlan
from retailpulse_kernel.telemetry.recording import forget_role

__all__ = ["retire"]

#: Seconds that a run under way has to end, and that a process which has just ended has to let go of its lock.
_PATIENCE, _RELEASE = 120.0, 2.0
#: Seconds between two looks at the runs, and how many of the newest are looked at.
_LOOK, _NEWEST = 0.2, 3


def retire(
    settings: Settings,
    name: str,
    *,
    keep_tables: bool = False,
    patience: float = _PATIENCE,
    report: Callable[[str], None] = lambda line: None,
) -> Retirement:
    """Remove a job with its tables, checkpoint, accounts and versions. After a kill, the same call removes the rest.

    A promoted job that runs is held and ends after its micro-batch. A job that is run by hand must be stopped before.

    Parameters
    ----------
    settings : Settings
        The namespace whose tables and checkpoints are meant.
    name : str
        A promoted job, or a job with a checkpoint in the namespace.
    keep_tables : bool
        Leave the tables with their figures.
    patience : float
        Seconds that a run under way has to end.
    report : callable
        Called with a line for each thing that is done.

    Returns
    -------
    Retirement
        What was removed.

    Raises
    ------
    UsageError
        The job still runs.
    StoreUnavailable
        A store does not answer; what was removed before stays removed.
    """
    what = retirement_of(settings, name, keep_tables=keep_tables)
    registry = Registry(settings)
    if name in registry.names():
        registry.pause(name, paused=True)
        report("held: no new run begins")
    with ExitStack() as held:
        _wait_until_idle(settings, name, patience)
        if what.job is not None:
            held.enter_context(_lock(settings, what.job))
            held.enter_context(_lock(staging_of(settings), what.job))
            _remove_tables(settings, what, report)
            _remove_state(settings, what.job, report)
        forget_role(settings, "airflow", name)
        for place in (settings, staging_of(settings)):
            shutil.rmtree(runs_folder(place, name), ignore_errors=True)
        report("metrics and output notebooks removed")
        if what.versions:
            registry.withdraw(name)
            if delete_dag(settings, name):
                report("the DAG's history removed")
            registry.remove(name)
            report(f"{registry.folder.name}/{name} removed")
    return what


def _wait_until_idle(settings: Settings, name: str, patience: float) -> None:
    """Wait until the run under way has ended: a held stream ends after its micro-batch."""
    deadline = time.monotonic() + patience
    with suppress(UnknownName):  # its current version is gone already
        while any(run["state"] == "running" for run in runs_of(settings, name, limit=_NEWEST)):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"A run of {name} is still under way after {patience:.0f} s, so nothing was removed.",
                    remedy="The job is held. Retire the job again when the run has ended, or resume the job: "
                    f"`retailpulse resume {name}`.",
                )
            time.sleep(_LOOK)


def _lock(settings: Settings, job: str) -> AbstractContextManager[Any]:
    """The lock of the job's writer, taken."""
    try:
        return writer_lock(settings, job).acquire(timeout=_RELEASE)
    except filelock.Timeout:
        raise UsageError(
            f"The job {job!r} runs in the namespace {settings.namespace.name!r}, so nothing was removed.",
            remedy="Stop that run, then retire the job again. A promoted job is held now: `retailpulse resume JOB`.",
        ) from None


def _remove_tables(settings: Settings, what: Retirement, report: Callable[[str], None]) -> None:
    """Remove the tables of a job, and always those of a staged epoch and those kept for a rollback."""
    staging = staging_of(settings)
    for table in what.tables:
        _remove_table(settings, table)
        report(f"{table.store}: {', '.join(table.physical)} removed")
    for plan in what.plans:
        for number in (None, *what.kept):
            discard_tables(staging, plan, number)
            discard_row_tables(staging, plan, number)
    if any(map(archives, what.plans)):
        shutil.rmtree(event_archive(staging).location, ignore_errors=True)
        for number in what.kept:
            shutil.rmtree(kept_archive(staging, number), ignore_errors=True)


def _remove_table(settings: Settings, table: TablePlan) -> None:
    if table.rows is not None:
        with closing(row_store(table.store, settings)) as rows:
            rows.remove_rows(table.row_table)
        return
    if can(table.store, EventArchive):
        with closing(event_archive(settings)) as archive:
            archive.remove()
        return
    with closing(figure_store(table.store, settings)) as store:
        for one in with_late_part(table.table):
            store.remove(one)


def _remove_state(settings: Settings, job: str, report: Callable[[str], None]) -> None:
    """Remove accounts, metrics and checkpoint of a job, in the live and in the staging namespace."""
    for place in (settings, staging_of(settings)):
        topic = place.namespace.progress_topic
        if any(state.exists for state in topic_states(place) if state.name == topic):
            ledger = Ledger(place)
            gone = [account for account in ledger.read() if account.job == job]
            ledger.remove(gone)
            if gone:
                report(f"{topic}: {len(gone):,} accounts removed")
        forget_role(place, "job", job)
        remove_checkpoint(f"{place.checkpoints}/{job}")
        drain_file(place, job).unlink(missing_ok=True)
    last_file(settings, job).unlink(missing_ok=True)
    report("checkpoint removed")
