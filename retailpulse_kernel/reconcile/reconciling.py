"""The reconciliation itself: read the accounts, fold the topic, read the stores, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.events import MAX_AHEAD
from retailpulse_kernel.monitoring.recording import recording
from retailpulse_kernel.reconcile.batches import COUNTS, Batch, JobBatches, newest_epochs
from retailpulse_kernel.reconcile.comparing import STORES, Compared, Range, currency_totals, moment_of, ms_of
from retailpulse_kernel.reconcile.result import JobCheck, Reconciliation, TableCheck, Totals
from retailpulse_kernel.reconcile.topic import ARCHIVE, TABLES, JobFold, TopicFold
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.accounts import read_accounts

__all__ = ["reconcile"]

_HOUR_MS = 3_600_000

#: Figures by job and currency.
_ByJob = dict[str, dict[str, dict[str, int | Decimal]]]


def reconcile(
    settings: Settings,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Reconciliation:
    """Compare every job's accounts and every store's figures with a plain fold of the topic.

    Jobs may run meanwhile. Each is folded up to the offsets of its newest account, and of its figures
    only the windows are compared that can't change any more: those that its watermark has closed, or
    all of them when it has taken all that the topic holds.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    since, until : datetime or str, optional
        Compare only windows that lie within this range; UTC unless they have a zone. Accounts are compared as a whole.
    progress : callable, optional
        Told now and then how many messages have been folded, and how many there are.

    Raises
    ------
    UsageError
        The namespace has no topics, or the range is none.
    StoreUnavailable
        A store does not answer.
    """
    started = time.monotonic()
    since, until = _utc(since), _utc(until)
    if since and until and since >= until:
        raise UsageError(f"The range is empty: {since.isoformat()} is not before {until.isoformat()}.")
    kafka = KafkaStore(settings)
    offsets = kafka.offsets()
    begins, ends = ({partition: pair[i] for partition, pair in offsets.items()} for i in (0, 1))
    jobs = newest_epochs(read_accounts(settings), settings.namespace.events_topic)
    asked = Range(None if since is None else ms_of(since), None if until is None else ms_of(until))
    fold = TopicFold(jobs.values(), since_ms=asked.start_ms, until_ms=asked.end_ms)
    if jobs:
        total = sum(ends.values()) - sum(begins.values())
        fold.run(kafka.messages(), (lambda done: progress(done, total)) if progress else None)

    lost = {name: _lost(job, begins) for name, job in jobs.items()}
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
            closed_until=None if name in settled else moment_of(job.watermark_ms),
            reported={count: job.total(count) for count in COUNTS},
            found={count: job.total(count, found=True) for count in COUNTS},
            problems=[*job.problems, *_problems(fold.folds[name], lost[name])],
        )
        for name, job in jobs.items()
    ]
    totals, hours = _totals(compared)
    result = Reconciliation(
        namespace=settings.namespace.name,
        since=since,
        until=until,
        messages=fold.messages,
        seconds=round(time.monotonic() - started, 3),
        jobs=checks,
        tables=_tables(compared),
        totals=totals,
        totals_since=None if hours.start_ms is None else moment_of(hours.start_ms),
        totals_until=None if hours.end_ms is None else moment_of(hours.end_ms),
        notes=_notes(checks, compared, retained_from),
    )
    _measure(settings, result)
    return result


def _measure(settings: Settings, result: Reconciliation) -> None:
    with recording(settings, "reconcile", "reconcile") as metrics:
        metrics.set("retailpulse_reconcile_equal", result.ok)
        metrics.set("retailpulse_reconcile_differences", len(result.differences))
        metrics.set("retailpulse_reconcile_timestamp_seconds", time.time())


def _utc(given: datetime | str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise UsageError(f"{given!r} is not a time.", remedy="Write 2026-01-31 or 2026-01-31T10:00.") from None
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _differ(compared: dict[str, Compared]) -> bool:
    return not all(one.equal for one in compared.values())


def _problems(fold: JobFold, lost: list[Batch]) -> list[str]:
    """What the fold counts otherwise than the job, by the first batch where that can be told."""
    job, problems = fold.job, []
    # Without the messages that came before, it can't be told again which ones were late or repeated.
    names = ("consumed", "bad") if lost else ("consumed", "late", "bad")
    for batch in job.batches:
        reported = {name: getattr(batch.account, name) for name in names}
        differing = [name for name in names if batch not in lost and reported[name] != batch.found[name]]
        if differing:
            name = differing[0]
            counts = f"{reported[name]:,} by its account, {batch.found[name]:,} in the topic"
            problems.append(f"batch {batch.account.batch}: {name} {counts}")
            break
    # Which of two messages in different partitions came first only the job knows, so the accepted and
    # the repeated ones are told apart over all batches.
    for name in () if lost else ("accepted", "duplicate"):
        by_accounts, by_fold = job.total(name), job.total(name, found=True)
        if by_accounts != by_fold:
            problems.append(f"{name} {by_accounts:,} by its accounts, {by_fold:,} in the topic")
    return problems


def _lost(job: JobBatches, begins: dict[int, int]) -> list[Batch]:
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
) -> dict[str, Compared]:
    """Each job's store with the fold of the job's own messages."""
    compared = {}
    for name, (_, open_store, compare) in STORES.items():
        if name not in fold.folds:
            continue
        one = fold.folds[name]
        # The archive says of each row where it came from: it needs no window to be closed.
        closed = None if name in settled or name == "archive" else one.job.watermark_ms
        end = min((ms for ms in (asked.end_ms, closed) if ms is not None), default=None)
        spans = {partition: (begins.get(partition, 0), last) for partition, last in one.job.ends.items()}
        store = open_store(settings)
        try:
            compared[name] = compare(store, one, asked._replace(end_ms=end), spans)
        finally:
            store.close()
    return compared


def _tables(compared: dict[str, Compared]) -> list[TableCheck]:
    """The checks of all jobs; tables of a job that never ran are named too."""
    checks = []
    for name, (store, *_) in STORES.items():
        if name in compared:
            checks += compared[name].checks
        else:
            checks += [
                TableCheck(store, table.name if name == "archive" else table.physical(grain), name, "not run")
                for table in TABLES[name]
                for grain in table.every
            ]
    return checks


def _totals(compared: dict[str, Compared]) -> tuple[list[Totals], Range]:
    """Every currency's figures over the whole hours that are compared in every store."""
    starts = [one.within.start_ms for one in compared.values() if one.within.start_ms is not None]
    ends = [one.within.end_ms for one in compared.values() if one.within.end_ms is not None]
    hours = Range(
        -(-max(starts) // _HOUR_MS) * _HOUR_MS if starts else None, min(ends) // _HOUR_MS * _HOUR_MS if ends else None
    )
    stored = {name: currency_totals(one.hours_of, one.stored_hours, hours) for name, one in compared.items()}
    folded = {name: currency_totals(one.hours_of, one.folded_hours, hours) for name, one in compared.items()}
    first = next(iter(folded.values()), {})
    totals = []
    for currency in sorted({c for part in (*stored.values(), *folded.values()) for c in part}):
        figures: dict[str, dict[str, int | Decimal]] = {}
        for figure in ARCHIVE.figures:
            figures[figure.name] = {"topic": _figure(first, currency, figure.name)} | {
                store: _figure(stored[name], currency, figure.name)
                for name, (store, *_) in STORES.items()
                if name in stored
            }
        totals.append(Totals(currency, figures, equal=all(s == f for s, f in _pairs(stored, folded, currency))))
    return totals, hours


def _figure(by_currency: dict[str, dict[str, int | Decimal]], currency: str, figure: str) -> int | Decimal:
    return by_currency.get(currency, {}).get(figure, 0)


def _pairs(stored: _ByJob, folded: _ByJob, currency: str) -> list[tuple[int | Decimal, int | Decimal]]:
    """What each store has, and what the fold of its own job's messages has."""
    return [
        (_figure(stored[name], currency, figure.name), _figure(folded[name], currency, figure.name))
        for name in stored
        for figure in ARCHIVE.figures
    ]


def _notes(checks: list[JobCheck], compared: dict[str, Compared], retained_from: int | None) -> list[str]:
    notes = [f"The job {name} has not run: {store} is not compared." for name, (store, *_) in STORES.items()
             if name not in compared]  # fmt: skip
    if retained_from is not None:
        notes.append(
            f"The topic has deleted its oldest messages: windows are compared from "
            f"{moment_of(retained_from):%Y-%m-%dT%H:%MZ} on."
        )
    for check in checks:
        if check.behind:
            notes.append(f"{check.job} is {check.behind:,} messages behind; it is compared up to its own offsets.")
        if check.closed_until and check.job in compared and check.job != "archive":
            notes.append(
                f"{check.job}: windows are compared that are closed, up to {check.closed_until:%Y-%m-%dT%H:%MZ}."
            )
    return notes
