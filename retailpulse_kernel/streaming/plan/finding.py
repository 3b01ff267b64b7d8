"""The plans of a namespace: which job writes which table, and which one keeps single events.

A job that ran has its plan beside its checkpoint, and a promoted version has one in its manifest. No name of a job or
of a notebook says what it does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.streaming.checkpoint.epochs import epochs, jobs_with_checkpoints
from retailpulse_kernel.streaming.plan.data import Plan, read_plan

__all__ = ["archiver", "other_writer", "plans", "promoted", "writer_of"]


@dataclass(frozen=True)
class _Promoted:
    """The promoted version that is current of a job.

    Attributes
    ----------
    name : str
        The version's, such as ``v3``.
    pipeline : str
        The pipeline's, such as ``carts``.
    plan : Plan
        What it means.
    notebook : Path
        The frozen notebook.
    parameters : dict of str to str
        What it is run with, as text.
    """

    name: str
    pipeline: str
    plan: Plan
    notebook: Path
    parameters: dict[str, str]

    @property
    def label(self) -> str:
        """Both names, such as ``carts v3``."""
        return f"{self.pipeline} {self.name}"


@dataclass
class _Job:
    """What is known of a job: its promoted plan, and the plan of its newest epoch that ran."""

    promoted: Plan | None = None
    ran: Plan | None = None
    start_ms: int = 0
    epochs: dict[int, str] = field(default_factory=dict)

    def plan(self, epoch: int | None) -> Plan | None:
        """The plan of an epoch, or of the newest one that ran.

        Early epochs have no plan beside them: what was promoted stands for it.
        """
        if epoch is None:
            return self.ran or self.promoted
        beside = _plan_beside(self.epochs[epoch]) if epoch in self.epochs else None
        return beside or self.promoted or self.ran


def plans(settings: Settings, epochs: Mapping[str, int] | None = None) -> list[Plan]:
    """The plan of each job that ran in a namespace or is promoted.

    Where several write one table, the first of them has it. Jobs that ran here come before those that did not,
    promoted ones before others, and of those the one whose epoch is younger: a job may have been renamed.

    Parameters
    ----------
    settings : Settings
        Its checkpoints, and its promoted versions. Checkpoints that can't be reached from here are left out.
    epochs : mapping of str to int, optional
        Of which epoch a job's plan is wanted, by the job's name; of the newest one that ran when absent. A younger
        epoch that has taken nothing yet may have another plan.
    """
    found = _jobs(settings)

    def rank(name: str) -> tuple[bool, bool, int, str]:
        job = found[name]
        return job.ran is None, job.promoted is None, -job.start_ms, name

    wanted = epochs or {}
    ordered = (found[name].plan(wanted.get(name)) for name in sorted(found, key=rank))
    return [plan for plan in ordered if plan is not None]


def writer_of(settings: Settings, table: str) -> Plan | None:
    """The plan of the job that writes a table, by the table's name without a grain; None where there is none.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    table : str
        Such as ``category``.
    """
    return next((plan for plan in plans(settings) if any(one.name == table for one in plan.tables)), None)


def other_writer(settings: Settings, plan: Plan) -> tuple[str, str] | None:
    """A table of rows that another job has written in the namespace, and that job's name; None where there is none.

    A table that the plan's own job has had before is its own.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    plan : Plan
        What the job is about to write.
    """
    found = _jobs(settings)
    mine = found.pop(plan.job, _Job())
    new = _row_tables(plan) - _row_tables(mine.promoted) - _row_tables(mine.ran)
    for name, job in found.items():
        if shared := new & _row_tables(job.ran):
            return min(shared)[1], name
    return None


def _row_tables(plan: Plan | None) -> set[tuple[str, str]]:
    return {(table.store, table.name) for table in plan.tables if table.rows is not None} if plan else set()


def archiver(settings: Settings) -> Plan | None:
    """The plan of the job that keeps single events; None where there is none.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    """
    return next((plan for plan in plans(settings) if plan.archive is not None), None)


def _jobs(settings: Settings) -> dict[str, _Job]:
    found: dict[str, _Job] = {}
    for version in promoted(settings):
        found.setdefault(version.plan.job, _Job()).promoted = version.plan
    for name in _with_checkpoints(settings.checkpoints):
        job = found.setdefault(name, _Job())
        try:
            lives = epochs(f"{settings.checkpoints}/{name}")
        except (OSError, pa.ArrowException, JobError):  # damaged, or being removed
            continue
        job.epochs = {epoch.number: epoch.path for epoch in lives}
        # The newest one has none until it has run.
        for epoch in reversed(lives):
            if (ran := _plan_beside(epoch.path)) is not None:
                job.ran, job.start_ms = ran, epoch.start_ms
                break
    return found


def _with_checkpoints(folder: str) -> list[str]:
    try:
        return jobs_with_checkpoints(folder)
    except (OSError, pa.ArrowException):
        return []


def _plan_beside(checkpoint: str) -> Plan | None:
    try:
        return read_plan(checkpoint)
    except (OSError, pa.ArrowException, JobError):
        return None


def promoted(settings: Settings) -> Iterator[_Promoted]:
    """The current versions of all jobs. Only a few lines of the files are of interest here.

    Parameters
    ----------
    settings : Settings
        Its `pipelines` is the folder. A manifest that can't be read is left out.
    """
    for current in sorted(settings.pipelines.glob("*/current.toml")):
        try:
            version = tomllib.loads(current.read_text())["version"]
            folder = current.parent / f"v{version}"
            manifest = tomllib.loads((folder / "manifest.toml").read_text())
            if "plan" in manifest:
                plan, notebook = msgspec.convert(manifest["plan"], Plan), folder / manifest.get("notebook", "")
                yield _Promoted(folder.name, current.parent.name, plan, notebook, manifest.get("parameters", {}))
        except (OSError, tomllib.TOMLDecodeError, KeyError, msgspec.ValidationError):
            continue  # `retailpulse jobs` says what is wrong with it
