"""Running what was promoted: the current version, with its parameters, until a newer version takes over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import filelock

from retailpulse_kernel.ground.errors import JobError, RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import Run, run_notebook
from retailpulse_kernel.promotion.cutover.cutover import complete, cut_over
from retailpulse_kernel.promotion.cutover.overview import runs_folder
from retailpulse_kernel.promotion.cutover.staging import follow, has_caught_up
from retailpulse_kernel.promotion.cutover.versions import require_contract, resume_plan
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import read_plan, write_plan
from retailpulse_kernel.streaming.run.context import RunContext

__all__ = ["run_current"]

#: Output notebooks that are kept of each pipeline.
KEPT_RUNS = 100
#: Seconds that a run which is just ending has to let go of the checkpoint.
_HANDOVER_SECONDS = 90


def run_current(
    settings: Settings,
    name: str,
    *,
    show_output: bool = False,
    began: Callable[[Path], None] = lambda output: None,
    stop_when: Callable[[], bool] = lambda: False,
) -> Run:
    """Run the current version of a pipeline once, as its manifest says.

    A continuous run ends after its micro-batch: when its time is over, when another version became current, when
    the pipeline is held, or by SIGTERM. The next run continues from there.

    Parameters
    ----------
    settings : Settings
        The servers, and the namespace in which the pipeline runs.
    name : str
        The pipeline's name.
    show_output : bool
        Whether the output of the cells is printed here too.
    began : callable, optional
        Called with the path of the output notebook before the first cell.
    stop_when : callable, optional
        Asked every second or so; once it is true, the run ends too.

    Raises
    ------
    UnknownName
        There is no such pipeline.
    UsageError
        The pipeline is held, its notebook was changed by hand, or the contract has another meaning for its job.
    RetailPulseError
        The run failed.
    """
    require_own(settings, f"Running the promoted job {name!r}")
    registry = Registry(settings)
    if registry.current(name).paused:
        raise UsageError(f"{name} is held.", remedy=f"Resume the job first: `retailpulse resume {name}`.")
    version = registry.version(name)
    version.require_intact()
    for change in require_contract(settings, version):
        print(f"{name} {version.label}: the contract has changed since the promotion: {change}", file=sys.stderr)
    started = datetime.now(UTC)

    def is_over() -> bool:
        return stop_when() or _is_over(registry, name, version)

    if version.manifest.plan is not None and not _open_epoch(settings, version, is_over):
        seconds = (datetime.now(UTC) - started).total_seconds()
        return Run(version.notebook, version.notebook, {}, seconds)
    started = datetime.now(UTC)
    folder = runs_folder(settings, name)
    output = folder / f"{started:%Y%m%dT%H%M%S}-{version.label}-{os.getpid()}.ipynb"
    plan = version.manifest.plan
    began(output)
    try:
        return run_notebook(
            settings,
            version.notebook,
            version.manifest.parameters,
            output=output,
            show_output=show_output,
            about={"pipeline": name, "version": version.label, "promoted": version.manifest.promoted},
            stop_when=is_over,
            context=RunContext(revision=plan.revision if plan else ""),
        )
    finally:
        for old in sorted(folder.glob("*.ipynb"))[:-KEPT_RUNS]:
            old.unlink(missing_ok=True)


def _open_epoch(settings: Settings, version: Version, is_over: Callable[[], bool]) -> bool:
    """Give the version its epoch, once the run before has released the writer's lock: there are never two writers.

    A staged epoch catches up first. The live tables stay as they are until the staged epoch has the live one's offsets.

    Returns
    -------
    bool
        False where the run was stopped before that.
    """
    plan = version.manifest.plan
    assert plan is not None
    try:
        with writer_lock(settings, plan.job).acquire(timeout=_HANDOVER_SECONDS):
            complete(settings, plan.job)
            resume = resume_plan(settings, plan)
            if resume.kind == "new epoch" and resume.epoch is not None:
                if read_plan(resume.epoch.path) is None or committed_batch(resume.epoch.path) is None:
                    # The old epoch has written nothing that could be kept or compared.
                    write_plan(new_epoch(f"{settings.checkpoints}/{plan.job}").path, plan)
                    return True
                follow(settings, version, resume.epoch, stopped=True, stop_when=is_over)
                if not has_caught_up(settings, plan, resume.epoch):
                    return False
                compared = cut_over(settings, plan)
                said = f"{version.manifest.name} {version.label} takes over; rows of both versions: {compared}"
                print(said, file=sys.stderr)
            elif resume.kind == "earlier epoch":
                cut_over(settings, plan, resume.epoch)
    except filelock.Timeout:
        raise JobError(
            f"The job {plan.job!r} runs already in the namespace {settings.namespace.name!r}.",
            remedy="Stop that run first: `retailpulse jobs` shows it.",
        ) from None
    return True


def _is_over(registry: Registry, name: str, version: Version) -> bool:
    """Whether another version is current, or the pipeline is held."""
    try:
        current = registry.current(name)
    except (RetailPulseError, OSError):
        return False  # while the file can't be read, the run continues
    return current.paused or current.version != version.manifest.version
