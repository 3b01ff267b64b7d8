"""The verbs of the local stack: up, down, status, and other supervised programs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from rich.console import Console

from retailpulse_kernel.errors import ServiceError, UnknownName, UsageError
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack import artifacts, doctor
from retailpulse_kernel.stack.daemon import Supervisor, log_path
from retailpulse_kernel.stack.health import check
from retailpulse_kernel.stack.services import SERVICES, Service, address, command, fingerprint, select

__all__ = [
    "ServiceStatus",
    "down",
    "programs",
    "start_program",
    "status",
    "stop_program",
    "tail",
    "up",
]

_POLL_SECONDS = 0.3


@dataclass(frozen=True)
class ServiceStatus:
    """How one service or program is.

    Attributes
    ----------
    name : str
        As the command line knows it.
    state : str
        ``running``, ``starting``, ``stopped``, ``backoff``, ``fatal``, ``exited``, or ``external`` for a server of
        another profile than ``local``.
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
    """

    name: str
    state: str
    pid: int | None
    uptime_s: float | None
    memory_mb: float | None
    address: str
    healthy: bool
    detail: str = ""


def up(settings: Settings, names: Sequence[str] | None = None, *, console: Console) -> None:
    """Start services and what they need, and wait until each answers a real request.

    Parameters
    ----------
    settings : Settings
        Where data, cache and ports are.
    names : sequence of str, optional
        Services; all by default.
    console : rich.console.Console
        Gets a line for each service with its seconds.

    Raises
    ------
    UsageError
        The profile's servers are not on this machine's stack.
    RequirementError
        The machine lacks something; all of it is named at once.
    ArtifactError
        A jar can't be fetched.
    ServiceError
        A service did not start; its last log lines are in the message.
    """
    _require_local(settings)
    services = select(names)
    with _exclusive(settings, console):
        supervisor = Supervisor(settings)
        supervisor.end_strays()
        running = supervisor.processes()
        doctor.require(settings, [s for s in services if running.get(s.name, {}).get("statename") != "RUNNING"])
        _download(settings, services, console)
        supervisor.start()
        for service in services:
            supervisor.add(
                service.name,
                command(settings, service),
                env={"RETAILPULSE_CONFIGURATION": fingerprint(settings, service)},
                cwd=service.data(settings),
                stop_seconds=service.stop_seconds,
            )
        _Start(settings, supervisor, services, console).run()


def down(settings: Settings, wipe: bool = False) -> None:
    """Stop all services and programs, and what an earlier supervisor left behind.

    Parameters
    ----------
    settings : Settings
        Where the home is.
    wipe : bool
        Also delete the home folder: all data, checkpoints, runs and logs.
    """
    if wipe:
        _refuse_to_wipe(settings.home)
    with _exclusive(settings, None):
        Supervisor(settings).shutdown()
    if wipe:
        shutil.rmtree(settings.home)


def status(settings: Settings) -> list[ServiceStatus]:
    """How every service and program is, each asked by a real request, all at once."""
    local = settings.profile.name == "local"
    processes = Supervisor(settings).processes() if local else {}
    names = [*SERVICES, *(name for name in processes if name not in SERVICES)]
    if not local:
        # The master's own port is not in a profile: its Thrift server answers for HBase.
        names = [name for name in SERVICES if name != "hbase"]
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(lambda name: _status(settings, name, processes.get(name), local), names))


def start_program(
    settings: Settings,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    autorestart: bool = True,
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
    """
    if name in SERVICES:
        raise UsageError(f"{name!r} is the name of a service.", remedy="Give the program another name.")
    supervisor = Supervisor(settings)
    supervisor.start()
    supervisor.add(name, argv, env=env, cwd=cwd, autorestart=autorestart)
    supervisor.start_program(name)


def stop_program(settings: Settings, name: str) -> None:
    """Stop a program and all that it started, and forget it. Its log stays."""
    known = programs(settings)
    if name not in known:
        raise UnknownName("program", name, known)
    Supervisor(settings).remove(name)


def programs(settings: Settings) -> list[str]:
    """Names of the supervised programs that are not services."""
    return [name for name in Supervisor(settings).processes() if name not in SERVICES]


def tail(settings: Settings, name: str, lines: int = 20) -> str:
    """The last lines of a log; empty when there is none."""
    path = log_path(settings, name)
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - lines * 400))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


