"""The jobs of the demo: the notebooks that ``notebooks/jobs/demo.toml`` lists, the worked ones, and their commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine.daemon import log_path

__all__ = [
    "CLI",
    "demo_jobs",
    "failed",
    "job_command",
    "job_notebook",
    "start_logged",
    "worked_folder",
    "worked_jobs",
]

#: What each command of `retailpulse` begins with in another process.
CLI = (sys.executable, "-m", "retailpulse_kernel.cli")


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
    return [*CLI, "run", str(job_notebook(name)), *given]


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


def start_logged(settings: Settings, command: Sequence[str], program: str) -> subprocess.Popen[bytes]:
    """Start a command without the supervisor; what the command says goes to a log of `retailpulse logs`.

    Parameters
    ----------
    settings : Settings
        Those of the demo, which the command gets as its environment.
    command : sequence of str
        The command.
    program : str
        The log's name.
    """
    log = log_path(settings, program)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment(settings)},
            start_new_session=True,
        )


def failed(settings: Settings, what: str, program: str) -> JobError:
    """The error of a command that `start_logged` has started, with what the command said last.

    Parameters
    ----------
    settings : Settings
        Those of the demo.
    what : str
        What failed.
    program : str
        The log's name.
    """
    return JobError(
        f"{what} failed: {_last_line(log_path(settings, program))}", remedy=f"See `retailpulse logs {program}`."
    )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
