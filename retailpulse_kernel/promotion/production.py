"""Running what was promoted: the current version, with its parameters, until a newer one takes over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import filelock

from retailpulse_kernel.errors import JobError, RetailPulseError, UsageError
from retailpulse_kernel.promotion.beside import follow, has_caught_up
from retailpulse_kernel.promotion.exchange import complete, exchange
from retailpulse_kernel.promotion.overview import runs_folder
from retailpulse_kernel.promotion.registry import Registry, Version
from retailpulse_kernel.promotion.switching import way_of
from retailpulse_kernel.running import Run, in_environment, run_notebook
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.checkpoint import committed_batch, new_epoch
from retailpulse_kernel.streaming.plan import REVISION, read_plan, write_plan
from retailpulse_kernel.streaming.writer import writer_lock

__all__ = ["KEPT_RUNS", "run_current"]

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

    A continuous run ends after its micro-batch when it is over, when another version became current, when
    the pipeline is held, or by SIGTERM; the next run goes on from there.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    name : str
        The pipeline's.
    show_output : bool
        Whether what the cells print is printed here too.
    began : callable, optional
        Called with the path of the output notebook before the first cell.
    stop_when : callable, optional
        Asked every second or so; once it is true, the run ends too.

    Raises
    ------
    UnknownName
        There is no such pipeline.
    UsageError
        It is held, or its notebook was changed by hand.
    RetailPulseError
        It failed.
    """
    registry = Registry(settings)
    if registry.current(name).paused:
        raise UsageError(f"{name} is held.", remedy=f"Let it go on: `retailpulse resume {name}`.")
    version = registry.version(name)
    version.require_intact()
    started = datetime.now(UTC)

    def is_over() -> bool:
        return stop_when() or _is_over(registry, name, version)

    if version.manifest.plan is not None and not _take_over(settings, version, is_over):
        seconds = (datetime.now(UTC) - started).total_seconds()
        return Run(version.notebook, version.notebook, {}, seconds)
    started = datetime.now(UTC)
    folder = runs_folder(settings, name)
    output = folder / f"{started:%Y%m%dT%H%M%S}-{version.label}-{os.getpid()}.ipynb"
    plan = version.manifest.plan
    began(output)
    try:
        with in_environment({REVISION: plan.revision if plan else ""}):
            return run_notebook(
                settings,
                version.notebook,
                version.manifest.parameters,
                output=output,
                show_output=show_output,
                about={"pipeline": name, "version": version.label, "promoted": version.manifest.promoted},
                stop_when=is_over,
            )
    finally:
        for old in sorted(folder.glob("*.ipynb"))[:-KEPT_RUNS]:
            old.unlink(missing_ok=True)


def _take_over(settings: Settings, version: Version, is_over: Callable[[], bool]) -> bool:
    """Give the version its epoch, once the run before it has let go: there are never two writers.

    A new epoch is made beside first, and the tables stay as they are until it stands where the old one does.

    Returns
    -------
    bool
        False where it was stopped before that.
    """
    plan = version.manifest.plan
    assert plan is not None
    try:
        with writer_lock(settings, plan.job).acquire(timeout=_HANDOVER_SECONDS):
            complete(settings, plan.job)
            way = way_of(settings, plan)
            if way.kind == "new epoch" and way.epoch is not None:
                if read_plan(way.epoch.path) is None or committed_batch(way.epoch.path) is None:
                    # It has written nothing that could be kept or compared.
                    write_plan(new_epoch(f"{settings.checkpoints}/{plan.job}").path, plan)
                    return True
                follow(settings, version, way.epoch, stopped=True, stop_when=is_over)
                if not has_caught_up(settings, plan, way.epoch):
                    return False
                compared = exchange(settings, plan)
                said = f"{version.manifest.name} {version.label} takes over; in the figures of both: {compared}"
                print(said, file=sys.stderr)
            elif way.kind == "earlier epoch":
                exchange(settings, plan, way.epoch)
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
        return False  # it goes on with what it has while the file can't be read
    return current.paused or current.version != version.manifest.version
