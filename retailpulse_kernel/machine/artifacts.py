"""The servers' jars: downloaded once, checked against the lock, shared between checkouts.

`env/artifacts.lock` names every jar by coordinate, SHA-256 and size, in groups. A jar lies in
the cache under its hash and gets there only after that hash was seen, so its mere presence (at
the right size) means it was verified, and a start need not hash half a gigabyte again.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock
from rich import progress as rich_progress
from rich.console import Console
from rich.progress import Progress

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.errors import ArtifactError, UnknownName
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.download import Fetcher, sha256

__all__ = [
    "BY_NAME",
    "Artifact",
    "artifacts",
    "classpath",
    "download_progress",
    "ensure",
    "groups",
    "jars",
    "lib_folder",
    "lock_path",
    "missing",
    "unpack",
    "verify",
]

#: Groups that are fetched only when they are named: their service is no part of plain `retailpulse up`.
BY_NAME = frozenset({"registry"})

_PARALLEL = 6


@dataclass(frozen=True)
class Artifact:
    """One jar, or one archive of jars.

    Attributes
    ----------
    coordinate : str
        ``group:artifact:version`` or ``group:artifact:version:classifier``; an archive ends with its type, such as
        ``@tar.gz``.
    sha256 : str
        Of the file, in hexadecimal.
    size : int
        Of the file, in bytes.
    """

    coordinate: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        """Such as ``kafka-clients-4.4.0.jar``."""
        coordinate, _, kind = self.coordinate.partition("@")
        _, artifact, version, *classifier = coordinate.split(":")
        return f"{'-'.join([artifact, version, *classifier])}.{kind or 'jar'}"

    @property
    def is_archive(self) -> bool:
        """Whether it holds jars, and is no jar itself."""
        return "@" in self.coordinate

    @property
    def repository_path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's address."""
        group, artifact, version, *_ = self.coordinate.partition("@")[0].split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{self.filename}"

    def path(self, settings: Settings) -> Path:
        """Where the cache keeps it.

        Parameters
        ----------
        settings : Settings
            Says where the cache is.
        """
        return settings.cache / "jars" / self.sha256[:16] / self.filename

    def is_present(self, settings: Settings) -> bool:
        """Whether the cache has it, complete. Its hash was checked when it came.

        Parameters
        ----------
        settings : Settings
            Says where the cache is.
        """
        try:
            return self.path(settings).stat().st_size == self.size
        except OSError:
            return False


def lock_path() -> Path:
    """The lock file: the checkout's, or the one that an installed wheel carries."""
    root = project_root()
    return (root or Path(__file__).resolve().parents[1]) / "env" / "artifacts.lock"


@cache
def _lock() -> dict[str, tuple[Artifact, ...]]:
    path = lock_path()
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(
            f"The lock of the server artifacts, {path}, is not there.",
            remedy="Check out env/artifacts.lock, or write it by `python -m retailpulse_kernel.machine.lock`.",
        ) from None
    return {
        group: tuple(Artifact(coordinate, **values) for coordinate, values in entries.items())
        for group, entries in content.items()
    }


def artifacts(groups: Iterable[str] | None = None) -> list[Artifact]:
    """The locked artifacts of some groups, each once.

    Parameters
    ----------
    groups : iterable of str, optional
        Names of the lock's groups; all but those of `BY_NAME` when absent.

    Raises
    ------
    UnknownName
        The lock has no such group.
    """
    lock = _lock()
    wanted = [group for group in lock if group not in BY_NAME] if groups is None else list(groups)
    for group in wanted:
        if group not in lock:
            raise UnknownName("artifact group", group, lock)
    return list({artifact: None for group in wanted for artifact in lock[group]})


def groups() -> list[str]:
    """The groups of the lock: a server each, and what Spark needs beside its own jars."""
    return list(_lock())


def missing(settings: Settings, groups: Iterable[str] | None = None) -> list[Artifact]:
    """The artifacts that the cache lacks.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    groups : iterable of str, optional
        Names of the lock's groups; all but those of `BY_NAME` when absent.
    """
    return [artifact for artifact in artifacts(groups) if not artifact.is_present(settings)]


