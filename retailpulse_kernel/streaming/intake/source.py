"""The topic as a Spark data source: workers read Kafka and judge its messages in one step.

Offsets are Spark's: they stand in the checkpoint's offset log, and a batch that is done again
reads the same messages. Compared with Spark's own Kafka source and a Python function behind it,
no message crosses from Java to Python (docs/adr/0009).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException
from pyspark.sql.datasource import DataSource, DataSourceReader, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.retrying import Patience
from retailpulse_kernel.stores.kafka.offsets import topic_bounds
from retailpulse_kernel.streaming.checkpoint.epochs import newest_batch, read_clock, write_clock
from retailpulse_kernel.streaming.checkpoint.following import Leader
from retailpulse_kernel.streaming.checkpoint.losses import accepted, start_after_gaps
from retailpulse_kernel.streaming.intake.consuming import chunks
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.rejects import RejectTopics
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex, dedup_index

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_BATCH_MESSAGES", "SourceConfig", "TopicSource"]

#: Most messages in one micro-batch, so that a job that has fallen behind catches up in steps that
#: fit its memory.
MAX_BATCH_MESSAGES = 500_000

#: Messages that are worth a task.
_TASK_MESSAGES = 10_000

#: Errors that pass are waited for as long as a batch may take; after that the job itself waits, and says so.
_PATIENCE = Patience(seconds=10.0)

Offsets = dict[str, int]


@dataclass(frozen=True)
class TopicRange:
    """The messages ``[start, end)`` of a partition, and what the intake knows before them."""

    start: int
    end: int
    stretch: Stretch


@dataclass
class TaskRanges(InputPartition):
    """What one task reads of a batch."""

    ranges: list[TopicRange]


@dataclass(frozen=True)
class SourceConfig:
    """What a source is made of; Spark keeps it as one text option."""

    client: dict[str, Any]
    intake: Intake
    checkpoint: str | None = None
    #: The live job that is followed.
    leader: Leader | None = None
    #: Offsets of a bounded read: (start, end) by partition.
    ranges: dict[str, tuple[int, int]] | None = None
    #: A file; once it is there, a stream has nothing new.
    drain: str | None = None

    def dump(self) -> str:
        """The text."""
        content = asdict(self)
        if content["intake"]["contract"] is None:  # a Connect server of before knows no contracts
            del content["intake"]["contract"]
        return json.dumps(content)

    @classmethod
    def load(cls, text: str) -> SourceConfig:
        """The configuration that was dumped as a text.

        Parameters
        ----------
        text : str
            What `dump` gave.
        """
        content = json.loads(text)
        intake = content.pop("intake")
        rejects = intake.pop("rejects")
        if content.get("leader") is not None:
            content["leader"] = Leader(**content["leader"])
        intake["columns"] = tuple(intake["columns"])
        if rejects is not None:
            rejects["client"] = tuple((name, value) for name, value in rejects["client"])
        return cls(**content, intake=Intake(**intake, rejects=None if rejects is None else RejectTopics(**rejects)))


class TopicSource(DataSource):
    """``spark.readStream.format("retailpulse-topic")``; use `frames.read_topic`, which knows its options."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._config = SourceConfig.load(options["config.secret"])  # Spark hides options of such a name

    @classmethod
    def name(cls) -> str:
        """The name of the format."""
        return "retailpulse-topic"

    def schema(self) -> str:
        """The intake's columns."""
        return self._config.intake.ddl

    def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: N802
        """The reader of a stream.

        Parameters
        ----------
        schema : object
            Spark's; the options say the same.
        """
        return _StreamReader(self._config)

    def reader(self, schema: Any) -> DataSourceReader:
        """The reader of the offsets that the options name.

        Parameters
        ----------
        schema : object
            Spark's; the options say the same.
        """
        return _RangeReader(self._config)


