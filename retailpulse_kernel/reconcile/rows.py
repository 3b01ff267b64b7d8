"""Tables of rows against a batch: the job's notebook, run once more over the messages that its outputs had taken.

What a table of rows should hold, only its query knows. So the query runs again, over exactly those messages, and what
it gives is compared with what is stored (`rowwise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile.again import Made, Notebook, notebook_of, run_again
from retailpulse_kernel.reconcile.result import State, TableCheck
from retailpulse_kernel.reconcile.rowwise import compare_rows, last_is_told
from retailpulse_kernel.reconcile.taken import Stored, point_of, stored_rows
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, epochs
from retailpulse_kernel.streaming.checkpoint.log import newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of
from retailpulse_kernel.streaming.plan.data import RowsPlan, TablePlan
from retailpulse_kernel.streaming.run.batch import Again, Done, Point

__all__ = ["check_rows"]

_UNPROMOTED = "no promoted version has its notebook; give the notebook with --notebook"


class _NotChecked(Exception):
    """Why an output can't be compared."""


def check_rows(
    settings: Settings, job: str, tables: Iterable[TablePlan], *, notebook: Path | None = None
) -> list[TableCheck]:
    """Compare the tables of rows of a job with what its notebook makes of the same messages as a batch.

    Parameters
    ----------
    settings : Settings
        The namespace.
    job : str
        The job.
    tables : iterable of TablePlan
        Its tables of rows.
    notebook : Path, optional
        The notebook of a job that was not promoted.

    Raises
    ------
    StoreUnavailable
        A store does not answer.
    UsageError
        The given notebook is not there.
    """
    outputs = [_Output(settings, job, table, table.rows) for table in tables if table.rows is not None]
    source = notebook_of(settings, job, notebook)
    if source is None:
        return [replace(output.check, state="not checked", reason=_UNPROMOTED) for output in outputs]
    read = [output for output in outputs if output.read()]
    # Only now: a job that runs has accounted for all that was read.
    accounts = read_accounts(settings, further=True) if read else []
    points = {output.name: found for output in read if (found := output.points(accounts))}
    # A source reads one range a run, so what was read while its job wrote takes two.
    made = [
        run_again(settings, source, Again(job, asked))
        for place in range(2)
        if (asked := {name: found[place] for name, found in points.items() if place < len(found)})
    ]
    for output in read:
        if output.name in points:
            output.compare(source, made[: len(points[output.name])])
    return [output.check for output in outputs]


