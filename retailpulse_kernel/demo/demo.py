"""The demo: servers, events, jobs and live figures with one command, all stopped at its end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from retailpulse_kernel.answers.reading import Summary, summarise
from retailpulse_kernel.catalogue.completeness import served_until
from retailpulse_kernel.demo.jobs import CLI, demo_jobs, failed, job_command, start_logged
from retailpulse_kernel.demo.servers import only_demo, servers
from retailpulse_kernel.demo.terminal import Dashboard
from retailpulse_kernel.demo.worked import Worked, where_to_look
from retailpulse_kernel.feed.replay import replay
from retailpulse_kernel.ground.errors import JobError, RetailPulseError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.airflow import login
from retailpulse_kernel.stack.services import SERVICES
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Accounts, read_accounts

__all__ = [
    "demo_file",
    "demo_live",
    "stopped_programs",
]

_LOOK_SECONDS = 2.0
#: The program that adds late events to the figures, and how often; Airflow has a notebook for it.
_CORRECTING, _CORRECT_EVERY = "correct", "1m"


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
    settings: Settings,
    path: Path,
    format: str,
    *,
    speed: float = 0,
    fresh: bool,
    console: Console,
    worked: Worked | None = None,
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
    worked : Worked, optional
        The worked notebooks, where they are promoted and run too.

    Raises
    ------
    JobError
        A job failed, or a worked notebook was refused; the last line of the log is in the message.
    """
    with servers(settings, console) as stop_again:
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
        if worked is not None:
            console.print("[bold]worked[/]     promoting each notebook, which then takes all of it too")
            worked.promote_and_run(console)
            worked.read()
        return Outcome(
            settings.namespace.name,
            summarise(
                serving_store(settings), now=served_until(settings), calendar=contract_of(settings).shop.calendar
            ),
            read_accounts(settings),
            done.sent,
            done.rejected,
            stop_again,
        )


def demo_live(
    settings: Settings,
    *,
    feed: list[str],
    feed_name: str,
    seconds: float | None,
    console: Console,
    airflow: bool = False,
    worked: Worked | None = None,
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
    worked : Worked, optional
        The worked notebooks, where they are promoted and run too.
    """
    with only_demo(settings), servers(settings, console, airflow=airflow) as stop_again:
        ensure_topics(settings)
        jobs = demo_jobs()
        programs = {} if airflow else _programs(jobs)
        variables = environment(settings)
        over = threading.Event()
        later = [threading.Thread(target=_start_for_questions, args=(settings, jobs, over), name="spark-connect")]
        if worked is not None:
            later.append(threading.Thread(target=_promote, args=(settings, jobs, worked, over), name="worked"))
        try:
            for thread in later:
                thread.start()
            supervision.start_program(settings, feed_name, feed, env=variables, autorestart=False)
            for name, command in programs.items():
                supervision.start_program(settings, name, command, env=variables)
            if airflow:
                place = login(settings)
                console.print(
                    f"[bold]Airflow[/]    {place.url}  user {place.user}, password in {place.passwords}", soft_wrap=True
                )
            airflows = [service.name for service in SERVICES.values() if service.group == "airflow"]
            _show(settings, feed_name, [*programs] or airflows, worked, seconds, console)
        finally:
            console.print("[bold]stopping[/]   the feed and the jobs, each after its micro-batch")
            over.set()
            _stop(settings, [feed_name, *programs, *(worked.programs if worked else ())])
            for thread in later:
                thread.join()
            if worked is not None:
                _stop(settings, worked.programs)  # one may have started meanwhile
    if worked is not None:
        where_to_look(settings, console, servers_stopped=stop_again)


def _programs(jobs: Sequence[str]) -> dict[str, list[str]]:
    """What the supervisor runs in Airflow's place, with the commands: the jobs, and what adds late events."""
    commands = {f"job-{name}": job_command(name, run="continuous") for name in jobs}
    return {**commands, _CORRECTING: [*CLI, "correct", "--every", _CORRECT_EVERY]}


def _start_for_questions(settings: Settings, jobs: Sequence[str], over: threading.Event) -> None:
    """Start Spark's server for ad hoc work once the jobs have written: it would hold up the first figure."""
    if settings.profile.name == "local" and _have_written(settings, jobs, over):
        with contextlib.suppress(RetailPulseError):  # a notebook starts its own where there is none
            supervision.up(settings, ["spark-connect"], console=Console(quiet=True))


def _promote(settings: Settings, jobs: Sequence[str], worked: Worked, over: threading.Event) -> None:
    """Promote the worked notebooks once the jobs have written: the gate would hold up the first figure."""
    if _have_written(settings, jobs, over):
        worked.promote_and_start(over)


def _have_written(settings: Settings, jobs: Sequence[str], over: threading.Event) -> bool:
    """Wait until each job has finished a micro-batch; False where the demo is over before."""
    accounts, began_ms = Accounts(settings), time.time() * 1000
    try:
        while {account.job for account in accounts.all() if account.finished_ms > began_ms} < set(jobs):
            if over.wait(_LOOK_SECONDS):
                return False
            with contextlib.suppress(RetailPulseError):  # the table says what does not answer
                accounts.poll()
    finally:
        accounts.close()
    return True


def _stop(settings: Settings, names: list[str]) -> None:
    """Stop supervised programs, all at once: each may have a micro-batch to finish."""

    def stop(name: str) -> None:
        with contextlib.suppress(RetailPulseError):  # it may never have started
            supervision.stop_program(settings, name)

    with ThreadPoolExecutor(max(1, len(names))) as pool:
        list(pool.map(stop, names))


def _show(
    settings: Settings,
    feed: str,
    programs: Sequence[str],
    worked: Worked | None,
    seconds: float | None,
    console: Console,
) -> None:
    dashboard = Dashboard(settings, demo_jobs(), worked)

    def problems() -> list[str]:
        return stopped_programs(settings, feed, [*programs, *(worked.programs if worked else ())])

    try:
        dashboard.watch(console, seconds=seconds, problems=problems)
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


def _run_to_end(settings: Settings, console: Console) -> None:
    """Run every job as one bounded run, all at once."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    started = time.monotonic()
    try:
        for name in demo_jobs():
            running[name] = start_logged(settings, job_command(name, run="available_now"), f"job-{name}")
        with console.status("starting Spark …") as status:
            while running:
                status.update(f"waiting for {', '.join(running)} ({time.monotonic() - started:.0f} s)")
                time.sleep(0.2)
                for name, process in list(running.items()):
                    if (code := process.poll()) is None:
                        continue
                    del running[name]
                    if code:
                        raise failed(settings, f"The job {name!r}", f"job-{name}")
                    console.print(f"  [green]✓[/] {name:<12} {time.monotonic() - started:5.1f} s")
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()
