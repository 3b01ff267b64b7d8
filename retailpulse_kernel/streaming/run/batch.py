"""A job's tables of rows once more, as a batch: what `reconcile` compares the stored tables with.

The notebook runs in a process of its own, with a context that names a folder. The folder says which micro-batches of
which outputs are done again. Nothing is written but the rows, as files of the folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from retailpulse_kernel.ground.errors import JobError, cause_line
from retailpulse_kernel.streaming.intake.judging import ACCEPTED, BAD, FURTHER, LATE, OBSERVED_INTAKE
from retailpulse_kernel.streaming.intake.repeating import Step, steps_file, write_steps
from retailpulse_kernel.streaming.query.closing import Batch, as_written
from retailpulse_kernel.streaming.query.outputs import RowOutput, counted_once
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.streaming.sinks.keys import with_keys
from retailpulse_kernel.streaming.sinks.rows import computed

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Again", "Done", "Point", "ask", "do_again", "found"]

_REQUEST, _DONE = "request.json", "done"
#: Hadoop's files that Spark's state needs; see docs/adr/0027.
_STATE_FILES = ("fs.file.impl", "org.apache.hadoop.fs.LocalFileSystem")


@dataclass(frozen=True)
class Point:
    """How far an output is done again.

    Attributes
    ----------
    readers : list of list of Step
        The micro-batches of each of its readers, in Spark's order of them.
    closed_ms : int
        The query's watermark, in milliseconds since 1970.
    """

    readers: list[list[Step]]
    closed_ms: int


@dataclass(frozen=True)
class Again:
    """What is done again.

    Attributes
    ----------
    job : str
        The job.
    outputs : dict of str to Point
        By the outputs' names.
    """

    job: str
    outputs: dict[str, Point]


@dataclass(frozen=True)
class Done:
    """What a batch made of an output.

    Attributes
    ----------
    query : str
        A text that changes with the meaning of the notebook's query; see `RowsPlan.query`.
    mode : str
        Spark's output mode.
    told, ordered, own_state, timers : bool
        See `closing.Batch`.
    consumed : int
        The messages that it has read.
    error : str
        Why the batch failed; empty where it did not.
    """

    query: str
    mode: str
    told: bool = True
    ordered: bool = False
    own_state: bool = False
    timers: bool = False
    consumed: int = 0
    error: str = ""


class _Enough(JobError):
    """Ends the notebook: its later cells may look at tables that this run has not written."""


def ask(folder: Path, again: Again) -> None:
    """Say what is done again.

    Parameters
    ----------
    folder : Path
        The folder that the run's context names.
    again : Again
        What.
    """
    (folder / _REQUEST).write_bytes(msgspec.json.encode(again))


def found(folder: Path, output: str) -> tuple[Done, pa.Table | None] | None:
    """What the batch made of an output, and its rows; None where the notebook has not written it.

    Parameters
    ----------
    folder : Path
        The folder that the run's context names.
    output : str
        The output's name.
    """
    import pyarrow.feather as feather

    if not (told := folder / f"{output}.json").is_file():
        return None
    rows = folder / f"{output}.arrow"
    done = msgspec.json.decode(told.read_bytes(), type=Done)
    return done, None if done.error else feather.read_table(rows)


def do_again(job: Job) -> Report:
    """Do again what the context's folder says, and leave the rows there.

    Parameters
    ----------
    job : Job
        Another job than the one that is asked for is left out.

    Raises
    ------
    JobError
        All is done: the rest of the notebook does not run.
    """
    folder = Path(job.context.batch)
    again = msgspec.json.decode((folder / _REQUEST).read_bytes(), type=Again)
    if job.name != again.job:
        return Report(job.name, job.settings.namespace.name, 0, state="left out of this batch")
    _ = job.spark.streams  # makes what a state of one's own looks for, in a batch too
    job.spark.conf.set(*_STATE_FILES)
    for output in job.writes.rows:
        if (point := again.outputs.get(output.name)) is not None:
            _do(output, point, folder)
    raise _Enough(f"The batch of the job {job.name!r} is done, and the notebook ends here.")


def _do(output: RowOutput, point: Point, folder: Path) -> None:
    done = Done(output.fingerprint, output.mode)
    try:
        batch = _up_to(output, point, folder)
        _keep(output, batch.frame, folder / f"{output.name}.arrow")
        shape = {name: getattr(batch, name) for name in ("told", "ordered", "own_state", "timers")}
        done = replace(done, consumed=_consumed(output, batch.frame), **shape)
    except Exception as error:  # of this output alone: the others are compared all the same
        done = replace(done, error=cause_line(error))
    (folder / f"{output.name}.json").write_bytes(msgspec.json.encode(done))


def _up_to(output: RowOutput, point: Point, folder: Path) -> Batch:
    """The rows up to a point; the sources find their micro-batches when the plan is made."""
    if len(output.readers) != len(point.readers):
        raise JobError(f"The query reads {len(output.readers)} streams, and read {len(point.readers)}.")
    for place, (reader, steps) in enumerate(zip(output.readers, point.readers, strict=True)):
        if place:  # accounts have the delay of the first reader
            steps = [_with_delay(step, reader.watermark_ms) for step in steps]
        write_steps(steps_file(str(folder), reader.number), steps)
    return as_written(output.frame, closed_ms=point.closed_ms, append=output.mode == "append")


def _with_delay(step: Step, delay_ms: int) -> Step:
    return step if step.delay_ms is None else replace(step, delay_ms=delay_ms)


def _keep(output: RowOutput, frame: DataFrame, file: Path) -> None:
    """Leave the rows that would be written."""
    import pyarrow.feather as feather

    rows, _failed = computed(frame.toArrow())
    for column in output.table.key:
        rows, _without = with_keys(rows, column)
    feather.write_feather(rows, str(file))


def _consumed(output: RowOutput, frame: DataFrame) -> int:
    """How many messages were read, as the batch has observed it."""
    metrics = frame._jdf.queryExecution().observedMetrics()
    consumed = 0
    for reader in counted_once(output.readers):
        row = metrics.apply(f"{OBSERVED_INTAKE}_{reader.number}")
        counts = dict(zip(row.schema().fieldNames(), range(row.size()), strict=True))
        events = sum(row.get(counts[name]) or 0 for name in (ACCEPTED, LATE, BAD))
        consumed += events - (row.get(counts[FURTHER]) or 0)
    return consumed
