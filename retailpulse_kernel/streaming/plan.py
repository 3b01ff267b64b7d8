"""What a job means: its topic, filters, keys, figures, windows and tables, as data.

Every run leaves its plan beside the checkpoint, so the state tells what it is the state of. Spark compares
no more than types and numbers of columns: it would take the sums of one filter for those of another.
"""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from retailpulse_kernel.metrics import Figure
from retailpulse_kernel.spans import milliseconds
from retailpulse_kernel.streaming.checkpoint import read_note, write_note
from retailpulse_kernel.streaming.sinks import ArchiveSink, FigureSink
from retailpulse_kernel.streaming.sums import is_summable
from retailpulse_kernel.tables import FigureTable

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.job import Job

__all__ = ["REVISION", "FigurePlan", "Plan", "TablePlan", "plan_of", "read_plan", "write_plan"]

#: Environment variable with the revision of this process's job.
REVISION = "RETAILPULSE_REVISION"

_NAME = "plan.json"


@dataclass(frozen=True)
class FigurePlan:
    """A figure's definition: what an event adds, how that combines, and which events count."""

    name: str
    kind: str
    of: str
    where: str


@dataclass(frozen=True)
class TablePlan:
    """A table: the store it is in, its windows, its keys in order, its figures in order."""

    name: str
    store: str
    every: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    figures: tuple[FigurePlan, ...] = ()

    @property
    def physical(self) -> tuple[str, ...]:
        """The stored tables."""
        return tuple(f"{self.name}_{grain}" for grain in self.every) or (self.name,)


@dataclass(frozen=True)
class Plan:
    """The meaning of a job. Names are those within a namespace, so plans of two namespaces compare.

    Attributes
    ----------
    job : str
        The job's name.
    topic : str
        What it reads.
    unique_by : str
        By which column an event is taken once.
    watermark_ms : int
        When an event is late.
    conditions : tuple of str
        Which events count.
    output : str
        When a window is written: at each change, or when it is closed.
    rejects : str
        Whether bad and late messages are published.
    tables : tuple of TablePlan
        What it writes, in the order of the state's slots.
    dedup_horizon_ms : int, optional
        How long an id is remembered behind the watermark; as long as the watermark when absent.
    revision : str
        Tells plans apart that read the same and compute something else, as the gate has seen: a library was
        changed beneath the notebook.
    """

    job: str
    topic: str
    unique_by: str
    watermark_ms: int
    conditions: tuple[str, ...]
    output: str
    rejects: str
    tables: tuple[TablePlan, ...]
    dedup_horizon_ms: int | None = None
    revision: str = ""

    @property
    def state(self) -> tuple[FigurePlan, ...]:
        """The figures in the order in which the state keeps them."""
        return tuple({figure.name: figure for table in self.tables for figure in table.figures}.values())

    @property
    def summed(self) -> bool:
        """Whether an epoch on one machine may have its sums in files of its own: without the keys of the windows."""
        summable = [is_summable(figure.kind, figure.of) for figure in self.state]
        return self.output == "change" and bool(summable) and all(summable)

    @property
    def keys(self) -> tuple[str, ...]:
        """The dimensions by which the state is kept."""
        return tuple(sorted({dimension for table in self.tables for dimension in table.by}))

    @property
    def slots(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """What the numbers stand for by which the state tells tables and windows apart."""
        return tuple((table.name, grain, table.by) for table in self.tables for grain in table.every)


def plan_of(job: Job) -> Plan:
    """The plan of a job that has been written down but need not have run.

    Raises
    ------
    JobError
        It writes nothing.
    """
    sink = job.sink()
    if isinstance(sink, ArchiveSink):
        tables: tuple[TablePlan, ...] = (TablePlan(sink.table, "hive"),)
    else:
        assert isinstance(sink, FigureSink)
        tables = tuple(_table(table, store.name) for table, store in sink.writes)
    return Plan(
        job=job.name,
        topic=job.topic_name,
        unique_by=job.unique_by,
        watermark_ms=milliseconds(job.watermark),
        conditions=tuple(" ".join(condition.split()) for condition in job.conditions),
        output=job.output,
        rejects="publish" if job.publishes_rejects else "count",
        tables=tables,
        dedup_horizon_ms=None if job.dedup_horizon == job.watermark else milliseconds(job.dedup_horizon),
        revision=os.environ.get(REVISION, ""),
    )


def _table(table: FigureTable, store: str) -> TablePlan:
    grains = tuple(grain.name for grain in table.every)
    return TablePlan(table.name, store, grains, table.by, tuple(map(_figure, table.figures)))


def _figure(figure: Figure) -> FigurePlan:
    # The same expression in other spaces and brackets is the same figure.
    of, where = (
        ast.unparse(ast.parse(text, mode="eval")) if text else "" for text in (figure.measure.of, figure.where)
    )
    return FigurePlan(figure.name, str(figure.measure.kind), of, where)


def read_plan(checkpoint: str) -> Plan | None:
    """The plan of the last run on a checkpoint; None where none was left."""
    content = read_note(checkpoint, _NAME)
    return None if content is None else msgspec.json.decode(content, type=Plan)


def write_plan(checkpoint: str, plan: Plan) -> None:
    """Leave the plan beside a checkpoint."""
    write_note(checkpoint, _NAME, msgspec.json.encode(plan))
