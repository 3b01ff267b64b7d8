"""Numbers counted in buckets, of which quantiles are estimated within 1 %: the buckets of DDSketch (docs/adr/0033).

A bucket holds the numbers from its lower end, without that, to 101/99 of it. Zero has a bucket of its own, and so have
negative numbers. Counts add up in any order, so the same values make the same bytes whatever order they came in.

The bytes: the version, the decimal places of the numbers, then the first bucket's number and its count, and of each
further bucket the distance to the one before it and its count, as varints. Buckets are sorted, and none is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Buckets", "estimate", "numbered", "of", "union"]

_VERSION: Final = 1
_HEAD: Final = 2
#: The upper end of a bucket is this fraction of its lower end, so that its middle is within 1 % of all its numbers.
_ABOVE, _BELOW = 101, 99
#: No whole number of 64 bits is greater.
_MOST: Final = 2**63
#: The decimal places of an estimate.
_PLACE: Final = Decimal("0.0001")
_EXACT: Final = Context(prec=60)


@cache
def _ends() -> list[int]:
    """The greatest whole number in each bucket, from that of 1 on, computed exactly."""
    ends, above, below = [1], 1, 1
    while ends[-1] < _MOST:
        above, below = above * _ABOVE, below * _BELOW
        ends.append(above // below)
    return ends


def numbered(values: Any, places: int) -> pa.Array:
    """The bucket of each value: negative ones below 0, the one of zero is 0, null where there is no value.

    Parameters
    ----------
    values : pyarrow.Array or pyarrow.ChunkedArray or sequence
        Whole numbers of 64 bits, or decimals of 18 digits.
    places : int
        How many decimal places they have; 0 of whole numbers.
    """
    import numpy as np
    import pyarrow as pa

    type_ = pa.decimal128(18, places) if places else pa.int64()
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, type_)
    column = column.cast(type_)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    words = 2 if places else 1  # a decimal has 128 bits, of which 18 digits need the lower half
    buffer = array.buffers()[1]
    units = np.frombuffer(buffer if buffer is not None else b"", np.int64)[::words]
    units = units[array.offset : array.offset + len(array)]
    # The least number has no positive twin in 64 bits with a sign.
    sizes = np.abs(units).astype(np.uint64)
    numbers = np.searchsorted(np.array(_ends(), np.uint64), sizes).astype(np.int32) + np.int32(1)
    return pa.array(np.sign(units).astype(np.int32) * numbers, pa.int32(), mask=np.asarray(array.is_null()))


def of(numbers: Iterable[int | None], places: int) -> bytes:
    """Buckets of single values.

    Parameters
    ----------
    numbers : iterable of int or None
        What `numbered` says of each value; None counts nowhere.
    places : int
        The decimal places of the values.
    """
    return _packed({number: count for number, count in Counter(numbers).items() if number is not None}, places)


def union(parts: Iterable[bytes]) -> bytes:
    """The buckets of all values in several; empty bytes for none.

    Parameters
    ----------
    parts : iterable of bytes
        Buckets of one figure; empty bytes count as no values.
    """
    merged = Buckets()
    for part in parts:
        merged.update(part)
    return merged.serialized()


def estimate(buckets: bytes | None, q: float) -> Decimal | None:
    """A quantile of the values, with four decimal places: within 1 % of the exact one, and the last place is rounded.

    Of n values in order it is the one with ``q * (n - 1)`` values below it, rounded down, as numpy's method ``lower``.

    Parameters
    ----------
    buckets : bytes or None
        None and empty bytes have no values, and no quantile.
    q : float
        From 0, the least value, to 1, the greatest one.
    """
    if not buckets:
        return None
    places, counts = buckets[1], dict(_unpacked(buckets))
    left = int(Fraction(str(q)) * (sum(counts.values()) - 1))
    for number, count in counts.items():
        left -= count
        if left < 0:
            return _middle(number).scaleb(-places).quantize(_PLACE, ROUND_HALF_UP, _EXACT)
    return None


class Buckets:
    """Buckets to which others are added."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._places: int | None = None

    def update(self, part: bytes) -> None:
        """Add other buckets.

        Parameters
        ----------
        part : bytes
            Of values with the same decimal places; empty bytes add nothing.

        Raises
        ------
        ValueError
            The bytes are no buckets that this program knows, or of values with other decimal places.
        """
        if not part:
            return
        if part[0] != _VERSION:
            raise ValueError(f"Buckets have version {part[0]}, and this program knows {_VERSION}.")
        if self._places not in (None, part[1]):
            raise ValueError(f"Buckets of {part[1]} decimal places can't be added to those of {self._places}.")
        self._places = part[1]
        for number, count in _unpacked(part):
            self._counts[number] += count

    def serialized(self) -> bytes:
        """The buckets as bytes; empty bytes before anything was added."""
        return b"" if self._places is None else _packed(self._counts, self._places)


@cache
def _middle(number: int) -> Decimal:
    """What stands for the numbers in a bucket: as far from its least as from its greatest, in parts of themselves."""
    if not number:
        return Decimal(0)
    place = abs(number) - 1
    ends = _ends()
    least, greatest = (ends[place - 1] if place else 0) + 1, ends[place]
    middle = _EXACT.multiply(
        _EXACT.power(_EXACT.divide(Decimal(_ABOVE), Decimal(_BELOW)), place), Decimal(_BELOW) / 100
    )
    # Small numbers are alone in their bucket.
    size = min(max(middle, Decimal(least)), Decimal(greatest))
    return size if number > 0 else -size


def _packed(counts: Mapping[int, int], places: int) -> bytes:
    packed, before = bytearray((_VERSION, places)), None
    for number in sorted(counts):
        # The first number may be negative: its sign is the lowest bit.
        for value in (2 * abs(number) + (number < 0) if before is None else number - before, counts[number]):
            while value > 127:
                packed.append(value & 127 | 128)
                value >>= 7
            packed.append(value)
        before = number
    return bytes(packed)


def _unpacked(buckets: bytes) -> Iterator[tuple[int, int]]:
    """The buckets' numbers with their counts, the least first."""
    values = _varints(buckets)
    number = None
    for value in values:
        number = (-(value >> 1) if value & 1 else value >> 1) if number is None else number + value
        yield number, next(values)


def _varints(content: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in memoryview(content)[_HEAD:]:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield value
            value = shift = 0
