"""The promoted versions: ``pipelines/NAME/vN/``, written once, and which of them is current.

A version has all that says what it means: the notebook, its tests, its models, and the contract that it was tried with.

``current.toml`` beside them says which version runs, which ran before it, and whether the job is paused. The
file is replaced as a whole: a reader sees the old state or the new one.
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

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.notebooks.environment import sha256_of
from retailpulse_kernel.notebooks.files import read_notebook, without_outputs
from retailpulse_kernel.notebooks.testing import sibling_of
from retailpulse_kernel.promotion.registry.manifest import Manifest, read_manifest
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.stores.confinement import require_free

__all__ = ["CONTRACT", "Current", "Registry", "Version"]

#: The contract of a version, with the shipped fields, as plain values.
CONTRACT = "contract.json"
_VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True)
class Version:
    """A promoted version.

    Attributes
    ----------
    folder : Path
        The version's folder.
    manifest : Manifest
        The version's manifest.
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

    @property
    def contract(self) -> Contract | None:
        """The contract that the version was promoted with; None of a batch notebook, and of older versions."""
        if CONTRACT not in self.manifest.kept:
            return None
        return Contract.of_plain(msgspec.json.decode((self.folder / CONTRACT).read_bytes()))

    def require_intact(self) -> None:
        """Make sure that the notebook, its models and what else is kept are what was promoted.

        Raises
        ------
        UsageError
            One of the files was changed by hand, or is missing.
        """
        manifest = self.manifest
        for name, sha256 in ((manifest.notebook, manifest.sha256), *manifest.models, *manifest.kept.items()):
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != sha256:
                raise UsageError(
                    f"{path} is not what was promoted as {self.label}: its SHA-256 differs.",
                    remedy="Restore the file from git, or promote the change: "
                    f"retailpulse promote {self.notebook.name}.",
                )