class _Output:
    """An output of a job, on the way to its check."""

    def __init__(self, settings: Settings, job: str, table: TablePlan, rows: RowsPlan) -> None:
        self._settings, self._table, self._rows = settings, table, rows
        self.name = rows.output
        self.check = TableCheck(table.store, table.name, job, "nothing")
        self._consumed = 0
        self._epoch = Epoch(0, 0, "")
        self._stored: Stored | None = None

    def read(self) -> bool:
        """Read the table; whether there is something to compare."""
        with self._checking():
            self._require_one_version()
            self._epoch = _begun(f"{self._settings.checkpoints}/{self.check.job}")
            self._require_known(self._epoch)
            self._stored = stored_rows(self._settings, self._table.store, self._table.row_table, self._checkpoint)
        return self._stored is not None

    def points(self, accounts: Iterable[Account]) -> list[Point]:
        """How far the output is done again."""
        assert self._stored is not None, "it was read"
        epoch, checkpoint = self._epoch, self._checkpoint
        mine = [a for a in accounts if (a.job, a.epoch, a.output) == (self.check.job, epoch.number, self.name)]
        first, *_ = self._stored.batches
        self._consumed = sum(one.consumed for one in mine if one.batch <= first.batch_id)
        topics = [self._settings.namespace.topic(topic) for topic, _ in self._rows.reads]
        points: list[Point] = []
        with self._checking():
            kafka = KafkaStore(self._settings)
            begins = {topic: {p: begin for p, (begin, _) in kafka.offsets(topic).items()} for topic in topics}
            points += (point_of(checkpoint, batch, mine, topics, begins) for batch in self._stored.batches)
        return points

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """Keep the reason why the output can't be compared."""
        try:
            yield
        except _NotChecked as reason:
            self._say("not checked", reason=str(reason))
        except (OSError, pa.ArrowException, JobError, UsageError) as error:
            said = error.message if isinstance(error, JobError | UsageError) else str(error)
            self._say("not checked", reason=f"what it has taken can't be told here: {said.removesuffix('.')}")

    @property
    def _checkpoint(self) -> str:
        return checkpoint_of(self._epoch.path, self.name)

    def _require_one_version(self) -> None:
        """Refuse rows that were joined with a table of which each micro-batch had its own version."""
        if names := ", ".join(one.name for one in self._rows.references):
            raise _NotChecked(f"earlier micro-batches may have joined other versions of {names}")

    def _require_known(self, epoch: Epoch) -> None:
        """Refuse a topic of which it can't be told what it should hold."""
        if self._table.store != KafkaStore.name:
            return
        if self._rows.mode == "update" and not self._rows.key:
            raise _NotChecked(
                "each change of a row is a message of its own, and only the job knows how many there were"
            )
        if epoch.number > 1:
            raise _NotChecked("its topic also holds the rows of earlier epochs")

    def compare(self, source: Notebook, made: Sequence[tuple[Made, str]]) -> None:
        """Compare the rows with what the batch made, up to each point."""
        with self._checking():
            batches = [self._rows_of(source, *one) for one in made]
            self._compare(batches[0][0], [rows for _, rows in batches])

    def _rows_of(self, source: Notebook, made: Made, failed: str) -> tuple[Done, pa.Table]:
        """What the batch made of this output."""
        if self.name not in made:
            why = f"fails before its job runs: {failed.removesuffix('.')}" if failed else "does not write it"
            raise _NotChecked(f"the notebook of {source.label} {why}")
        done, rows = made[self.name]
        if (done.query, done.mode) != (self._rows.query, self._rows.mode):
            raise _NotChecked(f"the query of {source.label} is not the one that wrote it")
        if rows is None:
            raise _NotChecked(f"its query can't be run as a batch: {done.error.removesuffix('.')}")
        return done, rows

    def _compare(self, done: Done, batches: list[pa.Table]) -> None:
        table, stored = self._table.row_table, self._stored
        assert stored is not None, "what is not read is not asked for"
        if done.timers:
            raise _NotChecked("its own state waits for times, which depends on where micro-batches begin")
        if done.own_state and not table.is_keyed:
            raise _NotChecked("its own state gives rows for each micro-batch, and there is no key to tell the last one")
        if done.consumed != self._consumed:
            raise _NotChecked(f"the topic holds {done.consumed:,} of the {self._consumed:,} messages that it has taken")
        if not done.ordered and not all(last_is_told(table, rows) for rows in batches):
            raise _NotChecked("several rows have one key, and which of them came last only the job knows")
        rows, differing, first, waiting = compare_rows(table, stored.rows, batches, told=done.told)
        found: dict[str, Any] = {"rows": rows, "differing": differing, "first": first}
        if first is not None:
            self._say("differs", **found)
        elif waiting:
            reason = f"{waiting:,} rows of the batch are not stored, and whether they are final yet can't be told"
            self._say("not checked", reason=reason, **found)
        else:
            self._say("equal" if rows else "nothing", **found)

    def _say(self, state: State, **found: Any) -> None:
        self.check = replace(self.check, state=state, **found)


def _begun(folder: str) -> Epoch:
    """The newest epoch that has begun."""
    for epoch in reversed(epochs(folder)):
        if newest_batch(epoch.path) is not None:
            return epoch
    raise _NotChecked("its checkpoint is not there")
