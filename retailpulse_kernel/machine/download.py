"""Fetch jars from Maven repositories: resumable, retried, checked before they are put in place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from rich.progress import Progress, TaskID
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from retailpulse_kernel.ground.errors import ArtifactError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.files import put_in_place

if TYPE_CHECKING:
    from retailpulse_kernel.machine.artifacts import Artifact

__all__ = ["Fetcher", "repositories", "sha256"]

_ATTEMPTS = 5
_CHUNK = 1 << 18


def repositories() -> list[str]:
    """Addresses of the Maven repositories, from jgo: its default, and the user's own in jgo's settings file.

    Its ``[repositories]`` may give ``central`` another address: a mirror.
    """
    require_extra("stack")

    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    own = GlobalSettings.load().repositories
    return [address.rstrip("/") for address in {**MavenContext().remote_repos, **own}.values()]


def sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Parameters
    ----------
    path : Path
        A file of any size; it is read in pieces.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Fetcher:
    """Downloads artifacts; resumes what was begun.

    Parameters
    ----------
    progress : rich.progress.Progress
        Told of every chunk.
    bar : rich.progress.TaskID
        The bar that all downloads share.
    addresses : list of str, optional
        Maven repositories, tried in turn; see `repositories`.
    """

    def __init__(self, progress: Progress, bar: TaskID, addresses: list[str] | None = None) -> None:
        self._progress, self._bar = progress, bar
        self._repositories = repositories() if addresses is None else addresses
        self._client = httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=10))

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(self, artifact: Artifact, target: Path) -> None:
        """Download one artifact into a part file, check it, and rename it into place.

        Parameters
        ----------
        artifact : Artifact
            The locked jar.
        target : Path
            Where it goes; what an earlier download left beside it is resumed.

        Raises
        ------
        ArtifactError
            No repository has it, none answers, or it is not the locked file.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        retrying = Retrying(
            retry=retry_if_exception_type(httpx.TransportError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.5, max=10),
            reraise=True,
        )
        try:
            retrying(self._download, artifact, part)
        except httpx.TransportError as error:
            raise ArtifactError(
                f"{artifact.coordinate} can't be downloaded: {error or type(error).__name__}.",
                remedy="Check the network, or the mirror in jgo's settings file, and try again: it resumes.",
            ) from error
        found = sha256(part)
        if found != artifact.sha256:
            part.unlink()
            raise ArtifactError(
                f"{artifact.coordinate} is not the locked file and was deleted: "
                f"its SHA-256 is {found}, the lock says {artifact.sha256}.",
                remedy="Try again; if it stays so, the repository or mirror serves another file: do not use it.",
            )
        put_in_place(part, target)

    def _download(self, artifact: Artifact, part: Path) -> None:
        refused = []
        for repository in self._repositories:
            status = self._download_from(f"{repository}/{artifact.repository_path}", artifact, part)
            if status is None:
                return
            refused.append(f"HTTP {status}")
        raise ArtifactError(
            f"{artifact.coordinate} is in none of the Maven repositories ({', '.join(refused)}).",
            remedy="Check the repositories in jgo's settings file.",
        )

    def _download_from(self, url: str, artifact: Artifact, part: Path) -> int | None:
        """Append what is missing to the part file; the HTTP status when the server refuses."""
        done = part.stat().st_size if part.is_file() else 0
        if done > artifact.size:
            part.unlink()
            done = 0
        if done == artifact.size:
            self._progress.advance(self._bar, done)
            return None
        headers = {"Range": f"bytes={done}-"} if done else {}
        with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code >= 500 or response.status_code == 429:
                raise httpx.TransportError(f"the repository answers HTTP {response.status_code}")
            if response.status_code not in (200, 206):
                return response.status_code
            resumed = response.status_code == 206
            counted = done if resumed else 0
            self._progress.advance(self._bar, counted)
            try:
                with part.open("ab" if resumed else "wb") as file:
                    for chunk in response.iter_bytes(_CHUNK):
                        file.write(chunk)
                        counted += len(chunk)
                        self._progress.advance(self._bar, len(chunk))
            except httpx.TransportError:
                # The next attempt counts what it finds in the part file.
                self._progress.advance(self._bar, -counted)
                raise
        return None
