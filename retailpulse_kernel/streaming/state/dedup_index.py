"""The deduplication index: the ids that a job has accepted, in files beside its checkpoint, which its workers share.

Every accepted message claims its event's id, and the first to claim it is the one that counts. A claim
names its message by partition and offset, so a batch that is done again finds its own claims and is judged as it
was before: the index needs no versions, and a copy of it may be newer than the checkpoint beside it.

The index is a chain of segments. A segment is a hash table of fixed size in a file that all workers map
into memory; when the newest is full the next one begins, and one of which all ids have had their time is removed.
So no batch goes through all that is remembered (docs/adr/0016). Like Spark's own
files and Kafka's log, the files outlive any process, but are not forced to the disk.
"""

from __future__ import annotations

import fcntl
import functools
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retailpulse_kernel.ground.files import whole_file
from retailpulse_kernel.streaming.state.hashing import FULL, Words, first_come, hashes, places_for, places_of

__all__ = ["IDS", "DedupIndex", "dedup_index"]

_Mask = npt.NDArray[np.bool_]

#: The index's folder in an epoch's; see `checkpoint.open_local`.
IDS = "ids"

#: A word's bytes. A claim takes three words: two of the id's hash, and one for its message.
_WORD, _WORDS = 8, 3
_SMALLEST: Final = 1 << 16
#: A message's word: its partition above its offset.
_OFFSET_BITS: Final = np.uint64(48)


@functools.lru_cache(maxsize=1)
def dedup_index(checkpoint: str) -> DedupIndex:
    """The deduplication index of an epoch, kept open by a worker from batch to batch.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path of this machine.
    """
    return DedupIndex(Path(checkpoint) / IDS)


class DedupIndex:
    """The deduplication index of one epoch.

    Parameters
    ----------
    folder : Path
        Of this machine, the same for all workers of the job.
    smallest : int
        How many places the first segment has; a power of two.
    """

    def __init__(self, folder: Path, *, smallest: int = _SMALLEST) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._smallest = smallest
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._open: dict[tuple[str, int], _Segment] = {}

    def claim(
        self, ids: pa.Array, *, partition: int, offsets: npt.NDArray[np.int64], newest_ms: int, forget_ms: int
    ) -> _Mask:
        """Claim the ids of some messages.

        Parameters
        ----------
        ids : pyarrow.Array
            Strings, one a message.
        partition : int
            The messages' partition.
        offsets : array of int
            The messages' offsets.
        newest_ms : int
            The greatest event time among the messages, in epoch milliseconds: how long they are remembered.
        forget_ms : int
            Ids of no later event time may be forgotten.

        Returns
        -------
        array of bool
            Which messages have their id: those that claimed it first, now or when the batch was done before.
        """
        high, low = hashes(ids)
        owners = (np.uint64(partition) << _OFFSET_BITS) | offsets.astype(np.uint64)
        held, unknown = owners.copy(), np.arange(len(owners))
        with self._locked():
            segments = self._segments(forget_ms)
            if not segments or segments[-1].room < len(owners):
                segments.append(self._begin(segments, at_least=len(owners)))
            for segment in segments[:-1]:
                found, holders = segment.holders(high[unknown], low[unknown])
                held[unknown[found]] = holders
                unknown = unknown[~found]
            held[unknown] = segments[-1].claim(high[unknown], low[unknown], owners[unknown], newest_ms)
        return held == owners

    @property
    def count(self) -> int:
        """How many ids are remembered."""
        with self._locked():
            return sum(segment.used for segment in self._segments())

    def _segments(self, forget_ms: int | None = None) -> list[_Segment]:
        """The segments that are still needed, oldest first."""
        with os.scandir(self._folder) as entries:
            names = sorted((entry.name, entry.inode()) for entry in entries if entry.name.endswith(".ids"))
        self._open = {key: self._open.get(key) or _Segment(self._folder / key[0]) for key in names}
        for key in [key for key in names if forget_ms is not None and self._open[key].newest_ms <= forget_ms]:
            del self._open[key]
            (self._folder / key[0]).unlink()
        return list(self._open.values())

    def _begin(self, segments: list[_Segment], *, at_least: int) -> _Segment:
        """A segment for half as many ids as there are: so there are few of them, and each can go before long."""
        wanted = max(at_least, sum(segment.used for segment in segments) // 2)
        number = 1 + max((int(segment.path.stem) for segment in segments), default=0)
        path = self._folder / f"{number:08d}.ids"
        segment = _Segment.make(path, places_for(wanted, at_least=self._smallest))
        self._open[path.name, path.stat().st_ino] = segment
        return segment

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


class _Segment:
    """One hash table: three columns of words, the places' hashes and messages, and behind them the newest time.

    A place is free while its first word is 0. That word is written last, so a claim of a worker that is killed
    is there as a whole or not at all; and it lies first in the file, so the same holds for a copy of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        words: Any = np.frombuffer(self._map, dtype=np.uint64)
        places = len(words) // _WORDS
        self._high, self._low, self._owner = (words[i * places : (i + 1) * places] for i in range(_WORDS))
        self._tail = words[-2:].view(np.int64)
        self._most = int(places * FULL)
        # A worker that was killed may have made claims that it did not count.
        self._tail[1] = np.count_nonzero(self._high)

    @classmethod
    def make(cls, path: Path, places: int) -> _Segment:
        """Begin an empty one; a full disk is noticed now, and not when a claim is written."""
        with whole_file(path, synced=False) as file:
            for _ in range(_WORDS):
                file.write(bytes(places * _WORD))
            file.write(np.array([np.iinfo(np.int64).min, 0], dtype=np.int64).tobytes())
        return cls(path)

    @property
    def newest_ms(self) -> int:
        """The greatest event time of a message that claimed an id here."""
        return int(self._tail[0])

    @property
    def used(self) -> int:
        """How many ids are here."""
        return int(self._tail[1])

    @property
    def room(self) -> int:
        """How many more it takes."""
        return max(0, self._most - self.used)

    def holders(self, high: Words, low: Words) -> tuple[_Mask, Words]:
        """Which ids are here, and the messages of those."""
        places = self._places(high, low)
        found = self._high[places] != 0
        return found, self._owner[places[found]]

    def claim(self, high: Words, low: Words, owners: Words, newest_ms: int) -> Words:
        """Put in the ids that are not here yet, and give each id's message."""
        self._tail[0] = max(self.newest_ms, newest_ms)
        held, left = owners.copy(), np.arange(len(owners))
        while len(left):
            places = self._places(high[left], low[left])
            found = self._high[places] != 0
            held[left[found]] = self._owner[places[found]]
            places, rows, left = first_come(places[~found], left[~found])
            self._low[places], self._owner[places] = low[rows], owners[rows]
            self._high[places] = high[rows]
            self._tail[1] += len(rows)
        return held

    def _places(self, high: Words, low: Words) -> npt.NDArray[np.int64]:
        return places_of((self._high, self._low), high, low)
