"""The demo: servers, events, jobs and live figures with one command, all stopped at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil
from rich.console import Console

from retailpulse_kernel.answers.reading import Summary, summarise
from retailpulse_kernel.demo.jobs import demo_jobs, job_command
from retailpulse_kernel.demo.terminal import Dashboard
from retailpulse_kernel.feed.replay import replay
from retailpulse_kernel.ground.errors import JobError, RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.airflow import login
from retailpulse_kernel.stack.services import SERVICES
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Accounts, read_accounts

__all__ = [
    "airflow_fits",
    "demo_file",
    "demo_live",
    "refuse_under_a_demo",
    "stopped_programs",
]

#: What the jobs need, and what that needs.
_SERVERS = ("kafka", "cassandra", "hbase-thrift", "hiveserver2")
_LOOK_SECONDS = 2.0
#: The program that adds late events to the figures, and how often; Airflow has a notebook for it.
_CORRECTING, _CORRECT_EVERY = "correct", "1m"
#: Seen: 7.9 GB for servers, Airflow and jobs after two minutes (`python -m bench.costs`); heaps still grow.
_AIRFLOW_GB = 9


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
        Of every micro-batch of the jobs.
    sent, rejected : int
        Events of the file that went into Kafka, and rows that are not events.
    servers_stopped : bool
        Whether the servers, which the demo had started, are stopped again: the figures lie on the disk.
    """

    namespace: str
    figures: Summary
    accounts: list[Account]
    sent: int
    rejected: int
    servers_stopped: bool


def demo_file(
    settings: Settings, path: Path, format: str, *, speed: float = 0, fresh: bool, console: Console
) -> Outcome:
    """Replay a file to its end, let the jobs take all of it, and read the figures.

    Parameters
    ----------
    settings : Settings
        Its namespace is filled.
    path : Path
        The file.
    format : str
        What the file holds; see `retailpulse_kernel.feed.replay.replay`.
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
    with _servers(settings, console) as stop_again:
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
        console.print(f"[bold]jobs[/]       taking all of it into Cassandra, HBase and Hive ({', '.join(demo_jobs())})")
        _run_to_end(settings, console)
        return Outcome(
            settings.namespace.name,
            summarise(serving_store(settings)),
            read_accounts(settings),
            done.sent,
            done.rejected,
            stop_again,
        )


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
    with _only_demo(settings), _servers(settings, console, airflow=airflow):
        ensure_topics(settings)
        jobs = demo_jobs()
        names = [] if airflow else [f"job-{name}" for name in jobs]
        variables = environment(settings)
        over = threading.Event()
        later = threading.Thread(target=_start_for_questions, args=(settings, jobs, over), name="spark-connect")
        try:
            later.start()
            supervision.start_program(settings, feed_name, feed, env=variables, autorestart=False)
            for name in jobs if names else ():
                command = job_command(name, run="continuous")
                supervision.start_program(settings, f"job-{name}", command, env=variables)
            if names:
                command = [sys.executable, "-m", "retailpulse_kernel.cli", "correct", "--every", _CORRECT_EVERY]
                supervision.start_program(settings, _CORRECTING, command, env=variables)
                names.append(_CORRECTING)
            if airflow:
                place = login(settings)
                console.print(
                    f"[bold]Airflow[/]    {place.url}  user {place.user}, password in {place.passwords}", soft_wrap=True
                )
            airflows = [service.name for service in SERVICES.values() if service.group == "airflow"]
            _show(settings, feed_name, names or airflows, seconds, console)
        finally:
            console.print("[bold]stopping[/]   the feed and the jobs, each after its micro-batch")
            over.set()
            _stop(settings, [feed_name, *names])
            later.join()


def _start_for_questions(settings: Settings, jobs: Sequence[str], over: threading.Event) -> None:
    """Start Spark's server for ad hoc work once the jobs have written: it would hold up the first figure."""
    if settings.profile.name != "local":
        return
    accounts, began_ms = Accounts(settings), time.time() * 1000
    try:
        while {account.job for account in accounts.all() if account.finished_ms > began_ms} < set(jobs):
            if over.wait(_LOOK_SECONDS):
                return
            with contextlib.suppress(RetailPulseError):  # the table says what does not answer
                accounts.poll()
    finally:
        accounts.close()
    with contextlib.suppress(RetailPulseError):  # a notebook starts its own where there is none
        supervision.up(settings, ["spark-connect"], console=Console(quiet=True))


def _stop(settings: Settings, names: list[str]) -> None:
    """Stop supervised programs, all at once: each may have a micro-batch to finish."""

    def stop(name: str) -> None:
        with contextlib.suppress(RetailPulseError):  # it may never have started
            supervision.stop_program(settings, name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(stop, names))


def _show(settings: Settings, feed: str, programs: Sequence[str], seconds: float | None, console: Console) -> None:
    dashboard = Dashboard(settings, demo_jobs())
    try:
        dashboard.watch(console, seconds=seconds, problems=lambda: stopped_programs(settings, feed, programs))
    finally:
        dashboard.close()


def stopped_programs(settings: Settings, feed: str, programs: Sequence[str]) -> list[str]:
    """What of the demo does not run, in sentences.

    Parameters
    ----------
    settings : Settings
        Whose supervisor is asked.
    feed : str
        What the supervisor calls the feed. It may have come to its end.
    programs : sequence of str
        What the supervisor calls the jobs, or Airflow's services.

    Raises
    ------
    JobError
        Nothing of it does: somebody stopped all of it.
    """
    processes = Supervisor(settings).processes()
    names = [feed, *programs]
    if not any(name in processes for name in names):
        raise JobError(
            "The demo's feed and jobs were stopped from elsewhere.", remedy="Start the demo again: `retailpulse demo`."
        )
    said = []
    for name in names:
        process = processes.get(name, {"statename": "STOPPED"})
        if name == feed and process["statename"] == "EXITED" and not process["exitstatus"]:
            said.append("The feed has sent all of its events.")
        elif process["statename"] not in ("STARTING", "RUNNING"):
            state = process["statename"].lower()
            said.append(f"{name} does not run ({state}): `retailpulse logs {name}` shows why.")
    return said


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
    lock = _demo_lock(settings)
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


def _demo_lock(settings: Settings) -> filelock.BaseFileLock:
    return filelock.FileLock(settings.home / "locks" / "demo.lock")


@contextlib.contextmanager
def _only_demo(settings: Settings) -> Iterator[None]:
    """Keep a second live demo away: the supervisor knows the feed and the jobs by the same names."""
    lock = _demo_lock(settings)
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


def _run_to_end(settings: Settings, console: Console) -> None:
    """Run every job as one bounded run, all at once."""
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    started = time.monotonic()
    try:
        for name in demo_jobs():
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
                status.update(f"waiting for {', '.join(running)} ({time.monotonic() - started:.0f} s)")
                time.sleep(0.2)
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
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def _servers(settings: Settings, console: Console, *, airflow: bool = False) -> Iterator[bool]:
    """The servers, started where they don't run, and stopped at the end if this started them; Airflow stops anyway.

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
