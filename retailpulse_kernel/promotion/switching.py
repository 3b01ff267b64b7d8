"""From one version to another: which epoch of the checkpoint a version goes on with, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.promotion.comparing import Effect, compare
from retailpulse_kernel.promotion.exchange import is_kept
from retailpulse_kernel.promotion.registry import Registry
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.checkpoint import Epoch, epochs, find_epoch
from retailpulse_kernel.streaming.plan import Plan, read_plan

__all__ = ["Way", "rollback", "way_of"]


@dataclass(frozen=True)
class Way:
    """How a version goes on.

    Attributes
    ----------
    kind : {"first", "resume", "earlier epoch", "new epoch"}
        From the newest checkpoint; from one that was replaced and is kept with its tables; or from none.
    epoch : Epoch, optional
        The one that it goes on from; with a new epoch the one that is replaced.
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
            "new epoch": "it begins a new epoch, which is made beside and then put in the old one's place",
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
    for epoch in reversed(epochs(folder)[:-1]):
        if is_kept(epoch) and not _reasons(epoch, plan):
            return Way("earlier epoch", epoch, reasons)
    return Way("new epoch", newest, reasons)


def _reasons(epoch: Epoch, plan: Plan) -> tuple[str, ...]:
    old = read_plan(epoch.path)
    if old is None:
        return ("nothing tells what the checkpoint is the state of",)
    return tuple(d.reason for d in compare(old, plan) if d.effect is Effect.EPOCH)


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
