"""The sinks and queries of a job, assembled for a run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retailpulse_kernel.shop.personal import masked
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, open_local
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.intake.rejects import RefusedRows
from retailpulse_kernel.streaming.query.analysis import analysed
from retailpulse_kernel.streaming.query.outputs import Output, Reader, RowOutput, as_of_output, require_repeatable
from retailpulse_kernel.streaming.run.failing import reads_personal
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.sinks.archive import ArchiveSink, archived_columns
from retailpulse_kernel.streaming.sinks.base import Sink, Target
from retailpulse_kernel.streaming.sinks.figures import FigureSink
from retailpulse_kernel.streaming.sinks.rows import RowSink
from retailpulse_kernel.streaming.state.aggregation import aggregate, slots
from retailpulse_kernel.streaming.state.dedup_index import IDS
from retailpulse_kernel.streaming.state.window_state import SUMS, WindowState

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["outputs_of", "sinks_of"]


def sinks_of(job: Job, *, into: Target | None = None) -> list[Sink]:
    """The sinks of all outputs, which only say what they are written to.

    Parameters
    ----------
    job : Job
        Whose outputs.
    into : Target, optional
        Gets all that is written, in place of the stores.
    """
    first = _first_sink(job, into=into)
    return [*([] if first is None else [first]), *(_row_sink(job, output, into) for output in job.writes.rows)]


def outputs_of(job: Job, epoch: Epoch, *, into: Target | None = None) -> list[Output]:
    """The queries of a job, those of figures or single events first.

    Parameters
    ----------
    job : Job
        Whose queries.
    epoch : Epoch
        The one that the run goes on with.
    into : Target, optional
        Gets all that is written, in place of the stores.

    Raises
    ------
    JobError
        The job writes nothing.
    UsageError
        A condition is met by chance, or by the clock.
    """
    job.require_output()
    found: list[Output] = []
    published = set[str]()
    sink = _first_sink(job, epoch, into=into)
    if sink is not None:
        reader, frame = _first_query(job, epoch)
        require_repeatable(analysed(frame), "the figures")
        found.append(Output("", "update", frame, sink, (reader,)))
        published.add(reader.topic)
    for output in job.writes.rows:
        readers = []
        for reader in output.readers:
            readers.append(as_of_output(reader, publishes=reader.topic not in published))
            published.add(reader.topic)
        _open_local(job, replace(epoch, path=checkpoint_of(epoch.path, output.name)), IDS, begin=False)
        sink = _row_sink(job, output, into)
        found.append(Output(output.name, output.mode, output.frame, sink, tuple(readers), output.closes))
    return found


def _first_sink(job: Job, epoch: Epoch | None = None, *, into: Target | None = None) -> Sink | None:
    """What figures or single events are written with; without an epoch it only says what they are written to."""
    if job.writes.archive:
        return ArchiveSink(job.writes.archive[1], into)
    if not job.writes.figures:
        return None
    folder = None if epoch is None else _state_folder(job, epoch)
    tables = job.writes.tables
    state = None if folder is None else WindowState(folder, slots(tables), remedy=job.new_epoch_remedy)
    return FigureSink([(stream.table, store) for stream, store in job.writes.figures], state, into)


def _row_sink(job: Job, output: RowOutput, into: Target | None) -> RowSink:
    hidden = reads_personal(job, output.name)
    refused = RefusedRows(job.reading.rejects, job.name, output.name, hidden) if into is None else None
    told = partial(masked, contract=job.shop)
    return RowSink(
        output.table, output.store, f"{job.name}/{output.name}",
        complete=output.mode == "complete", keyed_apart=output.keyed_apart, told=told, refused=refused,
        into=into,
    )  # fmt: skip


def _first_query(job: Job, epoch: Epoch) -> tuple[Reader, DataFrame]:
    """The streaming DataFrame of figures or single events, and its reader."""
    indexed = _open_local(job, epoch, IDS) is not None
    if job.writes.archive:
        columns = archived_columns(job.contract)
        return job.reading.stream(job.writes.archive[0], columns, keep_late=True, indexed=indexed)
    events, tables = job.writes.figures[0][0].events, job.writes.tables
    reader, rows = job.reading.stream(events, job.columns(tables), keep_late=False, indexed=indexed)
    if _state_folder(job, epoch) is not None:
        return reader, rows
    return reader, aggregate(rows, tables, watermark=events.watermark)


def _state_folder(job: Job, epoch: Epoch) -> Path | None:
    """The folder of an epoch's window state; None where Spark keeps the state."""
    return _open_local(job, epoch, SUMS) if plan_of(job).uses_window_state else None


def _open_local(job: Job, epoch: Epoch, name: str, *, begin: bool = True) -> Path | None:
    master = job.settings.profile.spark.master
    return open_local(epoch.path, name, master=master, remedy=job.new_epoch_remedy, begin=begin)
