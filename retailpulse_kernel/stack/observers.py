"""What watches the stack: the read API, the monitor, and Prometheus and Alertmanager where they are installed.

None of them is a part of plain ``retailpulse up``: they are started by name.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from retailpulse_kernel.ground.credentials import made_secret
from retailpulse_kernel.ground.errors import RequirementError
from retailpulse_kernel.ground.settings import Settings

__all__ = ["MONITOR_PORT", "OBSERVERS", "Observer", "answer_of", "port_of", "program_of"]

#: Where the monitor answers Prometheus, before the offset.
MONITOR_PORT = 8091
_SECONDS = 5.0


@dataclass(frozen=True)
class Observer:
    """One program that watches.

    Attributes
    ----------
    name : str
        As the command line and supervisor know it.
    port : int
        Where it listens on this machine, before the offset.
    path : str
        What answers when it is ready.
    arguments : callable
        The command line after the program, for settings.
    programs : tuple of str
        Names of the program, the first that is installed is taken; our own command when there is none.
    package : str
        What Debian calls it.
    needs : tuple of str
        Observers that are started with it.
    """

    name: str
    port: int
    path: str
    arguments: Callable[[Settings], list[str]]
    programs: tuple[str, ...] = ()
    package: str = ""
    needs: tuple[str, ...] = ()


def port_of(settings: Settings, observer: Observer) -> int:
    """Where it listens.

    Parameters
    ----------
    settings : Settings
        Has the ports' offset.
    observer : Observer
        The one to reach.
    """
    return observer.port + settings.port_offset


def program_of(observer: Observer) -> str:
    """The path of its program.

    Parameters
    ----------
    observer : Observer
        The one to start.

    Raises
    ------
    RequirementError
        It is not installed.
    """
    if not observer.programs:
        return str(Path(sys.executable).with_name("retailpulse"))
    for name in observer.programs:
        if path := shutil.which(name):
            return path
    raise RequirementError(
        f"{observer.name} is not installed: none of {', '.join(observer.programs)} is in the PATH.",
        remedy=f"On Debian and Ubuntu: `apt-get install {observer.package}`; elsewhere unpack its release into a "
        "folder of the PATH. docker-compose.yml brings it along.",
    )


def answer_of(settings: Settings, observer: Observer) -> str | None:
    """Ask it something real; None when it answered, otherwise why it did not.

    Parameters
    ----------
    settings : Settings
        Has the ports' offset.
    observer : Observer
        The one to ask.
    """
    try:
        # On this machine: no proxy of the environment, and no certificates to load.
        address = f"http://127.0.0.1:{port_of(settings, observer)}{observer.path}"
        httpx.get(address, timeout=_SECONDS, trust_env=False, verify=False).raise_for_status()
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _prometheus(settings: Settings) -> list[str]:
    home = settings.home / "prometheus"
    return [
        f"--config.file={home / 'conf' / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        "--storage.tsdb.retention.time=30d",
        "--storage.tsdb.retention.size=2GB",
        f"--web.listen-address=127.0.0.1:{port_of(settings, OBSERVERS['prometheus'])}",
    ]


def _alertmanager(settings: Settings) -> list[str]:
    home = settings.home / "alertmanager"
    return [
        f"--config.file={home / 'conf' / 'alertmanager.yml'}",
        f"--storage.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port_of(settings, OBSERVERS['alertmanager'])}",
        "--cluster.listen-address=",  # one of it: nothing to talk to
    ]


def _monitor(settings: Settings) -> list[str]:
    return ["monitor", "--port", str(port_of(settings, OBSERVERS["monitor"]))]


def _api(settings: Settings) -> list[str]:
    token = made_secret(settings.home / "secrets" / "api")
    return ["serve", "--port", str(port_of(settings, OBSERVERS["api"])), "--token", f"file:{token}"]


OBSERVERS: dict[str, Observer] = {
    observer.name: observer
    for observer in (
        Observer("api", 8090, "/api/v1/health", _api),
        Observer("monitor", MONITOR_PORT, "/metrics", _monitor),
        Observer(
            "alertmanager", 9093, "/-/ready", _alertmanager, programs=("prometheus-alertmanager", "alertmanager"),
            package="prometheus-alertmanager",
        ),
        Observer(
            "prometheus", 9091, "/-/ready", _prometheus, programs=("prometheus",), package="prometheus",
            needs=("monitor",),
        ),
    )
}  # fmt: skip
