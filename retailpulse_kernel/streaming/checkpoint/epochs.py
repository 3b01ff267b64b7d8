"""A job's checkpoint: its epochs, and what Spark logged there.

``<checkpoints>/<namespace>/<job>/e0001/`` holds Spark's own folders (``offsets``, ``commits``,
``state``) and ``epoch.json``. A new epoch is a new folder: it starts from the topic's beginning,
and its writes win over those of the epochs before it. Figures and single events have the epoch's folder itself for
their query; each table of rows has a query and a checkpoint of its own in ``outputs/<name>``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

from pyarrow import fs

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.files import write_whole

__all__ = [
    "Clock",
    "Epoch",
    "LoggedBatch",
    "checkpoint_of",
    "committed_batch",
    "epochs",
    "find_epoch",
    "forget_outputs",
    "forgotten",
    "jobs_with_checkpoints",
    "logged_batch",
    "logged_sources",
    "new_epoch",
    "new_epoch_remedy",
    "newest_batch",
    "next_start_ms",
    "open_epoch",
    "open_local",
    "outputs_of",
    "query_of",
    "read_clock",
    "read_note",
    "remove_checkpoint",
    "write_clock",
    "write_note",
]

#: Clocks that are kept for each partition; Spark does only the last batch again.
_CLOCKS_KEPT = 10
#: Stands behind a clock that the broker's time held back.
_HELD = b"held"
_EPOCH = re.compile(r"e\d{4,}")
#: The folder, in an epoch's, of the queries that write tables of rows.
_OUTPUTS = "outputs"
#: A note beside an epoch's checkpoint: the outputs that are no more.
_FORGOTTEN = "forgotten.json"


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


@dataclass(frozen=True)
class LoggedBatch:
    """What Spark wrote into its offset log before it started a micro-batch.

    Attributes
    ----------
    batch_id : int
        The batch.
    watermark_ms : int
        The event-time watermark that holds for the batch, in epoch milliseconds; 0 before any.
    offsets : dict
        The end offset of each source topic's partitions: ``{topic: {partition: offset}}``.
    """

    batch_id: int
    watermark_ms: int
    offsets: dict[str, dict[str, int]]


def jobs_with_checkpoints(folder: str) -> list[str]:
    """The jobs that have a checkpoint in a namespace's folder.

    Parameters
    ----------
    folder : str
        `Settings.checkpoints`, a path or a URI; it may be absent.
    """
    filesystem, root = _filesystem(folder)
    return sorted(info.base_name for info in _listed(filesystem, root) if info.type is fs.FileType.Directory)


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
    filesystem, root = _filesystem(folder)
    return [_described(filesystem, folder, path) for path in _epoch_paths(filesystem, root)]


def _epoch_paths(filesystem: fs.FileSystem, root: str) -> list[str]:
    folders = (info for info in _listed(filesystem, root) if info.type is fs.FileType.Directory)
    return sorted(info.path for info in folders if _EPOCH.fullmatch(info.base_name))


def _described(filesystem: fs.FileSystem, folder: str, path: str) -> Epoch:
    content = _read(filesystem, f"{path}/epoch.json")
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
    filesystem, root = _filesystem(folder)
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
    filesystem, root = _filesystem(folder)
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
    filesystem, root = _filesystem(folder)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(root)


def logged_batch(checkpoint: str, batch_id: int) -> LoggedBatch | None:
    """The offset log's entry of a batch, or None where Spark has written none.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    batch_id : int
        The batch's number in its epoch, from 0.
    """
    filesystem, root = _filesystem(checkpoint)
    content = _read(filesystem, f"{root}/offsets/{batch_id}")
    if content is None:
        return None
    _, metadata, *sources = content.decode().splitlines()
    offsets: dict[str, dict[str, int]] = {}
    for source in map(_ends_of, sources):
        for topic, ends in source.items():
            # A query that reads a topic twice has it in two lines: what is taken is what the first reader has taken.
            offsets.setdefault(topic, ends)
    return LoggedBatch(batch_id, int(json.loads(metadata).get("batchWatermarkMs", 0)), offsets)


def logged_sources(checkpoint: str, batch_id: int) -> list[dict[str, dict[str, int]]]:
    """The end offsets of a batch by the query's sources, in Spark's order of them; none where Spark has logged none.

    Parameters
    ----------
    checkpoint : str
        The query's folder, a path or a URI.
    batch_id : int
        The batch's number in its epoch, from 0.
    """
    filesystem, root = _filesystem(checkpoint)
    content = _read(filesystem, f"{root}/offsets/{batch_id}")
    return [] if content is None else [_ends_of(source) for source in content.decode().splitlines()[2:]]


def _ends_of(source: str) -> dict[str, dict[str, int]]:
    """The end offsets of a source by topic, as the offset log has them."""
    entry: Any = json.loads(source) if source.startswith("{") else {}
    return {topic: ends for topic, ends in entry.items() if isinstance(ends, dict)}


def checkpoint_of(epoch: str, output: str) -> str:
    """The checkpoint of the query that writes an output.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    output : str
        The output's name; empty for figures and single events, which have the epoch's folder itself.
    """
    return f"{epoch}/{_OUTPUTS}/{output}" if output else epoch


def outputs_of(epoch: str) -> list[str]:
    """The names of the outputs that have begun in an epoch; the empty one stands for figures and single events.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    """
    filesystem, root = _filesystem(epoch)
    folders = (info for info in _listed(filesystem, f"{root}/{_OUTPUTS}") if info.type is fs.FileType.Directory)
    own = [""] if _listed(filesystem, f"{root}/offsets") else []
    return own + sorted(info.base_name for info in folders)


def forget_outputs(epoch: str, kept: Collection[str]) -> None:
    """Remove the checkpoints of outputs that a job does not write any more.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    kept : collection of str
        The names of the outputs that it writes.
    """
    gone = [output for output in outputs_of(epoch) if output and output not in kept]
    if gone:
        write_note(epoch, _FORGOTTEN, json.dumps(sorted({*gone, *forgotten(epoch)})).encode())
    for output in gone:
        filesystem, root = _filesystem(checkpoint_of(epoch, output))
        filesystem.delete_dir(root)


def forgotten(epoch: str) -> list[str]:
    """The outputs that an epoch had and has no more: their batches' numbers are used up in it.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    """
    names: list[str] = json.loads(read_note(epoch, _FORGOTTEN) or b"[]")
    return names


