"""Notebooks tried out in a process of their own: what they would run, and what that does on a copy of a checkpoint.

The cells of each notebook are run as a kernel does, up to the job's `run`. There the job's plan is taken, and where a
copy is given, the job is started on it. It reads the live topic and writes nowhere but into memory: its shadow
namespace gets what else the notebook does, and nothing outside of that can be written. All notebooks share one Spark
session, which costs more than all the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import read_notebook
from retailpulse_kernel.notebooks.testing import NotebookTests, Request, has_tests
from retailpulse_kernel.promotion.gate.isolation import remove_own_folders, run_apart
from retailpulse_kernel.streaming.plan.data import Plan

__all__ = ["Candidate", "Started", "Tried", "run_tests", "try_out"]

#: What the other process calls.
_PERFORM = "retailpulse_kernel.promotion.gate.rehearsal:perform"
_TESTS = "retailpulse_kernel.notebooks.testing:perform"


@dataclass(frozen=True)
class Candidate:
    """A notebook to be tried.

    Attributes
    ----------
    notebook : str
        Its path.
    parameters : dict of str to str
        As text.
    checkpoint : str, optional
        The copy of a checkpoint on which the job is started; when absent, only the job's plan is taken.
    live : str, optional
        The namespace whose reference tables the job joins, and on a copy of a checkpoint whose topic it reads.
    """

    notebook: str
    parameters: dict[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    live: str | None = None


@dataclass(frozen=True)
class Started:
    """The trial of a job on a checkpoint.

    Attributes
    ----------
    error : str, optional
        Why the job failed, in one line.
    refused : bool
        Whether the job refused rows of its own, which it would do on any checkpoint.
    batches : int
        Micro-batches that the job did.
    rows : int
        Rows that the job wrote.
    compared : int
        Rows of the first batch that the first notebook wrote too, on its own copy.
    differing : int
        How many of them differ, and rows that only one of the two wrote.
    first : str
        The first differing row, in words.
    columns : str
        The columns that were compared, where only one of the two has the others.
    """

    error: str | None = None
    refused: bool = False
    batches: int = 0
    rows: int = 0
    compared: int = 0
    differing: int = 0
    first: str = ""
    columns: str = ""


@dataclass(frozen=True)
class Tried:
    """The trial of a notebook.

    Attributes
    ----------
    jobs : int
        How many jobs the notebook ran.
    error : str, optional
        Why a cell failed before the job ran.
    plan : Plan, optional
        The job's plan; None for a notebook without a job.
    copy : Started, optional
        The trial on the copy of the checkpoint.
    fresh : Started, optional
        The trial on an empty checkpoint, when the job failed on the copy.
    """

    jobs: int = 0
    error: str | None = None
    plan: Plan | None = None
    copy: Started | None = None
    fresh: Started | None = None


def try_out(shadow: Settings, candidates: Sequence[Candidate], *, timeout: float = 900) -> list[Tried]:
    """Try notebooks, one after the other, in one other process.

    Parameters
    ----------
    shadow : Settings
        The namespace in which the notebooks' cells run.
    candidates : sequence of Candidate
        The notebooks. The rows of the others are compared with those of the first.
    timeout : float
        Seconds that all of the notebooks may take together.

    Raises
    ------
    JobError
        The process died, or took too long.
    """
    request = msgspec.json.encode(list(candidates))
    found = run_apart(shadow, _PERFORM, request, timeout=timeout)
    return msgspec.json.decode(found, type=list[Tried])


def run_tests(settings: Settings, notebook: Path, given: Mapping[str, str], *, timeout: float = 900) -> NotebookTests:
    """Run the tests of a notebook in a process of their own, in a namespace that holds nothing.

    Parameters
    ----------
    settings : Settings
        The live namespace.
    notebook : Path
        The notebook.
    given : mapping of str to str
        The notebook's parameters.
    timeout : float
        Seconds that the tests may take.

    Raises
    ------
    UsageError
        There is no such notebook.
    JobError
        The process died, or took too long.
    """
    read_notebook(notebook)
    if not has_tests(notebook):
        return NotebookTests()
    digest = hashlib.blake2b(f"{settings.namespace.name}.{notebook.absolute()}".encode(), digest_size=8).hexdigest()
    apart = settings.within(f"tests_{digest}")
    request = msgspec.json.encode(Request(str(notebook.absolute()), dict(given)))
    try:
        return msgspec.json.decode(run_apart(apart, _TESTS, request, timeout=timeout), type=NotebookTests)
    finally:
        remove_own_folders(apart)
