"""What the machine lacks, in words, before anything is started."""

from __future__ import annotations

import platform
import shutil
import socket
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import RequirementError, StoreUnavailable
from retailpulse_kernel.ground.extras import EXTRAS, require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.machine.daemon import Supervisor, unusable_characters
from retailpulse_kernel.machine.java import find_java
from retailpulse_kernel.machine.native import PLATFORMS, lacking, this_platform
from retailpulse_kernel.machine.strays import of_home
from retailpulse_kernel.stack.services import Service, ports, select

__all__ = ["Check", "diagnose", "require"]

_DISK_MB = 3_000  # data and logs of a day's play; the artifacts come on top


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes
    ----------
    name : str
        What was looked at.
    verdict : str
        ``ok``, ``warning`` or ``problem``.
    detail : str
        What was found.
    remedy : str
        What to do, empty when it is ok.
    """

    name: str
    verdict: Literal["ok", "warning", "problem"]
    detail: str
    remedy: str = ""


def diagnose(settings: Settings, *, verify: bool = False) -> list[Check]:
    """Look at everything that the local stack needs.

    Parameters
    ----------
    settings : Settings
        Where home and cache are, and which ports.
    verify : bool
        Also hash every downloaded jar again (a few seconds).
    """
    # What is started by name alone is not reckoned with before it is named.
    to_start = _not_running(settings, select())
    taken = _ports(settings, to_start)
    return [
        _machine(settings),
        _java(),
        _memory(to_start),
        _disk(settings, to_start),
        _home(settings),
        *taken,
        _artifacts(settings, verify),
        _environment(),
        _strays(settings),
        _clocks(settings, answers=all(check.verdict == "ok" for check in taken)),
    ]


def require(settings: Settings, services: Sequence[Service]) -> None:
    """Raise for all that is missing to start some services, at once.

    Parameters
    ----------
    settings : Settings
        Home, cache, ports and profile.
    services : sequence of Service
        Those that are to be started.

    Raises
    ------
    RequirementError
        With every problem and its remedy.
    """
    if not services:
        return
    java = [_java()] if any(service.artifacts for service in services) else []
    checks = [*java, _memory(services), _disk(settings, services), _home(settings), *_ports(settings, services)]
    problems = [check for check in checks if check.verdict == "problem"]
    if len(problems) == 1:
        raise RequirementError(problems[0].detail, remedy=problems[0].remedy)
    if problems:
        lines = "".join(f"\n  - {p.detail} {p.remedy}" for p in problems)
        raise RequirementError(f"{len(problems)} things are missing to start:{lines}")


def _not_running(settings: Settings, services: Iterable[Service]) -> list[Service]:
    running = Supervisor(settings).processes()
    return [s for s in services if running.get(s.name, {}).get("statename") not in ("RUNNING", "STARTING")]


def _machine(settings: Settings) -> Check:
    """Whether it is tested here, and which of the servers' native libraries have no build for this machine."""
    here = this_platform()
    if here is None:
        glibc = platform.system() != "Linux" or platform.libc_ver()[0] == "glibc"
        what = f"{platform.system()} {platform.machine()}{'' if glibc else ' without glibc'}"
        detail = f"Not all packages and servers have a build for {what}."
        return Check("machine", "problem", detail, f"Use one of: {', '.join(known.name for known in PLATFORMS)}.")
    if here.tested:
        return Check("machine", "ok", f"{here.name}, on which this is tested")
    names = ", ".join(f"{library.name} ({library.server})" for library in lacking(settings, here))
    without = f", without the native libraries {names}" if names else ""
    return Check("machine", "warning", f"{here.name} should work{without}; it is not tested.", "See docs/platforms.md.")


def _java() -> Check:
    try:
        java = find_java()
    except RequirementError as error:
        return Check("java", "problem", error.message, error.remedy or "")
    return Check("java", "ok", f"Java {java.version} in {java.path}")


def _memory(services: Sequence[Service]) -> Check:
    needed = sum(service.memory_mb for service in services)
    free = psutil.virtual_memory().available // 1_000_000
    detail = f"{free} MB of memory are free, the services to start need about {needed} MB."
    if free < needed:
        return Check(
            "memory", "problem", detail, "End other programs, or start fewer: `retailpulse up kafka cassandra`."
        )
    return Check("memory", "ok", detail)


