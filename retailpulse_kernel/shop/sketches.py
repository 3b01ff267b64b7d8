"""HyperLogLog sketches of users, in the DataSketches format that Spark writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasketches import hll_union

__all__ = ["LG_K", "comparable", "estimate", "is_sketch", "of", "serialized", "union"]

#: log2 of the buckets of a HyperLogLog sketch: exact up to some 3,000 users, then within 0.4 %
#: (standard error), at 32 KiB for a full sketch.
LG_K = 15
#: The bytes that every sketch begins with: the second one is the version, the third one the family, HLL.
_HEAD, _VERSION_AND_FAMILY = 8, b"\x01\x07"


def union(parts: Iterable[bytes]) -> bytes:
    """One sketch of all users in several; empty bytes for none.

    Parameters
    ----------
    parts : iterable of bytes
        Serialized HyperLogLog sketches; empty bytes count as no users.
    """
    from datasketches import hll_sketch, hll_union

    merged = hll_union(LG_K)
    empty = True
    for part in parts:
        if part:
            merged.update(hll_sketch.deserialize(bytes(part)))
            empty = False
    return b"" if empty else serialized(merged)


def serialized(merged: hll_union) -> bytes:
    """A union's sketch as bytes.

    Parameters
    ----------
    merged : hll_union
        A union of DataSketches.
    """
    from datasketches import tgt_hll_type

    # As Spark writes them, with a byte for each bucket: half of that takes 200 times as long to make.
    return merged.get_result(tgt_hll_type.HLL_8).serialize_compact()


def estimate(sketch: bytes | None) -> int:
    """The number of different users in a sketch, rounded.

    Parameters
    ----------
    sketch : bytes or None
        A serialized sketch; None and empty bytes have 0 users.
    """
    from datasketches import hll_sketch

    return round(hll_sketch.deserialize(bytes(sketch)).get_estimate()) if sketch else 0


def comparable(sketch: bytes | None) -> int | None:
    """The number of different users, the same for the same users in whatever order they came; None stays None.

    Parameters
    ----------
    sketch : bytes or None
        A serialized sketch.
    """
    # A sketch estimates by the order in which users came, unless it is a union of several.
    return None if sketch is None else estimate(union([sketch, sketch]))


def is_sketch(value: bytes) -> bool:
    """Whether bytes are a sketch: by the version and the family in the head of what DataSketches writes.

    Parameters
    ----------
    value : bytes
        Any bytes.
    """
    return len(value) >= _HEAD and value[1:3] == _VERSION_AND_FAMILY


def of(values: Iterable[str]) -> bytes:
    """A sketch of plain values, equal to the one that Spark makes of them.

    Parameters
    ----------
    values : iterable of str
        Users' ids; each counts once, however often it comes.
    """
    from datasketches import hll_sketch

    sketch = hll_sketch(LG_K)
    for value in values:
        sketch.update(value)
    return sketch.serialize_compact()
