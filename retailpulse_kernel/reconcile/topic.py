"""The fold of the topic: every message judged again, each job's share of them summed."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.errors import EventError
from retailpulse_kernel.events import Event, parse_event
from retailpulse_kernel.lateness import PartitionClock
from retailpulse_kernel.metrics import EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.reconcile.batches import Batch, JobBatches
from retailpulse_kernel.reconcile.sums import TIME, Facts, Key, TableSums
from retailpulse_kernel.stores.kafka import Message
from retailpulse_kernel.tables import CATEGORY, GRAINS, SESSION, USER, FigureTable

__all__ = ["ARCHIVE", "TABLES", "JobFold", "TopicFold", "checksum"]

#: The figures by which the archive, which holds no figures, is compared.
ARCHIVE: Final = FigureTable(
    "events",
    figures=(EVENTS, UNITS, REVENUE, ORDERS),
    by=("currency", "category", "event_type"),
    every=(GRAINS["hour"],),
)

#: Which tables a shipped job writes; the archive's job writes single events.
TABLES: Final[dict[str, tuple[FigureTable, ...]]] = {
    "metrics": (CATEGORY,),
    "engagement": (SESSION, USER),
    "archive": (ARCHIVE,),
}

_HOUR, _CHECKSUM = "hour", "checksum"
#: Events that are summed at once.
_CHUNK = 20_000


def checksum(event_id: str) -> int:
    """What an event's id adds to the sum by which sets of ids are compared; ``crc32`` in HiveQL."""
    return zlib.crc32(event_id.encode())


