"""The one writer of a job: the lock that it holds, and the file that tells its sources how far to go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import filelock

from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings

__all__ = ["drain_file", "read_drain", "write_drain", "writer_lock"]

#: The offset after the last message of each partition, by topic.
_Ends = Mapping[str, Mapping[str, int]]


def writer_lock(settings: Settings, job: str) -> filelock.FileLock:
    """The lock that a job's only writer holds.

    Parameters
    ----------
    settings : Settings
        Which home and namespace.
    job : str
        Its name.
    """
    return filelock.FileLock(_place(settings, job, "lock"))


def drain_file(settings: Settings, job: str) -> Path:
    """A file that the writer makes when it is to end: from then on its sources have nothing behind what the file says.

    Spark has no call that ends a query after the batch under way, and no pause between the batches of a job that is
    behind: without this a stop would cut one off in its middle, or wait for a pause that doesn't come. And the queries
    of one job are to end at the same offsets.

    Parameters
    ----------
    settings : Settings
        Which home and namespace.
    job : str
        Its name.
    """
    return _place(settings, job, "drain")


def write_drain(path: Path, ends: _Ends) -> None:
    """Let the sources of a job's queries go on to some offsets, and no further.

    Parameters
    ----------
    path : Path
        What `drain_file` gave.
    ends : mapping
        Where each query is to end. A topic or a partition that is not named has nothing new from now on.
    """
    write_whole(path, json.dumps(ends).encode(), synced=False)


def read_drain(path: str) -> _Ends | None:
    """How far a source may go; None where it may go on.

    Parameters
    ----------
    path : str
        What `drain_file` gave.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    # An empty file is that of a run of before, which had one query.
    found: _Ends = json.loads(content or b"{}")
    return found


def _place(settings: Settings, job: str, suffix: str) -> Path:
    folder = settings.home / "locks" / settings.namespace.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{job}.{suffix}"
