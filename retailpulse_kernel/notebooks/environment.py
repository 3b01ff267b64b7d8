"""The environment that a notebook runs in, as its record and a promoted version name it."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

from retailpulse_kernel.ground.addresses import project_root

__all__ = ["Environment", "environment_of", "sha256_of"]


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


def sha256_of(path: Path) -> str:
    """A file's SHA-256.

    Parameters
    ----------
    path : Path
        A file that fits into memory.
    """
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