class _Start:
    """One start of several services: each as soon as those it needs are healthy."""

    def __init__(self, settings: Settings, supervisor: Supervisor, services: list[Service], console: Console) -> None:
        self._settings, self._supervisor, self._console = settings, supervisor, console
        self._services = services
        self._healthy = {service.name: threading.Event() for service in services}
        self._failed = threading.Event()

    def run(self) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(len(self._services)) as pool:
            futures = [pool.submit(self._start, service) for service in self._services]
            try:
                for future in futures:
                    future.result()
            finally:
                self._failed.set()
        self._console.print(f"all healthy after {time.monotonic() - started:.1f} s", style="bold")

    def _start(self, service: Service) -> None:
        try:
            for need in service.needs:
                while not self._healthy[need].wait(_POLL_SECONDS):
                    if self._failed.is_set():
                        return
            self._start_one(service)
        except BaseException:
            self._failed.set()
            raise

    def _start_one(self, service: Service) -> None:
        begun = time.monotonic()
        info = self._supervisor.processes()[service.name]
        was_running = info["statename"] == "RUNNING"
        if not was_running:
            if service.prepare:
                service.prepare(self._settings, service)
            self._supervisor.start_program(service.name)
        while (reason := check(self._settings, service.name)) is not None:
            if self._failed.is_set():
                return
            self._raise_if_dead(service, begun, reason)
            time.sleep(_POLL_SECONDS)
        self._healthy[service.name].set()
        took = "already up" if was_running else f"{time.monotonic() - begun:5.1f} s"
        self._console.print(f"  {service.name:<15} {address(self._settings, service):<16} [green]healthy[/]  {took}")

    def _raise_if_dead(self, service: Service, begun: float, reason: str) -> None:
        state = self._supervisor.processes().get(service.name, {}).get("statename", "STOPPED")
        seconds = time.monotonic() - begun
        if state in ("FATAL", "STOPPED", "EXITED"):
            what = f"{service.name} ends as soon as it starts"
        elif seconds > service.start_seconds:
            what = f"{service.name} does not answer after {seconds:.0f} s ({reason})"
        else:
            return
        lines = tail(self._settings, service.name)
        raise ServiceError(
            f"{what}. Its log ends with:\n{lines}\n",
            remedy=f"See `retailpulse logs {service.name}`; `retailpulse doctor` checks the machine.",
        )


def _status(settings: Settings, name: str, info: Mapping[str, object] | None, local: bool) -> ServiceStatus:
    state = str(info["statename"]).lower() if info else "stopped" if local else "external"
    pid = int(str(info["pid"])) or None if info else None
    memory, uptime = _usage(pid)
    if name not in SERVICES:
        detail = "" if state == "running" else str(info and info["description"])
        return ServiceStatus(name, state, pid, uptime, memory, "", state == "running", detail)
    detail = check(settings, name) if pid or not local else "not started"
    where = address(settings, SERVICES[name])
    return ServiceStatus(name, state, pid, uptime, memory, where, detail is None, detail or "")


def _usage(pid: int | None) -> tuple[float | None, float | None]:
    """Memory in MB of a process and all below it, and its age in seconds."""
    if pid is None:
        return None, None
    try:
        root = psutil.Process(pid)
        total = 0
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return round(total / 1e6, 1), round(time.time() - root.create_time(), 1)
    except psutil.NoSuchProcess:
        return None, None


def _download(settings: Settings, services: list[Service], console: Console) -> None:
    groups = list(dict.fromkeys(service.artifacts for service in services))
    if artifacts.missing(settings, groups):
        begun = time.monotonic()
        with artifacts.download_progress(console) as progress:
            size = artifacts.ensure(settings, groups, progress)
        console.print(f"  {size / 1e6:.0f} MB of server artifacts downloaded and checked in {time.monotonic() - begun:.0f} s")


def _require_local(settings: Settings) -> None:
    if settings.profile.name != "local":
        raise UsageError(
            f"The servers of the profile {settings.profile.name!r} are not managed here.",
            remedy="`retailpulse status` checks them; `--profile local` starts servers on this machine.",
        )


def _refuse_to_wipe(home: Path) -> None:
    if not (home / "supervisor").is_dir() or home == Path.home() or home in Path.cwd().parents:
        raise UsageError(f"{home} does not look like a RetailPulse home, so it is not deleted.", remedy="Delete it by hand.")


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
