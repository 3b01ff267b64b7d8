"""What became of a promotion, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from retailpulse_kernel.promotion.checkpoint import Verdict
from retailpulse_kernel.promotion.manifest import Step
from retailpulse_kernel.promotion.registry import Version

__all__ = ["Promotion"]


@dataclass
class Promotion:
    """What became of a promotion.

    Attributes
    ----------
    name : str
        The pipeline; empty until it is known.
    before : Version, optional
        The version that is current without it.
    steps : list of Step
        What the gate saw, in order.
    version : Version, optional
        What was frozen; None when a step failed, nothing changed, or it was only tried.
    unchanged : bool
        Whether the notebook, its parameters, schedule and meaning are those of the current version.
    """

    name: str = ""
    before: Version | None = None
    steps: list[Step] = field(default_factory=list)
    version: Version | None = None
    unchanged: bool = False
    verdict: Verdict | None = None
    report: Callable[[Step], None] = lambda step: None

    @property
    def ok(self) -> bool:
        """Whether every step was passed."""
        return all(step.ok for step in self.steps)

    def sentence(self) -> str:
        """How it ended."""
        old = self.before.label if self.before else None
        if self.unchanged:
            return f"{self.name} {old} is the same already: nothing was frozen, nothing restarts"
        if not self.ok and self.version is not None:
            return f"frozen as {self.name} {self.version.label}, which did not take over; {old} runs on"
        if not self.ok:
            return f"{self.name or 'the notebook'} stays out: nothing was written" + (f"; {old} runs on" if old else "")
        if self.version is None:
            return f"{self.name} would pass; nothing was written"
        then = f"; it takes over from {old} at the next micro-batch's end" if old else ""
        return f"frozen as pipelines/{self.version.folder.parent.name}/{self.version.label}{then}"

    def to_json(self) -> dict[str, Any]:
        """All of it for ``--json``."""
        return {
            "name": self.name,
            "before": self.before.label if self.before else None,
            "version": self.version.label if self.version else None,
            "ok": self.ok,
            "unchanged": self.unchanged,
            "outcome": self.verdict.outcome if self.verdict else None,
            "reasons": list(self.verdict.reasons) if self.verdict else [],
            "steps": [asdict(step) for step in self.steps],
        }

    def add(self, name: str, found: str, verdict: str = "ok", *, ok: bool = True) -> None:
        """Take in a step's result."""
        self.steps.append(Step(name, found, verdict, ok))
        self.report(self.steps[-1])
