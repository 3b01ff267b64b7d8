"""A job's checkpoint: its epochs.

``<checkpoints>/<namespace>/<job>/e0001/`` holds Spark's own folders (``offsets``, ``commits``,
``state``) and ``epoch.json``. A new epoch is a new folder: it starts from the topic's beginning,
and its writes win over those of the epochs before it. Figures and single events have the epoch's folder itself for
their query; each table of rows has a query and a checkpoint of its own in ``outputs/<name>``.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from pyarrow import fs

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.streaming.checkpoint.files import filesystem_of, listed, read_file
from retailpulse_kernel.streaming.checkpoint.log import newest_batch

__all__ = [
    "Epoch",
    "epochs",
    "find_epoch",
    "jobs_with_checkpoints",
    "new_epoch",
    "new_epoch_remedy",
    "next_start_ms",
    "open_epoch",
    "open_local",
    "remove_checkpoint",
]

_EPOCH = re.compile(r"e\d{4,}")


@dataclass(frozen=True)
class Epoch:
    """One life of a job's checkpoint.

    Attributes
    ----------
    number : int
        1 for the first.
    start_ms : int
        When it was opened, in epoch milliseconds; later than every write of the epochs before.
    path : str
        The checkpoint's folder: a local path, or a URI.
    """

    number: int
    start_ms: int
    path: str


def jobs_with_checkpoints(folder: str) -> list[str]:
    """The jobs that have a checkpoint in a namespace's folder.

    Parameters
    ----------
    folder : str
        `Settings.checkpoints`, a path or a URI; it may be absent.
    """
    filesystem, root = filesystem_of(folder)
    return sorted(info.base_name for info in listed(filesystem, root) if info.type is fs.FileType.Directory)


def epochs(folder: str) -> list[Epoch]:
    """Every epoch in a job's checkpoint folder, oldest first.

    Parameters
    ----------
    folder : str
        A path or a URI; it may be absent.

    Raises
    ------
    JobError
        A checkpoint is damaged.
    """
    filesystem, root = filesystem_of(folder)
    return [_described(filesystem, folder, path) for path in _epoch_paths(filesystem, root)]


def _epoch_paths(filesystem: fs.FileSystem, root: str) -> list[str]:
    folders = (info for info in listed(filesystem, root) if info.type is fs.FileType.Directory)
    return sorted(info.path for info in folders if _EPOCH.fullmatch(info.base_name))


def _described(filesystem: fs.FileSystem, folder: str, path: str) -> Epoch:
    content = read_file(filesystem, f"{path}/epoch.json")
    if content is None:
        raise JobError(f"The checkpoint {path} has no epoch.json.", remedy="It is damaged: restore or remove it.")
    about = json.loads(content)
    return Epoch(about["number"], about["start_ms"], f"{folder}/{path.rsplit('/', 1)[1]}")


def find_epoch(folder: str) -> Epoch | None:
    """The newest epoch in a job's checkpoint folder, or None.

    Parameters
    ----------
    folder : str
        A path or a URI; it may be absent.

    Raises
    ------
    JobError
        The checkpoint is damaged.
    """
    filesystem, root = filesystem_of(folder)
    paths = _epoch_paths(filesystem, root)
    return _described(filesystem, folder, paths[-1]) if paths else None


def open_epoch(folder: str, *, now_ms: int | None = None) -> Epoch:
    """The newest epoch in a job's checkpoint folder; the first one is made where there is none.

    Parameters
    ----------
    folder : str
        The job's, a path or a URI; it may be absent.
    now_ms : int, optional
        The new epoch's start, in milliseconds since 1970; that of `next_start_ms` when absent.

    Raises
    ------
    JobError
        The newest checkpoint is damaged.
    """
    return find_epoch(folder) or new_epoch(folder, now_ms=now_ms)


def new_epoch(folder: str, *, now_ms: int | None = None, after: int = 0) -> Epoch:
    """Begin an epoch: an empty checkpoint, whose writes win over those of the epochs before.

    Parameters
    ----------
    folder : str
        The job's, a path or a URI; it may be absent.
    now_ms : int, optional
        The new epoch's start, in milliseconds since 1970; that of `next_start_ms` when absent.
    after : int
        The number of the last epoch, where that is not there any more.

    Raises
    ------
    JobError
        The newest checkpoint is damaged.
    """
    before = find_epoch(folder)
    filesystem, root = filesystem_of(folder)
    number, start_ms = before.number + 1 if before else after + 1, next_start_ms(before) if now_ms is None else now_ms
    path = f"{root}/e{number:04d}"
    # Made aside, so that a crash in between leaves no epoch without its description.
    filesystem.create_dir(f"{path}.new", recursive=True)
    with filesystem.open_output_stream(f"{path}.new/epoch.json") as stream:
        stream.write(json.dumps({"number": number, "start_ms": start_ms}).encode())
    filesystem.move(f"{path}.new", path)
    return Epoch(number, start_ms, f"{folder}/e{number:04d}")


def next_start_ms(before: Epoch | None) -> int:
    """A start by which the next epoch's writes win over all of the one before, even where the clock was set back.

    Parameters
    ----------
    before : Epoch or None
        The newest epoch so far; None where the next one is the first.
    """
    now_ms = int(time.time() * 1000)
    if before is None:
        return now_ms
    newest = newest_batch(before.path)
    return max(now_ms, before.start_ms + (newest.batch_id if newest else 0) + 1)


def new_epoch_remedy(job: str, option: str) -> str:
    """The remedy where a job can't go on from its checkpoint; `option` is `settings.Namespace.option`.

    Parameters
    ----------
    job : str
        Its name.
    option : str
        The namespace as a command takes it; empty for the default one.
    """
    return f"Start a new epoch: `retailpulse epochs {job} --new{option}`."


def open_local(
    checkpoint: str, name: str, *, master: str, remedy: str | None = None, begin: bool = True
) -> Path | None:
    """A folder in an epoch's, for what a job keeps in files of its own instead of in Spark's state.

    It needs all workers on the machine that has the checkpoint. An epoch keeps the form in which it started.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder: a local path, or a URI.
    name : str
        The folder's name.
    master : str
        Spark's master.
    remedy : str, optional
        What to do where the epoch can't go on with this master; see `new_epoch_remedy`.
    begin : bool
        Whether the folder is made where the epoch has no batch yet.

    Returns
    -------
    Path or None
        The folder, made where the epoch has no batch yet; None where the epoch has it in Spark's state.

    Raises
    ------
    JobError
        The epoch has the folder, and its workers may be anywhere now.
    """
    if urlparse(checkpoint).scheme:
        return None
    local, folder = master.startswith("local"), Path(checkpoint) / name
    if begin and local and newest_batch(checkpoint) is None:
        folder.mkdir(exist_ok=True)
    if folder.is_dir() and not local:
        raise JobError(
            f"{folder} is on one machine, which {master} can't share.",
            remedy=remedy,
        )
    return folder if folder.is_dir() else None


def remove_checkpoint(folder: str) -> None:
    """Remove a job's checkpoint with all its epochs; nothing where there is none.

    Parameters
    ----------
    folder : str
        The job's, a path or a URI.
    """
    filesystem, root = filesystem_of(folder)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(root)
