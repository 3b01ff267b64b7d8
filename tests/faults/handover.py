"""Promoted jobs that run over and over, as Airflow runs them, and what a hand-over from version to version takes."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.cutover.overview import runs_of
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.promotion.gate.trial import Candidate, Tried, try_out
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from tests.jobs import wait_until

__all__ = ["Edit", "HandOver", "Line", "Report", "Runs", "write_edits"]

#: Seconds that anything may take: two cores, three jobs and six servers.
PATIENCE = 600.0


@dataclass(frozen=True)
class Edit:
    """A change of a shipped job's notebook: what is replaced by what."""

    job: str
    version: int
    changes: tuple[tuple[str, str], ...]
    what: str
    outcome: str = "resume"

    @property
    def label(self) -> str:
        return f"v{self.version}"


def write_edits(folder: Path, edits: Sequence[Edit]) -> dict[tuple[str, int], Path]:
    """The notebooks of edits, by job and version."""
    paths = {}
    for edit in edits:
        content = nbformat.read(job_notebook(edit.job), as_version=4)
        for old, new in edit.changes:
            (cell,) = (cell for cell in content.cells if cell.cell_type == "code" and old in cell.source)
            cell.source = cell.source.replace(old, new)
        path = folder / edit.label / f"{edit.job}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(content, path)
        paths[edit.job, edit.version] = path
    return paths


@dataclass(frozen=True)
class HandOver:
    """One version's taking over from another.

    Attributes
    ----------
    what : str
        Which, and why.
    gate : float
        Seconds in `promote`; 0 for a rollback.
    runs : float
        Seconds from then until the version ran, on tables that are as it left or made them.
    taken : float
        Seconds from then until it had committed all that had been sent when the hand-over began.
    """

    what: str
    gate: float
    runs: float
    taken: float


@dataclass
class Report:
    """The hand-overs of a run."""

    done: list[HandOver] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, done: HandOver) -> None:
        self.done.append(done)
        print(
            f"{done.what}: gate {done.gate:.1f} s, runs after {done.runs:.1f} s, taken all after {done.taken:.1f} s",
            flush=True,
        )

    def table(self) -> str:
        """All of it in Markdown."""
        head = ["| hand-over | gate | runs after | has taken all after |", "| --- | --- | --- | --- |"]
        rows = [
            f"| {one.what} | {f'{one.gate:.1f} s' if one.gate else ''} | {one.runs:.1f} s | {one.taken:.1f} s |"
            for one in self.done
        ]
        return "\n".join([*head, *rows, "", *self.notes])


