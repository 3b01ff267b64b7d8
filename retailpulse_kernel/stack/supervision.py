"""The verbs of the local stack: up, down, status, and other supervised programs."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from rich.console import Console

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.machine.strays import tree
from retailpulse_kernel.stack import doctor
from retailpulse_kernel.stack.configuration import command, environment
from retailpulse_kernel.stack.health import check
from retailpulse_kernel.stack.observers import OBSERVERS, answer_of, port_of
from retailpulse_kernel.stack.services import SERVICES, Service, address, select
from retailpulse_kernel.stack.start import Start
from retailpulse_kernel.stores.confinement import require_free

__all__ = [
    "ServiceStatus",
    "down",
    "programs",
    "start_program",
    "startable",
    "status",
    "stop_program",
    "up",
]


@dataclass(frozen=True)
class ServiceStatus:
    """How one service or program is.

    Attributes
    ----------
    name : str
        As the command line knows it.
    state : str
        ``running``, ``starting``, ``stopped``, ``backoff``, ``fatal``, ``exited``, or ``external`` for a server of
        another profile than ``local``. A server that does not answer is ``starting`` for as long as a start may take.
    pid : int or None
        Process id.
    uptime_s : float or None
        Seconds since the process started.
    memory_mb : float or None
        Resident memory of the process and all below it, in MB.
    address : str
        ``host:port`` for clients; empty for a program.
    healthy : bool
        The service answered a real request; a program runs.
    detail : str
        Why it is not healthy.
    answer_s : float or None
        Seconds that its answer took; None where none came.
    """

    name: str
    state: str
    pid: int | None
    uptime_s: float | None
    memory_mb: float | None
    address: str
    healthy: bool
    detail: str = ""
    answer_s: float | None = None


def up(settings: Settings, names: Sequence[str] | None = None, *, console: Console) -> None:
    """Start services and what they need, and wait until each answers a real request.

    Parameters
    ----------
    settings : Settings
        Where data, cache and ports are.
    names : sequence of str, optional
        Services, or groups of them; all servers by default.
    console : rich.console.Console
        Gets a line for each service with its seconds, as it becomes healthy.

    Raises
    ------
    UsageError
        The profile's servers are not on this machine's stack.
    RequirementError
        The machine lacks something; all of it is named at once. Or the extra ``stack`` is not installed.
    ArtifactError
        A jar can't be fetched.
    ServiceError
        A service did not start; its last log lines are in the message.
    """
    require_free(settings, "Starting servers")
    require_extra("stack")
    services = startable(settings, names)
    with _exclusive(settings, console):
        supervisor = Supervisor(settings)
        supervisor.end_strays()
        running = supervisor.processes()
        doctor.require(settings, [s for s in services if running.get(s.name, {}).get("statename") != "RUNNING"])
        # The whole stack, and services that run jobs, need Spark's jars too, which belong to no server.
        everything = not names or any(service.runs_jobs for service in services)
        groups = {service.artifacts for service in services} - {""}
        if everything:
            groups |= set(artifacts.groups()) - artifacts.BY_NAME
        _download(settings, groups, console)
        supervisor.start()
        for service in services:
            supervisor.add(
                service.name,
                command(settings, service),
                env=environment(settings, service),
                cwd=service.data(settings),
                stop_seconds=service.stop_seconds,
            )
        Start(settings, supervisor, services, console).run()


def down(settings: Settings, wipe: bool = False, *, names: Sequence[str] | None = None) -> None:
    """Stop all services and programs, and what an earlier supervisor left behind.

    Parameters
    ----------
    settings : Settings
        Where the home is.
    names : sequence of str, optional
        Only these services, or groups of them; nothing else is looked after then.
    wipe : bool
        Also delete the home folder: all data, checkpoints, runs and logs.

    Raises
    ------
    UsageError
        The profile's servers are not managed here, or what should be deleted does not look like a home folder.
    """
    require_free(settings, "Stopping servers")
    if names:
        return _stop(settings, [service for service in select(names) if _is_named(service, names)])
    if not any(SERVICES[name].beside for name in Supervisor(settings).processes() if name in SERVICES):
        _require_local(settings)
    if not settings.home.exists():
        return None
    if wipe:
        _refuse_to_wipe_a_stranger(settings.home)
    with _exclusive(settings, None):
        supervisor = Supervisor(settings)
        known = supervisor.processes()
        # First: a job that ends its last batch needs the servers.
        supervisor.stop(name for name in known if name not in SERVICES or SERVICES[name].runs_jobs)
        supervisor.shutdown()
        if wipe:
            shutil.rmtree(settings.home)
    return None


def _stop(settings: Settings, services: Sequence[Service]) -> None:
    with _exclusive(settings, None):
        supervisor = Supervisor(settings)
        known = [service for service in services if service.name in supervisor.processes()]
        for runs_jobs in (True, False):
            supervisor.stop(service.name for service in known if service.runs_jobs is runs_jobs)
        for service in known:
            if service.beside:
                supervisor.remove(service.name)


def status(settings: Settings) -> list[ServiceStatus]:
    """How every service and program is, each asked by a real request, all at once.

    Parameters
    ----------
    settings : Settings
        Home and profile.
    """
    local = settings.profile.name == "local"
    processes = Supervisor(settings).processes()
    if not local:
        processes = {name: info for name, info in processes.items() if name in SERVICES and SERVICES[name].beside}
    servers = [service.name for service in SERVICES.values() if not service.beside]
    if not local:
        # The master's own port is not in a profile: its Thrift server answers for HBase.
        servers.remove("hbase")
    names = [*servers, *(name for name in processes if name not in servers)]
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(lambda name: _status(settings, name, processes.get(name), local), names))


def start_program(
    settings: Settings,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    autorestart: bool = True,
    stop_seconds: int = 20,
) -> None:
    """Run another program under the stack's supervisor, such as a streaming job.

    Parameters
    ----------
    settings : Settings
        Where the home is; supervisor is started when it does not run.
    name : str
        How `status`, `logs` and `stop_program` call it. A program of that name that runs with the same
        arguments is left alone; with others it is replaced.
    argv : sequence of str
        The command.
    env : mapping, optional
        Environment variables on top of the current ones of the supervisor.
    cwd : Path, optional
        Working folder; the home by default.
    autorestart : bool
        Start it anew whenever it ends, whatever its exit code.
    stop_seconds : int
        How long it may take to stop after SIGTERM before it is killed with all that it started.
    """
    if name in SERVICES:
        raise UsageError(f"{name!r} is the name of a service.", remedy="Give the program another name.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"{name!r} can't be a program's name.", remedy="Use letters, digits, '-', '_' and '.'.")
    require_free(settings, f"Starting the program {name!r}")
    supervisor = Supervisor(settings)
    supervisor.start()
    supervisor.add(name, argv, env=env, cwd=cwd, autorestart=autorestart, stop_seconds=stop_seconds)
    supervisor.start_program(name)


def stop_program(settings: Settings, name: str) -> None:
    """Stop a program and all that it started, and forget it. Its log stays.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    name : str
        As `start_program` got it.
    """
    require_free(settings, f"Stopping the program {name!r}")
    known = programs(settings)
    if name not in known:
        raise UnknownName("program", name, known)
    Supervisor(settings).remove(name)


def programs(settings: Settings) -> list[str]:
    """Names of the supervised programs that are not services.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """
    return [name for name in Supervisor(settings).processes() if name not in SERVICES]


def _status(settings: Settings, name: str, info: Mapping[str, object] | None, local: bool) -> ServiceStatus:
    state = str(info["statename"]).lower() if info else "stopped" if local else "external"
    pid = int(str(info["pid"])) or None if info else None
    memory, uptime = _usage(pid)
    if name in OBSERVERS:
        reason, took = _asked(lambda: answer_of(settings, OBSERVERS[name])) if pid else ("not started", None)
        where = f"127.0.0.1:{port_of(settings, OBSERVERS[name])}"
        return ServiceStatus(name, state, pid, uptime, memory, where, reason is None, reason or "", took)
    if name not in SERVICES:
        detail = "" if state == "running" else str(info and info["description"])
        return ServiceStatus(name, state, pid, uptime, memory, "", state == "running", detail)
    reason, took = _asked(lambda: check(settings, name)) if pid or not local else ("not started", None)
    where = address(settings, SERVICES[name])
    if reason is None and state == "starting":
        state = "running"  # it answers: the supervisor waits two seconds more before it says so
    elif reason is not None and state == "running" and (uptime or 0) < SERVICES[name].start_seconds:
        state, reason = "starting", f"does not answer yet, {uptime or 0:.0f} s after its start"
    return ServiceStatus(name, state, pid, uptime, memory, where, reason is None, reason or "", took)


def _asked(ask: Callable[[], str | None]) -> tuple[str | None, float | None]:
    """Why something does not answer, or how long its answer took."""
    began = time.monotonic()
    reason = ask()
    return reason, time.monotonic() - began if reason is None else None


def _usage(pid: int | None) -> tuple[float | None, float | None]:
    """Memory in MB of a process and all below it, and its age in seconds."""
    if pid is None:
        return None, None
    try:
        memory = sum(process.memory_info().rss for process in tree(pid))
        return round(memory / 1e6, 1), round(time.time() - psutil.Process(pid).create_time(), 1)
    except psutil.NoSuchProcess:  # it, or a child of it, ended meanwhile
        return None, None


def _download(settings: Settings, groups: Collection[str] | None, console: Console) -> None:
    begun = time.monotonic()
    if not console.is_terminal and (wanted := artifacts.missing(settings, groups)):
        size = sum(artifact.size for artifact in wanted)
        console.print(f"  downloading {len(wanted)} server artifacts, {size / 1e6:.0f} MB")
    with artifacts.download_progress(console) as progress:
        size = artifacts.ensure(settings, groups, progress)
    if size:
        seconds = time.monotonic() - begun
        console.print(f"  {size / 1e6:.0f} MB of server artifacts downloaded and checked in {seconds:.0f} s")


def startable(settings: Settings, names: Sequence[str] | None) -> list[Service]:
    """The services to start; of another profile's only what runs beside its servers, which are there already.

    Parameters
    ----------
    settings : Settings
        Has the profile.
    names : sequence of str or None
        Services, or groups of them; all servers when absent.
    """
    services = select(names)
    if settings.profile.name == "local":
        return services
    named = [service for service in services if _is_named(service, names or ())]
    if not named or not all(service.beside for service in named):
        _require_local(settings)
    beside = {service.name for service in services if service.beside}
    return [replace(s, needs=tuple(need for need in s.needs if need in beside)) for s in services if s.beside]


def _is_named(service: Service, names: Sequence[str]) -> bool:
    """Whether a service is named, by itself or by its group."""
    return service.name in names or service.group in names


def _require_local(settings: Settings) -> None:
    if settings.profile.name != "local":
        raise UsageError(
            f"The servers of the profile {settings.profile.name!r} are not managed here.",
            remedy="`retailpulse status` checks them; `--profile local` starts servers on this machine.",
        )


def _refuse_to_wipe_a_stranger(home: Path) -> None:
    """A RETAILPULSE_HOME that points to the wrong place must not cost anyone their files."""
    known = {"stack.lock", "supervisor", "logs", "checkpoints"}
    is_ours = any((home / name).exists() for name in known)
    if not is_ours or home == Path.home() or home in Path.cwd().parents or (home / ".git").exists():
        raise UsageError(
            f"{home} does not look like a folder of RetailPulse alone: it is not deleted.",
            remedy="Check RETAILPULSE_HOME, or delete it by hand.",
        )


@contextmanager
def _exclusive(settings: Settings, console: Console | None) -> Iterator[None]:
    """One `up` or `down` at a time for a home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "stack.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if console:
            console.print("another `retailpulse up` or `down` is at work here; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
