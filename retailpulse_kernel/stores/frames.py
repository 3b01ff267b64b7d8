"""Rows of a store as a pandas frame whose columns have the right types, empty or not; or as polars' or Arrow's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from retailpulse_kernel.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["CATEGORIES", "ColumnKind", "Form", "cut", "from_arrow", "shaped", "to_frame"]

#: What a frame comes as: `as_` everywhere.
Form = Literal["pandas", "polars", "arrow"]

#: How a column's values are kept; what has no kind (text, decimals, bytes) stays as the Python objects it is.
ColumnKind = Literal["integer", "boolean", "float", "time", "category"]


_T = TypeVar("_T")

#: Columns of few different values, which a frame keeps as categories.
CATEGORIES = ("event_type", "category", "brand", "currency")


def from_arrow(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pd.DataFrame:
    """A frame from Arrow batches, column by column and without a Python object for each value.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All of one schema.
    schema : pyarrow.Schema
        Theirs; what an empty frame has, too.

    Returns
    -------
    pandas.DataFrame
        Text and decimals stay Arrow's, whole numbers and booleans may have gaps, times are UTC.
    """
    import pandas as pd
    import pyarrow as pa

    table = pa.Table.from_batches(batches, schema)
    for place, name in enumerate(table.column_names):
        if name in CATEGORIES and pa.types.is_string(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).dictionary_encode())
    dtypes = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}

    def dtype(arrow_type: pa.DataType) -> object:
        if pa.types.is_string(arrow_type) or pa.types.is_decimal(arrow_type):
            return pd.ArrowDtype(arrow_type)
        return dtypes.get(arrow_type)

    return table.to_pandas(types_mapper=dtype, coerce_temporal_nanoseconds=True)


def cut(rows: Iterable[_T], limit: int | None, *, count_for: float = 0) -> tuple[list[_T], dict[str, Any]]:
    """The first rows, and what a frame's ``attrs`` say of the others.

    Parameters
    ----------
    rows : iterable
        As they come from the server.
    limit : int, optional
        How many to keep; all when absent.
    count_for : float
        Seconds to go on counting those that are cut off.

    Returns
    -------
    list, dict
        The rows, and ``more`` (whether there are others) with ``total`` (how many in all, None when unknown).
    """
    kept: list[_T] = []
    beyond = 0
    end = time.monotonic() + count_for
    for row in rows:
        if limit is None or len(kept) < limit:
            kept.append(row)
            continue
        beyond += 1
        if time.monotonic() >= end:
            return kept, {"more": True, "total": None}
    return kept, {"more": beyond > 0, "total": len(kept) + beyond}


def shaped(frame: pd.DataFrame, as_: Form = "pandas") -> Any:
    """A pandas frame as what was asked for: itself, a `polars.DataFrame` or a `pyarrow.Table`.

    Raises
    ------
    UnknownName
        It was asked for as something else.
    """
    if as_ not in get_args(Form):
        raise UnknownName("kind of frame", str(as_), get_args(Form))
    if as_ == "pandas":
        return frame
    import pyarrow as pa

    # Both know a column by its name alone, and a join may have one name twice.
    given = [str(name) for name in frame.columns]
    names = [name if name not in given[:place] else f"{name}_{place + 1}" for place, name in enumerate(given)]
    table = pa.table([_arrow(frame.iloc[:, place]) for place in range(len(names))], names=names)
    if as_ == "arrow":
        return table
    import polars as pl

    return pl.from_arrow(table)


def _arrow(series: pd.Series) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow has it; one that holds several kinds of values as text."""
    import pyarrow as pa

    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in series], pa.string())


def to_frame(
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    kinds: Mapping[int, ColumnKind],
    *,
    more: bool = False,
    total: int | None = None,
) -> pd.DataFrame:
    """A frame from rows.

    Parameters
    ----------
    names : sequence of str
        The columns; a name may come twice, as in a join.
    rows : iterable of sequence
        Values in the columns' order.
    kinds : mapping of int to str
        What a column holds, by its position. Times become UTC; whole numbers with gaps become
        ``Int64``, which is exact where ``float64`` is not.
    more : bool
        Whether rows were cut off; kept as ``.attrs["more"]``.
    total : int, optional
        How many rows there are in all, where that is known; kept as ``.attrs["total"]``.
    """
    import pandas as pd

    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    series = [_series(values, kinds.get(place)) for place, values in enumerate(columns)]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(names)
    frame.attrs |= {"more": more, "total": total}
    return frame


def _series(values: Sequence[Any], kind: ColumnKind | None) -> pd.Series:
    import pandas as pd

    if kind == "time":
        try:
            return pd.Series(pd.to_datetime(list(values), utc=True))
        except (pd.errors.OutOfBoundsDatetime, OverflowError):  # the year 9999 is beyond pandas' nanoseconds
            return pd.Series(values, dtype="object")
    gaps = any(value is None for value in values)
    dtypes = {
        "integer": "Int64" if gaps else "int64",
        "boolean": "boolean" if gaps else "bool",
        "float": "float64",
        "category": "category",
    }
    return pd.Series(list(values), dtype=dtypes.get(kind or "", "object"))
