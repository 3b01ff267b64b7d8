"""What a run is told beside its parameters: whom it follows, when to stop, whose topics it reads.

A runner tells the kernel of a notebook in one environment variable. A rehearsal, in the same process, passes a
context with a runner of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.streaming.checkpoint.following import Leader

if TYPE_CHECKING:
    from retailpulse_kernel.streaming.run.job import Job
    from retailpulse_kernel.streaming.run.report import Report
    from retailpulse_kernel.streaming.run.testing import Passed

__all__ = ["RUN", "RunContext", "current_context", "using_context"]

#: Environment variable with the context of this process's job, as JSON.
RUN = "RETAILPULSE_RUN"


@dataclass(frozen=True)
class RunContext:
    """The context of a run; empty for a notebook that a person runs.

    Attributes
    ----------
    leader : Leader, optional
        The live job that this one follows, and no further.
    stop_file : str
        A file; when the file appears, the run finishes its micro-batch and ends. A signal would reach the kernel in
        the middle of a batch. Empty for none.
    revision : str
        The revision of the job's plan; see `Plan`.
    topics_of : str
        The namespace whose topics the job reads, where that is another one: a staged epoch reads the live events and
        writes into tables of its own. Empty for the job's own namespace.
    tables_of : str
        The namespace whose reference tables the job joins, where that is another one than that of the topics: a job
        that is tried on a sample has the live ones. Empty for the same.
    checkpoints : str
        The folder of the job's epochs, where that is another one: a rehearsal works on a copy. Empty for the job's own.
        It stays in this process.
    folder : str
        The notebook's folder, where that is not the one of this process: it has the models. It stays in this process.
    batch : str
        The folder of a batch: `run` then does once more, as a batch, what a live job has done, and leaves the rows
        there (`run.batch`). Empty for a run that writes.
    run_job : callable, optional
        Runs a job in place of its `run`. It stays in this process.
    on_test : callable, optional
        Called with each test of a job that has passed. It stays in this process.
    """

    leader: Leader | None = None
    stop_file: str = ""
    revision: str = ""
    topics_of: str = ""
    tables_of: str = ""
    checkpoints: str = ""
    folder: str = ""
    batch: str = ""
    run_job: Callable[[Job], Report] | None = field(default=None, compare=False)
    on_test: Callable[[Passed], None] | None = field(default=None, compare=False)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> RunContext:
        """The context that this process was told.

        Parameters
        ----------
        environ : mapping of str to str
            The process's variables.
        """
        told = json.loads(environ[RUN]) if environ.get(RUN) else _older(environ)
        leader = told.get("leader")
        return cls(
            leader=Leader(**leader) if leader else None,
            stop_file=told.get("stop_file", ""),
            revision=told.get("revision", ""),
            topics_of=told.get("topics_of", ""),
            tables_of=told.get("tables_of", ""),
            batch=told.get("batch", ""),
        )

    def environment(self) -> dict[str, str]:
        """What tells another process of this context."""
        told = {name: getattr(self, name) for name in ("stop_file", "revision", "topics_of", "tables_of", "batch")}
        leader = {"leader": asdict(self.leader)} if self.leader else {}
        return {RUN: json.dumps(leader | told)}

    @property
    def is_tested(self) -> bool:
        """Whether the notebook runs for its tests alone."""
        return self.on_test is not None

    @property
    def stop_asked(self) -> bool:
        """Whether the stop file is there."""
        return bool(self.stop_file) and Path(self.stop_file).exists()


def _older(environ: Mapping[str, str]) -> dict[str, Any]:
    """The context as a supervisor or a DAG tells it that still runs from before `RUN`: in a variable each."""
    told: dict[str, Any] = {
        n: environ.get(f"RETAILPULSE_{n.upper()}", "") for n in ("stop_file", "revision", "topics_of")
    }
    return told | {"leader": json.loads(environ.get("RETAILPULSE_FOLLOW") or "null")}


_passed: RunContext | None = None


def current_context() -> RunContext:
    """The context of the jobs that this process makes: the one that was passed in, or that of the environment."""
    return RunContext.of_environment() if _passed is None else _passed


@contextmanager
def using_context(context: RunContext) -> Iterator[None]:
    """Give a context to every job that is made in this block, in all threads: a notebook's cells have no other door.

    Parameters
    ----------
    context : RunContext
        Replaces that of the environment.
    """
    global _passed
    before, _passed = _passed, context
    try:
        yield
    finally:
        _passed = before
