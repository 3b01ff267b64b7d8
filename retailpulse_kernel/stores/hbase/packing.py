"""Avro's binary form of many rows at once, column by column and without a Python object for each value.

A column is *ragged*: the bytes of all its values one after another, and how many bytes each value has. Where a value is
null, it has the one byte that says so. The ragged columns are then laid side by side, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import schema_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["packed"]

#: Which side of the union of null and a type a value is of, as Avro writes the side's number.
_NULL, _VALUE = 0, 2
#: Bytes of rows that are packed at once; the work takes some ten times as much memory.
_AT_ONCE = 4 << 20


class _Ragged(NamedTuple):
    """The bytes of some values, and how many each value has."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    lengths: np.ndarray[Any, np.dtype[np.int64]]


def packed(table: RowTable, rows: pa.Table, head: bytes) -> list[bytes]:
    """Rows as records, each field a union of null and its type.

    Parameters
    ----------
    table : RowTable
        Whose columns are the fields.
    rows : pyarrow.Table
        With the table's columns.
    head : bytes
        What stands before each record.
    """
    found = rows.select(list(table.types)).cast(schema_of(table))
    step = max(1, _AT_ONCE * len(found) // max(1, found.nbytes))
    return [cell for start in range(0, len(found), step) for cell in _records(found.slice(start, step), head)]


def _records(rows: pa.Table, head: bytes) -> list[bytes]:
    columns = [part for column in rows.columns for part in _nullable(column.combine_chunks())]
    joined = _side_by_side([_repeated(head, len(rows)), *columns])
    ends = np.cumsum(joined.lengths)
    data = joined.data.tobytes()
    return [data[start:end] for start, end in zip((ends - joined.lengths).tolist(), ends.tolist(), strict=True)]


def _side_by_side(columns: list[_Ragged]) -> _Ragged:
    lengths = np.sum([column.lengths for column in columns], axis=0)
    data = np.empty(int(lengths.sum()), np.uint8)
    place = np.cumsum(lengths) - lengths
    for column in columns:
        starts = np.cumsum(column.lengths) - column.lengths
        data[np.arange(len(column.data)) + np.repeat(place - starts, column.lengths)] = column.data
        place += column.lengths
    return _Ragged(data, lengths)


def _nullable(values: pa.Array) -> list[_Ragged]:
    """The side of the union, and the value where there is one."""
    there = values.is_valid().to_numpy(zero_copy_only=False)
    sides = np.where(there, np.uint8(_VALUE), np.uint8(_NULL))
    parts = _values(values.drop_null())
    if there.all():
        return [_single(sides), *parts]
    return [_single(sides), *(_Ragged(part.data, _spread(part.lengths, there)) for part in parts)]


def _spread(lengths: np.ndarray[Any, Any], there: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = np.zeros(len(there), np.int64)
    found[there] = lengths
    return found


def _values(values: pa.Array) -> list[_Ragged]:
    """Values none of which is null; a value is what stands in all parts at its place."""
    import pyarrow as pa
    import pyarrow.types as types

    kind = values.type
    if not len(values):
        return []
    if types.is_list(kind):
        return _lists(values)
    if types.is_decimal(kind):
        return _with_length(_unscaled(values))
    if types.is_string(kind) or types.is_binary(kind):
        return _with_length(_bytes(values))
    if types.is_boolean(kind):
        return [_single(values.cast(pa.uint8()).to_numpy(zero_copy_only=False))]
    if types.is_floating(kind):
        return [_rectangular(values.to_numpy(zero_copy_only=False).astype("<f8"), 8)]
    whole = values.cast(pa.int32()) if types.is_date(kind) else values
    return [_numbers(whole.cast(pa.int64()).to_numpy(zero_copy_only=False))]


def _lists(values: pa.Array) -> list[_Ragged]:
    """A block of all elements where there are some, then the empty block."""
    counts = values.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    elements = _side_by_side(_nullable(values.flatten()))
    ends = np.concatenate([[0], np.cumsum(elements.lengths)])[np.cumsum(counts)]
    blocks = np.diff(ends, prepend=0)
    # The count of an empty list is the empty block itself.
    closing = (counts > 0).astype(np.int64)
    return [_numbers(counts), _Ragged(elements.data, blocks), _Ragged(np.zeros(int(closing.sum()), np.uint8), closing)]


def _with_length(values: _Ragged) -> list[_Ragged]:
    return [_numbers(values.lengths), values]


def _numbers(values: np.ndarray[Any, Any]) -> _Ragged:
    """Whole numbers of variable length, zig-zag: seven bits a byte, the lowest first."""
    left = ((values << 1) ^ (values >> 63)).view(np.uint64)
    width = max(1, -(-int(left.max(initial=0)).bit_length() // 7))
    parts = left[:, None] >> (np.arange(width, dtype=np.uint64) * np.uint64(7))
    there = parts > 0
    there[:, 0] = True
    data = (parts & np.uint64(0x7F)).astype(np.uint8)
    data[:, :-1] |= there[:, 1:].astype(np.uint8) << 7
    return _Ragged(data[there], there.sum(axis=1))


def _unscaled(values: pa.Array) -> _Ragged:
    """Decimals as whole numbers, big-endian in two's complement, without bytes that say nothing."""
    raw = np.frombuffer(values.buffers()[1], np.uint8).reshape(-1, 16)
    data = raw[values.offset : values.offset + len(values), ::-1]
    sign = np.where(data[:, :1] >= 0x80, np.uint8(0xFF), np.uint8(0))
    needless = (data[:, :-1] == sign) & ((data[:, 1:] ^ sign) < 0x80)
    there = np.ones(data.shape, bool)
    there[:, :-1] = ~np.logical_and.accumulate(needless, axis=1)
    return _Ragged(data[there], there.sum(axis=1))


def _bytes(values: pa.Array) -> _Ragged:
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return _Ragged(whole[ends[0] : ends[-1]], np.diff(ends))


def _single(values: np.ndarray[Any, Any]) -> _Ragged:
    return _rectangular(values, 1)


def _repeated(value: bytes, times: int) -> _Ragged:
    return _rectangular(np.tile(np.frombuffer(value, np.uint8), times), len(value), times)


def _rectangular(values: np.ndarray[Any, Any], width: int, count: int | None = None) -> _Ragged:
    return _Ragged(values.view(np.uint8).ravel(), np.full(len(values) if count is None else count, width, np.int64))
