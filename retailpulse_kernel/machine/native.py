"""On which machines this runs, and for which of them the servers' native libraries are built."""

from __future__ import annotations

import platform
import re
import struct
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts

__all__ = ["PLATFORMS", "Library", "Platform", "built_for", "lacking", "libraries", "server_jars", "this_platform"]


@dataclass(frozen=True)
class Platform:
    """A system on a kind of processor.

    Attributes
    ----------
    name : str
        For people.
    system, machine : str
        As Python's module `platform` has them.
    wheels : str
        uv's name.
    tested : bool
        Whether the tests run on it.
    """

    name: str
    system: str
    machine: str
    wheels: str
    tested: bool = False


PLATFORMS = (
    Platform("Linux x86-64", "Linux", "x86_64", "x86_64-manylinux_2_28", tested=True),
    Platform("Linux arm64", "Linux", "aarch64", "aarch64-manylinux_2_28"),
    Platform("macOS arm64", "Darwin", "arm64", "aarch64-apple-darwin"),
)
_LINUX, _LINUX_ARM, _MAC_ARM = PLATFORMS

_NATIVE = re.compile(r"\.(so|jnilib|dylib)$")
#: Systems whose libraries have the same form as Linux' own, and another C library.
_OTHER_SYSTEMS = re.compile(r"freebsd|openbsd|dragonfly|sunos|aix|android|musl", re.IGNORECASE)
_ELF = {62: _LINUX, 183: _LINUX_ARM}
_MACHO_ARM64 = 0x0100000C
_PART_OF_NAME = re.compile(r"[-_]?(linux|osx|x86|aarch|ppc|riscv|s390|\d+\.\d)")


@dataclass(frozen=True)
class Library:
    """A native library in the jars of a server.

    Attributes
    ----------
    server : str
        The group of jars, such as ``cassandra``.
    jar : str
        ``artifact version``.
    name : str
        The library's.
    builds : frozenset of Platform
        What it has builds for, of `PLATFORMS`.
    systems : frozenset of str
        The systems that it has any build for.
    """

    server: str
    jar: str
    name: str
    builds: frozenset[Platform]
    systems: frozenset[str]

    def lacks(self, wanted: Platform) -> bool:
        """Whether it exists for the platform's system and has no build for its processor.

        Parameters
        ----------
        wanted : Platform
            One of `PLATFORMS`.
        """
        return wanted.system in self.systems and wanted not in self.builds


def this_platform() -> Platform | None:
    """The platform that this process runs on, or None where it is none of `PLATFORMS`."""
    here = platform.system(), platform.machine()
    if here[0] == "Linux" and platform.libc_ver()[0] != "glibc":
        return None
    return next((known for known in PLATFORMS if (known.system, known.machine) == here), None)


def built_for(name: str, content: bytes) -> tuple[str, frozenset[Platform]]:
    """The system and the platforms that a native library is built for, by its own header.

    Parameters
    ----------
    name : str
        The file's name in its jar.
    content : bytes
        At least the file's header.

    Returns
    -------
    str
        ``Linux``, ``Darwin`` or nothing for another system.
    frozenset of Platform
        Of `PLATFORMS`.
    """
    if _OTHER_SYSTEMS.search(name):
        return "", frozenset()
    if content[:4] == b"\x7fELF":
        order = "<" if content[5] == 1 else ">"
        (machine,) = struct.unpack_from(f"{order}H", content, 18)
        return "Linux", frozenset({_ELF[machine]} if machine in _ELF else ())
    kinds: list[int] = []
    if content[:4] == b"\xca\xfe\xba\xbe":  # several builds in one file
        (count,) = struct.unpack_from(">I", content, 4)
        kinds = [struct.unpack_from(">I", content, 8 + 20 * place)[0] for place in range(count)]
    elif content[:4] == b"\xcf\xfa\xed\xfe":
        kinds = list(struct.unpack_from("<I", content, 4))
    else:
        return "", frozenset()
    return "Darwin", frozenset({_MAC_ARM} if _MACHO_ARM64 in kinds else ())


def libraries(jars: Iterable[tuple[str, str, Path]]) -> list[Library]:
    """The native libraries of some jars: of each its server, its name with the version, and its file.

    Parameters
    ----------
    jars : iterable of tuple
        Of each its server, its name with the version, and its file.
    """
    builds: dict[tuple[str, str, str], set[Platform]] = defaultdict(set)
    systems: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for server, jar, path in jars:
        with zipfile.ZipFile(path) as archive:
            for entry in (entry for entry in archive.namelist() if _NATIVE.search(entry)):
                system, found = built_for(entry, archive.read(entry))
                if system:
                    stem = _NATIVE.sub("", entry.rpartition("/")[2]).removeprefix("lib")
                    key = server, jar, _PART_OF_NAME.split(stem)[0]
                    systems[key].add(system)
                    builds[key] |= found
    # The classes of a shaded jar look for the longer name only, and some shading leaves copies under the plain one.
    longer = {(server, jar, name[place + 1 :]) for server, jar, name in systems for place in _underscores(name)}
    return [
        Library(*key, frozenset(builds[key]), frozenset(systems[key])) for key in sorted(systems) if key not in longer
    ]


def _underscores(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "_"]


def lacking(settings: Settings, wanted: Platform) -> list[Library]:
    """The libraries of the downloaded servers that have no build for a platform.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    wanted : Platform
        One of `PLATFORMS`.
    """
    return [library for library in libraries(server_jars(settings)) if library.lacks(wanted)]


def server_jars(settings: Settings) -> Iterator[tuple[str, str, Path]]:
    """The jars of the servers that were downloaded, and of PySpark, as `libraries` takes them.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    """
    for group in artifacts.groups():
        for artifact in artifacts.artifacts([group]):
            # Of an archive's jars, those with native libraries are for Kafka as a store of schemas: not used here.
            if artifact.is_present(settings) and not artifact.is_archive:
                _, name, version, *_ = artifact.coordinate.split(":")
                yield group, f"{name} {version}", artifact.path(settings)
    require_extra("streaming")

    import pyspark

    for path in sorted((Path(pyspark.__file__).parent / "jars").glob("*.jar")):
        match = re.fullmatch(r"(.+?)-(\d[\w.]*?(?:-\d+)?)(\.Final)?(-.*)?", path.stem)
        yield "spark", f"{match[1]} {match[2]}" if match else path.stem, path
