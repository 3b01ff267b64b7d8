"""The jobs whose figures can be corrected: which tables, of which events, and what a plan does not tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.tables import FigureTable, late_part
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.registry import can
from retailpulse_kernel.streaming.checkpoint.batches import JobBatches
from retailpulse_kernel.streaming.plan.counting import counting_of, exact_table
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan
from retailpulse_kernel.streaming.plan.finding import plans

__all__ = ["FigureJob", "figure_jobs"]


@dataclass(frozen=True)
class FigureJob:
    """A job that writes figures of the events which the archive holds.

    Attributes
    ----------
    batches : JobBatches
        Its newest epoch.
    tables : tuple of (str, FigureTable)
        The tables, each with its store.
    counts : callable
        Whether an event counts for the job.
    """

    batches: JobBatches
    tables: tuple[tuple[str, FigureTable], ...]
    counts: Callable[[Event], bool]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.batches.name


def figure_jobs(
    settings: Settings, batches: Mapping[str, JobBatches], contract: Contract
) -> tuple[list[FigureJob], list[str]]:
    """The jobs that ran and whose figures can be corrected; and sentences about those whose figures can't.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    batches : mapping of str to JobBatches
        The newest epochs of the jobs that read the topic.
    contract : Contract
        What an event holds.
    """
    jobs: list[FigureJob] = []
    notes: list[str] = []
    others: set[tuple[str, str]] = set()
    for plan in plans(settings, {name: job.epoch for name, job in batches.items()}):
        if plan.job not in batches:
            continue
        # A table that several jobs have written is the first one's.
        mine = [one for one in plan.tables if one.figures and (one.store, one.name) not in others]
        others |= {(one.store, one.name) for one in mine}
        try:
            counts = _counts(plan, contract)
        except UsageError as error:
            notes += [_not_corrected(one, error) for one in mine]
            continue
        tables = []
        for one in mine:
            try:
                tables.append((one.store, _table(one, contract)))
            except UsageError as error:
                notes.append(_not_corrected(one, error))
        if tables:
            jobs.append(FigureJob(batches[plan.job], tuple(tables), counts))
    return jobs, notes


def _not_corrected(table: TablePlan, error: UsageError) -> str:
    return f"The table {table.name} in {table.store} is not corrected: {error.message.removesuffix('.')}."


def _counts(plan: Plan, contract: Contract) -> Callable[[Event], bool]:
    """Whether an event counts for a job that did not call it late.

    Raises
    ------
    UsageError
        Only the job can tell; the message says why.
    """
    if plan.topic != Namespace.EVENTS:
        raise UsageError(f"the job reads the topic {plan.topic!r}, and the archive holds {Namespace.EVENTS!r}")
    meets, refuses = counting_of(plan, contract)
    return lambda event: (meets is None or meets(event)) and (refuses is None or not refuses(event))


def _table(plan: TablePlan, contract: Contract) -> FigureTable:
    """The table that a plan describes.

    Raises
    ------
    UsageError
        It can't be computed here; the message says why.
    """
    try:
        if not can(plan.store, FigureStore):
            raise UsageError(f"the store {plan.store!r} keeps no figures")
        table = exact_table(plan, contract)
        late_part(table)
    except UnknownName as error:
        raise UsageError(error.message) from error
    except (KeyError, ValueError) as error:
        raise UsageError(f"one of its figures, windows or keys is not known here: {error}") from error
    return table
