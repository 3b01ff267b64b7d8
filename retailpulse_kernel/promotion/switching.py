"""From one version to another: which epoch of the checkpoint a version goes on with, and the way back."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retailpulse_kernel.errors import JobError, UsageError
from retailpulse_kernel.promotion.comparing import Effect, compare
from retailpulse_kernel.promotion.registry import Registry
from retailpulse_kernel.promotion.tables import make_way
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.checkpoint import Epoch, epochs, find_epoch, new_epoch
from retailpulse_kernel.streaming.plan import Plan, read_plan, write_plan

__all__ = ["Way", "prepare", "rollback", "way_of"]


#: Differences by which the same key of the same table gets other values.
_REWRITES = {"topic", "dedup key", "filter", "key", "measure"}


@dataclass(frozen=True)
class Way:
    """How a version goes on.

    Attributes
    ----------
    kind : {"first", "resume", "earlier epoch", "new epoch"}
        From the newest checkpoint; from an older one that has this version's state; or from none.
    epoch : Epoch, optional
        The one that it goes on from.
    reasons : tuple of str
        Why not from the newest one.
    """

    kind: str
    epoch: Epoch | None = None
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {
            "first": "it begins with the topic's first message",
            "resume": "it goes on from the checkpoint",
            "earlier epoch": f"it goes on from its own epoch {self.epoch.number if self.epoch else ''}",
            "new epoch": "it begins a new epoch, which writes its tables anew",
        }[self.kind] + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


def way_of(settings: Settings, plan: Plan) -> Way:
    """How a version with this plan would go on in a namespace; the checkpoints themselves say what they hold."""
    folder = f"{settings.checkpoints}/{plan.job}"
    newest = find_epoch(folder)
    if newest is None:
        return Way("first")
    reasons = _reasons(newest, plan)
    if not reasons:
        return Way("resume", newest)
    later = [newest]
    for epoch in reversed(epochs(folder)[:-1]):
        if not _leaves_rows(later[-1], plan):
            break
        if not _reasons(epoch, plan):
            return Way("earlier epoch", epoch, reasons)
        later.append(epoch)
    return Way("new epoch", None, reasons)


def _leaves_rows(epoch: Epoch, plan: Plan) -> bool:
    """Whether what an epoch wrote is right for this plan too: then its closed windows need not be written again."""
    other = read_plan(epoch.path)
    if other is None:
        return False
    shared = {(t.store, name) for t in other.tables for name in t.physical}
    if not shared & {(t.store, name) for t in plan.tables for name in t.physical}:
        return True
    return not any(difference.what in _REWRITES for difference in compare(other, plan))


def _reasons(epoch: Epoch, plan: Plan) -> tuple[str, ...]:
    old = read_plan(epoch.path)
    if old is None:
        return ("nothing tells what the checkpoint is the state of",)
    return tuple(d.reason for d in compare(old, plan) if d.effect is Effect.EPOCH)


def prepare(settings: Settings, plan: Plan) -> Way:
    """Make the checkpoint ready for a version that is about to run; its writer must not run.

    An earlier epoch is copied to a new one, whose writes win over all that came between, and goes on from
    where it stood.

    Raises
    ------
    JobError
        The earlier epoch can't be copied.
    """
    way, folder = way_of(settings, plan), f"{settings.checkpoints}/{plan.job}"
    newest = find_epoch(folder)
    old = read_plan(newest.path) if newest else None
    if way.kind == "new epoch":
        if old is not None:
            make_way(settings, old, plan)
        # With its plan: a run that ends before its first batch begins no other epoch.
        write_plan(new_epoch(folder).path, plan)
    elif way.kind == "earlier epoch" and way.epoch is not None:
        _adopt(folder, way.epoch)
    return way


def _adopt(folder: str, epoch: Epoch) -> None:
    root, newest = Path(folder.removeprefix("file://")), find_epoch(folder)
    source = Path(epoch.path.removeprefix("file://"))
    if newest is None or not source.is_dir():
        raise JobError(f"The epoch {epoch.path} is not on this machine.", remedy="Run this where it is mounted.")
    number = newest.number + 1
    aside = root / f"e{number:04d}.new"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    about = {"number": number, "start_ms": int(time.time() * 1000), "from": epoch.number}
    (aside / "epoch.json").write_text(json.dumps(about))
    aside.rename(root / f"e{number:04d}")


def rollback(settings: Settings, name: str, label: str | None = None) -> dict[str, Any]:
    """Make an earlier version the current one; it takes over at the next boundary of a run.

    Raises
    ------
    UsageError
        There is none before it, or it was changed by hand.
    """
    registry = Registry(settings)
    current = registry.current(name)
    if label is None and not current.previous:
        raise UsageError(f"{name} has no version before v{current.version}.", remedy="Name one: v1.")
    version = registry.version(name, label or current.previous)
    version.require_intact()
    if version.manifest.version == current.version:
        raise UsageError(f"{name} {version.label} is the current version already.")
    state = str(way_of(settings, version.manifest.plan)) if version.manifest.plan else "it is run from now on"
    registry.switch(name, version.manifest.version)
    return {"name": name, "from": f"v{current.version}", "to": version.label, "state": state}
