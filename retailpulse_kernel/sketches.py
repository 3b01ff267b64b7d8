"""HyperLogLog sketches of users, in the DataSketches format that Spark writes."""

from __future__ import annotations

from collections.abc import Iterable

from datasketches import hll_sketch, hll_union, tgt_hll_type

from retailpulse_kernel.metrics import SKETCH_LG_K

__all__ = ["estimate", "of", "serialized", "union"]


def union(parts: Iterable[bytes]) -> bytes:
    """One sketch of all users in several; empty bytes for none."""
    merged = hll_union(SKETCH_LG_K)
    empty = True
    for part in parts:
        if part:
            merged.update(hll_sketch.deserialize(bytes(part)))
            empty = False
    return b"" if empty else serialized(merged)


def serialized(merged: hll_union) -> bytes:
    """A union's sketch as bytes."""
    # As Spark writes them, with a byte for each bucket: half of that takes 200 times as long to make.
    return merged.get_result(tgt_hll_type.HLL_8).serialize_compact()


def estimate(sketch: bytes | None) -> int:
    """The number of different users in a sketch, rounded."""
    return round(hll_sketch.deserialize(bytes(sketch)).get_estimate()) if sketch else 0


def of(values: Iterable[str]) -> bytes:
    """A sketch of plain values, equal to the one that Spark makes of them."""
    sketch = hll_sketch(SKETCH_LG_K)
    for value in values:
        sketch.update(value)
    return sketch.serialize_compact()