class Runs:
    """One job's current version, run again whenever a run ends."""

    def __init__(self, settings: Settings, job: str, log: Path) -> None:
        self._job, self._log = job, log
        # As it is now: `promote` in this process puts what its own notebooks are told into the environment.
        self._environment = {**os.environ, **environment(settings)}
        self._over = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name=f"runs-{job}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "retailpulse_kernel.cli", "run", self._job],
                    env=self._environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            if self.process.wait() != 0 and not self._over.is_set():
                self.failures += 1
                self._over.wait(1)

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9 of the run with all that belongs to it."""
        run = self.process
        assert run is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(run.pid)
            tree = [root, *root.children(recursive=True)]
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            # Not for the run itself: whoever reaps it has its exit code, and `_run` needs it.
            psutil.wait_procs(tree[1:], timeout=30)
        run.wait(30)

    def end(self) -> None:
        self._over.set()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()
        self._thread.join(30)

    def tail(self) -> str:
        return self._log.read_text()[-3000:] if self._log.exists() else ""


class Line:
    """The production of a namespace: its promoted jobs, all running.

    Parameters
    ----------
    settings : Settings
        Namespace and registry.
    folder : Path
        For notebooks and logs.
    whole : bool
        Whether versions pass the whole gate on their way; otherwise they are frozen with the plan that they were
        found to have, which is what this test needs of it.
    """

    def __init__(self, settings: Settings, folder: Path, edits: Sequence[Edit], *, whole: bool) -> None:
        self.settings, self.report = settings, Report()
        self._whole, self._folder = whole, folder
        self.edits = {(edit.job, edit.version): edit for edit in edits}
        self._paths = write_edits(folder, edits)
        self._tried: Mapping[tuple[str, int], Tried] = {}
        self._runs: dict[str, Runs] = {}

    def try_out(self) -> None:
        """Find the plans of all versions, in one process."""
        tried = try_out(self.settings, [Candidate(str(path)) for path in self._paths.values()])
        self._tried = dict(zip(self._paths, tried, strict=True))
        assert all(one.error is None and one.plan for one in tried), tried

    def promote(self, job: str, version: int) -> float:
        """Make a version the current one; seconds that it took."""
        edit, begin = self.edits[job, version], time.monotonic()
        if self._whole:
            done = promote(self.settings, self._paths[job, version])
            assert done.ok and done.version is not None, done.steps
            assert done.version.label == edit.label
            assert done.verdict is not None and done.verdict.outcome in (edit.outcome, "first"), done.verdict
        else:
            manifest = Manifest(
                job, version, f"{job}.ipynb", "", "stream", "@continuous", "", "", {"run": "continuous"},
                Environment("", ""), edit.outcome, (), (), self._tried[job, version].plan,
            )  # fmt: skip
            Registry(self.settings).freeze(self._paths[job, version], manifest)
        return time.monotonic() - begin

    def start(self, job: str) -> None:
        """Let the current version run, and from then on whatever is current."""
        self._runs[job] = Runs(self.settings, job, self._folder / f"{job}.log")

    def hand_over(self, job: str, label: str, what: str, sent: int, gate: float = 0.0, begin: float = 0.0) -> None:
        """Wait until a version runs and has committed so many messages."""
        begin = begin or time.monotonic()
        self.await_run(job, label)
        runs = time.monotonic() - begin
        self.await_taken(job, sent)
        self.report.add(HandOver(f"{job} {label}: {what}", gate, runs, time.monotonic() - begin))

    def await_run(self, job: str, label: str) -> None:
        def runs() -> bool:
            newest = runs_of(self.settings, job, limit=1)
            return bool(newest) and (newest[0]["version"], newest[0]["state"]) == (label, "running")

        self._wait(runs, job, f"{job} {label} to run")

    def await_taken(self, job: str, messages: int) -> None:
        self._wait(lambda: self.taken(job) >= messages, job, f"{job} to commit {messages:,} messages")

    def _wait(self, condition, job: str, what: str) -> None:  # type: ignore[no-untyped-def]
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s. Its log:\n{self._runs[job].tail()}"
            time.sleep(0.5)

    def taken(self, job: str) -> int:
        """Messages in the batches that a job has committed."""
        epoch = find_epoch(f"{self.settings.checkpoints}/{job}")
        batch = committed_batch(epoch.path) if epoch else None
        return sum(itertools.chain.from_iterable(ends.values() for ends in batch.offsets.values())) if batch else 0

    def kill_in_exchange(self, job: str) -> None:
        """kill -9 as soon as a new epoch is being put in the old one's place."""
        note = Path(self.settings.checkpoints) / job / "exchange.json"
        end = time.monotonic() + PATIENCE
        while not note.exists():
            assert time.monotonic() < end, f"no exchange. The log of {job}:\n{self._runs[job].tail()}"
            time.sleep(0.002)
        self._runs[job].kill()
        assert note.exists(), "it was over before the kill"

    def failures(self) -> dict[str, int]:
        """How many runs of each job did not end well."""
        return {job: runs.failures for job, runs in self._runs.items()}

    def end(self) -> None:
        for runs in self._runs.values():
            threading.Thread(target=runs.end).start()
        wait_until(
            lambda: all(runs.process is None or runs.process.poll() is not None for runs in self._runs.values()),
            "the runs' end",
        )