class JobFold:
    """What one job should have made of its messages.

    Attributes
    ----------
    job : JobBatches
        Its batches; their counts are filled in.
    tables : dict of str to TableSums
        The tables that it writes, by name.
    late : TableSums or None
        The late events, where the job keeps them.
    ids : Counter
        The checksums of the event ids, by hour and whether they are late, where the job keeps single events.
    """

    def __init__(self, job: JobBatches) -> None:
        self.job = job
        self.tables = {table.name: TableSums(table) for table in TABLES.get(job.name, ())}
        self.late = TableSums(ARCHIVE) if job.name == "archive" else None
        self.ids: Counter[Key] = Counter()

    def add(self, facts: pa.Table, *, late: bool) -> None:
        """Sum events that the job accepts, or that are late for it."""
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
    since_ms, until_ms : int, optional
        Only events of this range are summed; all are judged.

    Notes
    -----
    Of several messages with one event id, the first that is not late counts. Ids are kept as 64-bit
    hashes, with the jobs that have accepted them: some 100 bytes each.
    """

    def __init__(self, jobs: Iterable[JobBatches], *, since_ms: int | None = None, until_ms: int | None = None) -> None:
        self.folds = {job.name: JobFold(job) for job in jobs}
        self.messages = 0
        self.first_arrivals: dict[int, int] = {}
        self._since_ms: float = float("-inf") if since_ms is None else since_ms
        self._until_ms: float = float("inf") if until_ms is None else until_ms
        self._partitions: dict[int, _Partition] = {}
        self._accepted_by: dict[int, int] = {}  # hash of an event id -> bits of the jobs
        self._bits = {name: 1 << i for i, name in enumerate(self.folds)}
        self._facts = Facts(table for tables in TABLES.values() for table in tables)
        self._chunk: list[tuple[Event, int, int, int]] = []

    def run(self, messages: Iterable[Message], progress: Callable[[int], None] | None = None) -> None:
        """Fold all messages; `progress` is told now and then how many there have been."""
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

    def _enter(self, first: Message) -> _Partition:
        self.first_arrivals[first.partition] = first.arrival_ms
        spans = {
            bit: deque(
                (*batch.spans[first.partition], batch)
                for batch in self.folds[name].job.batches
                if first.partition in batch.spans
            )
            for name, bit in self._bits.items()
        }
        return _Partition(spans)

    def _take(self, partition: _Partition, message: Message) -> None:
        """Judge one message for every job that has taken it, and sum it."""
        if message.offset >= partition.until:
            partition.move_to(message.offset)
        if not partition.takers:
            return  # newer than what any job has taken
        try:
            event = parse_event(message.value, arrival_ms=message.arrival_ms)
        except EventError:
            partition.bad += 1
            return
        event_ms = round(event.event_time.timestamp() * 1000)
        late = 0
        for rule in partition.rules:
            if event_ms <= rule.watermark_ms or (rule.clock is not None and rule.clock.is_late(event_ms)):
                late |= rule.takers
        for clock in partition.clocks:
            clock.advance(event_ms)
        in_time = partition.takers & ~late
        new = 0
        if in_time:
            identity = hash(event.event_id)
            before = self._accepted_by.get(identity, 0)
            new = in_time & ~before
            if new:
                self._accepted_by[identity] = before | new
        partition.verdicts[late, new] += 1
        if (new or late) and self._since_ms <= event_ms < self._until_ms:
            self._chunk.append((event, event_ms, new, late))
            if len(self._chunk) >= _CHUNK:
                self._sum()

    def _sum(self) -> None:
        """Sum the events that were judged since the last time."""
        if not self._chunk:
            return
        events, times, new, late = zip(*self._chunk, strict=True)
        facts = self._facts(events, times)
        facts = facts.append_column(_HOUR, pc.divide(facts[TIME], 3_600_000))
        facts = facts.append_column(_CHECKSUM, pa.array([checksum(event.event_id) for event in events], pa.int64()))
        for name, bit in self._bits.items():
            for bits, is_late in ((new, False), (late, True)):
                chosen = pc.greater(pc.bit_wise_and(pa.array(bits, pa.int64()), bit), 0)
                self.folds[name].add(facts.filter(chosen), late=is_late)
        self._chunk.clear()


class _Rule(NamedTuple):
    """By what some jobs judge lateness within a stretch of a partition."""

    watermark_ms: int
    clock: PartitionClock | None
    takers: int


class _Partition:
    """Where the fold stands in one partition.

    Within a stretch of offsets, up to `until`, the same batches of the same jobs take the messages.

    Attributes
    ----------
    takers : int
        The bits of the jobs that take the messages of this stretch.
    """

    def __init__(self, spans: dict[int, deque[tuple[int, int, Batch]]]) -> None:
        self._spans = spans
        self._batches: dict[int, Batch] = {}
        self._clock = PartitionClock(0)
        self.until: float = 0
        self.takers = 0
        self.rules: list[_Rule] = []
        self.clocks: list[PartitionClock] = [self._clock]
        self.bad = 0
        self.verdicts: Counter[tuple[int, int]] = Counter()

    def move_to(self, offset: int) -> None:
        """Begin the stretch that holds an offset."""
        self.hand_out()
        self._batches = {}
        self.until = float("inf")
        for bit, spans in self._spans.items():
            while spans and spans[0][1] <= offset:
                spans.popleft()
            if spans:
                start, end, batch = spans[0]
                if start <= offset:
                    self._batches[bit] = batch
                self.until = min(self.until, end if start <= offset else start)
        self.takers = sum(self._batches)
        together: defaultdict[tuple[int, int | None], int] = defaultdict(int)
        for bit, batch in self._batches.items():
            account = batch.account
            together[account.watermark_ms, None if account.bounded else account.delay_ms] |= bit
        delays = {delay for _, delay in together if delay is not None}
        running = {delay: PartitionClock(delay, self._clock.at_ms) for delay in delays}
        self.rules = [_Rule(mark, running.get(delay), bits) for (mark, delay), bits in together.items()]  # type: ignore[arg-type]
        self.clocks = [self._clock, *running.values()]

    def hand_out(self) -> None:
        """Give the batches of this stretch their counts."""
        for bit, batch in self._batches.items():
            found = Counter(bad=self.bad)
            for (late, new), count in self.verdicts.items():
                found["late" if late & bit else "accepted" if new & bit else "duplicate"] += count
            for name, count in found.items():
                batch.found[name] += count
            batch.found["consumed"] += found.total()
        self.bad = 0
        self.verdicts.clear()