@dataclass(frozen=True)
class Current:
    """Which version of a pipeline runs.

    Attributes
    ----------
    version : int
        The current version's number.
    previous : int
        The number of the version before, for `rollback`; 0 for none.
    paused : bool
        Whether the pipeline is held.
    changed : str
        The time of the last change, UTC.
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
        self._settings = settings
        self.folder = settings.pipelines

    def names(self) -> list[str]:
        """The pipelines that have a current version."""
        return sorted(path.parent.name for path in self.folder.glob("*/current.toml"))

    def versions(self, name: str) -> list[Version]:
        """A pipeline's versions, oldest first.

        Parameters
        ----------
        name : str
            The pipeline's name.
        """
        found = []
        for path in (self.folder / name).glob("v*"):
            if (match := _VERSION.fullmatch(path.name)) and path.is_dir():
                found.append((int(match[1]), path))
        return [Version(path, read_manifest(path / "manifest.toml")) for _, path in sorted(found)]

    def version(self, name: str, label: str | int | None = None) -> Version:
        """A version of a pipeline.

        Parameters
        ----------
        name : str
            The pipeline's name.
        label : str or int, optional
            The version as ``v3`` or 3; the current version when absent.

        Raises
        ------
        UnknownName
            There is no such pipeline, or no such version.
        """
        number = self.current(name).version if label is None else _number(label)
        found = {version.manifest.version: version for version in self.versions(name)}
        if number not in found:
            raise UnknownName("version", str(label), (f"v{n}" for n in found), of=f"the job {name!r}")
        return found[number]

    def current(self, name: str) -> Current:
        """Which version of a pipeline runs.

        Parameters
        ----------
        name : str
            The pipeline's name.

        Raises
        ------
        UnknownName
            There is no such pipeline.
        """
        path = self.folder / name / "current.toml"
        if not is_name(name) or not path.is_file():
            raise UnknownName("promoted job", name, self.names())
        return msgspec.convert(tomllib.loads(path.read_text()), Current)

    def freeze(self, notebook: Path, manifest: Manifest, *, activate: bool = True) -> Version:
        """Keep a notebook as a version, all of it or nothing.

        Parameters
        ----------
        notebook : Path
            The source.
        manifest : Manifest
            The version's manifest; the notebook's hash is filled in.
        activate : bool
            Whether the version becomes the current one.

        Raises
        ------
        UsageError
            The version is there already, its pipeline's name is not allowed, or a model has changed.
        """
        if not is_name(manifest.name):
            raise UsageError(
                f"{manifest.name!r} can't be the name of a pipeline.",
                remedy=NAME_RULE,
            )
        require_free(self._settings, f"Freezing {manifest.name} v{manifest.version}")
        folder = self.folder / manifest.name / f"v{manifest.version}"
        aside = folder.with_name(f".{folder.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            content = read_notebook(notebook)
            nbformat.write(content, aside / manifest.notebook)
            jupytext.write(content, aside / manifest.notebook.replace(".ipynb", ".py"), fmt="py:percent")
            manifest = replace(manifest, sha256=sha256_of(aside / manifest.notebook))
            for name, sha256 in manifest.models:
                shutil.copyfile(notebook.with_name(name), aside / name)
                if sha256_of(aside / name) != sha256:
                    raise UsageError(
                        f"The model {name} has changed since the notebook was tried.",
                        remedy="Promote the notebook again.",
                    )
            manifest = replace(manifest, kept=self._keep(notebook, manifest, aside))
            (aside / "manifest.toml").write_text(manifest.to_toml())
            if folder.exists():
                raise UsageError(f"{folder} is there already.", remedy="Another promotion was faster: try again.")
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if activate:
            self.activate(manifest.name, manifest.version)
        return Version(folder, manifest)

    def _keep(self, notebook: Path, manifest: Manifest, folder: Path) -> dict[str, str]:
        """Put the contract of a job and the notebook's file of tests into a version's folder; their SHA-256 by name."""
        names = []
        if manifest.plan is not None:
            contract = contract_of(self._settings).plain()
            (folder / CONTRACT).write_bytes(msgspec.json.format(msgspec.json.encode(contract), indent=1) + b"\n")
            names.append(CONTRACT)
        if (tests := sibling_of(notebook)).is_file():
            kept = sibling_of(folder / manifest.notebook)
            nbformat.write(without_outputs(read_notebook(tests)), kept)
            names.append(kept.name)
        return {name: sha256_of(folder / name) for name in names}

    def activate(self, name: str, version: int) -> Current:
        """Make a version the current one. The version takes over after the present micro-batch.

        Parameters
        ----------
        name : str
            The pipeline's name.
        version : int
            The version's number.
        """
        path = self.folder / name / "current.toml"
        if not path.is_file():
            return self._write(name, Current(version))
        before = self.current(name)
        if before.version == version:
            return before
        return self._write(name, replace(before, version=version, previous=before.version))

    def pause(self, name: str, *, paused: bool) -> Current:
        """Hold a pipeline, or resume it.

        Parameters
        ----------
        name : str
            The pipeline's name.
        paused : bool
            Whether the pipeline is held from now on.
        """
        return self._write(name, replace(self.current(name), paused=paused))

    def withdraw(self, name: str) -> None:
        """Leave a pipeline without a current version: nothing runs the pipeline any more. Its versions stay.

        Parameters
        ----------
        name : str
            The pipeline's name.
        """
        (self.folder / name / "current.toml").unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a pipeline with all its versions.

        Parameters
        ----------
        name : str
            The pipeline's name.
        """
        self.withdraw(name)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def _write(self, name: str, current: Current) -> Current:
        require_free(self._settings, f"Changing what runs of {name}")
        current = replace(current, changed=iso_text(datetime.now(UTC), "seconds"))
        write_whole(self.folder / name / "current.toml", tomli_w.dumps(msgspec.to_builtins(current)))
        return current


def _number(label: str | int) -> int:
    match = re.fullmatch(r"v?(\d+)", str(label))
    if not match:
        raise UsageError(f"{label!r} is not a version.", remedy="Write v3.")
    return int(match[1])
