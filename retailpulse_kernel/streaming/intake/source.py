"""The topic as a Spark data source: workers read Kafka and judge its messages in one step.

Offsets are Spark's: they stand in the checkpoint's offset log, and a batch that is done again
reads the same messages. Compared with Spark's own Kafka source and a Python function behind it,
no message crosses from Java to Python (docs/adr/0009).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException
from pyspark.sql.datasource import DataSource, DataSourceReader, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.retrying import Patience
from retailpulse_kernel.stores.kafka.offsets import topic_bounds
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.following import Leader
from retailpulse_kernel.streaming.checkpoint.losses import accepted, start_after_gaps
from retailpulse_kernel.streaming.checkpoint.writer import read_drain
from retailpulse_kernel.streaming.intake.consuming import chunks
from retailpulse_kernel.streaming.intake.given import GivenMessages
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.rejects import RejectTopics
from retailpulse_kernel.streaming.intake.remembered import Span, dealt, remembered
from retailpulse_kernel.streaming.intake.repeating import RepeatReader
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_BATCH_MESSAGES", "SourceConfig", "TopicSource"]

#: Most messages in one micro-batch, so that a job that has fallen behind catches up in steps that
#: fit its memory.
MAX_BATCH_MESSAGES = 500_000

#: How long a stream is quiet before its clocks are told to Spark without a message.
_QUIET_SECONDS = 2.0
#: In an offset, beside the topic's own: the partitions whose clocks Spark's watermark does not follow yet.
_UNTOLD = "untold"

#: Errors that pass are waited for as long as a batch may take; after that the job itself waits, and says so.
_PATIENCE = Patience(seconds=10.0)

Offsets = dict[str, int]


@dataclass
class TaskRanges(InputPartition):
    """What one task reads of a batch.

    Attributes
    ----------
    spans : list of Span
        The messages.
    starts : dict of str to int
        Where each partition of the whole batch starts: all their clocks say how far Spark's watermark may go.
    epoch : str
        The folder of the job's epoch; empty where the job has none, and for a bounded read.
    tells : bool
        Whether there are no messages, and Spark's watermark is only told how far the clocks have come.
    """

    spans: list[Span]
    starts: Offsets
    epoch: str = ""
    tells: bool = False


@dataclass(frozen=True)
class SourceConfig:
    """What a source is made of; Spark keeps it as one text option."""

    client: dict[str, Any]
    intake: Intake
    #: The folder of the job's epochs; the newest one is read. Which of its queries asks is known to the tasks.
    epochs: str = ""
    #: The live job that is followed.
    leader: Leader | None = None
    #: Offsets of a bounded read: (start, end) by partition.
    ranges: dict[str, tuple[int, int]] | None = None
    #: A file with the micro-batches of a bounded read that does them once more.
    steps: str | None = None
    #: A file; once it is there, a stream has nothing new, or nothing behind what the file says.
    drain: str | None = None
    #: The number of the reader in the job's notebook.
    reader: int = 0
    #: Whether the notebook's run is bounded.
    bounded: bool = False
    #: Whether Spark's watermark also follows the last messages before a pause, by a batch without messages.
    tells: bool = False
    #: The folder of the epochs of the job's tests, each of which gives messages in place of the topic's.
    given: str = ""

    def dump(self) -> str:
        """The text."""
        content = asdict(self)
        if content["intake"]["contract"] is None:  # a Connect server of before knows no contracts
            del content["intake"]["contract"]
        if not content["intake"]["options"]:  # nor formats
            del content["intake"]["options"]
        if content["steps"] is None:  # nor that a batch is read once more
            del content["steps"]
        if not content["given"]:  # nor tests
            del content["given"]
        if not content["intake"]["refuses"]:  # nor expectations
            del content["intake"]["refuses"], content["intake"]["only_refused"]
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
        intake["refuses"] = tuple((name, condition) for name, condition in intake.get("refuses", ()))
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
        config = self._config
        return RepeatReader(config.client, config.intake, config.steps) if config.steps else _RangeReader(config)


class _StreamReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Plans micro-batches in the driver, and reads one partition's part of them in a worker."""

    def __init__(self, config: SourceConfig) -> None:
        self._topic = config.intake.topic
        self._given = GivenMessages.of(config.given, self._topic)
        if self._given is not None:
            config = replace(config, epochs=config.given, leader=None, drain=None)
        self._config = config
        _end_quietly()
        self._client: Consumer | None = None
        self._target: Offsets | None = None
        self._moved_at = 0.0
        epoch = find_epoch(config.epochs) if config.epochs else None
        self._epoch = "" if epoch is None else epoch.path

    def initialOffset(self) -> dict[str, Offsets]:  # noqa: N802
        return {self._topic: {partition: begin for partition, (begin, _) in self._bounds().items()}}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        return ReadMaxRows(MAX_BATCH_MESSAGES)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        leader = self._leader_ends()
        self._target = {
            p: end if leader is None else min(end, leader.get(p, begin)) for p, (begin, end) in self._bounds().items()
        }

    def latestOffset(self, start: dict[str, Any], limit: ReadLimit) -> dict[str, Any]:  # noqa: N802
        drain = read_drain(self._config.drain) if self._config.drain is not None else None
        before, leader = start[self._topic], self._leader_ends()
        last = {} if drain is None else drain.get(self._topic, {})
        if drain is not None and all(before.get(p, 0) >= end for p, end in last.items()):
            # A bounded run has reached its end; any other drain holds the job where it is.
            return self._told(start) if last and self._target is not None else start
        lost = accepted(self._epoch, self._topic) if self._epoch else []
        ends = {}
        for partition, (begin, end) in self._bounds().items():
            if self._target is not None:
                end = self._target.get(partition, before.get(partition, begin))
            first = before.get(partition, begin)
            if drain is not None:
                end = max(first, min(end, last.get(partition, first)))
            if end < first or start_after_gaps(lost, int(partition), first, begin) < begin:
                # The runner looks what has become of the topic, and says it.
                raise RetailPulseError(
                    f"The topic {self._topic} does not hold the offset {first} of partition {partition} any more: "
                    f"it has {begin} to {end}."
                )
            ends[partition] = (first, end if leader is None else max(first, min(end, leader.get(partition, begin))))
        moved = [partition for partition, (first, end) in ends.items() if end > first]
        if not moved:
            return self._told({**start, self._topic: {partition: end for partition, (_, end) in ends.items()}})
        self._moved_at = time.monotonic()
        most = limit.max_rows if isinstance(limit, ReadMaxRows) else None
        offset: dict[str, Any] = {self._topic: _limited(ends, most)}
        if self._config.tells:
            offset[_UNTOLD] = ",".join(sorted({*moved, *filter(None, start.get(_UNTOLD, "").split(","))}))
        return offset

    def _told(self, offset: dict[str, Any]) -> dict[str, Any]:
        """An offset without new messages; once the stream is quiet, Spark is to hear of all clocks."""
        is_quiet = self._target is not None or time.monotonic() - self._moved_at > _QUIET_SECONDS
        return {**offset, _UNTOLD: ""} if offset.get(_UNTOLD) and is_quiet else offset

    def reportLatestOffset(self) -> dict[str, Offsets]:  # noqa: N802
        return {self._topic: {partition: end for partition, (_, end) in self._bounds().items()}}

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> Sequence[InputPartition]:
        """The partitions' parts of a batch."""
        before = start[self._topic]
        if start.get(_UNTOLD) and not end.get(_UNTOLD):
            starts = {partition: before[partition] for partition in start[_UNTOLD].split(",")}
            return [TaskRanges([], starts, self._epoch, tells=True)]
        spans = [
            Span(int(p), before.get(p, 0), until) for p, until in end[self._topic].items() if until > before.get(p, 0)
        ]
        return _tasks(spans, self._epoch)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Judge a part of a batch, and leave its partitions' clocks for the next one."""
        assert isinstance(partition, TaskRanges)
        config = self._config
        # Looked up here: Spark makes the reader of a DataFrame once, for the queries of a test and of a run.
        given = GivenMessages.of(config.given, self._topic)
        known = remembered(partition.epoch, f"{config.epochs}/queries", config.reader, bounded=config.bounded)
        intake = replace(
            config.intake,
            delay_ms=None if known.note.bounded else config.intake.delay_ms,
            rejects=config.intake.rejects if known.note.publishes else None,
            labels=config.intake.labels | {"epoch": known.epoch},
        )
        index = known.index if intake.horizon_ms is not None else None
        if partition.tells:
            told_ms = known.low_ms(partition.starts, told=known.note.closes)
            yield from intake.rows((), Stretch(-1, low_ms=told_ms if given is None else given.at_ms))
        for span, stretch in known.stretches(partition.spans, partition.starts, self._topic):
            clock_ms = yield from _read(config, intake, span, stretch, index, given)
            if clock_ms is not None:
                known.keep_clock(span, clock_ms)

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _leader_ends(self) -> Offsets | None:
        """How far a live job has come, where one is followed."""
        return self._config.leader.ends(self._topic) if self._config.leader else None

    def _bounds(self) -> dict[str, tuple[int, int]]:
        """First and next offset of each partition; waits for partitions that are new or change leaders."""
        if self._given is not None:
            return self._given.bounds
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
        return _tasks([Span(int(p), start, end) for p, (start, end) in ranges.items() if end > start])

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, TaskRanges)
        for span in partition.spans:
            yield from _read(self._config, self._config.intake, span, Stretch(span.partition))


def _tasks(spans: Sequence[Span], epoch: str = "") -> list[TaskRanges]:
    """A task for each partition, and for a small batch fewer: each has its start to pay for."""
    starts = {str(span.partition): span.start for span in spans}
    return [TaskRanges(part, starts, epoch) for part in dealt(spans)]


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
    config: SourceConfig,
    intake: Intake,
    span: Span,
    stretch: Stretch,
    index: DedupIndex | None = None,
    given: GivenMessages | None = None,
) -> Generator[pa.RecordBatch, None, int | None]:
    if given is not None:
        return (yield from intake.rows(given.chunks(span.start, span.end), stretch, index))
    messages = chunks(config.client, intake.topic, span.partition, span.start, span.end)
    return (yield from intake.rows(messages, stretch, index))
