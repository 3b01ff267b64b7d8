"""The servers' jars: downloaded once, checked against the lock, shared between checkouts.

`env/artifacts.lock` names every jar by coordinate, SHA-256 and size, in groups. A jar lies in
the cache under its hash and gets there only after that hash was seen, so its mere presence (at
the right size) means it was verified, and a start need not hash half a gigabyte again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from retailpulse_kernel.errors import ArtifactError, UnknownName
from retailpulse_kernel.settings import Settings, project_root

__all__ = [
    "Artifact",
    "artifacts",
    "download_progress",
    "ensure",
    "jars",
    "lib_folder",
    "lock_path",
    "missing",
    "verify",
]

_PARALLEL = 6
_ATTEMPTS = 5
_CHUNK = 1 << 18


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
        """Where the cache keeps it."""
        return settings.cache / "jars" / self.sha256[:16] / self.filename

    def is_present(self, settings: Settings) -> bool:
        """Whether the cache has it, complete. Its hash was checked when it came."""
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
            remedy="Check out env/artifacts.lock, or write it by `python -m retailpulse_kernel.stack.lock`.",
        ) from None
    return {
        group: tuple(Artifact(coordinate, **values) for coordinate, values in entries.items())
        for group, entries in content.items()
    }


def artifacts(groups: Iterable[str] | None = None) -> list[Artifact]:
    """The locked artifacts of some groups (all by default), each once.

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


def missing(settings: Settings, groups: Iterable[str] | None = None) -> list[Artifact]:
    """The artifacts that the cache lacks."""
    return [artifact for artifact in artifacts(groups) if not artifact.is_present(settings)]


def jars(settings: Settings, group: str) -> list[Path]:
    """The jars of a group, in the lock's order. They are there after `ensure`."""
    return [artifact.path(settings) for artifact in artifacts([group])]


def lib_folder(settings: Settings, group: str) -> Path:
    """A folder of links to the jars of one group, for tools that want a folder."""
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
            _remove_links(aside)
    return folder


def _remove_links(folder: Path) -> None:
    for link in folder.iterdir():
        link.unlink()
    folder.rmdir()


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
        with Fetcher(settings, progress, bar) as fetcher, ThreadPoolExecutor(_PARALLEL) as pool:
            futures = [pool.submit(fetcher.fetch, a) for a in sorted(wanted, key=lambda a: -a.size)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return total


def verify(settings: Settings, groups: Iterable[str] | None = None) -> list[Artifact]:
    """Hash every cached jar again; those that are wrong are deleted and returned."""
    broken = []
    for artifact in artifacts(groups):
        path = artifact.path(settings)
        if path.is_file() and _sha256(path) != artifact.sha256:
            path.unlink()
            broken.append(artifact)
    return broken


def download_progress(console: Console | None = None) -> Progress:
    """A progress bar in bytes for `ensure`."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip


def repositories() -> list[str]:
    """Addresses of the Maven repositories, from jgo: its default, and the user's own in jgo's settings file.

    jgo's `[repositories]` may give ``central`` another address: a mirror.
    """
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    own = GlobalSettings.load().repositories
    return list(({**MavenContext().remote_repos, **own}).values())


class Fetcher:
    """Downloads artifacts into the cache; resumes what was begun."""

    def __init__(self, settings: Settings, progress: Progress, bar: TaskID) -> None:
        self._settings, self._progress, self._bar = settings, progress, bar
        self._repositories = [r.rstrip("/") for r in repositories()]
        self._client = httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=10))

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(self, artifact: Artifact) -> Path:
        """One artifact: download, check, put in place."""
        target = artifact.path(self._settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        retrying = Retrying(
            retry=retry_if_exception_type(httpx.TransportError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(initial=0.5, max=10),
            reraise=True,
        )
        try:
            retrying(self._download, artifact, part)
        except httpx.TransportError as error:
            raise ArtifactError(
                f"{artifact.coordinate} can't be downloaded: {error}.",
                remedy="Check the network or the mirror in jgo's settings file, and try again: it resumes.",
            ) from error
        found = _sha256(part)
        if found != artifact.sha256:
            part.unlink()
            raise ArtifactError(
                f"{artifact.coordinate} is not the locked file: its SHA-256 is {found}, the lock says {artifact.sha256}. "
                "The file was deleted.",
                remedy="Try again; if it stays so, the repository or mirror serves another file: do not use it.",
            )
        part.replace(target)
        return target

    def _download(self, artifact: Artifact, part: Path) -> None:
        refused = []
        for repository in self._repositories:
            status = self._download_from(f"{repository}/{artifact.repository_path}", artifact, part)
            if status is None:
                return
            refused.append(status)
        raise ArtifactError(
            f"{artifact.coordinate} is in none of {len(refused)} Maven repositories (HTTP {', '.join(map(str, refused))}).",
            remedy="Check the repositories in jgo's settings file.",
        )

    def _download_from(self, url: str, artifact: Artifact, part: Path) -> int | None:
        """Append what is missing to the part file; the HTTP status when the server refuses."""
        done = part.stat().st_size if part.is_file() else 0
        if done > artifact.size:
            part.unlink()
            done = 0
        if done == artifact.size:
            return None
        headers = {"Range": f"bytes={done}-"} if done else {}
        with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code >= 500 or response.status_code == 429:
                raise httpx.TransportError(f"HTTP {response.status_code} from the repository")
            if response.status_code not in (200, 206):
                return response.status_code
            resumed = response.status_code == 206
            self._progress.update(self._bar, completed=None, advance=done if resumed else 0)
            with part.open("ab" if resumed else "wb") as file:
                try:
                    for chunk in response.iter_bytes(_CHUNK):
                        file.write(chunk)
                        self._progress.update(self._bar, advance=len(chunk))
                except httpx.TransportError:
                    # The next attempt counts what it finds in the part file.
                    self._progress.update(self._bar, advance=-file.tell())
                    raise
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