def query_of(epoch: str, query_id: str) -> str | None:
    """The checkpoint of a query, by the id that Spark has given the query; None where it is not one of the epoch's.

    Parameters
    ----------
    epoch : str
        The epoch's folder, a path or a URI.
    query_id : str
        Spark's id, which stays the same over restarts.
    """
    filesystem, _ = _filesystem(epoch)
    for output in dict.fromkeys(["", *outputs_of(epoch)]):
        checkpoint = checkpoint_of(epoch, output)
        content = _read(filesystem, f"{_filesystem(checkpoint)[1]}/metadata")
        if content and json.loads(content)["id"] == query_id:
            return checkpoint
    return None


def newest_batch(checkpoint: str, *, alone: bool = False) -> LoggedBatch | None:
    """The offset log's newest entry: the batch that is under way, or None before the first.

    Parameters
    ----------
    checkpoint : str
        A query's folder, a path or a URI. Of an epoch with several queries: the newest batch of any of them, and how
        far any of them has gone.
    alone : bool
        Whether an epoch's folder means the query of figures or single events alone.
    """
    found = _newest(checkpoint, "offsets", alone)
    return None if not found else _joined(found, max)


def committed_batch(checkpoint: str, *, alone: bool = False) -> LoggedBatch | None:
    """The offset log's entry of the newest batch that is done, or None before the first.

    Parameters
    ----------
    checkpoint : str
        A query's folder, a path or a URI. Of an epoch with several queries: what all of those have taken that have
        done a batch.
    alone : bool
        Whether an epoch's folder means the query of figures or single events alone.
    """
    found = _newest(checkpoint, "commits", alone)
    return None if not found else _joined(found, min)


