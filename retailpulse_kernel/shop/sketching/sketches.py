"""Sketches: HyperLogLog sketches of users, in the DataSketches format that Spark writes, and what all kinds have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "LG_K",
    "USERS",
    "Merging",
    "Sketch",
    "comparable",
    "estimate",
    "is_sketch",
    "of",
    "union",
]

#: log2 of the buckets of a HyperLogLog sketch: exact up to some 3,000 users, then within 0.4 %
#: (standard error), at 32 KiB for a full sketch.
LG_K = 15
#: The bytes that every sketch begins with: the second one is the version, the third one the family, HLL.
_HEAD, _VERSION_AND_FAMILY = 8, b"\x01\x07"


class Merging(Protocol):
    """A sketch to which others are added."""

    def update(self, part: bytes) -> None:
        """Add another sketch.

        Parameters
        ----------
        part : bytes
            A serialized sketch of the same kind.
        """

    def serialized(self) -> bytes:
        """The sketch of all that was added."""


@dataclass(frozen=True)
class Sketch:
    """How the sketches of a kind of figures are made and merged.

    Parameters
    ----------
    of : callable
        Makes a sketch of what `prepared` gives for single events; None among them is nothing.
    merging : callable
        Begins a `Merging`.
    prepared : callable
        Makes an Arrow column of what single events add: what the sketch tells apart.
    is_counted : bool
        Whether the sketch keeps how often there is a value, and not only which values there are.
    is_collected : bool
        Whether Spark's aggregate is the list of all values, of which `of` makes the sketch.
    """

    of: Callable[[Iterable[Any]], bytes]
    merging: Callable[[], Merging]
    prepared: Callable[[Any], pa.Array]
    is_counted: bool = False
    is_collected: bool = False


def union(parts: Iterable[bytes]) -> bytes:
    """One sketch of all users in several; empty bytes for none.

    Parameters
    ----------
    parts : iterable of bytes
        Serialized HyperLogLog sketches; empty bytes count as no users.
    """
    merged, found = Users(), [part for part in parts if part]
    for part in found:
        merged.update(part)
    return merged.serialized() if found else b""


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


class Users:
    """A sketch of users to which others are added."""

    def __init__(self) -> None:
        from datasketches import hll_union

        self._union = hll_union(LG_K)

    def update(self, part: bytes) -> None:
        """Add another sketch.

        Parameters
        ----------
        part : bytes
            A serialized sketch.
        """
        from datasketches import hll_sketch

        self._union.update(hll_sketch.deserialize(bytes(part)))

    def serialized(self) -> bytes:
        """The sketch of all users that were added."""
        from datasketches import tgt_hll_type

        # As Spark writes them, with a byte for each bucket: half of that takes 200 times as long to make.
        return self._union.get_result(tgt_hll_type.HLL_8).serialize_compact()


def _of_those_there(values: Iterable[str | None]) -> bytes:
    return of({value for value in values if value is not None})


def _texts(values: Any) -> pa.Array:
    import pyarrow as pa

    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.string())


#: Those of users and of other different values.
USERS: Final = Sketch(_of_those_there, Users, _texts)
