"""The promoted versions: ``pipelines/NAME/vN/``, written once, and which of them is current.

``current.toml`` beside them says which version runs, which ran before it, and whether the job is paused. It is
replaced as a whole, so a reader sees the old state or the new one.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import jupytext
import msgspec
import nbformat
import tomli_w

from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.notebooks import read_notebook
from retailpulse_kernel.promotion.manifest import Manifest, read_manifest, sha256_of
from retailpulse_kernel.settings import Settings

__all__ = ["Current", "Registry", "Version"]

_VERSION = re.compile(r"v(\d+)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Version:
    """A promoted version.

    Attributes
    ----------
    folder : Path
        Where it lies.
    manifest : Manifest
        What it says.
    """

    folder: Path
    manifest: Manifest

    @property
    def label(self) -> str:
        """``v3``."""
        return f"v{self.manifest.version}"

    @property
    def notebook(self) -> Path:
        """The frozen notebook."""
        return self.folder / self.manifest.notebook

    @property
    def script(self) -> Path:
        """Its twin as a py:percent file."""
        return self.notebook.with_suffix(".py")

    def require_intact(self) -> None:
        """Make sure that the notebook is the one that was promoted.

        Raises
        ------
        UsageError
            It was changed by hand.
        """
        if sha256_of(self.notebook) != self.manifest.sha256:
            raise UsageError(
                f"{self.notebook} is not what was promoted as {self.label}: its SHA-256 differs.",
                remedy=f"Restore it from git, or promote the change: retailpulse promote {self.notebook.name}.",
            )


@dataclass(frozen=True)
class Current:
    """Which version of a pipeline runs.

    Attributes
    ----------
    version : int
        The current one.
    previous : int
        The one before it, for `rollback`; 0 for none.
    paused : bool
        Whether it is held.
    changed : str
        When this was last changed, UTC.
    """

    version: int
    previous: int = 0
    paused: bool = False
    changed: str = ""


class Registry:
    """The pipelines of a folder.

    Parameters
    ----------
    settings : Settings
        Its `pipelines` is the folder.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.pipelines

    def names(self) -> list[str]:
        """The pipelines that have a current version."""
        return sorted(path.parent.name for path in self.folder.glob("*/current.toml"))

    def versions(self, name: str) -> list[Version]:
        """A pipeline's versions, oldest first."""
        found = []
        for path in (self.folder / name).glob("v*"):
            if (match := _VERSION.fullmatch(path.name)) and path.is_dir():
                found.append((int(match[1]), path))
        return [Version(path, read_manifest(path / "manifest.toml")) for _, path in sorted(found)]

    def version(self, name: str, label: str | int | None = None) -> Version:
        """A version by ``v3`` or 3; the current one when none is named.

        Raises
        ------
        UnknownName
            There is no such pipeline, or no such version.
        """
        number = self.current(name).version if label is None else _number(label)
        found = {version.manifest.version: version for version in self.versions(name)}
        if number not in found:
            raise UnknownName(f"version of {name}", str(label), (f"v{n}" for n in found))
        return found[number]

    def current(self, name: str) -> Current:
        """Which version of a pipeline runs.

        Raises
        ------
        UnknownName
            There is no such pipeline.
        """
        path = self.folder / name / "current.toml"
        if not _NAME.fullmatch(name) or not path.is_file():
            raise UnknownName("promoted job", name, self.names())
        return msgspec.convert(tomllib.loads(path.read_text()), Current)

    def freeze(self, notebook: Path, manifest: Manifest, *, switch: bool = True) -> Version:
        """Keep a notebook as a version, all of it or nothing, and make it the current one.

        Raises
        ------
        UsageError
            The version is there already, or its name can't be one.
        """
        if not _NAME.fullmatch(manifest.name):
            raise UsageError(
                f"{manifest.name!r} can't be the name of a pipeline.",
                remedy="Use lower-case letters, digits and '_', starting with a letter, at most 40.",
            )
        folder = self.folder / manifest.name / f"v{manifest.version}"
        aside = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            content = read_notebook(notebook)
            nbformat.write(content, aside / manifest.notebook)
            jupytext.write(content, aside / manifest.notebook.replace(".ipynb", ".py"), fmt="py:percent")
            manifest = replace(manifest, sha256=sha256_of(aside / manifest.notebook))
            (aside / "manifest.toml").write_text(manifest.to_toml())
            if folder.exists():
                raise UsageError(f"{folder} is there already.", remedy="Another promotion was faster: try again.")
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if switch:
            self.switch(manifest.name, manifest.version)
        return Version(folder, manifest)

    def switch(self, name: str, version: int) -> Current:
        """Make a version the current one; it takes over at the next boundary of a run."""
        path = self.folder / name / "current.toml"
        if not path.is_file():
            return self._write(name, Current(version))
        before = self.current(name)
        if before.version == version:
            return before
        return self._write(name, replace(before, version=version, previous=before.version))

    def pause(self, name: str, *, paused: bool) -> Current:
        """Hold a pipeline, or let it go on."""
        return self._write(name, replace(self.current(name), paused=paused))

    def _write(self, name: str, current: Current) -> Current:
        current = replace(current, changed=datetime.now(UTC).isoformat(timespec="seconds"))
        path = self.folder / name / "current.toml"
        aside = path.with_name(f".current-{os.getpid()}.toml")
        with aside.open("wb") as file:
            tomli_w.dump(msgspec.to_builtins(current), file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        return current


def _number(label: str | int) -> int:
    match = re.fullmatch(r"v?(\d+)", str(label))
    if not match:
        raise UsageError(f"{label!r} is not a version.", remedy="Write v3.")
    return int(match[1])
