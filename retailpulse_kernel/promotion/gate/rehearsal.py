"""The cells of a notebook, run in this process up to the job's `run`, which only shows what it would do."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from retailpulse_kernel.ground.errors import AmbiguousKey, RetailPulseError, UsageError, cause_line
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import code_cells, read_notebook, with_parameters, without_tests
from retailpulse_kernel.notebooks.running import checked_parameters
from retailpulse_kernel.notebooks.shells import load_anew, trial_shell
from retailpulse_kernel.promotion.gate.isolation import CELL, explained
from retailpulse_kernel.promotion.gate.trial import Candidate, Started, Tried
from retailpulse_kernel.shop.comparison import Compared, comparable, compared_rows, shared_columns
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.personal import masked
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.confinement import refusals
from retailpulse_kernel.stores.figure_rows import Rows, plain_rows
from retailpulse_kernel.stores.hive.archive import Staged
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, find_epoch, new_epoch
from retailpulse_kernel.streaming.query.outputs import Output
from retailpulse_kernel.streaming.run.assembly import outputs_of, sinks_of
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.streaming.run.failing import told_cause
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.queries import start_query
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.streaming.sinks.base import Sink
from retailpulse_kernel.streaming.sinks.rows import RowSink

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["perform"]

#: Batches that a job does on a copy: the one that was undone, and one that is new where there is more.
_BATCHES = 2
_BATCH_SECONDS = 180.0
_POLL_SECONDS = 0.1
#: The key of single events.
_PLACE = ("kafka_partition", "kafka_offset", "event_id")


@dataclass
class _Written:
    """What was written to a table: the columns of its key, its figures, and rows by their key."""

    key: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    rows: dict[Any, dict[str, Any]] = field(default_factory=dict)


#: What was written, by table.
_Rows = dict[str, _Written]


def perform(settings: Settings, request: bytes) -> bytes:
    """Try the notebooks that a request names; in the other process.

    Parameters
    ----------
    settings : Settings
        The shadow namespace.
    request : bytes
        A list of `Candidate` as JSON.

    Returns
    -------
    bytes
        A list of `Tried` as JSON.
    """
    rehearsal = Rehearsal(settings)
    found: list[Tried] = []
    for candidate in msgspec.json.decode(request, type=list[Candidate]):
        try:
            found.append(rehearsal.perform(candidate))
        except RetailPulseError as error:
            found.append(Tried(error=str(error)))
    return msgspec.json.encode(found)


class Rehearsal:
    """Notebooks, one after the other, in one process with one Spark session.

    Parameters
    ----------
    settings : Settings
        The shadow namespace that the cells find themselves in.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shell = trial_shell()
        self._first: _Rows | None = None

    def perform(self, candidate: Candidate) -> Tried:
        """Run a notebook's cells, and its job on its copy.

        Parameters
        ----------
        candidate : Candidate
            The notebook, its parameters, and the copy of the checkpoint.
        """
        path = Path(candidate.notebook)
        content = with_parameters(without_tests(read_notebook(path)), checked_parameters(path, candidate.parameters))
        jobs: list[Job] = []
        started: list[Started] = []

        def rehearse(job: Job) -> Report:
            jobs.append(job)
            # Later cells may look at the tables, which a run would have made.
            for sink in sinks_of(job):
                _create(sink)
            if candidate.checkpoint is not None and len(jobs) == 1:
                started.extend(self._start(job, candidate))
            return Report(job.name, job.settings.namespace.name, 0, state="rehearsed")

        # A stream is made before it is known that it will be tried: on what, and of whose topics, is said here.
        copy = candidate.checkpoint
        live = candidate.live or ""
        folder, topics_of = (str(Path(copy).parent), live) if copy else ("", "")
        context = RunContext(
            run_job=rehearse, checkpoints=folder, topics_of=topics_of, tables_of=live, folder=str(path.parent)
        )
        with using_context(context):
            error = self._run_cells(content, jobs)
        if error or not jobs:
            return Tried(jobs=len(jobs), error=error)
        return Tried(len(jobs), None, plan_of(jobs[0]), *started)

    def _run_cells(self, content: Any, jobs: list[Job]) -> str | None:
        """Why a cell can't be, or fails before the job runs.

        A later cell may look at what the job has written, which is nothing here: the dry run says whether it fails.
        """
        before = len(refusals(self._settings))
        self._shell.reset(new_session=False)
        # Whatever workbench the last notebook had made the default one is forgotten.
        load_anew(self._shell)
        running = Path(tempfile.gettempdir(), CELL)
        for number, source in enumerate(code_cells(content), 1):
            running.write_text(str(number))
            has_run = bool(jobs)
            done = self._shell.run_cell(source)
            running.unlink()
            # Whatever the cell made of it: a notebook that tries to has failed.
            if refused := refusals(self._settings)[before:]:
                return f"cell {number} is not allowed. {refused[0].what}"
            failure = done.error_before_exec or done.error_in_exec
            if isinstance(failure, SystemExit):
                return f"cell {number} ends the notebook's process: remove sys.exit(), exit() or quit()."
            if failure is not None and not has_run:
                return explained(
                    f"cell {number} fails: {cause_line(failure).rstrip('.')}.", self._settings.namespace.name
                )
        return None

    def _start(self, job: Job, candidate: Candidate) -> list[Started]:
        """Start the job on its copy; where that fails, on an empty checkpoint too, to tell the two apart."""
        assert candidate.checkpoint is not None
        epoch = find_epoch(str(Path(candidate.checkpoint).parent))
        assert epoch is not None, "a copy of a checkpoint has its description"
        for topic in job.topics:
            KafkaStore(job.settings).require(topic)
        # As in production, where the topic's order decides what is late.
        job.mode = "continuous"
        on_copy, rows = _try(job, replace(epoch, path=candidate.checkpoint))
        if on_copy.error is None:
            if self._first is None:
                self._first = rows
            else:
                on_copy = _compared(on_copy, rows, self._first, job.shop)
            return [on_copy]
        if on_copy.refused:
            return [on_copy]
        # The streams are made: they find the newest epoch of their folder.
        shutil.rmtree(epoch.path)
        on_empty, _ = _try(job, new_epoch(str(Path(epoch.path).parent)))
        return [on_copy, on_empty]


