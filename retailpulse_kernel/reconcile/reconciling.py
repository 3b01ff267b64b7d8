"""The reconciliation itself: read the accounts, fold the topic, read the stores, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of, range_of, require_range
from retailpulse_kernel.reconcile.comparing import Compared, Range
from retailpulse_kernel.reconcile.folded import FoldedTopic
from retailpulse_kernel.reconcile.result import JobCheck, Reconciliation, TableCheck
from retailpulse_kernel.reconcile.rows import check_rows
from retailpulse_kernel.reconcile.tables import Share, share_of, without_plan
from retailpulse_kernel.reconcile.totals import totals_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.plan.finding import plans
from retailpulse_kernel.telemetry.recording import recording

__all__ = ["reconcile"]


def reconcile(
    settings: Settings,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    *,
    notebook: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconciliation:
    """Compare every job's accounts and every table that it writes with a plain fold of its topic.

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
    accounts = read_accounts(settings)
    topics = _topics(settings, accounts)
    shares = _shares(settings, topics, {account.job for account in accounts})
    asked = Range(None if since is None else ms_of(since), None if until is None else ms_of(until))
    for topic in topics:
        topic.run(shares, asked, progress)
    compared = [one for topic in topics for one in topic.compared]
    checks = [check for topic in topics for check in topic.checks()]
    of_late = [check for topic in topics for check in topic.late_checks()]
    given = None if notebook is None else Path(notebook)
    of_rows = [
        check
        for name, share in shares.items()
        if share.rows
        for check in check_rows(settings, name, share.rows, notebook=given)
    ]
    of_events = [one for topic in topics if topic.is_of_events for one in topic.compared]
    totals, hours = totals_of(
        of_events, {name for name, share in shares.items() if share.meets is share.refuses is None}
    )
    result = Reconciliation(
        namespace=settings.namespace.name,
        since=since,
        until=until,
        messages=sum(topic.messages for topic in topics),
        seconds=round(time.monotonic() - started, 3),
        jobs=checks,
        tables=_told(settings, shares, [*_tables(shares, compared), *of_late, *of_rows]),
        totals=totals,
        totals_since=None if hours.start_ms is None else moment_at(hours.start_ms),
        totals_until=None if hours.end_ms is None else moment_at(hours.end_ms),
        notes=_notes(checks, shares, compared, [note for topic in topics for note in topic.notes()]),
    )
    _measure(settings, result)
    return result


def _measure(settings: Settings, result: Reconciliation) -> None:
    with recording(settings, "reconcile", "reconcile") as metrics:
        metrics.set("retailpulse_reconcile_equal", not result.differences)
        metrics.set("retailpulse_reconcile_differences", len(result.differences))
        metrics.set("retailpulse_reconcile_timestamp_seconds", time.time())


def _topics(settings: Settings, accounts: list[Account]) -> list[FoldedTopic]:
    """The topic of the events, and the others of which jobs have made figures."""
    others = {plan.topic for plan in plans(settings) if any(table.figures for table in plan.tables)} - {
        Namespace.EVENTS
    }
    found = [FoldedTopic(settings, topic, accounts) for topic in (Namespace.EVENTS, *sorted(others))]
    return [topic for topic in found if topic.jobs or topic.is_of_events]


def _shares(settings: Settings, topics: Iterable[FoldedTopic], ran: Container[str]) -> dict[str, Share]:
    """What is compared of each job that ran or is promoted; a table of several jobs is that of the first."""
    jobs = {name: job for topic in topics for name, job in topic.jobs.items()}
    shop = contract_of(settings)
    shares: dict[str, Share] = {}
    others: set[tuple[str, str]] = set()
    for plan in plans(settings, {name: job.epoch for name, job in jobs.items()}):
        share = shares[plan.job] = share_of(plan, others=others, contract=shop.of_topic(plan.topic))
        if plan.job not in ran:
            never = [replace(check, state="not run", reason="") for check in share.unchecked]
            never += [TableCheck(table.store, table.name, plan.job, "not run") for table in share.rows]
            shares[plan.job] = replace(share, unchecked=tuple(never), rows=())
        others |= set(share.compared) | {(check.store, check.table) for check in share.unchecked}
        others |= {(table.store, table.name) for table in share.rows}
    return shares | {name: without_plan(name) for name in jobs if name not in shares}


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


def _told(settings: Settings, shares: Mapping[str, Share], checks: Iterable[TableCheck]) -> list[TableCheck]:
    """The checks without the values of personal fields."""
    shop = contract_of(settings)
    figures = [figure for share in shares.values() for _, table in share.tables for figure in table.figures]
    return [one if one.first is None else replace(one, first=one.first.told(shop, figures)) for one in checks]


def _notes(
    checks: list[JobCheck], shares: Mapping[str, Share], compared: list[Compared], retained: list[str]
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
    notes += retained
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
