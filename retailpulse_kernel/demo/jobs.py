"""The jobs of the demo: the notebooks that ``notebooks/jobs/demo.toml`` lists, and the worked ones."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import UsageError

__all__ = ["demo_jobs", "job_command", "job_notebook", "last_line", "worked_folder", "worked_jobs"]


def _folder(name: str = "jobs") -> Path:
    root = project_root()
    if root is None:
        raise UsageError("The demo's notebooks are not here.", remedy="Run it in a checkout of the project.")
    return root / "notebooks" / name


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


def worked_folder() -> Path:
    """The folder of the worked notebooks, which has their contract too.

    Raises
    ------
    UsageError
        This is not a checkout of the project.
    """
    return _folder("worked")


def worked_jobs() -> tuple[str, ...]:
    """The names of the worked notebooks, which their jobs have too.

    Raises
    ------
    UsageError
        This is not a checkout of the project.
    """
    return tuple(sorted(path.stem for path in worked_folder().glob("*.ipynb") if not path.stem.endswith(".test")))


def last_line(log: Path) -> str:
    """What a program said last.

    Parameters
    ----------
    log : Path
        What it said.
    """
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