def _create(sink: Sink) -> None:
    """Make a sink's table, in place of one of another form that another notebook has made in the shadow namespace."""
    try:
        sink.create()
    except UsageError:
        if not isinstance(sink, RowSink):
            raise
        sink.make_anew()


def _try(job: Job, epoch: Epoch) -> tuple[Started, _Rows]:
    """A few batches of each of a job's queries on a checkpoint, written into memory."""
    batches, rows, first = 0, 0, _Rows()
    try:
        job.references.of_run(epoch.path).begin()
        outputs = outputs_of(job, epoch, into=(recorder := _Recorder()))
        for output in outputs:
            written, error = _try_output(job, output, epoch, recorder)
            if error is not None:
                return Started(error), {}
            batches = max(batches, len(written))
            rows += sum(len(table.rows) for batch in written for table in batch.values())
            first |= written[0] if written else {}
    except AmbiguousKey as error:
        return Started(error.message, refused=True), {}
    except Exception as error:
        return Started(cause_line(error)), {}
    return Started(batches=batches, rows=rows), first


def _try_output(job: Job, output: Output, epoch: Epoch, recorder: _Recorder) -> tuple[list[_Rows], str | None]:
    """The rows of an output's first batches, and why Spark failed; what the job itself refuses is raised."""
    from pyspark.sql.streaming import StreamingQuery

    written: list[_Rows] = []
    refused: list[AmbiguousKey] = []  # what Spark hands on is only its text
    query: StreamingQuery | None = None

    def write(frame: DataFrame, batch: int) -> None:
        if len(written) < _BATCHES:
            recorder.rows = {}
            try:
                output.sink.compute(frame, epoch=epoch, batch=batch)()
            except AmbiguousKey as error:
                refused.append(error)
                raise
            written.append(recorder.rows)

    try:
        query = start_query(job, output, epoch, write, bounded=True)
        end = time.monotonic() + _BATCH_SECONDS
        while query.isActive and len(written) < _BATCHES:
            if time.monotonic() > end:
                return [], f"it did no batch within {_BATCH_SECONDS:.0f} s"
            time.sleep(_POLL_SECONDS)
        failure = query.exception()
        if refused:
            raise refused[0]
        return written, None if failure is None else told_cause(job, output.name, failure)
    finally:
        if query is not None:
            with suppress(Exception):
                query.stop()


class _Recorder:
    """The target of a job that is tried; keeps what would be written."""

    name = table = "rehearsal"

    def __init__(self) -> None:
        self.rows: _Rows = {}

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Keep figures."""
        written = _Written(table.key_columns(grain), table.figures)
        found = self.rows.setdefault(table.physical(grain), written).rows
        found |= {table.key(row, grain): comparable(table, row) for row in plain_rows(rows)}

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Keep rows, by their key; without a key, by themselves."""
        found = self.rows.setdefault(table.name, _Written(table.key or tuple(rows.column_names))).rows
        for row in rows.to_pylist():
            key = tuple(row[name] for name in table.key) if table.key else tuple(map(str, row.values()))
            found[key] = row

    def stage(self, rows: DataFrame, *, epoch: int, batch: int) -> Staged:
        """Keep single events."""
        found = self.rows.setdefault("events", _Written(_PLACE)).rows
        for row in rows.toArrow().to_pylist():
            found[tuple(row[name] for name in _PLACE)] = row
        return Staged(epoch, batch, len(found), frozenset())

    def put(self, staged: Staged) -> None:
        """They are kept already."""


def _compared(started: Started, rows: _Rows, first: _Rows, shop: Contract) -> Started:
    """The same batch by two notebooks, in the tables and columns that both write."""
    found = Compared()
    for table in sorted(rows.keys() & first.keys()):
        before, now = first[table], rows[table]
        names = [list(next(iter(version.rows.values()), {})) for version in (before, now)]
        columns = shared_columns(table, *names) if before.rows and now.rows else ""
        told = partial(masked, contract=shop, figures=now.figures)
        compared = compared_rows(table, now.key, before.rows, now.rows, told=told, old_key=before.key)
        found += replace(compared, columns=columns)
    return replace(started, compared=found.rows, differing=found.differing, first=found.first, columns=found.columns)
