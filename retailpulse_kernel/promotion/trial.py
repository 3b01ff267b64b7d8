"""Notebooks tried out in a process of their own: what they would run, and what that does on a copy of a checkpoint.

``python -m retailpulse_kernel.promotion.trial REQUEST.json RESULT.json`` runs the cells of each notebook as a kernel
does, up to the job's `run`. There the job's plan is taken, and where a copy is given, the job is started on it. It
reads the live topic and writes nowhere but into memory: its shadow namespace gets what else the notebook does.
All notebooks share one Spark session, which costs more than all the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from retailpulse_kernel.errors import JobError, RetailPulseError
from retailpulse_kernel.running import environment
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.plan import Plan

__all__ = ["Candidate", "Started", "Tried", "try_out"]


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
        The copy that its job is started on; only its plan is taken when absent.
    live : str, optional
        The namespace whose topic it reads there.
    """

    notebook: str
    parameters: dict[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    live: str | None = None


@dataclass(frozen=True)
class Started:
    """How a job did on a checkpoint.

    Attributes
    ----------
    error : str, optional
        Why it did not; in one line.
    batches : int
        Micro-batches that it did.
    rows : int
        Rows that it wrote.
    compared : int
        Rows of the first batch that the first notebook wrote too, on its own copy.
    differing : int
        How many of them differ, and rows that only one of the two wrote.
    first : str
        The first that differs, in words.
    """

    error: str | None = None
    batches: int = 0
    rows: int = 0
    compared: int = 0
    differing: int = 0
    first: str = ""


@dataclass(frozen=True)
class Tried:
    """What came out.

    Attributes
    ----------
    jobs : int
        How many jobs the notebook ran.
    error : str, optional
        Why a cell failed before the job ran.
    plan : Plan, optional
        What the job means; None for a notebook without one.
    copy : Started, optional
        How it did on the copy of the checkpoint.
    fresh : Started, optional
        How it did on an empty checkpoint, when it failed on the copy.
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
        What the rows of the others are compared with comes first.

    Raises
    ------
    JobError
        The process died.
    """
    with tempfile.TemporaryDirectory(prefix="retailpulse-") as folder:
        request, result = Path(folder) / "request.json", Path(folder) / "result.json"
        request.write_bytes(msgspec.json.encode(list(candidates)))
        command = [sys.executable, "-m", "retailpulse_kernel.promotion.trial", str(request), str(result)]
        try:
            told = {**os.environ, **environment(shadow)}
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=told)
        except subprocess.TimeoutExpired:
            raise JobError(
                f"The trial did not end within {timeout:.0f} s.", remedy="See whether a cell waits."
            ) from None
        if done.returncode or not result.is_file():
            said = [line for line in done.stderr.splitlines() if line.strip()][-3:]
            raise JobError(f"The trial ended with {done.returncode}: {' '.join(said)}")
        return msgspec.json.decode(result.read_bytes(), type=list[Tried])


def main(request: str, result: str) -> None:
    """Try the notebooks that a request names; in the other process."""
    from retailpulse_kernel.promotion.rehearsal import Rehearsal

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    candidates = msgspec.json.decode(Path(request).read_bytes(), type=list[Candidate])
    rehearsal = Rehearsal(Settings.load())
    found: list[Any] = []
    for candidate in candidates:
        try:
            found.append(rehearsal.perform(candidate))
        except RetailPulseError as error:
            found.append(Tried(error=str(error)))
    Path(result).write_bytes(msgspec.json.encode(found))


def _end_with(parent: int) -> None:
    """End when the process that asked has ended, however it did: nobody would read the result."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