def _disk(settings: Settings, services: Sequence[Service]) -> Check:
    to_download = artifacts.missing(settings, {service.artifacts for service in services} - {""})
    needed = _DISK_MB + _megabytes(to_download)
    free = shutil.disk_usage(_existing(settings.home)).free // 1_000_000
    detail = f"{free} MB of disk are free at {settings.home}, about {needed} MB are needed."
    if free < needed:
        return Check("disk", "problem", detail, "Free some space, or set RETAILPULSE_HOME to a larger disk.")
    return Check("disk", "ok", detail)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _home(settings: Settings) -> Check:
    for folder, variable in ((settings.home, "RETAILPULSE_HOME"), (settings.cache, "RETAILPULSE_CACHE")):
        if strange := unusable_characters(folder):
            detail = f"The folder {folder} must not contain {strange}."
            return Check("home", "problem", detail, f"Set {variable} to a folder with a plain name.")
    return Check("home", "ok", f"data in {settings.home}, artifacts in {settings.cache}")


def _ports(settings: Settings, services: Sequence[Service]) -> list[Check]:
    own = {process.pid for process in of_home(settings.home)}
    holders = None
    checks = []
    for service in services:
        for port in ports(settings, service).values():
            if _is_free(port):
                continue
            holders = _listeners() if holders is None else holders
            pid = holders.get(port)
            if pid in own:  # still starting, or left behind by a killed supervisor: `up` ends that first
                continue
            checks.append(_taken(service, port, pid))
    return checks or [Check("ports", "ok", "all ports of the services to start are free")]


def _taken(service: Service, port: int, pid: int | None) -> Check:
    who = "another user's process"
    if pid is not None:
        try:
            who = f"{psutil.Process(pid).name()} (process {pid})"
        except psutil.Error:
            who = f"process {pid}"
    return Check(
        "ports",
        "problem",
        f"Port {port}, which {service.name} needs, is taken by {who}.",
        "End it, or move all ports by RETAILPULSE_PORT_OFFSET=20000.",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listeners() -> dict[int, int | None]:
    """Who listens on which TCP port."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS wants root for this
        return {}
    return {c.laddr.port: c.pid for c in connections if c.status == psutil.CONN_LISTEN}


def _artifacts(settings: Settings, verify: bool) -> Check:
    name = "artifacts"
    broken = artifacts.verify(settings) if verify else []
    if broken:
        files = ", ".join(artifact.coordinate for artifact in broken)
        return Check(name, "problem", f"{files}: not the locked file; deleted.", "`retailpulse up` fetches it again.")
    missing = artifacts.missing(settings)
    if missing:
        lacking = f"{len(missing)} jars ({_megabytes(missing)} MB) are not here yet."
        return Check(name, "warning", lacking, "`retailpulse up` fetches them.")
    known = artifacts.artifacts()
    return Check(name, "ok", f"{len(known)} jars, {_megabytes(known)} MB{', all hashes right' if verify else ''}")


def _megabytes(wanted: Iterable[artifacts.Artifact]) -> int:
    return sum(artifact.size for artifact in wanted) // 1_000_000


def _environment() -> Check:
    """Whether the Python packages are the ones that the project asks for."""
    require_extra("stack")

    from packaging.requirements import Requirement

    root = project_root()
    if root:  # `make setup` installs all extras
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {})
        wanted = project["dependencies"] + [text for extra in EXTRAS for text in extras.get(extra, [])]
    else:
        wanted = metadata.requires("retailpulse-kernel") or []
    wrong, there = [], set()
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "retailpulse-kernel":  # an extra that includes others
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if root or "extra ==" not in text:  # a room whose extra is missing says so itself
                wrong.append(f"{requirement.name} is missing")
            continue
        there.add(requirement.name)
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if wrong:
        return Check("python", "problem", f"{'; '.join(wrong)}.", "`make setup` builds the environment from the lock.")
    return Check("python", "ok", f"{len(there)} required packages are there")


def _clocks(settings: Settings, *, answers: bool) -> Check:
    """Whether the broker's time is what events are judged by; its topics can say otherwise."""
    from retailpulse_kernel.stores.kafka.topics import clock_warning

    unasked = Check("clocks", "ok", "Kafka does not answer here, so its topics were not looked at")
    if not answers:
        return unasked
    try:
        warning = clock_warning(settings)
    except StoreUnavailable:
        return unasked
    return Check("clocks", "warning", *warning) if warning else Check("clocks", "ok", "no topic has a producer's time")


def _strays(settings: Settings) -> Check:
    found = Supervisor(settings).strays()
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        left = f"A killed supervisor left processes behind: {pids}."
        return Check("strays", "warning", left, "`retailpulse up` and `down` end them.")
    return Check("strays", "ok", "no process is left from an earlier run")
