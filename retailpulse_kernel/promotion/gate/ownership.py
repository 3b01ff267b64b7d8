"""Which pipeline a notebook belongs to, and that no two of them write the same tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.streaming.plan.data import Plan

__all__ = ["name_of", "other_writer"]


def name_of(registry: Registry, notebook: Path, plan: Plan | None) -> str:
    """The pipeline of a notebook: found by the job, else by the notebook's own name, which a new pipeline gets too.

    Parameters
    ----------
    registry : Registry
        The promoted versions.
    notebook : Path
        The notebook.
    plan : Plan, optional
        The plan of the notebook's job; None for a notebook without a job.
    """
    by_job = {version.manifest.plan.job: version.manifest.name for version in _current(registry, with_job=True)
              if version.manifest.plan}  # fmt: skip
    stem = notebook.stem.lower()
    if plan is not None and plan.job in by_job:
        return by_job[plan.job]
    return stem if stem in registry.names() or plan is None else plan.job


def other_writer(registry: Registry, name: str, plan: Plan | None) -> str | None:
    """The sentence that names another pipeline with a table of this plan; None where there is no such pipeline.

    Parameters
    ----------
    registry : Registry
        The promoted versions.
    name : str
        The pipeline that the plan belongs to.
    plan : Plan, optional
        The plan; None for a notebook without a job.
    """
    if plan is None:
        return None
    mine = _written(plan)
    for version in _current(registry, with_job=True):
        if version.manifest.name != name and version.manifest.plan is not None:
            shared = mine & _written(version.manifest.plan)
            if shared or version.manifest.plan.job == plan.job:
                what = f"the table {min(shared)[1]}" if shared else f"the job {plan.job}"
                writer = f"{version.manifest.name} {version.label}"
                return f"{what} is written by {writer}: two writers would overwrite each other"
    return None


def _written(plan: Plan) -> set[tuple[str, str]]:
    return {(table.store, physical) for table in plan.tables for physical in table.physical}


def _current(registry: Registry, *, with_job: bool) -> Iterator[Version]:
    for name in registry.names():
        version = registry.version(name)
        if not with_job or version.manifest.plan is not None:
            yield version