class _StreamReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Plans micro-batches in the driver, and reads one partition's part of them in a worker."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._topic = config.intake.topic
        _end_quietly()
        self._client: Consumer | None = None
        self._target: Offsets | None = None

    def initialOffset(self) -> dict[str, Offsets]:  # noqa: N802
        return {self._topic: {partition: begin for partition, (begin, _) in self._bounds().items()}}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        return ReadMaxRows(MAX_BATCH_MESSAGES)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        leader = self._leader_ends()
        self._target = {
            p: end if leader is None else min(end, leader.get(p, begin)) for p, (begin, end) in self._bounds().items()
        }

    def latestOffset(self, start: dict[str, Offsets], limit: ReadLimit) -> dict[str, Offsets]:  # noqa: N802
        if self._config.drain is not None and Path(self._config.drain).exists():
            return start
        before, leader = start[self._topic], self._leader_ends()
        lost = accepted(self._config.checkpoint) if self._config.checkpoint else []
        ends = {}
        for partition, (begin, end) in self._bounds().items():
            if self._target is not None:
                end = self._target.get(partition, before.get(partition, begin))
            first = before.get(partition, begin)
            if end < first or start_after_gaps(lost, int(partition), first, begin) < begin:
                # The runner looks what has become of the topic, and says it.
                raise RetailPulseError(
                    f"The topic {self._topic} does not hold the offset {first} of partition {partition} any more: "
                    f"it has {begin} to {end}."
                )
            ends[partition] = (first, end if leader is None else max(first, min(end, leader.get(partition, begin))))
        most = limit.max_rows if isinstance(limit, ReadMaxRows) else None
        return {self._topic: _limited(ends, most)}

    def reportLatestOffset(self) -> dict[str, Offsets]:  # noqa: N802
        return {self._topic: {partition: end for partition, (_, end) in self._bounds().items()}}

    def partitions(self, start: dict[str, Offsets], end: dict[str, Offsets]) -> Sequence[InputPartition]:
        """The partitions' parts of a batch, with their clocks as the batch before left them."""
        before = start[self._topic]
        parts = {p: (before.get(p, 0), until) for p, until in end[self._topic].items() if until > before.get(p, 0)}
        checkpoint = self._config.checkpoint
        if checkpoint is None:
            return _tasks([TopicRange(first, until, Stretch(int(p))) for p, (first, until) in parts.items()])
        clocks = {p: read_clock(checkpoint, int(p), first) for p, (first, _) in parts.items()}
        lost = accepted(checkpoint)
        for p, (first, until) in list(parts.items()):
            parts[p] = (start_after_gaps(lost, int(p), first, until), until)
            clock = clocks[p]
            if parts[p][0] == until and clock is not None and clock.held:  # nothing is left to move the clock on
                write_clock(checkpoint, int(p), until, clock.at_ms)
        known = [clock.at_ms for clock in clocks.values() if clock is not None and clock.held]
        # A bounded run holds the watermark back; so does a partition whose clock is not known yet, or may be ahead.
        held = self._config.intake.delay_ms is None or len(known) < len(clocks)
        low = None if held or not known else min(known)
        batch = newest_batch(checkpoint)
        batch_id, watermark_ms = (batch.batch_id, batch.watermark_ms) if batch else (-1, 0)
        return _tasks(
            [
                TopicRange(
                    first,
                    until,
                    Stretch(int(p), batch_id, watermark_ms, clock and clock.at_ms, clock is None or clock.held, low),
                )
                for (p, (first, until)), clock in zip(parts.items(), clocks.values(), strict=True)
                if until > first
            ]
        )

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Judge a part of a batch, and leave its partitions' clocks for the next one."""
        assert isinstance(partition, TaskRanges)
        checkpoint = self._config.checkpoint
        remembers = checkpoint is not None and self._config.intake.horizon_ms is not None
        for part in partition.ranges:
            clock_ms = yield from _read(self._config, part, dedup_index(checkpoint) if remembers else None)
            if checkpoint is not None and clock_ms is not None:
                write_clock(checkpoint, part.stretch.partition, part.end, clock_ms)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _leader_ends(self) -> Offsets | None:
        """How far a live job has come, where one is followed."""
        return self._config.leader.ends(self._topic) if self._config.leader else None

    def _bounds(self) -> dict[str, tuple[int, int]]:
        """First and next offset of each partition; waits for partitions that are new or change leaders."""
        if self._client is None:
            self._client = Consumer({**self._config.client, "group.id": "retailpulse-planner"})
        try:
            bounds = topic_bounds(self._client, self._topic, _PATIENCE)
        except KafkaException as error:
            from retailpulse_kernel.stores.kafka.config import client_failure  # a fifth of a second of a query's start

            raise client_failure(self._config.client, error) from error
        return {str(partition): both for partition, both in bounds.items()}


def _end_quietly() -> None:
    """Keep the planner's process from writing a traceback when Spark closes its socket at the query's end."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, BrokenPipeError | EOFError):
            before(kind, error, trace)

    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.endswith("python_streaming_source_runner"):
        sys.excepthook = hook


class _RangeReader(DataSourceReader):
    """Reads the offsets that its configuration names, once."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config

    def partitions(self) -> Sequence[InputPartition]:
        ranges = self._config.ranges or {}
        return _tasks([TopicRange(start, end, Stretch(int(p))) for p, (start, end) in ranges.items() if end > start])

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, TaskRanges)
        for part in partition.ranges:
            yield from _read(self._config, part)


def _tasks(ranges: Sequence[TopicRange]) -> list[TaskRanges]:
    """A task for each partition, and for a small batch fewer: each has its start to pay for."""
    messages = sum(part.end - part.start for part in ranges)
    tasks = min(len(ranges), max(1, messages // _TASK_MESSAGES))
    return [TaskRanges(list(ranges[number::tasks])) for number in range(tasks)]


def _limited(ends: dict[str, tuple[int, int]], most: int | None) -> Offsets:
    """The ends of the next batch: each partition gives in proportion to what it has."""
    waiting = sum(end - first for first, end in ends.values())
    if most is None or waiting <= most:
        return {partition: end for partition, (_, end) in ends.items()}
    return {
        partition: first + min(end - first, -(-(end - first) * most // waiting))
        for partition, (first, end) in ends.items()
    }


def _read(
    config: SourceConfig, part: TopicRange, index: DedupIndex | None = None
) -> Generator[pa.RecordBatch, None, int | None]:
    intake, stretch = config.intake, part.stretch
    messages = chunks(config.client, intake.topic, stretch.partition, part.start, part.end)
    return (yield from intake.rows(messages, stretch, index))
