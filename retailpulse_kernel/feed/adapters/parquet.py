"""Rows of a Parquet file: each cell exact, and one that Python can't hold spoils its row only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retailpulse_kernel.feed.adapters.rows import Row, Rows
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.shop.contract.mapping.items import refuse_doubles

__all__ = ["parquet_rows"]

_BATCH: Final = 4096
#: Whole numbers from here on are not told apart by a float of so many bits.
_EXACT: Final = {32: 2**24, 16: 2**11}


def parquet_rows(path: Path) -> Rows:
    """Open a Parquet file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    UsageError
        It is damaged, or two of its columns have the same name.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is not a Parquet file that can be read: {error}.") from error
    refuse_doubles(_leaf_names(file.schema_arrow), path)
    total = max(1, file.metadata.num_rows)
    return Rows(
        tuple(file.schema_arrow.names),
        fixed=True,
        each=_rows(file, path),
        fraction=lambda read: read / total,
    )


def _leaf_names(fields: Iterable[pa.Field], above: str = "") -> list[str]:
    """The names of all columns, those within records too, by their path."""
    names = []
    for field in fields:
        inner = field.type
        while pa.types.is_list(inner) or pa.types.is_large_list(inner):
            inner = inner.value_type
        names.append(above + field.name)
        if pa.types.is_struct(inner):
            names += _leaf_names((inner.field(index) for index in range(inner.num_fields)), f"{above}{field.name}.")
    return names


def _rows(file: pq.ParquetFile, path: Path) -> Iterator[Row]:
    number = 0
    names, reads = file.schema_arrow.names, [_exact(field.type) for field in file.schema_arrow]
    try:
        with file:
            for batch in file.iter_batches(batch_size=_BATCH):
                columns = [_values(column, read) for column, read in zip(batch.columns, reads, strict=True)]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield Row(number, dict(zip(names, values, strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise RetailPulseError(f"{path} is damaged after row {number}: {error}.") from error


def _values(column: pa.Array, read: Callable[[Any], Any] | None) -> list[Any]:
    """A column's values as Python's."""
    try:
        values = column.to_pylist(maps_as_pydicts="strict")  # a map is an object
    except (KeyError, ValueError, OverflowError):
        values = [_cell(cell) for cell in column]
    return [value if isinstance(value, Unreadable) else read(value) for value in values] if read else values


class Unreadable:
    """Stands for a cell that Python has no value for. What reads it refuses it, so that nobody else's row is lost."""

    def __repr__(self) -> str:
        return "a value that can't be read"


def _cell(cell: pa.Scalar) -> Any:
    """A value; text that is not UTF-8 as its bytes, and a time out of Python's range as text."""
    try:
        return cell.as_py(maps_as_pydicts="strict")
    except (KeyError, ValueError, OverflowError):
        pass
    if hasattr(cell, "as_buffer"):
        return cell.as_buffer().to_pybytes()
    try:
        return cell.cast(pa.string()).as_py()
    except (pa.ArrowException, ValueError):
        return Unreadable()


def _exact(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """How a value of a type that holds short floats, however deep, keeps its digits; None when there are none.

    As a double 19.99 of 32 bits is 19.989999771118164; its shortest text is what was written.
    """
    if pa.types.is_dictionary(kind):
        return _exact(kind.value_type)
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return lambda value: None if value is None else _short(value, kind.bit_width)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        each = _exact(kind.value_type)
        return each and (lambda values: None if values is None else [each(value) for value in values])
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        reads = {field.name: read for field in fields if (read := _exact(field.type))}
        return (
            (lambda record: record and record | {name: read(record[name]) for name, read in reads.items()})
            if reads
            else None
        )
    return None


def _short(value: float, bits: int) -> Any:
    """A short float as a decimal. One that has lost digits stays a short float, which is no id, price or quantity."""
    short = np.float32(value) if bits == 32 else np.float16(value)
    return short if _EXACT[bits] <= abs(value) < np.inf else Decimal(str(short))