def _newest(checkpoint: str, log: str, alone: bool) -> list[LoggedBatch]:
    """The newest entry of a query, or of each query of an epoch."""
    filesystem, root = _filesystem(checkpoint)
    folders = [] if alone else [info.base_name for info in _listed(filesystem, f"{root}/{_OUTPUTS}")]
    newest = []
    for query in [checkpoint, *(checkpoint_of(checkpoint, name) for name in folders)]:
        place = _filesystem(query)[1]
        numbers = [int(info.base_name) for info in _listed(filesystem, f"{place}/{log}") if info.base_name.isdigit()]
        batch = logged_batch(query, max(numbers)) if numbers else None
        newest += [] if batch is None else [batch]
    return newest


def _joined(batches: list[LoggedBatch], choose: Callable[..., int]) -> LoggedBatch:
    """What holds for several queries together."""
    offsets: dict[str, dict[str, int]] = {}
    for batch in batches:
        for topic, ends in batch.offsets.items():
            known = offsets.setdefault(topic, {})
            for partition, end in ends.items():
                known[partition] = choose(end, known.get(partition, end))
    number, watermark_ms = max(b.batch_id for b in batches), min(b.watermark_ms for b in batches)
    return LoggedBatch(number, watermark_ms, offsets)


class Clock(NamedTuple):
    """A partition's clock, in epoch milliseconds.

    Attributes
    ----------
    at_ms : int
        Where it stands.
    held : bool
        Whether the broker's time held it back. False for one that was kept before that rule (docs/adr/0010).
    """

    at_ms: int
    held: bool


def read_clock(checkpoint: str, partition: int, offset: int) -> Clock | None:
    """A partition's clock at an offset; None where no batch ended.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    partition : int
        Its number.
    offset : int
        At which a batch starts.
    """
    filesystem, root = _filesystem(checkpoint)
    content = _read(filesystem, f"{root}/clocks/{partition}/{offset}")
    if not content:
        return None
    at_ms, _, held = content.partition(b" ")
    return Clock(int(at_ms), held == _HELD)


def write_clock(checkpoint: str, partition: int, offset: int, clock_ms: int) -> None:
    """Keep a partition's clock for the batch that starts at an offset.

    A batch that is done again writes the same clock again. Older ones than a batch may still
    need are removed.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    partition : int
        Its number.
    offset : int
        At which the batch starts.
    clock_ms : int
        Where the clock stands, in milliseconds since 1970.
    """
    filesystem, root = _filesystem(checkpoint)
    folder = f"{root}/clocks/{partition}"
    filesystem.create_dir(folder, recursive=True)
    # Whole: a file that was cut off by a crash would be read as another time. Every batch writes one.
    _write(filesystem, folder, str(offset), b"%d %b" % (clock_ms, _HELD), synced=False)
    kept = sorted(int(info.base_name) for info in _listed(filesystem, folder) if info.base_name.isdigit())
    for stale in kept[:-_CLOCKS_KEPT]:
        filesystem.delete_file(f"{folder}/{stale}")


def read_note(checkpoint: str, name: str) -> bytes | None:
    """What was noted under a name beside a checkpoint, or None.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    name : str
        The note's file name.
    """
    filesystem, root = _filesystem(checkpoint)
    return _read(filesystem, f"{root}/{name}")


def write_note(checkpoint: str, name: str, content: bytes) -> None:
    """Note something beside a checkpoint; what was there before stays until all of it is written.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    name : str
        The note's file name.
    content : bytes
        The whole note.
    """
    filesystem, root = _filesystem(checkpoint)
    filesystem.create_dir(root, recursive=True)
    _write(filesystem, root, name, content)


def _listed(filesystem: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    return list(filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)))


def _filesystem(location: str) -> tuple[fs.FileSystem, str]:
    if urlparse(location).scheme in ("", "file"):
        return fs.LocalFileSystem(), location.removeprefix("file://")
    return fs.FileSystem.from_uri(location)


def _write(filesystem: fs.FileSystem, folder: str, name: str, content: bytes, *, synced: bool = True) -> None:
    if isinstance(filesystem, fs.LocalFileSystem):
        write_whole(Path(folder, name), content, synced=synced)
        return
    with filesystem.open_output_stream(f"{folder}/.{name}") as stream:
        stream.write(content)
    filesystem.move(f"{folder}/.{name}", f"{folder}/{name}")


def _read(filesystem: fs.FileSystem, path: str) -> bytes | None:
    try:
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None
