"""A promoted version's manifest: what is run, how, from which environment, and why it was let through."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.settings import project_root
from retailpulse_kernel.streaming.plan import Plan

__all__ = ["CONTINUOUS", "Environment", "Manifest", "Step", "environment_of", "read_manifest", "sha256_of"]

#: The schedule of a job that runs on and on.
CONTINUOUS = "@continuous"


@dataclass(frozen=True)
class Step:
    """A step of the gate: its name, what was seen, and the verdict in a word or two."""

    name: str
    found: str
    verdict: str
    ok: bool = True


@dataclass(frozen=True)
class Environment:
    """What a version was tried with.

    Attributes
    ----------
    package, python : str
        Versions.
    lock_sha256 : str
        Of the locked requirements; empty without a checkout.
    commit : str
        Git's, with ``+`` behind it when files had changes; empty without a checkout.
    """

    package: str
    python: str
    lock_sha256: str = ""
    commit: str = ""


@dataclass(frozen=True)
class Manifest:
    """A promoted version.

    Attributes
    ----------
    name : str
        Of the pipeline.
    version : int
        From 1 on.
    notebook : str
        The file beside the manifest.
    sha256 : str
        The notebook's.
    kind : {"stream", "batch"}
        Whether it runs a streaming job.
    schedule : str
        ``@continuous``, a cron expression, ``asset:NAME`` for after another pipeline's run, or nothing.
    doc : str
        The notebook's first text.
    promoted : str
        When, UTC.
    parameters : dict
        What it is run with, as text.
    environment : Environment
        What it was tried with.
    outcome : str
        What becomes of the checkpoint: ``first``, ``resume``, ``new epoch``; empty for a batch notebook.
    reasons : tuple of str
        Why.
    steps : tuple of Step
        What the gate saw.
    plan : Plan, optional
        What the job means.
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
    environment: Environment = Environment("", "")
    outcome: str = ""
    reasons: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    plan: Plan | None = None

    def to_toml(self) -> str:
        """The manifest as it is written."""
        return tomli_w.dumps(_without_none(msgspec.to_builtins(self)))


def _without_none(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as TOML has it, which knows no null."""
    return {
        key: _without_none(part) if isinstance(part, dict) else part for key, part in value.items() if part is not None
    }


def read_manifest(path: Path) -> Manifest:
    """A manifest from its file.

    Raises
    ------
    UsageError
        It is missing or damaged.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Manifest)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"The manifest {path} can't be read: {error}.", remedy="Restore it from git, or promote anew."
        ) from error


def sha256_of(path: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment_of() -> Environment:
    """What this process runs with."""
    root = project_root()
    lock = root / "env" / "requirements.lock" if root else None
    return Environment(
        package=installed("retailpulse-kernel"),
        python=platform.python_version(),
        lock_sha256=sha256_of(lock) if lock and lock.is_file() else "",
        commit=_commit(root) if root else "",
    )


def _commit(root: Path) -> str:
    if not shutil.which("git"):
        return ""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "")


def as_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest for a command's ``--json``."""
    return asdict(manifest)
