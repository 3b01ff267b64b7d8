"""The state of a job's windows: hash tables in files beside its checkpoint.

A micro-batch brings what its own events add. `WindowState.update` adds that to the state, and returns the windows'
absolute figures. A batch touches only the rows that it changes, and windows that are over are discarded by removing
a file. Spark goes through its whole state of an aggregation in every batch (docs/adr/0017).

Before a batch changes rows, it writes their old values into an undo file. A batch that runs again, or runs on a copy
of an older checkpoint, first undoes itself and the batches after it. A copy may be taken at any moment, if the
tables are copied before the undo files. Sketches are beside the tables (`users.UserSketches`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.files import whole_file
from retailpulse_kernel.shop.kinds import RULES, Value
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, Grain
from retailpulse_kernel.streaming.state.aggregation import dimensions_of, figures_of
from retailpulse_kernel.streaming.state.encoding import Words, added, as_column, as_words, width
from retailpulse_kernel.streaming.state.hashing import FULL, first_come, hashes, places_for, places_of
from retailpulse_kernel.streaming.state.users import UserSketches

__all__ = ["COPIED", "SUMS", "WindowState", "is_summable", "undo_file"]

#: The folder in an epoch's; see `checkpoint.open_local`.
SUMS = "sums"
#: Its files, in the order in which they are to be copied.
COPIED: Final = ("*.sums", "*.users", "*.npz")

#: Batches that can be undone. Spark does only the last one again; a copy takes longer than a few small ones.
_UNDOABLE: Final = 20
#: Tables of fewer places are not worth a file; files that are kept open, and of users kept in memory.
_SMALLEST, _OPEN, _OPEN_USERS = 256, 64, 16
#: The columns of a table before the figures: the key's words.
_KEY: Final = 2
_HOUR: Final = GRAINS["hour"]

#: The kinds of figures that are times.
_TIMES: Final = tuple(kind for kind, rules in RULES.items() if rules.value is Value.TIME)

_TABLE = re.compile(r"(\d+)-(\d+)\.sums")
_Index = npt.NDArray[np.int64]


def is_summable(kind: str, of: str) -> bool:
    """Whether a figure of a kind and an expression can be kept here: of first and last values only times.

    Parameters
    ----------
    kind : str
        The name of a `Kind`.
    of : str
        The expression, as in `Measure.of`.
    """
    return kind not in _TIMES or of == "event_time"


def undo_file(folder: Path, batch: int) -> Path:
    """The undo file of a batch: the rows that it changed, as they were before.

    Parameters
    ----------
    folder : Path
        The epoch's folder of window state.
    batch : int
        Its number in the epoch, from 0.
    """
    return folder / f"{batch:08d}.npz"


class _Bucket(NamedTuple):
    """The windows that share a file, and go with it: of one slot of the aggregation, up to a moment."""

    slot: int
    end: int  # of the last window, in epoch seconds

    @property
    def name(self) -> str:
        return f"{self.slot}-{self.end}.sums"

    @property
    def users(self) -> str:
        return f"{self.slot}-{self.end}.users"


class _Change(NamedTuple):
    """What a batch does to a bucket: keys of which the first ones are there already, with these words."""

    bucket: _Bucket
    keys: npt.NDArray[np.uint64]
    before: Words


class WindowState:
    """The window state of one epoch. Only the job's process writes it.

    Parameters
    ----------
    folder : Path
        In the epoch's.
    slots : sequence of (FigureTable, Grain)
        What the aggregation's slots are.
    remedy : str, optional
        What to do where the files can't be used; see `checkpoint.new_epoch_remedy`.
    """

    def __init__(self, folder: Path, slots: Sequence[tuple[FigureTable, Grain]], *, remedy: str | None = None) -> None:
        self._folder, self._remedy = folder, remedy
        tables = [table for table, _ in slots]
        figures, self._dimensions = figures_of(tables), dimensions_of(tables)
        self._figures = [figure for figure in figures if figure.rules.value is not Value.SKETCH]
        self._sketched = [figure for figure in figures if figure.rules.value is Value.SKETCH]
        self._grains = [grain for _, grain in slots]
        self._columns = _KEY + sum(width(figure) for figure in self._figures)
        self._tables: dict[_Bucket, np.memmap[Any, np.dtype[np.int64]]] = {}
        self._users: dict[_Bucket, UserSketches] = {}
        self._used: dict[_Bucket, int] = {}
        for path in folder.glob("*.sums"):
            bucket = _Bucket(*map(int, path.stem.split("-")))
            self._used[bucket] = int(np.count_nonzero(self._open(bucket)[:, 0]))

    @property
    def count(self) -> int:
        """How many rows are kept."""
        return sum(self._used.values())

    @property
    def size(self) -> int:
        """Bytes of its files, without those to undo batches by."""
        return sum(path.stat().st_size for pattern in COPIED[:-1] for path in self._folder.glob(pattern))

    def update(self, rows: pa.Table, *, batch: int, watermark_ms: int) -> pa.Table:
        """Add what a batch's events add. A batch that is repeated gives the same result.

        Parameters
        ----------
        rows : pyarrow.Table
            As `aggregation.aggregate` gives them, of the batch's own events: each window and key once.
        batch : int
            The batch.
        watermark_ms : int
            The batch's watermark: no event up to it comes any more, in this batch or a later one.

        Returns
        -------
        pyarrow.Table
            The same windows and keys, with the figures that they have now.

        Raises
        ------
        JobError
            The state is not the one after the batch before.
        OverflowError
            A figure became greater than its column holds; nothing was changed.
        """
        self._undo(batch)
        keys = np.column_stack(hashes(self._names(rows)))
        nothing = np.zeros((len(keys), 0), dtype=np.int64)
        words = np.column_stack([nothing, *(as_words(figure, rows[figure.name]) for figure in self._figures)])
        changes, places, order = [], [], []
        for bucket, at in self._buckets(rows):
            table = self._with_room(bucket, len(at))
            found = _places(table, keys[at])
            known = table[found, 0] != 0
            here, found = at[known], found[known]
            before = table[found, _KEY:]
            words[here] = added(self._figures, before, words[here])
            # Those that are there come first.
            order.append(np.concatenate([here, at[~known]]))
            places.append(found)
            changes.append(_Change(bucket, keys[order[-1]], before))
        self._write_undo(batch, watermark_ms, changes)
        for change, known_at, at in zip(changes, places, order, strict=True):
            table = self._open(change.bucket)
            table[known_at, _KEY:] = words[at[: len(known_at)]]
            new = at[len(known_at) :]
            _insert(table, keys[new], words[new])
            self._used[change.bucket] += len(new)
        figures = self._figures_of(words) | self._users_of(rows, keys, changes, order, batch)
        self._forget()
        return pa.table({name: figures.get(name, rows[name]) for name in rows.column_names})

    # -- windows and keys -------------------------------------------------------------------

    def _names(self, rows: pa.Table) -> pa.ChunkedArray:
        """Each row's slot, window and dimensions as one text, in which each has its length before it."""
        columns: list[Any] = [rows["slot"].cast(pa.string()), rows["end"].cast(pa.int64()).cast(pa.string())]
        for dimension in self._dimensions:
            columns += [pc.binary_length(rows[dimension]).cast(pa.string()), rows[dimension]]
        return pc.binary_join_element_wise(*columns, ":", null_handling="replace", null_replacement="")

    def _buckets(self, rows: pa.Table) -> Iterator[tuple[_Bucket, _Index]]:
        """The rows' buckets, and where the rows of each are: an hour's shorter windows together, each longer by itself.

        A bucket ends with its last window, which may begin in the hour and end in the next one.
        """
        slots = rows["slot"].to_numpy().astype(np.int64)
        ends = rows["end"].cast(pa.int64()).to_numpy() // 1_000_000
        for slot in np.unique(slots).tolist():
            grain = self._grains[slot]
            if grain.seconds < _HOUR.seconds:
                starts = grain.starts(ends[slots == slot] - 1, per_second=1)
                ends[slots == slot] = grain.ends(_HOUR.ends(starts, per_second=1) - 1, per_second=1)
        pairs = np.column_stack([slots, ends])
        buckets, which = np.unique(pairs, axis=0, return_inverse=True)
        for number, (slot, end) in enumerate(buckets.tolist()):
            yield _Bucket(slot, end), np.flatnonzero(which.reshape(-1) == number)

    def _figures_of(self, words: Words) -> dict[str, Any]:
        """The columns of the figures that the tables keep."""
        columns, first = {}, 0
        for figure in self._figures:
            columns[figure.name] = as_column(figure, words[:, first : first + width(figure)])
            first += width(figure)
        return columns

    def _users_of(
        self,
        rows: pa.Table,
        keys: npt.NDArray[np.uint64],
        changes: Sequence[_Change],
        order: Sequence[_Index],
        batch: int,
    ) -> dict[str, Any]:
        """The columns of sketches, to which a batch's are added."""
        columns = {}
        for number, figure in enumerate(self._sketched):
            parts, sketches = rows[figure.name].to_pylist(), [b""] * rows.num_rows
            for change, at in zip(changes, order, strict=True):
                names = [(number, high, low) for high, low in keys[at].tolist()]
                found = self._user_sketches(change.bucket).add(
                    names, [parts[place] for place in at], batch=batch, undoable=batch - _UNDOABLE + 1
                )
                for place, sketch in zip(at, found, strict=True):
                    sketches[place] = sketch
            columns[figure.name] = pa.array(sketches, pa.binary())
        return columns

    # -- tables -----------------------------------------------------------------------------

    def _user_sketches(self, bucket: _Bucket) -> UserSketches:
        """A bucket's sketches; those that were used last stay in memory."""
        merging = [figure.rules.sketching.merging for figure in self._sketched]
        log = self._users.pop(bucket, None) or UserSketches(self._folder / bucket.users, merging)
        self._users[bucket] = log
        if len(self._users) > _OPEN_USERS:
            self._users.pop(next(iter(self._users)))
        return log

    def _open(self, bucket: _Bucket) -> np.memmap[Any, np.dtype[np.int64]]:
        if bucket not in self._tables:
            if len(self._tables) >= _OPEN:
                self._tables.pop(next(iter(self._tables)))
            path = self._folder / bucket.name
            places = path.stat().st_size // (8 * self._columns)
            if places * 8 * self._columns != path.stat().st_size or places & (places - 1):
                raise JobError(
                    f"The window state in {path} belongs to other figures.",
                    remedy=self._remedy,
                )
            self._tables[bucket] = np.memmap(path, dtype=np.int64, mode="r+", shape=(places, self._columns))
        return self._tables[bucket]

    def _with_room(self, bucket: _Bucket, keys: int) -> np.memmap[Any, np.dtype[np.int64]]:
        """A bucket's table with room for so many keys more: begun, or made larger, if need be."""
        rows = self._used.get(bucket, 0) + keys
        if bucket not in self._used:
            self._write(bucket, places_for(rows, at_least=_SMALLEST), np.zeros((0, self._columns), dtype=np.int64))
            self._used[bucket] = 0
        elif rows > FULL * len(self._open(bucket)):
            table = self._open(bucket)
            self._write(bucket, places_for(rows, at_least=_SMALLEST), table[table[:, 0] != 0])
        return self._open(bucket)

    def _write(self, bucket: _Bucket, places: int, rows: Words) -> None:
        """Write a table anew. A full disk is noticed here, and not when a row is changed."""
        table = np.zeros((places, self._columns), dtype=np.int64)
        _insert(table, rows[:, :_KEY].view(np.uint64), rows[:, _KEY:])
        # Not synced, as the rows that are changed in it: damage by a power failure is told, see `_read_undo`.
        with whole_file(self._folder / bucket.name, synced=False) as file:
            table.tofile(file)
        self._tables.pop(bucket, None)

    # -- undoing ----------------------------------------------------------------------------

    def _undoable(self) -> list[int]:
        """The batches that can be undone, oldest first."""
        return sorted(int(path.stem) for path in self._folder.glob("*.npz"))

    def _write_undo(self, batch: int, watermark_ms: int, changes: Sequence[_Change]) -> None:
        """Leave what a batch will change as it was."""
        content: dict[str, Any] = {"watermark_ms": np.array(watermark_ms)}
        for change in changes:
            content |= {f"{change.bucket.name}:keys": change.keys, f"{change.bucket.name}:before": change.before}
            if self._sketched:
                content[f"{change.bucket.name}:users"] = np.array(self._user_sketches(change.bucket).size)
        with whole_file(undo_file(self._folder, batch), synced=False) as file:
            np.savez(file, **content)

    def _read_undo(self, batch: int) -> Any:
        try:
            return np.load(undo_file(self._folder, batch))
        except (ValueError, EOFError, BadZipFile) as error:
            raise JobError(
                f"{undo_file(self._folder, batch)} is damaged, as after a power failure: {error}.", remedy=self._remedy
            ) from error

    def _undo(self, batch: int) -> None:
        """Back to before a batch."""
        batches = self._undoable()
        if batch > 0 and not {batch, batch - 1} & set(batches):
            raise JobError(
                f"The window state in {self._folder} is not the one after batch {batch - 1}. The job can undo "
                f"{_listed(batches)}.",
                remedy=self._remedy,
            )
        for number in reversed([number for number in batches if number >= batch]):
            with self._read_undo(number) as content:
                for name in content.files:
                    if (match := _TABLE.match(name)) is None:
                        continue
                    bucket = _Bucket(*map(int, match.groups()))
                    if name.endswith(":keys"):
                        self._restore(_Change(bucket, content[name], content[name.replace(":keys", ":before")]))
                    elif name.endswith(":users") and (self._folder / bucket.users).exists():
                        self._user_sketches(bucket).truncate(int(content[name]))
            undo_file(self._folder, number).unlink()

    def _restore(self, change: _Change) -> None:
        if change.bucket not in self._used:
            return  # a copy from before the batch began this table
        table = self._open(change.bucket)
        places = _places(table, change.keys)
        known = len(change.before)
        table[places[:known], _KEY:] = change.before
        new = places[known:][table[places[known:], 0] != 0]
        if len(new):
            # To free a place would hide the keys that had to step over it: without them the table is written anew.
            left = np.array(table)
            left[new, 0] = 0
            self._write(change.bucket, len(table), left[left[:, 0] != 0])
            self._used[change.bucket] -= len(new)

    def _forget(self) -> None:
        """Remove what no batch needs any more, were it one of those that can be undone."""
        batches = self._undoable()
        for number in batches[:-_UNDOABLE]:
            undo_file(self._folder, number).unlink()
        with self._read_undo(batches[-_UNDOABLE:][0]) as content:
            watermark_ms = int(content["watermark_ms"])
        for bucket in [bucket for bucket in self._used if bucket.end * 1000 <= watermark_ms]:
            self._tables.pop(bucket, None)
            del self._used[bucket]
            (self._folder / bucket.name).unlink()
            self._users.pop(bucket, None)
            (self._folder / bucket.users).unlink(missing_ok=True)


def _places(table: Words, keys: npt.NDArray[np.uint64]) -> _Index:
    words = table[:, :_KEY].view(np.uint64)
    return places_of((words[:, 0], words[:, 1]), keys[:, 0], keys[:, 1])


def _insert(table: Words, keys: npt.NDArray[np.uint64], words: Words) -> None:
    """Put in rows whose keys are not there. A row whose first word is written is there as a whole."""
    left = np.arange(len(keys))
    while len(left):
        places, rows, left = first_come(_places(table, keys[left]), left)
        table[places, _KEY:] = words[rows]
        table[places, 1] = keys[rows, 1].view(np.int64)
        table[places, 0] = keys[rows, 0].view(np.int64)


def _listed(batches: Sequence[int]) -> str:
    return f"batches {batches[0]} to {batches[-1]}" if batches else "no batch"
