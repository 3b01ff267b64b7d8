"""The servers of the demo: started where they do not run, kept from others meanwhile, and stopped at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil
from rich.console import Console

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stack import supervision

__all__ = ["airflow_fits", "only_demo", "refuse_under_a_demo", "servers"]

#: What the jobs need, and what that needs.
_SERVERS = ("kafka", "cassandra", "hbase-thrift", "hiveserver2")
#: Seen: 7.9 GB for servers, Airflow and jobs after two minutes (`python -m bench.costs`); heaps still grow.
_AIRFLOW_GB = 9


def airflow_fits(settings: Settings, console: Console) -> bool:
    """Whether the stack of this machine has memory for Airflow beside it; says so where it has not.

    Parameters
    ----------
    settings : Settings
        Which stack.
    console : Console
        Gets the line that says why not.
    """
    if settings.profile.name != "local":
        return False
    # What runs already has its part of it.
    running = sum(service.memory_mb or 0 for service in supervision.status(settings)) * 1e6
    free = (psutil.virtual_memory().available + running) / 1e9
    if free < _AIRFLOW_GB:
        console.print(
            f"[bold]Airflow[/]    left out: with all else it wants {_AIRFLOW_GB} GB of memory, and {free:.1f} GB are "
            "free (`--airflow` starts it all the same)",
            soft_wrap=True,
        )
    return free >= _AIRFLOW_GB


def refuse_under_a_demo(settings: Settings) -> None:
    """Make sure that no live demo of this home runs: whoever stops servers would take them away from it.

    Parameters
    ----------
    settings : Settings
        Whose home.

    Raises
    ------
    UsageError
        One runs.
    """
    lock = _lock(settings)
    if not Path(lock.lock_file).exists():
        return
    try:
        with lock.acquire(timeout=0):
            pass
    except filelock.Timeout:
        raise UsageError(
            f"A live demo runs in {settings.home} and needs the servers.",
            remedy="Ctrl-C in its terminal ends it and stops what it started; `retailpulse down --force` stops the "
            "servers under it.",
        ) from None


def _lock(settings: Settings) -> filelock.BaseFileLock:
    return filelock.FileLock(settings.home / "locks" / "demo.lock")


@contextlib.contextmanager
def only_demo(settings: Settings) -> Iterator[None]:
    """Keep a second live demo away: the supervisor knows the feed and the jobs by the same names.

    Parameters
    ----------
    settings : Settings
        Whose home.

    Raises
    ------
    UsageError
        A live demo runs.
    """
    lock = _lock(settings)
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(
            f"A live demo runs already in {settings.home}.",
            remedy="Its terminal shows the figures, and Ctrl-C there ends it. `retailpulse figures --last 1h` shows "
            "them here; RETAILPULSE_HOME and RETAILPULSE_PORT_OFFSET make room for another demo.",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def servers(settings: Settings, console: Console, *, airflow: bool = False) -> Iterator[bool]:
    """The servers, started where they don't run, and stopped at the end if this started them; Airflow stops anyway.

    Parameters
    ----------
    settings : Settings
        Which stack.
    console : Console
        Gets the progress.
    airflow : bool
        Whether Airflow is started, too.

    Yields
    ------
    bool
        Whether the servers are stopped at the end.
    """
    local = settings.profile.name == "local"
    if not local and not airflow:
        yield False  # another machine's servers: used as they are
        return
    ran_before = any(service.pid for service in supervision.status(settings))
    if airflow or not ran_before:
        what = " and ".join([*(["the servers"] if local and not ran_before else []), *(["Airflow"] if airflow else [])])
        console.print(f"[bold]starting[/]   {what}")
    try:
        supervision.up(settings, ["airflow"] if airflow else _SERVERS, console=console)
        yield local and not ran_before
    finally:
        if airflow:
            console.print("[bold]stopping[/]   Airflow, its jobs each after its micro-batch")
            supervision.down(settings, names=["airflow"])
        if ran_before:
            console.print("[bold]servers[/]    they ran before the demo and go on (`retailpulse down` stops them)")
        elif local:
            console.print("[bold]stopping[/]   the servers")
            supervision.down(settings)
