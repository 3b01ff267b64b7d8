"""The fold of the topic: every event judged again, each job's share of them summed."""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.reconcile.partition import Partition
from retailpulse_kernel.reconcile.sums import LIMITS, TIME, Facts, Key, Limits, TableSums
from retailpulse_kernel.reconcile.tables import ARCHIVE, Share
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.formats.reading import TopicReader
from retailpulse_kernel.stores.kafka.store import Message
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches

__all__ = ["JobFold", "TopicFold"]

_HOUR, _CHECKSUM = "hour", "checksum"


def checksum(event_id: str) -> int:
    """What an event's id adds to the sum by which sets of ids are compared; ``crc32`` in HiveQL.

    Parameters
    ----------
    event_id : str
        Text of any form.
    """
    return zlib.crc32(event_id.encode())


class JobFold:
    """What one job should have made of its messages.

    Attributes
    ----------
    job : JobBatches
        Its batches; their counts are filled in.
    share : Share
        What of its plan is compared.
    tables : dict of str to TableSums
        The tables that it writes, by name.
    late : TableSums or None
        The late events, where the job keeps them.
    ids : Counter
        The checksums of the event ids, by hour and whether they are late, where the job keeps single events.
    """

    def __init__(self, job: JobBatches, share: Share, limits: Limits) -> None:
        self.job, self.share = job, share
        written = [table for _, table in share.tables] if share.archive is None else [ARCHIVE]
        self.tables = {table.name: TableSums(table, limits) for table in written}
        self.late = None if share.archive is None else TableSums(ARCHIVE, limits)
        self.ids: Counter[Key] = Counter()

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of its tables, by name."""
        return {figure.name: figure for sums in self.tables.values() for figure in sums.table.figures}

    def add(self, facts: pa.Table, *, late: bool) -> None:
        """Sum events that the job accepts, or that are late for it.

        Parameters
        ----------
        facts : pyarrow.Table
            What `Facts` gave, with the columns `_HOUR` and `_CHECKSUM`.
        late : bool
            Which of the two the events are.
        """
        if self.late is not None:
            hours = facts.group_by(_HOUR).aggregate([(_CHECKSUM, "sum")])
            for hour, ids in zip(hours[_HOUR].to_pylist(), hours[f"{_CHECKSUM}_sum"].to_pylist(), strict=True):
                self.ids[hour * 3_600_000, late] += ids
        for sums in self.tables.values() if not late else [self.late] if self.late is not None else ():
            sums.add(facts)


class TopicFold:
    """The fold of a topic for several jobs in one pass; the partitions' messages may come mixed.

    Parameters
    ----------
    jobs : iterable of JobBatches
        Each is folded up to its own offsets, batch by batch.
    shares : mapping of str to Share
        What of each job is compared, by its name. Of other jobs only the accounts are.
    since_ms, until_ms : int, optional
        Only events of this range are summed; all are judged.
    limits : Limits
        How much is kept in memory.
    reader : TopicReader, optional
        Reads the topic's messages; one of the shipped contract when absent.
    corrected : mapping of str to mapping of int to int, optional
        The jobs of which late events are wanted, with the offset of each partition up to which.

    Notes
    -----
    Of several messages with one event id, or what else a job takes an event once by, the first that is not late
    counts. Ids are kept as 64-bit hashes, with the jobs that have accepted them: some 100 bytes each.
    """

    def __init__(
        self,
        jobs: Iterable[JobBatches],
        shares: Mapping[str, Share],
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        limits: Limits = LIMITS,
        reader: TopicReader | None = None,
        corrected: Mapping[str, Mapping[int, int]] | None = None,
    ) -> None:
        self._limits = limits
        self._corrected = corrected or {}
        self._reader = reader or TopicReader()
        self.folds = {job.name: JobFold(job, shares.get(job.name) or Share(job.name), limits) for job in jobs}
        self.messages = 0
        self.first_arrivals: dict[int, int] = {}
        self._since_ms: float = float("-inf") if since_ms is None else since_ms
        self._until_ms: float = float("inf") if until_ms is None else until_ms
        self._partitions: dict[int, Partition] = {}
        self._bits = {name: 1 << i for i, name in enumerate(self.folds)}
        columns = {fold.share.unique_by for fold in self.folds.values()}
        refusing = ((bit, self.folds[name].share.refuses) for name, bit in self._bits.items())
        self._refusing = [(bit, refuses) for bit, refuses in refusing if refuses is not None]
        self._identities = [_Identity(column, self._jobs_by(column)) for column in sorted(columns)]
        self._groups = _groups((fold for fold in self.folds.values() if fold.tables), limits)
        self._chunk: list[tuple[Event, int, int, int]] = []
        self._late: list[tuple[Event, int, Message]] = []

    def run(self, messages: Iterable[Message], progress: Callable[[int], None] | None = None) -> None:
        """Fold all messages; `progress` is told now and then how many there have been.

        Parameters
        ----------
        messages : iterable of Message
            Those of each partition in the order of their offsets.
        progress : callable, optional
            Takes the number of messages so far; None where nobody wants it.
        """
        partitions = self._partitions
        for message in messages:
            partition = partitions.get(message.partition)
            if partition is None:
                partition = partitions[message.partition] = self._enter(message)
            self._take(partition, message)
            self.messages += 1
            if progress and not self.messages % 10_000:
                progress(self.messages)
        self._sum()
        for partition in partitions.values():
            partition.hand_out()

    def late_events(self, name: str) -> list[Event]:
        """The events that are late for a job and count for it, each id once, and none that it took in time as well.

        Parameters
        ----------
        name : str
            A job of `corrected`.
        """
        fold, ends = self.folds[name], self._corrected[name]
        found: dict[str, Event] = {}
        first = sorted(self._late, key=lambda one: (one[2].arrival_ms, one[2].partition, one[2].offset))
        for event, bits, message in first:
            if bits & self._bits[name] and message.offset < ends.get(message.partition, 0):
                found.setdefault(event.event_id, event)
        (identity,) = (one for one in self._identities if one.column == fold.share.unique_by)
        meets = fold.share.meets
        return [
            event
            for event in found.values()
            if not identity.has_taken(event, self._bits[name]) and (meets is None or meets(event))
        ]

    def _jobs_by(self, column: str) -> int:
        """The bits of the jobs that take an event once by a column."""
        return sum(bit for name, bit in self._bits.items() if self.folds[name].share.unique_by == column)

    def _enter(self, first: Message) -> Partition:
        self.first_arrivals[first.partition] = first.arrival_ms
        spans = {
            bit: deque(
                (*batch.spans[first.partition], batch)
                for batch in self.folds[name].job.batches
                if first.partition in batch.spans
            )
            for name, bit in self._bits.items()
        }
        return Partition(spans)

    def _take(self, partition: Partition, message: Message) -> None:
        """Judge the events of one message for every job that has taken it, and sum them."""
        if message.offset >= partition.until:
            partition.move_to(message.offset, message.arrival_ms)
        if not partition.takers:
            return  # newer than what any job has taken
        place = (message.value, message.partition, message.offset)
        for number, event in enumerate(self._reader.events(*place, arrival_ms=message.arrival_ms)):
            partition.further += number > 0
            if isinstance(event, EventError):
                partition.bad += 1
            else:
                self._judge(partition, event, message)

    def _judge(self, partition: Partition, event: Event, message: Message) -> None:
        event_ms = round(event.event_time.timestamp() * 1000)
        late = 0
        for rule in partition.rules:
            if event_ms <= rule.watermark_ms or (rule.clock is not None and rule.clock.is_late(event_ms)):
                late |= rule.takers
        partition.advance(event_ms, message.arrival_ms)
        refused = sum(bit for bit, refuses in self._refusing if bit & partition.takers and refuses(event))
        late &= ~refused
        in_time = partition.takers & ~late & ~refused
        new = 0
        if in_time:
            for identity in self._identities:
                new |= identity.first(event, in_time)
        partition.verdicts[late, new, refused] += 1
        if (new or late) and self._since_ms <= event_ms < self._until_ms:
            if late and self._corrected:
                self._late.append((event, late, message))
            self._chunk.append((event, event_ms, new, late))
            if len(self._chunk) >= self._limits.events:
                self._sum()

    def _sum(self) -> None:
        """Sum the events that were judged since the last time."""
        if not self._chunk:
            return
        events, times, *bits = zip(*self._chunk, strict=True)
        new, late = (pa.array(of, pa.int64()) for of in bits)
        for facts_of, members in self._groups:
            facts = facts_of(events, times)
            facts = facts.append_column(_HOUR, pc.divide(facts[TIME], 3_600_000))
            facts = facts.append_column(_CHECKSUM, pa.array([checksum(event.event_id) for event in events], pa.int64()))
            for fold in members:
                meets = fold.share.meets
                met = None if meets is None else pa.array([meets(event) for event in events], pa.bool_())
                for takers, is_late in ((new, False), (late, True)):
                    chosen = pc.greater(pc.bit_wise_and(takers, self._bits[fold.job.name]), 0)
                    fold.add(facts.filter(chosen if met is None else pc.and_(chosen, met)), late=is_late)
        self._chunk.clear()


def _groups(folds: Iterable[JobFold], limits: Limits) -> list[tuple[Facts, list[JobFold]]]:
    """The jobs that share columns of facts: two of them may have figures of one name that are not the same."""
    groups: list[tuple[dict[str, Figure], list[JobFold]]] = []
    for fold in folds:
        mine = fold.figures
        for known, members in groups:
            if all(_same(known.get(name, figure), figure) for name, figure in mine.items()):
                known |= mine
                members.append(fold)
                break
        else:
            groups.append((mine, [fold]))
    tables = [[sums.table for fold in members for sums in fold.tables.values()] for _, members in groups]
    return [(Facts(mine, limits), members) for mine, (_, members) in zip(tables, groups, strict=True)]


def _same(one: Figure, other: Figure) -> bool:
    return (one.measure, one.where) == (other.measure, other.where)


class _Identity:
    """What has been taken once, by a column of the events, by the jobs that go by that column."""

    def __init__(self, column: str, jobs: int) -> None:
        self.column, self._jobs = column, jobs
        self._accepted_by: dict[int, int] = {}  # hash of a value -> bits of the jobs

    def first(self, event: Event, takers: int) -> int:
        """The bits of those takers for which an event is the first."""
        if not takers & self._jobs:
            return 0
        identity = self._of(event)
        before = self._accepted_by.get(identity, 0)
        new = takers & self._jobs & ~before
        if new:
            self._accepted_by[identity] = before | new
        return new

    def has_taken(self, event: Event, job: int) -> bool:
        """Whether a job, by its bit, has taken an event of the same value."""
        return bool(self._accepted_by.get(self._of(event), 0) & job)

    def _of(self, event: Event) -> int:
        return hash(getattr(event, self.column) or event.event_id)
