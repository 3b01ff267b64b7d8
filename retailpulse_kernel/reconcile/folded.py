"""One topic of a reconciliation: folded for the jobs that read it, and compared with what they have written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import timedelta

from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.reconcile.comparing import Compared, Range, compare_archive, compare_figures
from retailpulse_kernel.reconcile.late import Kept, check_late, kept_of
from retailpulse_kernel.reconcile.result import JobCheck, TableCheck
from retailpulse_kernel.reconcile.tables import Share
from retailpulse_kernel.reconcile.topic import JobFold, TopicFold
from retailpulse_kernel.shop.events import MAX_AHEAD
from retailpulse_kernel.shop.formats.reading import topic_reader
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.registry import event_archive, figure_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.batches import COUNTS, FURTHER_EVENTS, Batch, JobBatches, newest_epochs

__all__ = ["FoldedTopic"]


class FoldedTopic:
    """A topic, and the jobs that read it.

    Attributes
    ----------
    topic : str
        The topic's name within the namespace.
    jobs : dict of str to JobBatches
        The newest epochs of its jobs; a job whose query reads several topics is not among them.
    compared : list of Compared
        What was compared; after `run`.
    retained_from : int or None
        From when on all events are still in the topic; after `run`.
    """

    def __init__(self, settings: Settings, topic: str, accounts: Iterable[Account]) -> None:
        self._settings, self.topic = settings, topic
        self._name = settings.namespace.topic(topic)
        self.jobs = newest_epochs(filter(self._is_alone_in, accounts), self._name)
        self._kafka = KafkaStore(settings)
        self._begins: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._settled = set[str]()
        self._fold: TopicFold | None = None
        self._kept: dict[str, Kept] = {}
        self._late_notes: list[str] = []
        self._within = Range(None, None)
        self.compared: list[Compared] = []
        self.retained_from: int | None = None

    def _is_alone_in(self, account: Account) -> bool:
        """Whether an account counts the messages of this topic alone, and not those of several."""
        return [*account.offsets] == [self._name]

    @property
    def is_of_events(self) -> bool:
        """Whether it is the topic of the shop's events."""
        return self.topic == Namespace.EVENTS

    @property
    def messages(self) -> int:
        """The messages that were folded."""
        return 0 if self._fold is None else self._fold.messages

    def run(
        self, shares: Mapping[str, Share], asked: Range, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Fold the topic, and compare.

        Parameters
        ----------
        shares : mapping of str to Share
            What of each job is compared.
        asked : Range
            Only windows within are compared.
        progress : callable, optional
            Told now and then how many messages have been folded, and how many there are.

        Raises
        ------
        UsageError
            There is no such topic.
        StoreUnavailable
            A store does not answer.
        """
        offsets = self._kafka.offsets(self._name)
        self._begins, self._ends = ({partition: pair[i] for partition, pair in offsets.items()} for i in (0, 1))
        self._kept, self._late_notes = kept_of(self._settings, self.jobs, shares)
        fold = self._fold = TopicFold(
            self.jobs.values(), shares, since_ms=asked.start_ms, until_ms=asked.end_ms,
            reader=topic_reader(self._settings, self.topic),
            corrected={name: one.corrected.ends for name, one in self._kept.items()},
        )  # fmt: skip
        if self.jobs:
            total = sum(self._ends.values()) - sum(self._begins.values())
            messages = self._kafka.messages(self._name)
            fold.run(messages, (lambda done: progress(done, total)) if progress else None)
        self.retained_from = _retained_from(fold, self._begins)
        starts = [ms for ms in (asked.start_ms, self.retained_from) if ms is not None]
        asked = self._within = asked._replace(start_ms=max(starts, default=None))
        self._settled = {name for name, job in self.jobs.items() if job.has_all(self._ends)}
        self.compared = _compare(self._settings, fold, asked, self._begins, self._settled)
        if self._settled and not all(one.equal for one in self.compared) and self._has_grown():
            # Messages came while the stores were read: windows that are not closed may have changed.
            self._settled = set()
            self.compared = _compare(self._settings, fold, asked, self._begins, self._settled)

    def _has_grown(self) -> bool:
        return self._ends != {p: end for p, (_, end) in self._kafka.offsets(self._name).items()}

    def checks(self) -> list[JobCheck]:
        """What the fold says of each job's accounts."""
        assert self._fold is not None, "the topic is folded"
        return [
            JobCheck(
                job=name,
                epoch=job.epoch,
                batches=len(job.batches),
                behind=sum(max(0, end - job.ends.get(partition, 0)) for partition, end in self._ends.items()),
                closed_until=None if name in self._settled else moment_at(job.watermark_ms),
                reported={count: job.total(count) for count in COUNTS},
                found={count: job.total(count, found=True) for count in COUNTS},
                problems=[*job.problems, *_problems(self._fold.folds[name], _deleted(job, self._begins))],
                lost=job.total("lost"),
                further_events=job.total(FURTHER_EVENTS),
            )
            for name, job in self.jobs.items()
        ]

    def late_checks(self) -> list[TableCheck]:
        """What corrections keep of late events, compared with the fold."""
        assert self._fold is not None, "the topic is folded"
        return [
            check
            for name, kept in self._kept.items()
            for check in check_late(name, kept, self._fold.late_events(name), self._within)
        ]

    def notes(self) -> list[str]:
        """What limits the comparison: deleted messages, and late events that are not corrected yet."""
        if self.retained_from is None:
            return self._late_notes
        topic = "" if self.is_of_events else self.topic
        return [_retained_note(self.retained_from, time.time_ns() // 1_000_000, topic), *self._late_notes]


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


def _retained_note(from_ms: int, now_ms: int, topic: str = "") -> str:
    """What can be compared where a topic has deleted messages; see `_retained_from`."""
    which = f"The topic {topic}" if topic else "The topic"
    if from_ms > now_ms:
        return f"{which} has deleted its messages up to the last minutes: no window can be compared yet."
    return (
        f"{which} has deleted its oldest messages: windows are compared from {moment_at(from_ms):%Y-%m-%dT%H:%MZ} on."
    )
