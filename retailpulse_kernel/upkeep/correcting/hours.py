"""The archive's hours: which ones have got events since a correction, and which ones a job has yet to judge."""

from __future__ import annotations

from datetime import datetime

from retailpulse_kernel.stores.hive.archive import Archive, start_of
from retailpulse_kernel.streaming.checkpoint.lateness import Judged, Places

__all__ = ["hour_of", "hours_of", "open_hours"]

_HOUR_MS = 3_600_000


def hours_of(archive: Archive) -> dict[str, str]:
    """The hours that hold events, as ``2026-01-31T10``, with the newest micro-batch that has put some there.

    Compaction does not change it.

    Parameters
    ----------
    archive : Archive
        The files.
    """
    found = {}
    for partition in archive.partitions():
        if files := archive.batches(partition):
            newest = max((file.epoch, file.last) for file in files)
            found[f"{start_of(partition):%Y-%m-%dT%H}"] = f"{newest[0]}/{newest[1]}"
    return found


def hour_of(name: str) -> datetime:
    """The start of an hour by its name.

    Parameters
    ----------
    name : str
        As `hours_of` gives it.
    """
    return datetime.fromisoformat(f"{name}:00:00+00:00")


def open_hours(places: Places, judged: Judged) -> set[str]:
    """The hours that hold events which the job has not taken yet.

    Parameters
    ----------
    places : Places
        The events.
    judged : Judged
        What the job made of them.
    """
    import numpy as np

    hours = np.unique(places.times_ms[~judged.taken] // _HOUR_MS).astype("datetime64[h]")
    return {str(hour) for hour in hours}
