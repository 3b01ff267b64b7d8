"""The demo: servers, events, jobs and live figures with one command, all stopped at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live

from retailpulse_kernel.dashboard import Dashboard
from retailpulse_kernel.errors import JobError, RetailPulseError, UsageError
from retailpulse_kernel.figures import Summary, summarise
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.replay import replay
from retailpulse_kernel.running import environment
from retailpulse_kernel.settings import Settings, project_root
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.airflow import login
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.streaming.accounts import Account, read_accounts
from retailpulse_kernel.topics import ensure_topics

__all__ = ["JOBS", "Outcome", "airflow_fits", "demo_file", "demo_live", "job_command", "job_notebook"]

#: The jobs that the project ships, in the order in which they are shown.
JOBS = ("metrics", "engagement", "archive")

_REFRESH_SECONDS = 1.0
#: What the servers, Airflow, the jobs and their streams take together was 9 GB at most; without Airflow it is 7.5.
_AIRFLOW_GB = 10


@dataclass(frozen=True)
class Outcome:
    """What `demo_file` found.

    Attributes
    ----------
    namespace : str
        Where the figures are.
    figures : Summary
        The canonical figures.
    accounts : list of Account
        Of every micro-batch of the three jobs.
    sent, rejected : int
        Events of the file that went into Kafka, and rows that are no events.
    """

    namespace: str
    figures: Summary
    accounts: list[Account]
    sent: int
    rejected: int


def job_notebook(name: str) -> Path:
    """The source notebook of a shipped job."""
    root = project_root()
    if root is None:
        raise UsageError("The demo's notebooks are not here.", remedy="Run it in a checkout of the project.")
    return root / "notebooks" / "jobs" / f"{name}.ipynb"


def job_command(name: str, **parameters: str) -> list[str]:
    """The command that runs a shipped job."""
    given = [part for key, value in parameters.items() for part in ("-p", key, value)]
    return [sys.executable, "-m", "retailpulse_kernel.cli", "run", str(job_notebook(name)), *given]


def demo_file(
    settings: Settings, path: Path, format: str, *, speed: float = 0, fresh: bool, console: Console
) -> Outcome:
    """Replay a file to its end, let the jobs take all of it, and read the figures.

    Parameters
    ----------
    settings : Settings
        Its namespace is filled.
    path, format
        The file, and what it holds; see `retailpulse_kernel.replay.replay`.
    speed : float
        Times real time; 0 is as fast as possible.
    fresh : bool
        Whether what an earlier demo left in the namespace is removed first.
    console : Console
        Gets the progress.

    Raises
    ------
    JobError
        A job failed; its last lines are in the message.
    """
    with _servers(settings, console):
        if fresh:
            drop(settings)
        ensure_topics(settings)
        with console.status("replaying …") as status:
            done = replay(
                settings,
                path,
                format,
                speed=speed,
                report=lambda so_far, share: status.update(f"replaying … {so_far.sent:,} events, {share:.0%}"),
            )
        console.print(
            f"[bold]replayed[/]   {done.sent:,} events, {done.rejected:,} rows rejected, in {done.seconds:.1f} s"
        )
        if done.rejects:
            console.print(f"           rejected rows, with their reasons: {done.rejects}")
        console.print(f"[bold]jobs[/]       taking all of it into Cassandra, HBase and Hive ({', '.join(JOBS)})")
        _run_to_end(settings, console)
        return Outcome(
            settings.namespace.name,
            summarise(CassandraStore(settings)),
            read_accounts(settings),
            done.sent,
            done.rejected,
        )


def airflow_fits(settings: Settings, console: Console) -> bool:
    """Whether the stack of this machine has memory for Airflow beside it; says so where it has not."""
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


def demo_live(
    settings: Settings,
    *,
    feed: list[str],
    feed_name: str,
    seconds: float | None,
    console: Console,
    airflow: bool = False,
) -> None:
    """Feed events, run the jobs continuously, and show the figures until Ctrl-C.

    Parameters
    ----------
    settings : Settings
        Its namespace is filled.
    feed : list of str
        The command that produces events.
    feed_name : str
        How it is called in `retailpulse status` and `logs`.
    seconds : float, optional
        Stop after this long; until Ctrl-C when absent.
    console : Console
        Gets the progress and the live table.
    airflow : bool
        Whether Airflow runs the jobs, as production does: the promoted versions that the project ships.
    """
    with _servers(settings, console, airflow=airflow):
        ensure_topics(settings)
        names = [] if airflow else [f"job-{name}" for name in JOBS]
        variables = environment(settings)
        try:
            supervision.start_program(settings, feed_name, feed, env=variables, autorestart=False)
            for name in JOBS if names else ():
                command = job_command(name, run="continuous")
                supervision.start_program(settings, f"job-{name}", command, env=variables)
            if airflow:
                place = login(settings)
                console.print(
                    f"[bold]Airflow[/]    {place.url}  user {place.user}, password in {place.passwords}", soft_wrap=True
                )
            _show(settings, seconds, console)
        finally:
            console.print("\n[bold]stopping[/]   the feed and the jobs, each after its micro-batch")
            _stop(settings, [feed_name, *names])


def _stop(settings: Settings, names: list[str]) -> None:
    """Stop supervised programs, all at once: each may have a micro-batch to finish."""

    def stop(name: str) -> None:
        with contextlib.suppress(RetailPulseError):  # it may never have started
            supervision.stop_program(settings, name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(stop, names))


def _show(settings: Settings, seconds: float | None, console: Console) -> None:
    dashboard = Dashboard(settings, JOBS)
    end = time.monotonic() + seconds if seconds else None
    try:
        with Live(dashboard, console=console, auto_refresh=False, vertical_overflow="visible") as live:
            while end is None or time.monotonic() < end:
                dashboard.refresh()
                live.refresh()
                time.sleep(_REFRESH_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        dashboard.close()


def _run_to_end(settings: Settings, console: Console) -> None:
    """Run every job as one bounded run, all at once."""
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    started = time.monotonic()
    try:
        for name in JOBS:
            with (logs / f"job-{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    job_command(name, run="available_now"),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment(settings)},
                    start_new_session=True,
                )
        with console.status("starting Spark …") as status:
            while running:
                for name, process in list(running.items()):
                    if (code := process.poll()) is None:
                        continue
                    del running[name]
                    if code:
                        raise JobError(
                            f"The job {name!r} failed: {_last_line(logs / f'job-{name}.log')}",
                            remedy=f"See `retailpulse logs job-{name}`.",
                        )
                    console.print(f"  [green]✓[/] {name:<12} {time.monotonic() - started:5.1f} s")
                status.update(f"waiting for {', '.join(running)} ({time.monotonic() - started:.0f} s)")
                time.sleep(0.2)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def _servers(settings: Settings, console: Console, *, airflow: bool = False) -> Iterator[Any]:
    """The servers, started where they don't run, and stopped at the end if this started them; Airflow stops anyway."""
    local = settings.profile.name == "local"
    if not local and not airflow:
        yield  # another machine's servers: used as they are
        return
    ran_before = any(service.pid for service in supervision.status(settings))
    try:
        supervision.up(settings, ["airflow"] if airflow else None, console=console)
        yield
    finally:
        if airflow:
            console.print("[bold]stopping[/]   Airflow, its jobs each after its micro-batch")
            supervision.down(settings, names=["airflow"])
        if ran_before:
            console.print("[bold]servers[/]    they ran before the demo and go on (`retailpulse down` stops them)")
        elif local:
            console.print("[bold]stopping[/]   the servers")
            supervision.down(settings)
