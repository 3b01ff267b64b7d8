"""The jobs of the demo: the notebooks that ``notebooks/jobs/demo.toml`` lists."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import project_root

__all__ = ["demo_jobs", "job_command", "job_notebook"]


def _folder() -> Path:
    root = project_root()
    if root is None:
        raise UsageError("The demo's notebooks are not here.", remedy="Run it in a checkout of the project.")
    return root / "notebooks" / "jobs"


def demo_jobs() -> tuple[str, ...]:
    """The names of the demo's jobs, in the order in which they are shown.

    Raises
    ------
    UsageError
        This is not a checkout of the project.
    """
    return tuple(tomllib.loads((_folder() / "demo.toml").read_text())["jobs"])


def job_notebook(name: str) -> Path:
    """The source notebook of a shipped job.

    Parameters
    ----------
    name : str
        One of `demo_jobs`; whether the file is there is not checked.

    Raises
    ------
    UsageError
        This is not a checkout of the project.
    """
    return _folder() / f"{name}.ipynb"


def job_command(name: str, **parameters: str) -> list[str]:
    """The command that runs a shipped job.

    Parameters
    ----------
    name : str
        One of `demo_jobs`.
    **parameters : str
        The notebook's parameters and their values.

    Raises
    ------
    UsageError
        This is not a checkout of the project.
    """
    given = [part for key, value in parameters.items() for part in ("-p", key, value)]
    return [sys.executable, "-m", "retailpulse_kernel.cli", "run", str(job_notebook(name)), *given]
