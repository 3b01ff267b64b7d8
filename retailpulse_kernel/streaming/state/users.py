"""The sketches of windows, of users and of numbers in buckets: a file that grows by what each micro-batch adds to them.

What a batch adds is small, and a whole sketch is up to 32 KiB; so the file has the parts, and the sketches are made of
them in memory. To undo a batch is to cut off what it appended. From time to time the parts of batches that can't be
undone any more are merged to one for each window, at the file's beginning; offsets go on counting as if they were not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.shop.sketching.sketches import Merging

__all__ = ["UserSketches"]

#: A window's: the number of its figure, and the words of its hash.
Key = tuple[int, int, int]

#: The offset that follows the merged parts, and how many bytes those are.
_HEAD: Final = struct.Struct("<qq")
#: Batch, key and size of a part, which follows.
_PART: Final = struct.Struct("<qIQQI")
#: Bytes that are appended, beside twice those of the merged parts, before parts are merged.
_MOST: Final = 4 << 20


class UserSketches:
    """The sketches of some windows.

    Parameters
    ----------
    path : Path
        The file; made where it is absent.
    merging : sequence of callable
        What begins a `Merging` of each figure, by the figure's number.
    """

    def __init__(self, path: Path, merging: Sequence[Callable[[], Merging]]) -> None:
        self._path, self._merging = path, merging
        if not path.exists():
            _write(path, 0, b"", b"")
        with path.open("rb") as file:
            self._start, self._merged = _HEAD.unpack(file.read(_HEAD.size))
        self._unions: dict[Key, Merging] | None = None

    @property
    def size(self) -> int:
        """The offset at which the next batch appends."""
        return self._start + self._path.stat().st_size - _HEAD.size - self._merged

    def truncate(self, size: int) -> None:
        """Forget what was appended from an offset on.

        Parameters
        ----------
        size : int
            What `size` was before the append; a later one changes nothing.
        """
        if self.size > size:
            with self._path.open("r+b") as file:
                file.truncate(_HEAD.size + self._merged + size - self._start)
            self._unions = None

    def add(self, keys: Sequence[Key], parts: Sequence[bytes], *, batch: int, undoable: int) -> list[bytes]:
        """Add what a batch adds to windows, each once; their sketches.

        Parameters
        ----------
        keys : sequence of Key
            The windows.
        parts : sequence of bytes
            A sketch for each.
        batch : int
            The batch, later than all that were added.
        undoable : int
            The first batch that may have to be cut off.
        """
        with self._path.open("ab") as file:
            file.write(b"".join(_packed(batch, key, part) for key, part in zip(keys, parts, strict=True)))
        if self._unions is None:
            self._unions = self._united((key, part) for _, key, part in self._parts())
        else:
            self._unite(zip(keys, parts, strict=True), self._unions)
        if self.size - self._start > _MOST + 2 * self._merged:
            self._merge(undoable)
        return [self._unions[key].serialized() for key in keys]

    def _merge(self, undoable: int) -> None:
        parts = list(self._parts())
        old = self._united((key, part) for batch, key, part in parts if batch < undoable)
        left = b"".join(_packed(*part) for part in parts if part[0] >= undoable)
        merged = b"".join(_packed(-1, key, one.serialized()) for key, one in old.items())
        start = self.size - len(left)
        _write(self._path, start, merged, left)
        self._start, self._merged = start, len(merged)

    def _united(self, parts: Iterable[tuple[Key, bytes]]) -> dict[Key, Merging]:
        """Parts united by their keys."""
        unions: dict[Key, Merging] = {}
        self._unite(parts, unions)
        return unions

    def _unite(self, parts: Iterable[tuple[Key, bytes]], unions: dict[Key, Merging]) -> None:
        for key, part in parts:
            if key not in unions:
                unions[key] = self._merging[key[0]]()
            unions[key].update(part)

    def _parts(self) -> Iterator[tuple[int, Key, bytes]]:
        content, at = self._path.read_bytes(), _HEAD.size
        while at < len(content):
            batch, figure, high, low, size = _PART.unpack_from(content, at)
            at += _PART.size
            yield batch, (figure, high, low), content[at : at + size]
            at += size


def _packed(batch: int, key: Key, part: bytes) -> bytes:
    return _PART.pack(batch, *key, len(part)) + part


def _write(path: Path, start: int, merged: bytes, left: bytes) -> None:
    write_whole(path, _HEAD.pack(start, len(merged)) + merged + left, synced=False)
