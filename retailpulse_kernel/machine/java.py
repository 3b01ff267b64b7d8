"""Find a Java that runs every server: 17 or 21."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from retailpulse_kernel.ground.errors import RequirementError

__all__ = ["Java", "find_java"]

SUPPORTED = (17, 21)
_USUAL_FOLDERS = ("/usr/lib/jvm/*", "/Library/Java/JavaVirtualMachines/*/Contents/Home", "~/.sdkman/candidates/java/*")
_REMEDY = "Install Java 17 or 21 (Debian: openjdk-17-jre-headless) or set JAVA_HOME to one."


@dataclass(frozen=True)
class Java:
    """A Java installation.

    Attributes
    ----------
    path : Path
        Its home folder, what ``JAVA_HOME`` wants.
    version : int
        Its major version.
    """

    path: Path
    version: int

    @property
    def executable(self) -> Path:
        """The command ``java``."""
        return self.path / "bin" / "java"


@cache
def find_java() -> Java:
    """The Java to use: from ``JAVA_HOME``, then ``PATH``, then the usual folders; 17 before 21.

    Raises
    ------
    RequirementError
        There is none, or none of a version that runs all servers.
    """
    rejected = []
    for home in dict.fromkeys(_candidates()):
        version = _version(home)
        if version in SUPPORTED:
            return Java(home, version)
        if version is not None:
            rejected.append(f"{home} is Java {version}")
    if rejected:
        raise RequirementError(f"No Java 17 or 21 was found: {', '.join(rejected)}.", remedy=_REMEDY)
    raise RequirementError("No Java was found.", remedy=_REMEDY)


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("JAVA_HOME"):
        yield Path(given)
    if found := shutil.which("java"):
        yield Path(found).resolve().parents[1]
    for pattern in _USUAL_FOLDERS:
        folder = Path(pattern).expanduser()
        depth = pattern.count("*") and len(folder.parts) - folder.parts.index("*")
        base = Path(*folder.parts[: len(folder.parts) - depth])
        yield from sorted(base.glob("/".join(folder.parts[-depth:]))) if base.is_dir() else ()


@cache
def _version(home: Path) -> int | None:
    """The major version, from the file that every JDK carries, else by asking; None when it is not a Java."""
    executable = home / "bin" / "java"
    if not executable.is_file():
        return None
    release = home / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    match = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', text)
    if match is None:
        try:
            answer = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=20)
        except OSError:
            return None
        match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else None
