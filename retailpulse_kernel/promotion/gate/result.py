"""What became of a promotion, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from retailpulse_kernel.promotion.gate.resume import Verdict
from retailpulse_kernel.promotion.registry.manifest import Step
from retailpulse_kernel.promotion.registry.registry import Version

__all__ = ["Promotion"]


@dataclass
class Promotion:
    """What became of a promotion.

    Attributes
    ----------
    name : str
        The pipeline's name; empty until the gate has found the pipeline.
    before : Version, optional
        The version that was current before the promotion.
    steps : list of Step
        The steps of the gate, in order.
    version : Version, optional
        The frozen version; None when a step failed, nothing changed, or the notebook was only tried.
    unchanged : bool
        Whether notebook, parameters, schedule and plan are those of the current version.
    verdict : Verdict, optional
        What becomes of the checkpoint; None for a notebook without a job.
    report : callable
        Called with each step.
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
        """How the promotion ended."""
        old = self.before.label if self.before else None
        if self.unchanged:
            return f"{self.name} {old} is the same already. Nothing was frozen, and nothing restarts"
        if not self.ok and self.version is not None:
            return f"frozen as {self.name} {self.version.label}, but the cutover failed; {old} runs on"
        if not self.ok:
            return f"{self.name or 'the notebook'} was not promoted: nothing was written" + (
                f"; {old} runs on" if old else ""
            )
        if self.version is None:
            return f"{self.name} would pass the gate; nothing was written"
        then = f"; it takes over from {old} at the next micro-batch's end" if old else ""
        return f"frozen as pipelines/{self.version.folder.parent.name}/{self.version.label}{then}"

    def to_json(self) -> dict[str, Any]:
        """The promotion for ``--json``."""
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
        """Add a step's result, and report it.

        Parameters
        ----------
        name : str
            The step's name; empty for a line below the last step.
        found : str
            What the step found, in words.
        verdict : str
            The verdict in a word or two.
        ok : bool
            Whether the step was passed.
        """
        self.steps.append(Step(name, found, verdict, ok))
        self.report(self.steps[-1])
