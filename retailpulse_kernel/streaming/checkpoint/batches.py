"""The micro-batches of a job's newest epoch: which messages each one took, and what it said of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from retailpulse_kernel.streaming.checkpoint.accounts import Account

__all__ = ["COUNTS", "FURTHER_EVENTS", "Batch", "JobBatches", "newest_epochs"]

#: What an account counts: messages, and what became of their events.
COUNTS = ("consumed", "accepted", "duplicate", "late", "bad")
#: What is between the two: the events that are not the first of their message.
FURTHER_EVENTS = "further_events"


@dataclass
class Batch:
    """A micro-batch.

    Attributes
    ----------
    account : Account
        What the job said of it.
    spans : dict of int to (int, int)
        The offsets that it took, by partition: the first, and the one after the last.
    found : dict of str to int
        The same counts, made by the fold of the topic.
    """

    account: Account
    spans: dict[int, tuple[int, int]]
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*COUNTS, FURTHER_EVENTS), 0))


@dataclass
class JobBatches:
    """A job's newest epoch.

    Attributes
    ----------
    name : str
        The job.
    epoch : int
        Its newest epoch.
    batches : list of Batch
        In order; batches without messages leave no account.
    problems : list of str
        What the accounts themselves say that can't be: an offset that goes back, counts that do not add up.
    """

    name: str
    epoch: int
    batches: list[Batch] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ends(self) -> dict[int, int]:
        """The offset after the last that was taken, by partition."""
        return {p: end for batch in self.batches for p, (_, end) in batch.spans.items()}

    @property
    def watermark_ms(self) -> int:
        """The newest watermark: no window that ends at or before it changes any more."""
        return max((batch.account.watermark_ms for batch in self.batches), default=0)

    def has_all(self, ends: dict[int, int]) -> bool:
        """Whether it has taken all messages before some offsets.

        Parameters
        ----------
        ends : dict of int to int
            The offset after the last message, by partition.
        """
        return all(self.ends.get(partition, 0) >= end for partition, end in ends.items())

    def total(self, name: str, *, found: bool = False) -> int:
        """A count over all batches, as the job reported it or as the fold found it.

        Parameters
        ----------
        name : str
            A count of `Account`, such as ``accepted``.
        found : bool
            Whether the fold's count is meant.
        """
        return sum(batch.found[name] if found else getattr(batch.account, name) for batch in self.batches)


def newest_epochs(accounts: Iterable[Account], topic: str) -> dict[str, JobBatches]:
    """Each job's newest epoch, as far as it read a topic.

    Parameters
    ----------
    accounts : iterable of Account
        Of all jobs and epochs, in any order.
    topic : str
        Its full name; a job that reads another topic is left out.
    """
    by_job: defaultdict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        if topic in account.offsets:
            by_job[account.job].append(account)
    jobs = {}
    for name, of_job in sorted(by_job.items()):
        epoch = max(account.epoch for account in of_job)
        newest = sorted((a for a in of_job if a.epoch == epoch), key=lambda account: account.batch)
        jobs[name] = _chained(JobBatches(name, epoch), newest, topic)
    return jobs


def _chained(job: JobBatches, accounts: list[Account], topic: str) -> JobBatches:
    """Each batch starts where the one before it ended."""
    reached: dict[int, int] = {}
    for account in accounts:
        parts = account.accepted + account.duplicate + account.late + account.bad
        if account.events != parts:
            further = f" with {account.further_events:,} further events" if account.further_events else ""
            said = f"consumed {account.consumed:,}{further} is not accepted + duplicate + late + bad, {parts:,}"
            job.problems.append(f"batch {account.batch}: {said}")
        spans = {}
        for partition, end in sorted((int(p), int(end)) for p, end in account.offsets[topic].items()):
            start = reached.get(partition, 0)
            if end < start:
                job.problems.append(
                    f"batch {account.batch}: partition {partition} goes back from offset {start} to {end}"
                )
                continue
            spans[partition] = (start, end)
            reached[partition] = end
        job.batches.append(Batch(account, spans))
    return job
