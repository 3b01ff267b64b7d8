"""The cells of a notebook, run in this process up to the job's `run`, which only shows what it would do."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import retailpulse_kernel
from retailpulse_kernel import sketches
from retailpulse_kernel.metrics import Kind
from retailpulse_kernel.notebooks import code_cells, read_notebook, with_parameters
from retailpulse_kernel.promotion.trial import Candidate, Started, Tried
from retailpulse_kernel.running import checked_parameters
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.archive import Staged
from retailpulse_kernel.stores.base import Rows, plain_rows
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.checkpoint import Epoch, find_epoch, new_epoch
from retailpulse_kernel.streaming.job import Job
from retailpulse_kernel.streaming.plan import plan_of
from retailpulse_kernel.streaming.sinks import ArchiveSink, FigureSink
from retailpulse_kernel.tables import FigureTable, Grain
from retailpulse_kernel.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame

__all__ = ["Rehearsal"]

#: Batches that a job does on a copy: the one that was undone, and one that is new where there is more.
_BATCHES = 2
_BATCH_SECONDS = 180.0

#: Rows by table, then by key.
_Rows = dict[str, dict[Any, dict[str, Any]]]


class Rehearsal:
    """Notebooks, one after the other, in one process with one Spark session.

    Parameters
    ----------
    settings : Settings
        The shadow namespace that the cells find themselves in.
    """

    def __init__(self, settings: Settings) -> None:
        from IPython.core.history import HistoryManager
        from IPython.core.interactiveshell import InteractiveShell

        self._settings = settings
        HistoryManager.enabled = False  # type: ignore[assignment]  # what is tried is none of the user's history
        self._shell = InteractiveShell.instance()
        self._first: _Rows | None = None

    def perform(self, candidate: Candidate) -> Tried:
        """Run a notebook's cells, and its job on its copy."""
        path = Path(candidate.notebook)
        content = with_parameters(read_notebook(path), checked_parameters(path, candidate.parameters))
        jobs: list[Job] = []
        started: list[Started] = []

        def instead(job: Job) -> Any:
            jobs.append(job)
            if candidate.checkpoint is not None and len(jobs) == 1:
                started.extend(self._start(job, candidate))

        with _patched(instead):
            error = self._run_cells(content)
        if error or not jobs:
            return Tried(jobs=len(jobs), error=error)
        return Tried(len(jobs), None, plan_of(jobs[0]), *started)

    def _run_cells(self, content: Any) -> str | None:
        retailpulse_kernel._default = Workbench(namespace=self._settings.namespace.name)
        self._shell.reset(new_session=False)
        retailpulse_kernel.load_ipython_extension(self._shell)
        for number, source in enumerate(code_cells(content), 1):
            done = self._shell.run_cell(source)
            failure = done.error_before_exec or done.error_in_exec
            if failure is not None:
                return f"cell {number} fails with {type(failure).__name__}: {_line(failure)}"
        return None

    def _start(self, job: Job, candidate: Candidate) -> list[Started]:
        """Start the job on its copy; where that fails, on an empty checkpoint too, to tell the two apart."""
        assert candidate.checkpoint is not None
        epoch = find_epoch(str(Path(candidate.checkpoint).parent))
        assert epoch is not None, "a copy of a checkpoint has its description"
        job.settings = job.settings.within(job.settings.namespace_name, topics_of=candidate.live or "")
        KafkaStore(job.settings).require(job.topic)
        # As in production, where the topic's order decides what is late.
        job.mode = "continuous"
        on_copy, rows = _try(job, replace(epoch, path=candidate.checkpoint))
        if on_copy.error is None:
            if self._first is None:
                self._first = rows
            else:
                on_copy = _compared(on_copy, rows, self._first)
            return [on_copy]
        empty = f"{candidate.checkpoint}-empty"
        try:
            on_empty, _ = _try(job, new_epoch(empty))
        finally:
            shutil.rmtree(empty, ignore_errors=True)
        return [on_copy, on_empty]


@contextmanager
def _patched(run: Callable[[Job], Any]) -> Iterator[None]:
    before = Job.run
    Job.run = run  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Job.run = before  # type: ignore[method-assign]


