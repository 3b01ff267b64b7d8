"""Figures as words of 64 bits, and how they are added up: exactly, or not at all.

A whole number is one word; a decimal is two, a whole number of its smallest part; a time is one, microseconds. The
least and the greatest value have a word of their own for "none yet".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import DIGITS, Combination, Value, arrow_type

__all__ = ["Words", "added", "as_column", "as_words", "width"]

#: Rows of words.
Words = npt.NDArray[np.int64]

#: The upper words of the least and the greatest decimal.
_LEAST, _MOST = divmod(-(10**DIGITS), 1 << 64)[0], divmod(10**DIGITS, 1 << 64)[0]
#: "None yet": what loses against every value.
_NONE: Final = {Combination.LEAST: np.iinfo(np.int64).max, Combination.GREATEST: np.iinfo(np.int64).min}


def width(figure: Figure) -> int:
    """How many words a figure takes.

    Parameters
    ----------
    figure : Figure
        Not one of users.
    """
    return 2 if figure.rules.value is Value.DECIMAL else 1


def as_words(figure: Figure, column: pa.ChunkedArray) -> Words:
    """A figure's column as rows of words.

    Parameters
    ----------
    figure : Figure
        Not one of users.
    column : pyarrow.ChunkedArray
        Of the type that the aggregation gives the figure: that of `arrow_type`, or a timestamp.
    """
    value, array = figure.rules.value, column.combine_chunks()
    none = _NONE.get(figure.rules.combination)
    if value is Value.DECIMAL:
        assert array.type == arrow_type(value) and (none is not None or not array.null_count)
        words = np.frombuffer(array.buffers()[1] or b"", dtype=np.int64)
        words = words[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
        if none is not None and array.null_count:
            words = np.where(array.is_null().to_numpy(zero_copy_only=False)[:, None], none, words)
        return words
    if value is Value.TIME:
        array = array.cast(arrow_type(value)).cast(pa.int64())
    if none is not None:
        array = array.fill_null(none)
    assert array.type == pa.int64() and not array.null_count
    return array.to_numpy().reshape(-1, 1)


def as_column(figure: Figure, words: Words) -> pa.Array:
    """The column that `as_words` would make these rows of.

    Parameters
    ----------
    figure : Figure
        Not one of users.
    words : Words
        A row of `width` words for each window.
    """
    column = arrow_type(figure.rules.value)
    none = _NONE.get(figure.rules.combination)
    if figure.rules.value is Value.DECIMAL:
        data = pa.py_buffer(np.ascontiguousarray(words).tobytes())
        absent = None if none is None else pa.array(words[:, 1] != none).buffers()[1]
        return pa.Array.from_buffers(column, len(words), [absent, data])
    values = np.ascontiguousarray(words[:, 0])
    return pa.array(values, pa.int64(), mask=None if none is None else values == none).cast(column)


def added(figures: Sequence[Figure], one: Words, two: Words) -> Words:
    """The rows of two parts of the same windows put together.

    Parameters
    ----------
    figures : sequence of Figure
        In the order of their words.
    one, two : Words
        The parts, with the same windows in the same rows.

    Raises
    ------
    OverflowError
        A sum does not fit into its words.
    """
    result = np.empty_like(one)
    first = 0
    for figure in figures:
        last = first + width(figure)
        result[:, first:last] = _added(figure, one[:, first:last], two[:, first:last])
        first = last
    return result


def _is_less(one: Words, two: Words) -> Any:
    """Of decimals, whose second word is the upper one with the sign. "None yet" is beyond all of them."""
    lower = one.view(np.uint64)[:, 0] < two.view(np.uint64)[:, 0]
    return (one[:, 1] < two[:, 1]) | ((one[:, 1] == two[:, 1]) & lower)


def _added(figure: Figure, one: Words, two: Words) -> Any:
    match figure.rules.combination, figure.rules.value:
        case Combination.LEAST, Value.DECIMAL:
            return np.where(_is_less(one, two)[:, None], one, two)
        case Combination.GREATEST, Value.DECIMAL:
            return np.where(_is_less(one, two)[:, None], two, one)
        case Combination.LEAST, _:
            return np.minimum(one, two)
        case Combination.GREATEST, _:
            return np.maximum(one, two)
        case _, Value.DECIMAL:
            lower = one.view(np.uint64)[:, 0] + two.view(np.uint64)[:, 0]
            carried = lower < one.view(np.uint64)[:, 0]
            upper = one[:, 1] + two[:, 1] + carried
            # A decimal that fits is far from what two words hold.
            if ((upper >= _MOST) | (upper <= _LEAST)).any():
                raise OverflowError(f"{figure.name} became greater than {DIGITS} digits hold.")
            return np.column_stack([lower.view(np.int64), upper])
        case _:
            total = one + two
            if (((one ^ total) & (two ^ total)) < 0).any():
                raise OverflowError(f"{figure.name} became greater than 64 bits hold.")
            return total
