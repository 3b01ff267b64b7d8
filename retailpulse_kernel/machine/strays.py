"""Find and end the processes of a home folder, also those that a killed supervisord left behind.

Whatever runs under a home's supervisord carries the home in an environment variable; a child
inherits it, however deep, and keeps it when its parent is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

__all__ = ["HOME_VARIABLE", "end", "of_home", "tree"]

HOME_VARIABLE = "RETAILPULSE_SERVICE_HOME"


def of_home(home: Path) -> list[psutil.Process]:
    """Processes of a home, supervisord included; never the caller and what it runs under.

    Parameters
    ----------
    home : Path
        The home folder, which each of them has in its environment.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        # Another user's process, or one that ended meanwhile, can't be asked.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in spared and process.environ().get(HOME_VARIABLE) == str(home):
                found.append(process)
    return found


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it is gone.

    Parameters
    ----------
    pid : int
        Process id.
    """
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(processes: Iterable[psutil.Process], seconds: float = 15) -> None:
    """SIGTERM, then SIGKILL for what is left after some seconds.

    Parameters
    ----------
    processes : iterable of psutil.Process
        Those that are gone already are passed over.
    seconds : float
        Between SIGTERM and SIGKILL.
    """
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)
