"""Write `docs/platforms.md` anew: ``python -m retailpulse_kernel.machine.platforms``.

It asks the package index for a wheel of each locked package, and looks into the servers' jars for native libraries.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Set
from importlib import metadata
from pathlib import Path

from rich.console import Console

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import ArtifactError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.machine.native import PLATFORMS, Library, Platform, libraries, server_jars

__all__ = ["locked_requirements", "main", "page"]

_PYTHONS = ("3.11", "3.12", "3.13")
#: The oldest macOS that wheels are looked for.
_MACOS = "14.0"

#: What the servers do without a library that has no build for a platform, by the jar's name.
_WITHOUT = {
    "commons-crypto": "Encrypts Spark's and HBase's own connections; that is off here.",
    "hbase-shaded-netty": "HBase uses Java's own sockets instead.",
    "jline": "Colours of a terminal. HiveServer2 loads it on Linux x86-64; without it was not tried.",
    "jna": "Neither the Metastore nor HiveServer2 loaded it on Linux x86-64.",
    "leveldbjni-all": "For the shuffle and history services of Spark and YARN, which are not started here.",
}


def without_wheel(wanted: Platform, python: str, requirements: list[str], suspects: Set[str] = frozenset()) -> set[str]:
    """The locked packages that a package index has no wheel of for a platform.

    Parameters
    ----------
    wanted : Platform
        One of `PLATFORMS`.
    python : str
        Its version, such as ``"3.12"``.
    requirements : list of str
        As `locked_requirements` gives them.
    suspects : set of str
        Packages that are asked about first, and alone: asking about all takes half a minute each time.

    Raises
    ------
    ArtifactError
        The index can't be asked.
    """
    found: set[str] = set()
    first = [line for line in requirements if _name(line) in suspects]
    for portion in (first, requirements):
        while missing := _first_without(wanted, python, [line for line in portion if _name(line) not in found]):
            found.add(missing)
    return found


def _first_without(wanted: Platform, python: str, requirements: list[str]) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(requirements))
        done = subprocess.run(
            [
                Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--no-deps",
                "--only-binary", ":all:", "--python-platform", wanted.wheels, "--python-version", python, str(file),
            ],
            env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": _MACOS, **_index()},
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split())
    match = re.search(r"(\S+?)==\S+ has no (usable )?wheels", said)
    if match is None:
        raise ArtifactError(f"uv can't ask the package index: {said[:300]}", remedy="See whether it is reachable.")
    return match[1]


def _name(requirement: str) -> str:
    return requirement.partition("==")[0]


def _index() -> dict[str, str]:
    """The index that pip is set up for, which uv would not look at."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    pip = [sys.executable, "-m", "pip", "config", "get"]
    names = {"UV_DEFAULT_INDEX": "global.index-url", "SSL_CERT_FILE": "global.cert"}
    said = {name: subprocess.run([*pip, key], capture_output=True, text=True).stdout for name, key in names.items()}
    return {name: value.strip() for name, value in said.items() if value.strip()}


def locked_requirements(lock: str) -> list[str]:
    """The lines of a lock without hashes: ``name==version ; marker``.

    Parameters
    ----------
    lock : str
        The text of ``env/requirements.lock``.
    """
    return [line.rstrip(" \\") for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]


def main() -> None:
    """Check everything and write `docs/platforms.md`."""
    root, console = project_root(), Console(stderr=True)
    assert root is not None, "a checkout has the lock and the docs"
    settings = Settings.load()
    if absent := artifacts.missing(settings):
        raise ArtifactError(f"{len(absent)} jars are not here yet.", remedy="`retailpulse up` fetches them.")
    requirements = locked_requirements((root / "env" / "requirements.lock").read_text())
    wheels: dict[tuple[Platform, str], set[str]] = {}
    for wanted in PLATFORMS:
        for python in _PYTHONS:
            suspects = set().union(*wheels.values())
            wheels[wanted, python] = without_wheel(wanted, python, requirements, suspects)
            console.print(
                f"{wanted.name}, Python {python}: without a wheel {', '.join(sorted(wheels[wanted, python]))}"
            )
    (root / "docs" / "platforms.md").write_text(page(len(requirements), wheels, libraries(server_jars(settings))))


def page(count: int, wheels: dict[tuple[Platform, str], set[str]], found: list[Library]) -> str:
    """The page: how many packages are locked, which have no wheel, which native libraries there are.

    Parameters
    ----------
    count : int
        Of locked packages.
    wheels : dict
        By platform and Python version the packages without a wheel.
    found : list of Library
        Native libraries of the servers' jars.
    """
    built = sorted(set.intersection(*wheels.values()))
    head = f"| {' | '.join(known.name for known in PLATFORMS)} |", "---|" * len(PLATFORMS)
    lines = [f"| Python {head[0]}", f"|---|{head[1]}"]
    for python in _PYTHONS:
        cells = [", ".join(sorted(wheels[known, python] - set(built))) or "every wheel is there" for known in PLATFORMS]
        lines.append(f"| {python} | {' | '.join(cells)} |")
    packages = "\n".join(lines)
    lines = [f"| server | jar | library {head[0]}", f"|---|---|---|{head[1]}"]
    for library in found:
        cells = ["yes" if known in library.builds else "**no**" if library.lacks(known) else "" for known in PLATFORMS]
        lines.append(f"| {library.server} | {library.jar} | {library.name} | {' | '.join(cells)} |")
    jars = sorted({library.jar.split()[0] for library in found if any(map(library.lacks, PLATFORMS))})
    return _PAGE.format(
        macos=_MACOS,
        count=count,
        built=", ".join(built),
        compiled=_compiled(built),
        packages=packages,
        libraries="\n".join(lines),
        missing="\n".join(f"- {jar}: {_WITHOUT.get(jar, 'What happens without it is not known.')}" for jar in jars),
    )


_PAGE = """\
# Platforms

Written by `make platforms`, from `env/requirements.lock` and the jars of `env/artifacts.lock` and PySpark.

**Tested**: Linux on x86-64 with glibc 2.28 or later. **Should work, not tested**: Linux on arm64 with glibc 2.28 or
later, and macOS {macos} or later on arm64. `retailpulse doctor` says what a machine lacks.

## Python packages

{count} packages are locked. These have no wheel for any platform and are built from source when the environment is
made: {built}. {compiled} The others, by Python version:

{packages}

## Native libraries of the servers

An empty cell: the library is for another system.

{libraries}

What runs without a library that says **no**:

{missing}
"""


def _compiled(packages: list[str]) -> str:
    """Whether packages that are built from source need a compiler, by what is installed here."""
    files = {name: metadata.files(name) or [] for name in packages}
    needing = [name for name, members in files.items() if any(member.suffix == ".so" for member in members)]
    return f"{', '.join(needing)} need a compiler." if needing else "They hold no code that needs a compiler."


if __name__ == "__main__":
    main()
