"""Start, stop and watch processes by `supervisor`: the servers, and other long-running programs.

One supervisord for each home folder. Every process under it carries the home in an environment
variable, so that what a killed supervisord left behind can be found and ended.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from retailpulse_kernel.errors import ServiceError
from retailpulse_kernel.settings import Settings

__all__ = ["HOME_VARIABLE", "Supervisor", "end", "log_path", "strays"]

HOME_VARIABLE = "RETAILPULSE_SERVICE_HOME"
# sun_path holds 104-108 bytes, and supervisor binds a temporary name with its process id behind it.
_LONGEST_SOCKET_PATH = 90


def log_path(settings: Settings, name: str) -> Path:
    """The log of a service or program."""
    return settings.home / "logs" / f"{name}.log"


class Supervisor:
    """The supervisord of one home folder.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.home / "supervisor"
        self._programs = self._folder / "programs"
        self._socket = _socket_path(self._folder)

    def is_running(self) -> bool:
        """Whether supervisord answers."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Process id of supervisord, or None when it does not answer."""
        try:
            return self._call("getPID")
        except ServiceError:
            return None

    def start(self) -> None:
        """Start supervisord as a daemon, after ending what an earlier one left behind."""
        if self.is_running():
            return
        self.end_strays()
        self._programs.mkdir(parents=True, exist_ok=True)
        (self._settings.home / "logs").mkdir(exist_ok=True)
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.unlink(missing_ok=True)
        configuration = self._folder / "supervisord.conf"
        configuration.write_text(self._configuration())
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            env={**os.environ, HOME_VARIABLE: str(self._settings.home)},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        _until(self.is_running, 15, "supervisord does not answer", self._folder / "supervisord.log")

    def shutdown(self) -> None:
        """Stop all processes and supervisord itself, and end what was left behind."""
        pid = self.pid()
        if pid is not None:
            self._call("shutdown")
            try:
                psutil.Process(pid).wait(timeout=90)
            except psutil.NoSuchProcess:
                pass
            except psutil.TimeoutExpired:
                end([psutil.Process(pid)])
        self.end_strays()
        self._socket.unlink(missing_ok=True)

    def end_strays(self) -> None:
        """End what a killed supervisord left behind."""
        end(strays(self._settings))

    def add(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        autorestart: bool = True,
        stop_seconds: int = 20,
        start_seconds: int = 2,
    ) -> None:
        """Make a program known; a running one whose configuration changed is stopped."""
        text = _program(
            name,
            argv,
            env or {},
            cwd or self._settings.home,
            log_path(self._settings, name),
            autorestart=autorestart,
            stop_seconds=stop_seconds,
            start_seconds=start_seconds,
        )
        with self._configuration_lock():
            path = self._programs / f"{name}.ini"
            aside = path.with_suffix(".new")
            aside.write_text(text)
            aside.replace(path)
            self._reload()

    def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        with self._configuration_lock():
            (self._programs / f"{name}.ini").unlink(missing_ok=True)
            if self.is_running():
                self._reload()

    def start_program(self, name: str) -> None:
        """Start a known program; nothing happens when it runs."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise ServiceError(f"{name} could not be started: {fault.faultString}.") from fault

    def stop_program(self, name: str) -> None:
        """Stop a known program; nothing happens when it does not run."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise ServiceError(f"{name} could not be stopped: {fault.faultString}.") from fault

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisor knows of each program, by name; empty when it does not run."""
        try:
            return {info["name"]: info for info in self._call("getAllProcessInfo")}
        except ServiceError:
            return {}

    def _reload(self) -> None:
        """Bring supervisord in line with the files of the programs."""
        ((added, changed, removed),) = self._call("reloadConfig")
        for name in [*changed, *removed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.ProtocolError) as error:
            raise ServiceError("The supervisor of the local servers does not run.", remedy="Run `retailpulse up`.") from error
        finally:
            transport.close()

    def _configuration(self) -> str:
        return _SUPERVISORD.format(
            socket=_escaped(self._socket), folder=_escaped(self._folder), programs=_escaped(self._programs)
        )

    @contextmanager
    def _configuration_lock(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "programs.lock"):
            yield


def strays(settings: Settings) -> list[psutil.Process]:
    """Processes of this home that no living supervisord looks after.

    The caller and what it runs under are never among them.
    """
    home = str(settings.home)
    supervisord = Supervisor(settings).pid()
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    if supervisord is not None:
        try:
            parent = psutil.Process(supervisord)
            spared |= {parent.pid, *(child.pid for child in parent.children(recursive=True))}
        except psutil.NoSuchProcess:
            pass
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in spared and process.environ().get(HOME_VARIABLE) == home:
                found.append(process)
        except psutil.Error:  # another user's, or gone meanwhile
            continue
    return found


def end(processes: Iterable[psutil.Process], seconds: float = 10) -> None:
    """SIGTERM, then SIGKILL for what is left after some seconds."""
    processes = list(processes)
    for process in processes:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=seconds)


def _quietly(action: Any) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        pass


def _until(condition: Any, seconds: float, complaint: str, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"{complaint} after {seconds:.0f} s.", remedy=f"See {log}.")
        time.sleep(0.05)


def _socket_path(folder: Path) -> Path:
    """The socket beside its configuration, or in a short folder of this user when that path is too long."""
    path = folder / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    home = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(base) / f"retailpulse-{os.getuid()}-{home}" / "s.sock"


def _escaped(value: object) -> str:
    """For supervisor's files, where % starts an expansion."""
    return str(value).replace("%", "%%")


def _program(
    name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path,
    *, autorestart: bool, stop_seconds: int, start_seconds: int,
) -> str:  # fmt: skip
    environment = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(env.items()))
    return _PROGRAM.format(
        name=name,
        command=_escaped(shlex.join(argv)),
        directory=_escaped(cwd),
        environment=environment,
        log=_escaped(log),
        autorestart="true" if autorestart else "false",
        stop_seconds=stop_seconds,
        start_seconds=start_seconds,
    )


_SUPERVISORD = """\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={folder}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}
directory={folder}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {programs}/*.ini
"""

_PROGRAM = """\
[program:{name}]
command={command}
directory={directory}
environment={environment}
autostart=false
autorestart={autorestart}
startsecs={start_seconds}
startretries=5
stopasgroup=true
killasgroup=true
stopsignal=TERM
stopwaitsecs={stop_seconds}
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""
