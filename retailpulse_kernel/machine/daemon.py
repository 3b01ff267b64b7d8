"""One supervisord for each home folder, and the programs that it runs.

A program is two files: a shell script that sets its environment and becomes it (run it by hand
to see what it says), and supervisor's few lines about that script.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from retailpulse_kernel.ground.errors import RequirementError, ServiceError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.strays import HOME_VARIABLE, end, of_home, tree

__all__ = ["Supervisor", "log_path", "tail", "unusable_characters"]

# sun_path holds 104-108 bytes, and supervisor binds a temporary name with its process id behind it.
_LONGEST_SOCKET_PATH = 90
_OPEN_FILES = 16_384
_SHUTDOWN_SECONDS = 90


def log_path(settings: Settings, name: str) -> Path:
    """The log of a service or program.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    name : str
        A service's or program's.
    """
    return settings.home / "logs" / f"{name}.log"


def unusable_characters(path: Path) -> str:
    """What in a path supervisor's and the servers' configuration files can't all quote; empty when it is plain.

    Parameters
    ----------
    path : Path
        An absolute path.
    """
    return " ".join(sorted({repr(c) for c in str(path) if not (c.isalnum() or c in "/._-+@~")}))


def tail(settings: Settings, name: str, lines: int = 20) -> str:
    """The last lines of a log; empty when there is none.

    Parameters
    ----------
    settings : Settings
        Says where the home is.
    name : str
        A service's or program's.
    lines : int
        At most so many.
    """
    path = log_path(settings, name)
    if not path.is_file() or not lines:
        return ""
    with path.open("rb") as file:
        end, block, text = file.seek(0, os.SEEK_END), 0, b""
        while text.count(b"\n") <= lines and block < end:
            block = min(end, max(1 << 16, 2 * block))
            file.seek(end - block)
            text = file.read(block)
        return "\n".join(text.decode(errors="replace").splitlines()[-lines:])


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

    def pid(self) -> int | None:
        """Process id of supervisord, or None when it does not answer."""
        with contextlib.suppress(ServiceError):
            return int(self._call("getPID"))
        return None

    def start(self) -> None:
        """Start supervisord as a daemon, after ending what a killed one left behind."""
        require_extra("stack")
        if self.pid() is not None:
            return
        if strange := unusable_characters(self._folder):
            raise RequirementError(
                f"The folder {self._settings.home} must not contain {strange}.",
                remedy="Set RETAILPULSE_HOME to a folder with a plain name.",
            )
        self.end_strays()
        for folder in (self._programs, self._settings.home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        if self._socket.parent.stat().st_uid != os.getuid():  # it may lie in a folder that all users share
            raise ServiceError(f"{self._socket.parent} belongs to someone else.", remedy="Set XDG_RUNTIME_DIR.")
        self._socket.unlink(missing_ok=True)
        # Programs of an earlier supervisord are forgotten: a caller that wants one adds it again.
        for file in self._programs.iterdir():
            file.unlink()
        configuration = self._folder / "supervisord.conf"
        write_whole(configuration, self._configuration())
        begun = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            env={**os.environ, HOME_VARIABLE: str(self._settings.home)},
            capture_output=True,
            text=True,
        )
        if begun.returncode:
            raise ServiceError(f"supervisord can't start: {(begun.stderr or begun.stdout).strip()}")
        deadline = time.monotonic() + 15
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise ServiceError("supervisord does not answer.", remedy=f"See {self._folder / 'supervisord.log'}.")
            time.sleep(0.05)

    def shutdown(self) -> None:
        """Stop all programs and supervisord itself, and end what was left behind."""
        pid = self.pid()
        if pid is not None:
            self.stop(self.processes())
            self._call("shutdown")
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(pid).wait(timeout=_SHUTDOWN_SECONDS)
        self.end_strays()
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._folder:
            with contextlib.suppress(FileNotFoundError):
                self._socket.parent.rmdir()

    def strays(self) -> list[psutil.Process]:
        """Processes of this home that no living supervisord looks after."""
        pid = self.pid()
        supervised = set(tree(pid)) if pid is not None else set()
        return [process for process in of_home(self._settings.home) if process not in supervised]

    def end_strays(self) -> None:
        """End what a killed supervisord left behind."""
        # Again, because a supervisord that can't be reached may restart what is ended beside it.
        for _ in range(5):
            found = self.strays()
            if not found:
                return
            end(found)

    def add(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        autorestart: bool = True,
        stop_seconds: int = 20,
    ) -> None:
        """Make a program known; a running one that was changed is stopped.

        Parameters
        ----------
        name : str
            What supervisor calls the program.
        argv : sequence of str
            The command.
        env : mapping, optional
            Variables on top of supervisord's own.
        cwd : Path, optional
            Working folder; the home when absent.
        autorestart : bool
            Start the program anew whenever it ends.
        stop_seconds : int
            How long it may take to stop before it is killed.
        """
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in sorted((env or {}).items()))
        script = f"{exports}cd {shlex.quote(str(cwd or self._settings.home))} && exec {shlex.join(argv)}\n"
        path = self._programs / f"{name}.sh"
        configuration = _PROGRAM.format(
            name=name,
            command=shlex.join(["/bin/sh", str(path)]),
            # Supervisor compares its own lines only: a changed script must change one of them.
            fingerprint=hashlib.sha256(script.encode()).hexdigest()[:16],
            log=log_path(self._settings, name),
            autorestart="true" if autorestart else "false",
            # Supervisor retries what ends sooner than this, even if it was told not to restart it.
            start_seconds=2 if autorestart else 0,
            stop_seconds=stop_seconds,
        )
        with self._lock():
            write_whole(path, script)
            write_whole(path.with_suffix(".ini"), configuration)
            self._reload()

    def remove(self, name: str) -> None:
        """Stop a program and forget it.

        Parameters
        ----------
        name : str
            A known program.
        """
        with self._lock():
            (self._programs / f"{name}.ini").unlink(missing_ok=True)
            self._reload()
            (self._programs / f"{name}.sh").unlink(missing_ok=True)

    def start_program(self, name: str) -> None:
        """Start a known program; nothing happens when it runs.

        Parameters
        ----------
        name : str
            A known program.
        """
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise ServiceError(f"{name} could not be started: {fault.faultString}.") from fault

    def stop(self, names: Iterable[str]) -> None:
        """Stop known programs, all at once: left to itself, supervisord stops one after the other.

        Parameters
        ----------
        names : iterable of str
            Known programs; one that does not run is passed over.
        """
        names = list(names)
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            list(pool.map(self._stop, names))

    def _stop(self, name: str) -> None:
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
        if not self._socket.exists():
            raise _not_running()
        require_extra("stack")

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        # The address is a formality: the transport goes to the socket.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.ProtocolError) as error:
            raise _not_running() from error
        finally:
            transport.close()

    def _configuration(self) -> str:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _SUPERVISORD.format(
            socket=self._socket,
            folder=self._folder,
            programs=self._programs,
            open_files=_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES),
        )

    def _lock(self) -> FileLock:
        return FileLock(self._folder / "programs.lock")


def _not_running() -> ServiceError:
    return ServiceError("The local servers' supervisor does not run.", remedy="Run `retailpulse up`.")


def _socket_path(folder: Path) -> Path:
    """The socket beside its configuration, or in a short folder of this user when that path is too long."""
    path = folder / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    home = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(base) / f"retailpulse-{os.getuid()}-{home}" / "s.sock"


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
minfds={open_files}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {programs}/*.ini
"""

_PROGRAM = """\
[program:{name}]
command={command}
environment=RETAILPULSE_PROGRAM="{fingerprint}"
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
