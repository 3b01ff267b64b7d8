"""What a query remembers of a topic from one micro-batch to the next, looked up in Spark's workers.

A notebook makes a stream before the query is known that will read it, and one stream may feed several queries, each
with a checkpoint of its own. So a source does not carry a checkpoint. A task knows which query and which micro-batch
it belongs to, and finds the checkpoint by that: the partitions' clocks, the ids that were taken, the losses that were
accepted, and what the run has said of its readers.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from pyspark import TaskContext

from retailpulse_kernel.streaming.checkpoint.clocks import Clock, read_clock, write_clock
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.checkpoint.log import logged_batch
from retailpulse_kernel.streaming.checkpoint.losses import accepted, start_after_gaps
from retailpulse_kernel.streaming.checkpoint.outputs import query_of
from retailpulse_kernel.streaming.checkpoint.progress import READERS
from retailpulse_kernel.streaming.intake.judging import Stretch
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex, dedup_index

__all__ = ["ReaderNote", "Remembered", "Span", "dealt", "folder_of", "remembered", "tell_readers"]

#: Messages that are worth a task.
_TASK_MESSAGES = 10_000
_EPOCH = re.compile(r"(?:.*/)?e(\d{4,})(?:/outputs/[^/]+)?")


class Span(NamedTuple):
    """The messages ``[start, end)`` of a partition."""

    partition: int
    start: int
    end: int


def dealt(spans: Sequence[Span]) -> list[list[Span]]:
    """The parts of a batch by the tasks that read them: one each, and fewer tasks where there is little to read.

    Parameters
    ----------
    spans : sequence of Span
        The parts, one a partition.
    """
    messages = sum(span.end - span.start for span in spans)
    tasks = min(len(spans), max(1, messages // _TASK_MESSAGES))
    return [list(spans[number::tasks]) for number in range(tasks)]


@dataclass(frozen=True)
class ReaderNote:
    """What a run says of one reader of a query.

    Attributes
    ----------
    place : int
        The reader's place among those of the query, from 0: the same in every run of the same query.
    publishes : bool
        Whether it sends bad and late messages to their topics.
    bounded : bool
        Whether the run is bounded, in which no order of the topic makes an event late.
    low_ms : int, optional
        How far Spark's watermark may follow in a bounded run: the smallest clock as the run began; None holds it.
    closes : bool
        Whether rows wait for the watermark: then it follows all messages at the end of a bounded run. Where none wait,
        an event that comes after the run with an earlier time is not late.
    began_ms : int
        When the run began, in epoch milliseconds; 0 in notes of before.
    """

    place: int = 0
    publishes: bool = True
    bounded: bool = False
    low_ms: int | None = None
    closes: bool = False
    began_ms: int = 0


def tell_readers(checkpoint: str, readers: Mapping[int, ReaderNote]) -> None:
    """Leave beside a query's checkpoint what its readers are; before the query starts.

    Parameters
    ----------
    checkpoint : str
        The query's folder, a path or a URI.
    readers : mapping of int to ReaderNote
        By the reader's number in the notebook.
    """
    write_note(checkpoint, READERS, json.dumps({number: asdict(note) for number, note in readers.items()}).encode())


@dataclass(frozen=True)
class Remembered:
    """What a query remembers for one reader.

    Attributes
    ----------
    folder : str
        Where the reader's clocks and ids are.
    losses : str
        The epoch's folder, whose accepted losses hold for all queries.
    epoch : int
        The epoch's number; 0 where there is none.
    note : ReaderNote
        What the run has said.
    batch : int
        The micro-batch.
    watermark_ms : int
        Spark's watermark in this batch; 0 for none.
    """

    folder: str
    losses: str = ""
    epoch: int = 0
    note: ReaderNote = field(default_factory=ReaderNote)
    batch: int = -1
    watermark_ms: int = 0

    @property
    def index(self) -> DedupIndex:
        """The ids that were taken."""
        return dedup_index(self.folder)

    def stretches(self, spans: Iterable[Span], starts: Mapping[str, int], topic: str) -> list[tuple[Span, Stretch]]:
        """Parts of a batch, without what was lost, and what is known before each.

        Parameters
        ----------
        spans : iterable of Span
            The parts.
        starts : mapping of str to int
            Where each partition of the whole batch starts.
        topic : str
            The topic's full name.
        """
        clocks = self._clocks(starts)
        low_ms = self._low_ms(clocks)
        lost = accepted(self.losses, topic) if self.losses else []
        found = []
        for span in spans:
            clock, first = clocks[span.partition], start_after_gaps(lost, span.partition, span.start, span.end)
            if first == span.end:
                if clock is not None and clock.held:  # nothing is left to move the clock on
                    self.keep_clock(span, clock.at_ms)
                continue
            held_back = clock is None or clock.held
            stretch = Stretch(span.partition, self.batch, self.watermark_ms, clock and clock.at_ms, held_back, low_ms)
            found.append((span._replace(start=first), stretch))
        return found

    def low_ms(self, starts: Mapping[str, int], *, told: bool = False) -> int | None:
        """How far Spark's watermark may follow: the slowest partition's clock; None holds it.

        Parameters
        ----------
        starts : mapping of str to int
            Where each partition stands.
        told : bool
            Whether all that a bounded run takes lies before that.
        """
        return self._low_ms(self._clocks(starts), told=told)

    def _low_ms(self, clocks: Mapping[int, Clock | None], *, told: bool = False) -> int | None:
        if self.note.bounded and not told:
            return self.note.low_ms
        known = [clock.at_ms for clock in clocks.values() if clock is not None and clock.held]
        # A partition whose clock is not known yet, or may be ahead, holds the watermark back.
        return min(known) if len(known) == len(clocks) and known else None

    def _clocks(self, starts: Mapping[str, int]) -> dict[int, Clock | None]:
        return {int(p): read_clock(self.folder, int(p), start) for p, start in starts.items()}

    def keep_clock(self, span: Span, clock_ms: int) -> None:
        """Keep a partition's clock for the batch after this one.

        Parameters
        ----------
        span : Span
            What was read.
        clock_ms : int
            Where the clock stands behind it, in epoch milliseconds.
        """
        write_clock(self.folder, span.partition, span.end, clock_ms)


def remembered(epoch: str, elsewhere: str, reader: int, *, bounded: bool) -> Remembered:
    """What the query of this task remembers.

    Parameters
    ----------
    epoch : str
        The folder of the job's epoch; empty where the job has none yet.
    elsewhere : str
        The folder for queries that a notebook started by itself, each below its id.
    reader : int
        The reader's number in the notebook.
    bounded : bool
        Whether the notebook's run is bounded, where the query itself does not say.
    """
    task = TaskContext.get()
    assert task is not None, "a source is read by a task"
    query_id, batch_id = map(task.getLocalProperty, ("sql.streaming.queryId", "streaming.sql.batchId"))
    assert query_id is not None and batch_id is not None, "Spark tells each task of a stream which query it is of"
    batch = int(batch_id)
    checkpoint = _checkpoint(epoch, query_id) if epoch else None
    if checkpoint is None:
        Path(elsewhere, query_id).mkdir(parents=True, exist_ok=True)
        note = ReaderNote(reader, bounded=bounded)
        return Remembered(folder_of(f"{elsewhere}/{query_id}", reader), batch=batch, note=note)
    notes = json.loads(read_note(checkpoint, READERS) or b"{}")
    note = ReaderNote(**notes.get(str(reader), {}))
    logged, number = logged_batch(checkpoint, batch), _EPOCH.fullmatch(checkpoint)
    watermark_ms = 0 if logged is None else logged.watermark_ms
    return Remembered(
        folder_of(checkpoint, note.place), epoch, int(number[1]) if number else 0, note, batch, watermark_ms
    )


def folder_of(checkpoint: str, place: int) -> str:
    """Where a reader's clocks and ids are.

    Parameters
    ----------
    checkpoint : str
        The query's folder.
    place : int
        The reader's place in the query. The first has the query's folder itself.
    """
    return f"{checkpoint}/readers/{place}" if place else checkpoint


@functools.lru_cache(maxsize=16)
def _checkpoint(epoch: str, query_id: str) -> str | None:
    return query_of(epoch, query_id)
