"""Become Airflow's scheduler, once what an earlier one left behind has ended.

A scheduler that is killed leaves its workers, and with them jobs that nobody supervises; a second scheduler
would start each job again beside them. So they end first: a job after its micro-batch, and then its worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

import psutil

from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack.strays import end, of_home

__all__ = ["fence", "main"]

_SERVICE = "airflow-scheduler"
#: How long a job may take to end its micro-batch.
_DRAIN_SECONDS = 90.0
_POLL_SECONDS = 0.2


def main() -> None:
    """End what is left, and become the scheduler."""
    fence(Settings.load())
    os.execv(sys.executable, [sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs"])


def fence(settings: Settings) -> None:
    """End workers and jobs of an earlier scheduler, jobs after their micro-batch."""
    left = _left(settings)
    if not left:
        return
    print(f"Ending {len(left)} processes that an earlier scheduler left behind.", flush=True)
    for process in left:
        # A worker hands the signal on to the task that it runs; a task without its worker ends by itself.
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) != process.pid:
                process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline and any(_is_at_work(process) for process in _left(settings)):
        time.sleep(_POLL_SECONDS)
    end(_left(settings), seconds=1)


def _is_at_work(process: psutil.Process) -> bool:
    """Whether a process is a task, or what a task started; an idle worker has no group of its own, and no child."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        return os.getpgid(process.pid) == process.pid or bool(process.children())
    return False


def _left(settings: Settings) -> list[psutil.Process]:
    found = []
    for process in of_home(settings.home):
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("RETAILPULSE_SERVICE") == _SERVICE:
                found.append(process)
    return found


if __name__ == "__main__":
    main()
