"""The reconciliation itself: read the accounts, fold the topic, read the stores, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of, range_of, require_range
from retailpulse_kernel.reconcile.comparing import (
    Compared,
    Range,
    compare_archive,
    compare_figures,
)
from retailpulse_kernel.reconcile.result import JobCheck, Reconciliation, TableCheck
from retailpulse_kernel.reconcile.rows import check_rows
from retailpulse_kernel.reconcile.tables import Share, share_of, without_plan
from retailpulse_kernel.reconcile.topic import JobFold, TopicFold
from retailpulse_kernel.reconcile.totals import totals_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.events import MAX_AHEAD
from retailpulse_kernel.shop.formats.reading import topic_reader
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import event_archive, figure_store
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import COUNTS, FURTHER_EVENTS, Batch, JobBatches, newest_epochs
from retailpulse_kernel.streaming.plan.finding import plan_of_epoch, plans
from retailpulse_kernel.telemetry.recording import recording

__all__ = ["reconcile"]

#: The topic that is folded, by its name within a namespace.
_TOPIC = "retail.events"


def reconcile(
    settings: Settings,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    *,
    notebook: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconciliation:
    """Compare every job's accounts and every table that it writes with a plain fold of the topic.

    What a table should hold follows from its job's plan: the figures of those events of the topic that meet the
    conditions. What a table of rows should hold, the job's notebook tells: it runs once more over the same messages,
    as a batch, in a process and a namespace of its own. A table of which it can't be told is listed as not checked,
    with the reason.

    Jobs may run meanwhile. Each is folded up to the offsets of its newest account, and of its figures
    only the windows are compared that can't change any more: those that its watermark has closed, or
    all of them when it has taken all that the topic holds.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    since, until : datetime or str, optional
        Compare only windows that lie within this range; the shop's time unless they have a zone. Accounts and tables
        of rows are compared as a whole.
    notebook : Path or str, optional
        The notebook of a job with tables of rows that was not promoted.
    progress : callable, optional
        Told now and then how many messages have been folded, and how many there are.

    Raises
    ------
    UsageError
        The namespace has no topics, the range is none, or the notebook is not there.
    StoreUnavailable
        A store does not answer.
    """
    started = time.monotonic()
    since, until = range_of(None, since, until, calendar=contract_of(settings).shop.calendar)
    require_range(since, until)
    kafka = KafkaStore(settings)
    offsets = kafka.offsets()
    begins, ends = ({partition: pair[i] for partition, pair in offsets.items()} for i in (0, 1))
    accounts = read_accounts(settings)
    jobs = newest_epochs(accounts, settings.namespace.events_topic)
    shares = _shares(settings, jobs, {account.job for account in accounts})
    asked = Range(None if since is None else ms_of(since), None if until is None else ms_of(until))
    fold = TopicFold(
        jobs.values(), shares, since_ms=asked.start_ms, until_ms=asked.end_ms, reader=topic_reader(settings)
    )
    if jobs:
        total = sum(ends.values()) - sum(begins.values())
        fold.run(kafka.messages(), (lambda done: progress(done, total)) if progress else None)

    deleted = {name: _deleted(job, begins) for name, job in jobs.items()}
    retained_from = _retained_from(fold, begins)
    asked = asked._replace(start_ms=max((ms for ms in (asked.start_ms, retained_from) if ms is not None), default=None))
    settled = {name for name, job in jobs.items() if job.has_all(ends)}
    compared = _compare(settings, fold, asked, begins, settled)
    if settled and _differ(compared) and ends != {p: end for p, (_, end) in kafka.offsets().items()}:
        # Messages came while the stores were read: windows that are not closed may have changed.
        settled = set()
        compared = _compare(settings, fold, asked, begins, settled)

    checks = [
        JobCheck(
            job=name,
            epoch=job.epoch,
            batches=len(job.batches),
            behind=sum(max(0, end - job.ends.get(partition, 0)) for partition, end in ends.items()),
            closed_until=None if name in settled else moment_at(job.watermark_ms),
            reported={count: job.total(count) for count in COUNTS},
            found={count: job.total(count, found=True) for count in COUNTS},
            problems=[*job.problems, *_problems(fold.folds[name], deleted[name])],
            lost=job.total("lost"),
            further_events=job.total(FURTHER_EVENTS),
        )
        for name, job in jobs.items()
    ]
    given = None if notebook is None else Path(notebook)
    of_rows = [
        check
        for name, share in shares.items()
        if share.rows
        for check in check_rows(settings, name, share.rows, notebook=given)
    ]
    totals, hours = totals_of(
        compared, {name for name, share in shares.items() if share.meets is share.refuses is None}
    )
    result = Reconciliation(
        namespace=settings.namespace.name,
        since=since,
        until=until,
        messages=fold.messages,
        seconds=round(time.monotonic() - started, 3),
        jobs=checks,
        tables=[*_tables(shares, compared), *of_rows],
        totals=totals,
        totals_since=None if hours.start_ms is None else moment_at(hours.start_ms),
        totals_until=None if hours.end_ms is None else moment_at(hours.end_ms),
        notes=_notes(checks, shares, compared, retained_from),
    )
    _measure(settings, result)
    return result


def _measure(settings: Settings, result: Reconciliation) -> None:
    with recording(settings, "reconcile", "reconcile") as metrics:
        metrics.set("retailpulse_reconcile_equal", not result.differences)
        metrics.set("retailpulse_reconcile_differences", len(result.differences))
        metrics.set("retailpulse_reconcile_timestamp_seconds", time.time())


def _shares(settings: Settings, jobs: Mapping[str, JobBatches], ran: Container[str]) -> dict[str, Share]:
    """What is compared of each job that ran or is promoted; a table of several jobs is that of the first."""
    shares: dict[str, Share] = {}
    others: set[tuple[str, str]] = set()
    for newest in plans(settings):
        # A younger epoch that has taken nothing yet may have another plan.
        plan = plan_of_epoch(settings, newest.job, jobs[newest.job].epoch) if newest.job in jobs else newest
        share = shares[newest.job] = share_of(
            plan or newest, topic=_TOPIC, others=others, contract=contract_of(settings).decoding
        )
        if newest.job not in ran:
            never = [replace(check, state="not run", reason="") for check in share.unchecked]
            never += [TableCheck(table.store, table.name, newest.job, "not run") for table in share.rows]
            shares[newest.job] = replace(share, unchecked=tuple(never), rows=())
        others |= set(share.compared) | {(check.store, check.table) for check in share.unchecked}
        others |= {(table.store, table.name) for table in share.rows}
    return shares | {name: without_plan(name) for name in jobs if name not in shares}


def _differ(compared: list[Compared]) -> bool:
    return not all(one.equal for one in compared)


def _problems(fold: JobFold, deleted: list[Batch]) -> list[str]:
    """What the fold counts otherwise than the job, by the first batch where that can be told."""
    job, problems = fold.job, []
    # Without the messages that came before, it can't be told again which ones were late or repeated.
    names = ("consumed", FURTHER_EVENTS, "bad") if deleted else ("consumed", FURTHER_EVENTS, "late", "bad")
    for batch in job.batches:
        reported = {name: getattr(batch.account, name) for name in names}
        differing = [name for name in names if batch not in deleted and reported[name] != batch.found[name]]
        if differing:
            name = differing[0]
            counts = f"{reported[name]:,} by its account, {batch.found[name]:,} in the topic"
            problems.append(f"batch {batch.account.batch}: {name.replace('_', ' ')} {counts}")
            break
    # Which of two messages in different partitions came first only the job knows, so the accepted and
    # the repeated ones are told apart over all batches.
    for name in () if deleted else ("accepted", "duplicate"):
        by_accounts, by_fold = job.total(name), job.total(name, found=True)
        if by_accounts != by_fold:
            problems.append(f"{name} {by_accounts:,} by its accounts, {by_fold:,} in the topic")
    return problems


def _deleted(job: JobBatches, begins: dict[int, int]) -> list[Batch]:
    """The batches of which the topic has deleted messages."""
    return [
        batch
        for batch in job.batches
        if batch.found["consumed"] < batch.account.consumed
        and any(start < begins.get(partition, 0) for partition, (start, _) in batch.spans.items())
    ]


def _retained_from(fold: TopicFold, begins: dict[int, int]) -> int | None:
    """From when on all events are still in the topic; None where none was ever deleted.

    The stores may hold figures of deleted messages, of this epoch or an older one. No event is more than
    `MAX_AHEAD` ahead of the broker's time, so those of a partition are not after that of its first message
    that is left.
    """
    gone = [partition for partition, begin in begins.items() if begin]
    if not gone:
        return None
    now = time.time_ns() // 1_000_000
    return max(fold.first_arrivals.get(partition, now) for partition in gone) + MAX_AHEAD // timedelta(milliseconds=1)


def _compare(
    settings: Settings, fold: TopicFold, asked: Range, begins: dict[int, int], settled: set[str]
) -> list[Compared]:
    """Each job's tables, store by store, with the fold of the job's own messages."""
    compared = []
    for name, one in fold.folds.items():
        share = one.share
        if share.archive is not None:
            # The archive says of each row where it came from: it needs no window to be closed.
            spans = {partition: (begins.get(partition, 0), last) for partition, last in one.job.ends.items()}
            with closing(event_archive(settings)) as archive:
                compared.append(compare_archive(archive, one, asked, spans))
        closed = None if name in settled else one.job.watermark_ms
        end = min((ms for ms in (asked.end_ms, closed) if ms is not None), default=None)
        for store_name in dict.fromkeys(store for store, _ in share.tables):
            tables = [table for store, table in share.tables if store == store_name]
            with closing(figure_store(store_name, settings)) as store:
                compared.append(compare_figures(store, one, tables, asked._replace(end_ms=end)))
    return compared


def _tables(shares: Mapping[str, Share], compared: list[Compared]) -> list[TableCheck]:
    """The checks of all jobs; tables of a job that never ran are named too, and those that can't be compared."""
    ran = {one.job for one in compared}
    return [
        *(check for one in compared for check in one.checks),
        *(
            TableCheck(store, table, name, "not run")
            for name, share in shares.items() if name not in ran
            for store, table in share.compared
        ),
        *(check for share in shares.values() for check in share.unchecked),
    ]  # fmt: skip


