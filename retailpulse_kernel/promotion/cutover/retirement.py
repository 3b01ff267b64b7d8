"""What is removed with a retired job, and what stays because another job writes the same tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from retailpulse_kernel.ground.errors import JobError, UnknownName
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.cutover import is_kept
from retailpulse_kernel.promotion.cutover.overview import runs_folder
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, epochs, jobs_with_checkpoints
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan, read_plan

__all__ = ["Retirement", "retirement_of"]


@dataclass(frozen=True)
class Retirement:
    """What is removed with a job.

    Attributes
    ----------
    name : str
        The name of the pipeline, or of a job that was never promoted.
    job : str, optional
        The streaming job's name; None for a batch notebook.
    plans : tuple of Plan
        The plans of its versions and its epochs.
    tables : tuple of TablePlan
        The tables that are removed, with the windows that no other job writes.
    shared : tuple of (str, str)
        Stored tables that stay, and the other job that writes them.
    versions : tuple of str
        The promoted versions.
    epochs : tuple of int
        The epochs of its checkpoint.
    kept : tuple of int
        The epochs among them whose tables are kept for a rollback.
    runs : int
        The number of output notebooks.
    """

    name: str
    job: str | None
    plans: tuple[Plan, ...] = ()
    tables: tuple[TablePlan, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()
    versions: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    runs: int = 0

    def lines(self) -> Iterator[str]:
        """What is removed and what stays, a line each."""
        for table in self.tables:
            yield f"{table.store}: {', '.join(table.physical)}"
        if self.epochs:
            kept = f", and the tables kept of {', '.join(map(str, self.kept))} for a rollback" if self.kept else ""
            yield f"checkpoint: epochs {', '.join(map(str, self.epochs))}{kept}"
        if self.job is not None:
            yield "accounts of its micro-batches"
        if self.versions:
            yield f"promoted versions: {', '.join(self.versions)}; and the DAG {self.name} with its history"
        yield f"metrics, and output notebooks: {self.runs:,}"
        if self.job is None:
            yield "stays: tables that the notebook writes; no plan names them"
        for physical, owner in self.shared:
            yield f"stays: {physical}, because the job {owner} writes this table too"


def retirement_of(settings: Settings, name: str, *, keep_tables: bool = False) -> Retirement:
    """What would be removed with a job; nothing is removed here.

    Parameters
    ----------
    settings : Settings
        The namespace whose tables and checkpoints are meant.
    name : str
        A promoted job, or a job with a checkpoint in the namespace.
    keep_tables : bool
        Leave the tables with their figures.

    Raises
    ------
    UnknownName
        There is no such job.
    """
    registry = Registry(settings)
    versions = registry.versions(name) if name.isidentifier() else []
    known = jobs_with_checkpoints(settings.checkpoints)
    if not versions and name not in known:
        raise UnknownName("job", name, {*registry.names(), *known})
    promoted = [version.manifest.plan for version in versions if version.manifest.plan is not None]
    job = promoted[-1].job if promoted else None if versions else name
    job_epochs = _epochs(settings, job) if job else []
    plans = tuple(dict.fromkeys([*promoted, *_plans(job_epochs)]))
    owners = _owners(settings, registry, name, job)
    tables, shared = _own(plans, owners)
    folder = runs_folder(settings, name)
    return Retirement(
        name,
        job,
        plans,
        () if keep_tables else tables,
        shared,
        tuple(version.label for version in versions),
        tuple(epoch.number for epoch in job_epochs),
        tuple(epoch.number for epoch in job_epochs if is_kept(epoch)),
        len(list(folder.glob("*.ipynb"))),
    )


def _own(
    plans: tuple[Plan, ...], owners: dict[tuple[str, str], str]
) -> tuple[tuple[TablePlan, ...], tuple[tuple[str, str], ...]]:
    """The tables of some plans that no other job writes, each once with all its windows; and the shared tables."""
    found: dict[tuple[str, str], TablePlan] = {}
    for table in (table for plan in plans for table in plan.tables):
        key = (table.store, table.name)
        before = found.get(key, table)
        found[key] = replace(table, every=tuple(dict.fromkeys([*before.every, *table.every])))
    tables, shared = [], []
    for table in found.values():
        mine = []
        for physical, grain in zip(table.physical, table.every or ("",), strict=True):
            owner = owners.get((table.store, physical))
            if owner is None:
                mine.append(grain)
            else:
                shared.append((physical, owner))
        if mine:
            tables.append(replace(table, every=tuple(mine) if table.every else ()))
    return tuple(tables), tuple(shared)


def _owners(settings: Settings, registry: Registry, name: str, job: str | None) -> dict[tuple[str, str], str]:
    """The stored tables of other jobs: of promoted jobs, and of jobs with a checkpoint in the namespace."""
    plans = [registry.version(other).manifest.plan for other in registry.names() if other != name]
    for other in jobs_with_checkpoints(settings.checkpoints):
        if other != job:
            plans += _plans(_epochs(settings, other))[-1:]
    return {
        (table.store, physical): plan.job
        for plan in plans
        if plan is not None
        for table in plan.tables
        for physical in table.physical
    }


def _epochs(settings: Settings, job: str) -> list[Epoch]:
    with suppress(JobError):  # the checkpoint is damaged, or an earlier retirement was killed
        return epochs(f"{settings.checkpoints}/{job}")
    return []


def _plans(job_epochs: list[Epoch]) -> list[Plan]:
    """What the epochs of a checkpoint say that they write, oldest first."""
    return [plan for epoch in job_epochs if (plan := read_plan(epoch.path)) is not None]
