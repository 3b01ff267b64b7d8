"""A promoted version's manifest: what is run, how, in which environment, and what the gate found."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.streaming.plan.data import Plan

__all__ = ["CONTINUOUS", "Manifest", "Step", "read_manifest"]

#: The schedule of a job that runs on and on.
CONTINUOUS = "@continuous"


@dataclass(frozen=True)
class Step:
    """A step of the gate: its name, what it found, and the verdict in a word or two."""

    name: str
    found: str
    verdict: str
    ok: bool = True


@dataclass(frozen=True)
class Manifest:
    """A promoted version.

    Attributes
    ----------
    name : str
        The pipeline's name.
    version : int
        From 1 on.
    notebook : str
        The file beside the manifest.
    sha256 : str
        The notebook's.
    kind : {"stream", "batch"}
        Whether the notebook runs a streaming job.
    schedule : str
        ``@continuous``, a cron expression, ``asset:NAME`` for after another pipeline's run, or nothing.
    doc : str
        The notebook's first text.
    promoted : str
        The time of the promotion, UTC.
    parameters : dict
        The parameters that the notebook is run with, as text.
    environment : Environment
        The environment of the trial.
    outcome : str
        What becomes of the checkpoint: ``first``, ``resume``, ``new epoch``; empty for a batch notebook.
    reasons : tuple of str
        Why.
    steps : tuple of Step
        The steps of the gate.
    plan : Plan, optional
        What the job means.
    kept : dict of str to str
        Further files of the version, with their SHA-256: the contract, and the notebook's file of tests.
    """

    name: str
    version: int
    notebook: str
    sha256: str
    kind: str
    schedule: str
    doc: str
    promoted: str
    parameters: dict[str, str] = field(default_factory=dict)
    environment: Environment = field(default_factory=lambda: Environment("", ""))
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    plan: Plan | None = None
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """The models beside the notebook, with their SHA-256."""
        return self.plan.models if self.plan is not None else ()

    def to_toml(self) -> str:
        """The manifest as it is written."""
        return tomli_w.dumps(_without_none(msgspec.to_builtins(self)))


def _without_none(value: Any) -> Any:
    """The value as TOML has it, which knows no null."""
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list | tuple) else value


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from its file.

    Parameters
    ----------
    path : Path
        The file ``manifest.toml``.

    Raises
    ------
    UsageError
        The file is missing or damaged.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Manifest)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"The manifest {path} can't be read: {error}.",
            remedy="Restore the manifest from git, or promote the notebook again.",
        ) from error