def _retained_note(from_ms: int, now_ms: int) -> str:
    """What can be compared where the topic has deleted messages; see `_retained_from`."""
    if from_ms > now_ms:
        return "The topic has deleted its messages up to the last minutes: no window can be compared yet."
    return (
        f"The topic has deleted its oldest messages: windows are compared from {moment_at(from_ms):%Y-%m-%dT%H:%MZ} on."
    )


def _notes(
    checks: list[JobCheck], shares: Mapping[str, Share], compared: list[Compared], retained_from: int | None
) -> list[str]:
    ran, with_windows = {check.job for check in checks}, {one.job for one in compared if not _is_archive(shares, one)}
    notes = [
        f"The job {name} has not run: {', '.join(dict.fromkeys(store for store, _ in share.compared))} is not compared."
        for name, share in shares.items()
        if name not in ran and share.compared
    ]
    notes += [
        f"Another job writes {', '.join(share.taken)} now, and is compared instead of {name}."
        for name, share in shares.items()
        if share.taken
    ]
    if retained_from is not None:
        notes.append(_retained_note(retained_from, time.time_ns() // 1_000_000))
    for check in checks:
        if check.lost:
            notes.append(
                f"{check.job} has accounted for {check.lost:,} messages as lost: the topic deleted them before the job "
                "took them, so its figures lack them."
            )
        if check.further_events:
            messages, further = f"{check.reported['consumed']:,}", f"{check.further_events:,}"
            notes.append(f"{check.job}: its {messages} messages hold {further} further events; all are judged.")
        if check.behind:
            notes.append(f"{check.job} is {check.behind:,} messages behind; it is compared up to its own offsets.")
        if check.closed_until and check.job in with_windows:
            notes.append(
                f"{check.job}: windows are compared that are closed, up to {check.closed_until:%Y-%m-%dT%H:%MZ}."
            )
    return notes


def _is_archive(shares: Mapping[str, Share], one: Compared) -> bool:
    return shares[one.job].archive is not None
