"""A new job: a notebook with typed parameters, a test, a preview and a run, and its script for reviews."""

from __future__ import annotations

import contextlib
import keyword
import shlex
from dataclasses import dataclass
from pathlib import Path

import jupytext

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.shop.tables import TABLES
from retailpulse_kernel.streaming.plan.finding import plans

__all__ = ["NewJob", "default_folder", "new_job"]

_TEMPLATE = Path(__file__).with_name("job.template")
_PLACEHOLDER = "my_job"


@dataclass(frozen=True)
class NewJob:
    """The files of a new job.

    Attributes
    ----------
    name : str
        The job's name, which its tables have too.
    notebook, script : Path
        The notebook, and the script of the same content.
    """

    name: str
    notebook: Path
    script: Path

    def __str__(self) -> str:
        """Where the files are, and the next three commands."""
        path = shlex.quote(_from_here(self.notebook))
        return "\n".join(
            [
                f"The job {self.name} is in {_from_here(self.notebook)}, its script for reviews in {self.script.name}.",
                "Open the notebook in JupyterLab and change what it counts, or go on in a terminal:",
                f"  retailpulse run {path}",
                f"  retailpulse promote --dry-run {path}",
                f"  retailpulse promote {path}",
            ]
        )

    __repr__ = __str__


def new_job(settings: Settings, name: str, folder: Path | None = None) -> NewJob:
    """Make the notebook and the script of a new job. Files that exist are never overwritten.

    Parameters
    ----------
    settings : Settings
        Its jobs, promoted ones and those that ran, whose names and tables are taken.
    name : str
        The job's name: lower-case letters, digits and ``_``, starting with a letter, at most 40.
    folder : Path, optional
        Where the files go. In a checkout ``notebooks/jobs``, elsewhere the working directory, when absent.

    Raises
    ------
    UsageError
        The name can't be used or is taken, or the files can't be written.
    """
    _check(settings, name)
    chosen = default_folder() if folder is None else folder
    made = NewJob(name, chosen / f"{name}.ipynb", chosen / f"{name}.py")
    for path in (made.notebook, made.script):
        if path.exists():
            raise UsageError(f"{_from_here(path)} exists and is not overwritten.", remedy="Choose another name.")
    content = jupytext.reads(_TEMPLATE.read_text().replace(_PLACEHOLDER, name), fmt="py:percent")
    written: list[Path] = []
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (made.script, jupytext.writes(content, fmt="py:percent")),
            # Through jupytext, so that the notebook names its pair.
            (made.notebook, jupytext.writes(content, fmt="ipynb")),
        ):
            # Not opened where another process was faster.
            with path.open("x") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise UsageError(
            f"The notebook can't be written: {error}.", remedy="Choose another folder with --folder."
        ) from error
    return made


def _check(settings: Settings, name: str) -> None:
    if not is_name(name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} can't be the name of a job.",
            remedy=f"{NAME_RULE} It can't be a word of Python.",
        )
    known = plans(settings)
    if name in {*Registry(settings).names(), *(plan.job for plan in known)}:
        raise UsageError(
            f"There is a job {name!r} already.", remedy="Choose another name; `retailpulse jobs` lists them."
        )
    for plan in known:
        if any(table.name == name for table in plan.tables):
            raise UsageError(f"The table {name!r} is written by the job {plan.job!r}.", remedy="Choose another name.")
    if name in {table.name for table in TABLES}:
        raise UsageError(f"{name!r} is one of the shop's own tables.", remedy="Choose another name.")


def default_folder() -> Path:
    """Where a new job goes: ``notebooks/jobs`` of the checkout, or the working directory where there is none."""
    root = project_root()
    return root / "notebooks" / "jobs" if root else Path.cwd()


def _from_here(path: Path) -> str:
    """A path as one types it: relative where the file is below the working directory."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