def _try(job: Job, epoch: Epoch) -> tuple[Started, _Rows]:
    """A few batches of a job on a checkpoint, written into memory."""
    from pyspark.sql.streaming import StreamingQuery

    written: list[_Rows] = []
    query: StreamingQuery | None = None

    def write(frame: DataFrame, batch: int) -> None:
        if len(written) < _BATCHES:
            written.append(_rows_of(job, frame, epoch, batch))

    try:
        query = (
            job.result(epoch)
            .writeStream.queryName(job.name)
            .outputMode(job.output_mode)
            .option("checkpointLocation", epoch.path)
            .foreachBatch(write)
            .trigger(availableNow=True)
            .start()
        )
        end = time.monotonic() + _BATCH_SECONDS
        while not query.awaitTermination(0.1) and len(written) < _BATCHES:  # type: ignore[arg-type]
            if time.monotonic() > end:
                return Started(f"it did no batch within {_BATCH_SECONDS:.0f} s"), {}
    except Exception as error:
        return Started(_line(error)), {}
    finally:
        if query is not None:
            with suppress(Exception):
                query.stop()
    rows = sum(len(table) for batch in written for table in batch.values())
    return Started(batches=len(written), rows=rows), written[0] if written else {}


class _Recorder:
    """Takes the place of a job's store; keeps what would be written."""

    name = "rehearsal"

    def __init__(self) -> None:
        self.rows: _Rows = {}

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Keep figures."""
        found = self.rows.setdefault(table.physical(grain), {})
        users = {figure.name for figure in table.figures if figure.measure.kind is Kind.USERS}
        for row in plain_rows(rows):
            # Equal sets of users may be stored as different bytes.
            figures = {name: sketches.estimate(value) if name in users else value for name, value in row.items()}
            found[table.key(row, grain)] = figures

    def stage(self, rows: DataFrame, *, epoch: int, batch: int) -> Staged:
        """Keep single events."""
        found = self.rows.setdefault("events", {})
        for row in rows.toArrow().to_pylist():
            found[row["kafka_partition"], row["kafka_offset"]] = row
        return Staged(epoch, batch, len(found), frozenset())

    def put(self, staged: Staged) -> None:
        """They are kept already."""


def _rows_of(job: Job, frame: DataFrame, epoch: Epoch, batch: int) -> _Rows:
    recorder, sink = _Recorder(), job.sink(epoch)
    if isinstance(sink, ArchiveSink):
        sink._store = recorder  # type: ignore[assignment]
    else:
        assert isinstance(sink, FigureSink)
        sink.writes = [(table, recorder) for table, _ in sink.writes]  # type: ignore[misc]
    sink.compute(frame, epoch=epoch, batch=batch)()
    return recorder.rows


def _compared(started: Started, rows: _Rows, first: _Rows) -> Started:
    """The same batch by two notebooks, in the tables that both write."""
    compared = differing = 0
    words = ""
    for table in sorted(rows.keys() & first.keys()):
        mine, other = rows[table], first[table]
        for key in mine.keys() | other.keys():
            compared += 1
            one, two = other.get(key), mine.get(key)
            names = (one.keys() & two.keys()) if one and two else ()
            wrong = sorted(name for name in names if one and two and one[name] != two[name])
            if wrong or one is None or two is None:
                differing += 1
                values = f"{wrong[0]} {one[wrong[0]]} -> {two[wrong[0]]}" if wrong and one and two else "in one only"
                words = words or f"{table} {' '.join(map(str, key))}: {values}"
    return replace(started, compared=compared, differing=differing, first=words)


def _line(error: BaseException) -> str:
    """An error's cause, in one line: Spark wraps it in its own and in tracebacks of Java and Python."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        name, separator, text = line.partition(": ")
        if separator and name.replace(".", "").replace("_", "").isalnum() and name.endswith(("Error", "Exception")):
            return text if name.startswith("retailpulse_kernel") else f"{name.rsplit('.', 1)[-1]}: {text}"
    if lines and (cause := lines[0].partition(" terminated with exception: ")[2]):
        return cause
    return lines[0] if lines else traceback.format_exception_only(error)[-1].strip()
