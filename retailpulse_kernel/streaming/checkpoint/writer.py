"""The one writer of a job: the lock that it holds, and the file that tells its source to give no more."""

from __future__ import annotations

from pathlib import Path

import filelock

from retailpulse_kernel.ground.settings import Settings

__all__ = ["drain_file", "writer_lock"]


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
    """A file that the writer makes when it is to end: from then on its source has nothing new.

    Spark has no call that ends a query after the batch under way, and no pause between the batches of a job that is
    behind: without this a stop would cut one off in its middle, or wait for a pause that doesn't come.

    Parameters
    ----------
    settings : Settings
        Which home and namespace.
    job : str
        Its name.
    """
    return _place(settings, job, "drain")


def _place(settings: Settings, job: str, suffix: str) -> Path:
    folder = settings.home / "locks" / settings.namespace.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{job}.{suffix}"