def jars(settings: Settings, group: str) -> list[Path]:
    """The jars of a group, in the lock's order. They are there after `ensure`.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    group : str
        A name of the lock, such as ``"kafka"``.
    """
    return [artifact.path(settings) for artifact in artifacts([group])]


def lib_folder(settings: Settings, group: str) -> Path:
    """A folder of links to the jars of one group, for tools that want a folder.

    Parameters
    ----------
    settings : Settings
        Says where home and cache are.
    group : str
        A name of the lock, such as ``"hbase"``.
    """

    def link(folder: Path) -> None:
        for artifact in artifacts([group]):
            (folder / artifact.filename).symlink_to(artifact.path(settings))

    return _filled(_folder(settings, group), link)


def unpack(settings: Settings, group: str) -> Path:
    """A folder with what the archives of one group hold; they are unpacked once.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    group : str
        A name of the lock, such as ``"registry"``.
    """

    def extract(folder: Path) -> None:
        for artifact in artifacts([group]):
            if artifact.is_archive:
                with tarfile.open(artifact.path(settings)) as archive:
                    archive.extractall(folder, filter="data")

    return _filled(_folder(settings, group), extract)


def classpath(settings: Settings, group: str) -> list[str]:
    """What Java gets of a group: its jars, and those at the top of its archives, whose manifests name the others.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    group : str
        A name of the lock, such as ``"kafka"``. Its archives are there after `unpack`.
    """
    entries = (
        f"{_folder(settings, group)}/*" if artifact.is_archive else str(artifact.path(settings))
        for artifact in artifacts([group])
    )
    return list(dict.fromkeys(entries))


def _folder(settings: Settings, group: str) -> Path:
    """Of another name for each state of the lock."""
    version = hashlib.sha256("".join(a.sha256 for a in artifacts([group])).encode()).hexdigest()[:12]
    return settings.cache / "lib" / f"{group}-{version}"


def _filled(folder: Path, fill: Callable[[Path], None]) -> Path:
    """A folder that is filled aside and renamed: a reader never sees half of it."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        aside.chmod(0o755)
        fill(aside)
        try:
            aside.rename(folder)
        except OSError:  # someone else was faster
            shutil.rmtree(aside)
    return folder


def ensure(settings: Settings, groups: Iterable[str] | None = None, progress: Progress | None = None) -> int:
    """Download what the cache lacks.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    groups : iterable of str, optional
        Groups of the lock; all but those of `BY_NAME` by default.
    progress : rich.progress.Progress, optional
        Gets one bar in bytes; see `download_progress`.

    Returns
    -------
    int
        The number of bytes that were downloaded; 0 when everything was there.

    Raises
    ------
    ArtifactError
        A jar can't be fetched, or is not the one that was locked.
    """
    groups = None if groups is None else list(groups)
    if not missing(settings, groups):
        return 0
    settings.cache.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.cache / "download.lock"):
        # Asked again under the lock: another process may have fetched them meanwhile.
        wanted = missing(settings, groups)
        total = sum(a.size for a in wanted)
        progress = progress or Progress(disable=True)
        bar = progress.add_task(f"{len(wanted)} server artifacts", total=total)
        with Fetcher(progress, bar) as fetcher, ThreadPoolExecutor(_PARALLEL) as pool:
            largest_first = sorted(wanted, key=lambda a: -a.size)
            futures = [pool.submit(fetcher.fetch, a, a.path(settings)) for a in largest_first]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return total


def verify(settings: Settings, groups: Iterable[str] | None = None) -> list[Artifact]:
    """Hash every cached jar again; those that are wrong are deleted and returned.

    Parameters
    ----------
    settings : Settings
        Says where the cache is.
    groups : iterable of str, optional
        Names of the lock's groups; all when absent.
    """
    broken = []
    for artifact in artifacts(_lock() if groups is None else groups):
        path = artifact.path(settings)
        if path.is_file() and sha256(path) != artifact.sha256:
            path.unlink()
            broken.append(artifact)
    return broken


def download_progress(console: Console | None = None) -> Progress:
    """A progress bar in bytes for `ensure`.

    Parameters
    ----------
    console : Console, optional
        Where the bar is drawn; hidden where the console is not a terminal.
    """
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    # Where nothing moves, it would print an empty line at its end.
    hidden = console is not None and not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=hidden)
