"""Jobs on the real servers, the three of the demo if not told otherwise, with handles to break them by."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console

from retailpulse_kernel.demo.jobs import job_command
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine.daemon import Supervisor, tail
from retailpulse_kernel.machine.strays import tree
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, committed_batch, logged_batch
from tests.jobs import JOBS, wait_until

__all__ = ["PARTS", "Part", "Pipeline"]

#: What of a job can be killed: all of it, what runs the notebook, its kernel, Spark, a Python worker of Spark's.
Part = Literal["tree", "runner", "kernel", "jvm", "worker"]
PARTS: tuple[Part, ...] = ("tree", "runner", "kernel", "jvm", "worker")

#: Seconds that anything may take to come back: two cores, three jobs and six servers.
PATIENCE = 600.0

#: The checkout whose code the jobs run.
_ROOT = Path(__file__).parents[2]

#: Seconds between two batches. The archive's own are longer; here it shall fail as often as the others.
_TRIGGERS = {job: f"{1 + place}s" for place, job in enumerate(JOBS)}


class Pipeline:
    """Jobs under the supervisor, which starts again what ends.

    Parameters
    ----------
    servers : Settings
        Lead to the servers themselves.
    settings : Settings
        What the jobs are given; may lead to a server through a proxy.
    commands : mapping of str, optional
        The jobs, each with the command that runs it; the demo's three when absent.
    """

    def __init__(
        self, servers: Settings, settings: Settings, commands: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._servers, self._settings = servers, settings
        self._commands = commands or {
            job: job_command(job, run="continuous", trigger=trigger) for job, trigger in _TRIGGERS.items()
        }
        self._supervisor = Supervisor(servers)

    # -- the jobs ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the jobs."""
        for job, command in self._commands.items():
            supervision.start_program(
                self._servers,
                _program(job),
                list(command),
                env={**environment(self._settings), "PYTHONPATH": str(_ROOT)},
                stop_seconds=90,
            )

    def stop(self) -> None:
        """Let each job end its batch, and stop it."""
        running = {job: tree(pid) for job in self._commands if (pid := self._pid(_program(job)))}
        self._supervisor.stop(map(_program, running))
        for job, processes in running.items():
            _, left = psutil.wait_procs(processes, timeout=30)
            assert not left, f"SIGTERM to {job} left behind: {left}"

    def pids(self) -> dict[str, int | None]:
        """The process of each job, None where it does not run."""
        return {job: self._pid(_program(job)) for job in self._commands}

    def remove(self) -> None:
        """Kill the jobs and forget them."""
        for job in self._commands:
            if _program(job) in self._supervisor.processes():
                self._end(_program(job))
                self._supervisor.remove(_program(job))

    def log(self, job: str, lines: int = 15) -> str:
        """The last lines that a job wrote."""
        return tail(self._servers, _program(job), lines)

    def said(self, job: str, words: str) -> int:
        """How often a job's log has some words."""
        return tail(self._servers, _program(job), 1_000_000).count(words)

    # -- how far they are -------------------------------------------------------------------

    def checkpoint(self, job: str) -> Path:
        """The folder of a job's newest epoch."""
        folder = f"{self._settings.checkpoints}/{job}"
        epoch = find_epoch(folder)
        return Path(epoch.path if epoch else f"{folder}/none")

    def committed(self, job: str) -> LoggedBatch | None:
        """The newest batch that a job has committed; of several queries, what all of them have taken."""
        return committed_batch(str(self.checkpoint(job)))

    def taken(self, job: str) -> int:
        """Messages in the batches that a job has committed."""
        batch = self.committed(job)
        return _messages(batch) if batch else 0

    def is_data(self, job: str) -> bool:
        """Whether the newest committed batch holds messages; some only free state."""
        batch = self.committed(job)
        before = batch and logged_batch(str(self.checkpoint(job)), batch.batch_id - 1)
        return batch is not None and _messages(batch) > (_messages(before) if before else 0)

    def await_taken(self, messages: int, jobs: Sequence[str] = ()) -> None:
        """Wait until jobs have committed so many messages: all jobs when none is named."""
        for job in jobs or self._commands:
            end = time.monotonic() + PATIENCE
            while self.taken(job) < messages:
                taken = f"{job} has committed {self.taken(job):,} of {messages:,} messages"
                assert time.monotonic() < end, f"{taken} after {PATIENCE:.0f} s. Its log:\n{self.log(job)}"
                time.sleep(0.1)

    # -- breaking them ----------------------------------------------------------------------

    def kill_server(self, name: str) -> None:
        """kill -9 of a server; the supervisor starts it again."""
        pid = self._running(name)
        for process in tree(pid):
            _kill(process)

    def kill_job(self, job: str, part: Part) -> None:
        """kill -9 of a job, or of a part of it; it or the supervisor has to notice."""
        processes = tree(self._running(_program(job)))
        for process in _of_part(processes, part):
            _kill(process)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A server that keeps its connections and answers nothing."""
        pid = self._running(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """A server that is killed and stays away."""
        self._end(name)
        try:
            yield
        finally:
            self.heal([name])

    def heal(self, names: list[str] | None = None) -> None:
        """Wait until servers answer, and start those that are down."""
        supervision.up(self._servers, names, console=Console(file=StringIO()))

    def _end(self, program: str) -> None:
        """kill -9 of a server or job that is not to be started again."""
        pid = self._pid(program)
        processes = tree(pid) if pid else []
        stop = threading.Thread(target=self._supervisor.stop, args=([program],))
        stop.start()
        wait_until(lambda: self._pid(program) is None, f"{program} to be given up")
        for process in processes:
            _kill(process)
        stop.join()

    def _running(self, program: str) -> int:
        """The process id of a server or job, as soon as it runs."""
        wait_until(lambda: self._pid(program) is not None, f"{program} to run", PATIENCE)
        pid = self._pid(program)
        assert pid
        return pid

    def _pid(self, program: str) -> int | None:
        info = self._supervisor.processes().get(program, {})
        return int(info["pid"]) if info.get("statename") in ("RUNNING", "STARTING") and info["pid"] else None


def _program(job: str) -> str:
    return f"fault-{job}"


def _messages(batch: LoggedBatch) -> int:
    return sum(itertools.chain.from_iterable(ends.values() for ends in batch.offsets.values()))


def _of_part(processes: list[psutil.Process], part: Part) -> list[psutil.Process]:
    """The processes of a job's tree that a part is; all of it where the part is not there (yet)."""
    if part == "tree":
        return processes
    if part == "runner":
        return processes[:1]
    marks = {"kernel": "ipykernel", "jvm": "org.apache.spark.deploy.SparkSubmit", "worker": "worker_daemon"}
    found = [process for process in processes if marks[part] in _command(process)]
    # The daemon that workers are forked from comes first: it has the same command, and is spared.
    return (found[1:2] if part == "worker" else found) or processes


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
