"""From one version to another: the epoch that a version continues from, and the rollback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.cutover import is_kept
from retailpulse_kernel.promotion.registry.registry import CONTRACT, Registry, Version
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, epochs, find_epoch
from retailpulse_kernel.streaming.plan.data import Plan, read_plan
from retailpulse_kernel.streaming.run.changes import Effect, again, compare
from retailpulse_kernel.streaming.run.planning import under

__all__ = ["ResumePlan", "require_contract", "resume_plan", "rollback"]


@dataclass(frozen=True)
class ResumePlan:
    """How a version continues.

    Attributes
    ----------
    kind : {"first", "resume", "earlier epoch", "new epoch"}
        Without a checkpoint; from the newest epoch; from a replaced epoch, which is kept with its tables; or from
        a new epoch.
    epoch : Epoch, optional
        The epoch that the version continues from. For a new epoch: the epoch that is replaced.
    reasons : tuple of str
        Why the version can't continue from the newest epoch.
    """

    kind: str
    epoch: Epoch | None = None
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return {
            "first": "the job starts at the topic's first message",
            "resume": "the job continues from the checkpoint",
            "earlier epoch": f"the job continues from its own epoch {self.epoch.number if self.epoch else ''}",
            "new epoch": "a staged epoch catches up and then replaces the old epoch",
        }[self.kind] + (f" ({'; '.join(self.reasons)})" if self.reasons else "")


def resume_plan(settings: Settings, plan: Plan) -> ResumePlan:
    """How a version would continue in a namespace; the checkpoints themselves say what their state is.

    Parameters
    ----------
    settings : Settings
        The namespace.
    plan : Plan
        The version's plan.
    """
    folder = f"{settings.checkpoints}/{plan.job}"
    newest = find_epoch(folder)
    if newest is None:
        return ResumePlan("first")
    reasons = _reasons(newest, plan)
    if not reasons:
        return ResumePlan("resume", newest)
    for epoch in reversed(epochs(folder)[:-1]):
        if is_kept(epoch) and not _reasons(epoch, plan):
            return ResumePlan("earlier epoch", epoch, reasons)
    return ResumePlan("new epoch", newest, reasons)


def _reasons(epoch: Epoch, plan: Plan) -> tuple[str, ...]:
    old = read_plan(epoch.path)
    if old is None:
        return ("no plan says what the checkpoint is the state of",)
    return (*(d.reason for d in compare(old, plan) if d.effect >= Effect.EPOCH), *again(epoch.path, plan))


def require_contract(settings: Settings, version: Version) -> list[str]:
    """Make sure that the present contract means to a version's job what the version was promoted with.

    Parameters
    ----------
    settings : Settings
        Their contract is the present one.
    version : Version
        The version that is to run.

    Returns
    -------
    list of str
        What has changed for the job, in words, and is no other meaning: such as another rule of a field.

    Raises
    ------
    UsageError
        The job would compute something else.
    """
    plan, promoted = version.manifest.plan, version.contract
    if plan is None or promoted is None:
        return []
    found = compare(under(plan, promoted), under(plan, contract_of(settings)))
    if others := [one.reason for one in found if one.effect >= Effect.EPOCH]:
        raise UsageError(
            f"The contract has changed since the promotion of {version.manifest.name} {version.label}: "
            f"{'; '.join(others)}.",
            remedy="Promote the notebook again, which makes its tables anew by the present contract. Or put the "
            f"contract back: {version.folder / CONTRACT} has what the version was promoted with.",
        )
    return [one.reason for one in found]


def rollback(settings: Settings, name: str, label: str | None = None) -> dict[str, Any]:
    """Make an earlier version the current one. The version takes over after the present micro-batch.

    Parameters
    ----------
    settings : Settings
        The namespace in which the pipeline runs.
    name : str
        The pipeline's name.
    label : str, optional
        A version such as ``v3``; the version that ran before the current one when absent.

    Returns
    -------
    dict
        `name`, the versions `from` and `to`, and the `state`: how the version continues, in words.

    Raises
    ------
    UnknownName
        There is no such pipeline or version.
    UsageError
        The version is current already or was changed by hand, the contract has changed for it, or there is no earlier
        one.
    """
    registry = Registry(settings)
    current = registry.current(name)
    if label is None and not current.previous:
        raise UsageError(f"{name} has no version before v{current.version}.", remedy="Name a version, such as v1.")
    version = registry.version(name, label or current.previous)
    version.require_intact()
    if version.manifest.version == current.version:
        raise UsageError(f"{name} {version.label} is the current version already.")
    require_contract(settings, version)
    state = (
        str(resume_plan(settings, version.manifest.plan)) if version.manifest.plan else "the next run uses this version"
    )
    registry.activate(name, version.manifest.version)
    return {"name": name, "from": f"v{current.version}", "to": version.label, "state": state}
