"""Times as messages have them, thousands at once.

>>> plain_times(["2026-01-01T10:00:00.123456789+02:00", 1_767_254_400_000, "yesterday"]).cast("int64").to_pylist()
[1767254400123456, 1767254400000000, None]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["plain_times"]

_CLOCK: Final = r"[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$"
_PLAIN: Final = rf"^(?:19|20|21)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]){_CLOCK}"
#: Days that there are in every year: Arrow refuses a whole column for one 30th of February.
_DAYS: Final = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
)
_SAFE: Final = rf"^(?:19|20|21)\d\d-{_DAYS}{_CLOCK}"
#: A text that is longer may have more than microseconds.
_MICROSECONDS: Final = len("2026-01-01T10:00:00.123456Z")
#: Milliseconds since 1970 of the years 1901 to 2199.
_PLAIN_MS: Final = (-2_177_452_800_000, 7_258_118_400_000)


def plain_times(values: Sequence[Any]) -> pa.Array:
    """Times in UTC, cut to microseconds, of those values that have a usual form; null for all others.

    Parameters
    ----------
    values : sequence of str, int or None
        RFC 3339 with ``Z`` or an offset, and a ``T`` or a space between day and time; or milliseconds since 1970.
    """
    import pyarrow as pa

    try:
        return _of_texts(pa.array(values, pa.string()))
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers among them
        import pyarrow.compute as pc

        low, high = _PLAIN_MS
        texts = pa.array([value if type(value) is str else None for value in values], pa.string())
        numbers = pa.array([v if type(v) is int and low <= v < high else None for v in values], pa.int64())
        return pc.coalesce(_of_texts(texts), pc.multiply(numbers, 1000).cast(pa.timestamp("us", tz="UTC")))


def _of_texts(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = pa.timestamp("us", tz="UTC")
    for pattern in (_PLAIN, _SAFE):
        plain = pc.if_else(pc.match_substring_regex(texts, pattern), texts, pa.scalar(None, pa.string()))
        if (pc.max(pc.binary_length(plain)).as_py() or 0) > _MICROSECONDS:
            plain = pc.replace_substring_regex(plain, r"(\.\d{6})\d+", r"\1")
        try:
            return pc.cast(plain, type_)
        except pa.ArrowInvalid:
            texts = plain
    return pa.nulls(len(texts), type_)
