"""The servers' jars: downloaded once, checked against the lock, shared between checkouts.

`env/artifacts.lock` names every jar by coordinate, SHA-256 and size, in groups. A jar lies in
the cache under its hash and gets there only after that hash was seen, so its mere presence (at
the right size) means it was verified, and a start need not hash half a gigabyte again.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock
from rich import progress as rich_progress
from rich.console import Console
from rich.progress import Progress

from retailpulse_kernel.ground.errors import ArtifactError, UnknownName
from retailpulse_kernel.ground.settings import Settings, project_root
from retailpulse_kernel.machine.download import Fetcher, sha256

__all__ = [
    "Artifact",
    "artifacts",
    "download_progress",
    "ensure",
    "groups",
    "jars",
    "lib_folder",
    "lock_path",
    "missing",
    "verify",
]

_PARALLEL = 6


@dataclass(frozen=True)
class Artifact:
    """One jar.

    Attributes
    ----------
    coordinate : str
        ``group:artifact:version`` or ``group:artifact:version:classifier``.
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
        _, artifact, version, *classifier = self.coordinate.split(":")
        return "-".join([artifact, version, *classifier]) + ".jar"

    @property
    def repository_path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's address."""
        group, artifact, version, *_ = self.coordinate.split(":")
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
    """The locked artifacts of some groups (all by default), each once.

    Parameters
    ----------
    groups : iterable of str, optional
        Names of the lock's groups; all when absent.

    Raises
    ------
    UnknownName
        The lock has no such group.
    """
    lock = _lock()
    wanted = list(lock) if groups is None else list(groups)
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
        Names of the lock's groups; all when absent.
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
    wanted = artifacts([group])
    version = hashlib.sha256("".join(a.sha256 for a in wanted).encode()).hexdigest()[:12]
    folder = settings.cache / "lib" / f"{group}-{version}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Filled aside and renamed: a reader never sees half a folder.
        aside = Path(tempfile.mkdtemp(prefix=f".{group}-", dir=folder.parent))
        aside.chmod(0o755)
        for artifact in wanted:
            (aside / artifact.filename).symlink_to(artifact.path(settings))
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
        Groups of the lock; all of them by default.
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
    for artifact in artifacts(groups):
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
