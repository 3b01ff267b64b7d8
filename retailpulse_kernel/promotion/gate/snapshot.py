"""A copy of a checkpoint whose job runs on, as a crash at this moment would have left it.

The live checkpoint is only read. The copy is set back to before its last batch with messages. A job that starts
on the copy does that batch again, with the same offsets and from the same state.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch, logged_batch
from retailpulse_kernel.streaming.checkpoint.outputs import outputs_of
from retailpulse_kernel.streaming.reference.versions import RECORDS, VERSIONS
from retailpulse_kernel.streaming.state.dedup_index import IDS
from retailpulse_kernel.streaming.state.window_state import COPIED, SUMS, undo_file

__all__ = ["Snapshot", "snapshot"]

_STATE_FILE = re.compile(r"(\d+)(_[\w-]+)?\.(changelog|zip|delta|snapshot)")
#: How often a copy is started again because the live job went on meanwhile.
_TRIES = 5


@dataclass(frozen=True)
class Snapshot:
    """A copied checkpoint.

    Attributes
    ----------
    path : Path
        Its folder.
    batch : int
        The batch that a job which starts on the copy repeats.
    messages : int
        How many messages that batch has.
    """

    path: Path
    batch: int
    messages: int


def snapshot(epoch: Epoch, target: Path) -> Snapshot | None:
    """Copy an epoch's checkpoint; None where no batch with messages has been committed yet.

    Parameters
    ----------
    epoch : Epoch
        The live epoch, which is only read.
    target : Path
        The folder of the copy; replaced where it is there.

    Raises
    ------
    UsageError
        The checkpoint is not a folder of this machine.
    """
    if urlparse(epoch.path).scheme not in ("", "file"):
        raise UsageError(
            f"The checkpoint {epoch.path} is not on this machine.", remedy="Run this where it is mounted as a folder."
        )
    source = Path(epoch.path.removeprefix("file://"))
    for attempt in range(_TRIES):
        shutil.rmtree(target, ignore_errors=True)
        # Commits first: whatever else is copied afterwards is at least as new as they are.
        outputs = [output for output in outputs_of(str(source)) if output]
        for query in ["", *(f"outputs/{output}" for output in outputs)]:
            for part in ("commits", "offsets", "clocks", "state", IDS, "readers", VERSIONS, RECORDS):
                _copy(source / query / part, target / query / part, "**/*")
            _copy(source / query, target / query, "*")
        # The tables before the notes by which they are set back.
        for pattern in COPIED:
            _copy(source / SUMS, target / SUMS, pattern)
        found = [_set_back(target / query) for query in (*_own(target), *(f"outputs/{name}" for name in outputs))]
        if complete := [one for one in found if one is not None]:
            return Snapshot(target, complete[0].batch, complete[0].messages)
        if committed_batch(str(source)) is None or attempt == _TRIES - 1:
            break
    return None


def _own(copy: Path) -> list[str]:
    """The epoch's folder itself, where figures or single events have it for their query."""
    return ["."] if (copy / "commits").is_dir() else []


def _copy(source: Path, target: Path, pattern: str) -> None:
    # No folder without files: whether an epoch has an index is seen by its folder.
    for path in source.glob(pattern):
        if path.is_dir():
            continue
        # Spark renames what it has written, and removes what is too old: neither is missed.
        with contextlib.suppress(FileNotFoundError):
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def _set_back(copy: Path) -> Snapshot | None:
    """Undo the newest batch with messages, and those after it."""
    for batch in reversed(_numbers(copy / "commits")):
        messages = _messages(copy, batch)
        if messages and _can_undo(copy / SUMS, batch):
            _undo(copy, batch)
            return Snapshot(copy, batch, messages)
    return None


def _can_undo(sums: Path, batch: int) -> bool:
    """Whether the sums can be set back so far: the job may have done many batches since the commits were copied."""
    return not sums.is_dir() or undo_file(sums, batch).exists()


def _messages(copy: Path, batch: int) -> int:
    now, before = logged_batch(str(copy), batch), logged_batch(str(copy), batch - 1)
    if now is None or (before is None and batch > 0):
        return 0
    starts = before.offsets if before else {}
    return sum(
        end - starts.get(topic, {}).get(partition, 0)
        for topic, ends in now.offsets.items()
        for partition, end in ends.items()
    )


def _undo(copy: Path, batch: int) -> None:
    for stale in _stale(copy, batch):
        stale.unlink()
        # Hadoop's checksum of the file.
        (stale.parent / f".{stale.name}.crc").unlink(missing_ok=True)


def _stale(copy: Path, batch: int) -> Iterator[Path]:
    for folder, first in (("commits", batch), ("offsets", batch + 1)):
        yield from (path for path in (copy / folder).glob("*") if path.name.isdigit() and int(path.name) >= first)
    # The state before batch n has the version n.
    for path in (copy / "state").rglob("*"):
        match = _STATE_FILE.fullmatch(path.name)
        if match and int(match[1]) > batch:
            yield path
