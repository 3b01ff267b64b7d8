"""Hash tables whose columns are numpy arrays, searched for many keys at a time.

A key is 128 bits in two words, of which the first is never 0: a place whose first word is 0 is free. Where a key's own
place is taken, the next free one is its place.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["FULL", "Words", "first_come", "hashes", "places_for", "places_of"]

Words = npt.NDArray[np.uint64]
_Index = npt.NDArray[np.int64]

#: A table is at most so full; beyond that a search has to step too often.
FULL: Final = 5 / 8


def hashes(values: pa.Array | pa.ChunkedArray) -> tuple[Words, Words]:
    """The keys of some texts or bytes: so long that no two texts have the same one.

    Parameters
    ----------
    values : pyarrow.Array or pyarrow.ChunkedArray
        Without nulls.

    Returns
    -------
    array of uint64, array of uint64
        First and second words.
    """
    digests = [blake2b(value, digest_size=16).digest() for value in values.cast(pa.binary()).to_pylist()]
    words = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
    return words[:, 0] | np.uint64(1), words[:, 1].copy()


def places_for(keys: int, *, at_least: int) -> int:
    """How many places a table of so many keys should have: a power of two.

    Parameters
    ----------
    keys : int
        How many are to be held.
    at_least : int
        The smallest table, a power of two.
    """
    return max(at_least, 1 << int(keys / FULL).bit_length())


def places_of(table: tuple[Words, Words], high: Words, low: Words) -> _Index:
    """Each key's place in a table: where it is, or the free one where it would be.

    Parameters
    ----------
    table : tuple of array
        The first and the second words of its places, a power of two of them, some of which are free.
    high, low : array of uint64
        The keys.
    """
    highs, lows = table
    mask = len(highs) - 1
    places = (low & np.uint64(mask)).astype(np.int64)
    left = np.arange(len(places))
    while len(left):
        at = places[left]
        there = highs[at]
        taken = (there != 0) & ((there != high[left]) | (lows[at] != low[left]))
        left = left[taken]
        places[left] = (places[left] + 1) & mask
    return places


def first_come(places: _Index, rows: _Index) -> tuple[_Index, _Index, _Index]:
    """Who takes the free places that some rows have come to: of several at one place the first.

    Parameters
    ----------
    places : _Index
        The place that each row has come to.
    rows : _Index
        The rows, in their order.

    Returns
    -------
    places, rows, left : array of int64
        The places, the row that takes each, and the rows that have to look again when these are taken.
    """
    taken, winners = np.unique(places, return_index=True)
    return taken, rows[winners], np.delete(rows, winners)
