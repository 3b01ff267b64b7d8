"""The micro-batches that a query has done, read once more in their order, as one bounded DataFrame.

One task reads them all: so of several messages with one id the first counts that the query took first, and rows come in
the order in which the query has written them. What was late then is late again: by the clock of the partition, and by
the watermark that Spark had in that micro-batch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from pyspark.sql.datasource import DataSourceReader, InputPartition

from retailpulse_kernel.streaming.intake.consuming import chunks
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.opening import Chunk
from retailpulse_kernel.streaming.intake.remembered import Span, dealt

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["RepeatReader", "Step", "steps_file", "write_steps"]


@dataclass(frozen=True)
class Step:
    """A micro-batch that a query has done.

    Attributes
    ----------
    batch : int
        Its number.
    watermark_ms : int
        Spark's watermark in it; 0 for none.
    delay_ms : int, optional
        How far a partition's clock ran ahead of an event before the event was late; None in a bounded run.
    spans : tuple of Span
        The messages that it took, in Spark's order of the partitions.
    """

    batch: int
    watermark_ms: int
    delay_ms: int | None
    spans: tuple[Span, ...]


def steps_file(folder: str, reader: int) -> str:
    """Where a reader of a notebook finds the micro-batches that it reads once more.

    Parameters
    ----------
    folder : str
        The folder of the batch.
    reader : int
        The reader's number in the notebook.
    """
    return f"{folder}/reader-{reader}.json"


def write_steps(file: str, steps: Sequence[Step]) -> None:
    """Say what a reader reads; before the query is planned.

    Parameters
    ----------
    file : str
        As `steps_file` gives it.
    steps : sequence of Step
        In their order.
    """
    Path(file).write_bytes(msgspec.json.encode(list(steps)))


@dataclass
class _Steps(InputPartition):
    """All that is read: the one task's."""

    steps: list[Step]


class RepeatReader(DataSourceReader):
    """Reads the micro-batches that a file names, once, in one task.

    Parameters
    ----------
    client : mapping
        How to reach Kafka, as its client library wants it.
    intake : Intake
        How messages are judged. Each step has its own delay.
    file : str
        The micro-batches. A stream is made before it is known which queries read it, so the file is read as late as can
        be.
    """

    def __init__(self, client: Mapping[str, Any], intake: Intake, file: str) -> None:
        self._client, self._intake, self._file = client, intake, file

    def partitions(self) -> Sequence[InputPartition]:
        """The one task."""
        return [_Steps(self._steps())]

    def _steps(self) -> list[Step]:
        return msgspec.json.decode(Path(self._file).read_bytes(), type=list[Step])

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Judge all messages again.

        Parameters
        ----------
        partition : InputPartition
            That of `partitions`.
        """
        assert isinstance(partition, _Steps)
        # Spark plans a stream once for all queries that it feeds. On another machine, the plan is all there is.
        steps = self._steps() if Path(self._file).is_file() else partition.steps
        intakes: dict[int | None, Intake] = {}
        topic = _Topic(self._client, self._intake.topic, steps)
        clocks: dict[int, int | None] = {}
        taken = _Taken()
        for step in steps:
            intake = intakes.setdefault(step.delay_ms, replace(self._intake, delay_ms=step.delay_ms))
            for span in (span for task in dealt(step.spans) for span in task):
                stretch = Stretch(span.partition, step.batch, step.watermark_ms, clocks.get(span.partition))
                clocks[span.partition] = yield from intake.rows(topic.take(span), stretch, taken)  # type: ignore[arg-type]


class _Topic:
    """The messages of a topic's partitions, fetched in large chunks and handed out span by span."""

    def __init__(self, client: Mapping[str, Any], topic: str, steps: Sequence[Step]) -> None:
        bounds: dict[int, tuple[int, int]] = {}
        for span in (span for step in steps for span in step.spans):
            first, _ = bounds.get(span.partition, (span.start, 0))
            bounds[span.partition] = (first, span.end)
        # A partition has a consumer of its own: the worker keeps one for each configuration.
        self._fetched = {
            partition: chunks({**client, "client.id": f"repeat-{partition}"}, topic, partition, first, end)
            for partition, (first, end) in bounds.items()
        }
        self._left = dict.fromkeys(bounds, Chunk([], [], []))

    def take(self, span: Span) -> Iterator[Chunk]:
        """The messages of the next span of a partition."""
        left: Chunk | None = self._left[span.partition]
        while left is not None:
            place = bisect_left(left.offsets, span.end)
            if place:
                yield Chunk(left.values[:place], left.offsets[:place], left.arrivals_ms[:place])
            left = Chunk(left.values[place:], left.offsets[place:], left.arrivals_ms[place:])
            self._left[span.partition] = left
            left = None if left.offsets else next(self._fetched[span.partition], None)


class _Taken:
    """The ids that were taken, all of them: `state.dedup_index` in memory."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def claim(self, ids: pa.Array, **_: Any) -> npt.NDArray[np.bool_]:
        """Which messages are the first with their id."""
        first = np.zeros(len(ids), dtype=bool)
        for place, one in enumerate(ids.to_pylist()):
            if one not in self._ids:
                self._ids.add(one)
                first[place] = True
        return first
