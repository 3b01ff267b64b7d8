"""Airflow's scheduler and its reader of DAGs, with what each task needs imported once.

Their children are forked: papermill alone, with the clients of five clouds, takes seconds to import, which a task
would spend before its first cell, and a DAG whenever it is read.

A scheduler that is killed leaves its workers, and with them jobs that nobody supervises; a second scheduler
would start each job again beside them. So they end first: a job after its micro-batch, and then its worker.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import time
from typing import Any

import psutil

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.strays import end, of_home

__all__ = ["main"]

_SERVICE = "airflow-scheduler"
#: In the title of a process that runs tasks; the title ends with the task.
_WORKER = "LocalExecutor"
#: How long a job may take to end its micro-batch.
_DRAIN_SECONDS = 90.0
_POLL_SECONDS = 0.2


def main() -> None:
    """Run one of Airflow's programs, named by the first argument; the scheduler after those before it have ended."""
    sys.stdout, sys.stderr = _outliving(1), _outliving(2)
    if sys.argv[1] == "scheduler":
        fence(Settings.load())
    importlib.import_module("retailpulse_kernel.promotion.airflow.dags")
    from airflow.__main__ import main as airflow

    airflow()


class _Pipe(io.FileIO):
    """A pipe whose reader may end first: its writer goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _outliving(number: int) -> io.TextIOWrapper:
    """An output for workers that outlive their scheduler, whose log ends with it: they have a task to end."""
    return io.TextIOWrapper(io.BufferedWriter(_Pipe(number, "w", closefd=False)), line_buffering=True)


def fence(settings: Settings) -> None:
    """End workers and jobs of an earlier scheduler, jobs after their micro-batch.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """
    left = _left(settings)
    if not left:
        return
    print(f"Ending {len(left)} processes that an earlier scheduler left behind.", flush=True)
    for process in left:
        # A worker hands the signal on to the task that it runs; a task without its worker ends by itself.
        with contextlib.suppress(psutil.NoSuchProcess):
            if _WORKER in _title(process):
                process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline and any(_is_at_work(process) for process in _left(settings)):
        time.sleep(_POLL_SECONDS)
    end(_left(settings), seconds=1)


def _is_at_work(process: psutil.Process) -> bool:
    """Whether a process is a task, what a task started, or a worker that has yet to tell how its task ended."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        title = _title(process)
        return os.getpgid(process.pid) == process.pid or (_WORKER in title and "<idle>" not in title)
    return False


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def _left(settings: Settings) -> list[psutil.Process]:
    found = []
    for process in of_home(settings.home):
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("RETAILPULSE_SERVICE") == _SERVICE:
                found.append(process)
    return found


if __name__ == "__main__":
    main()
