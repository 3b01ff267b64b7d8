"""Rows of a store as a pandas frame whose columns have the right types, empty or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["CATEGORIES", "ColumnKind", "from_arrow", "to_frame"]

#: How a column's values are kept; what has no kind (text, decimals, bytes) stays as the Python objects it is.
ColumnKind = Literal["integer", "boolean", "float", "time", "category"]


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


def to_frame(
    names: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Mapping[int, ColumnKind], *, more: bool = False
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
    """
    import pandas as pd

    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    series = [_series(values, kinds.get(place)) for place, values in enumerate(columns)]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(names)
    frame.attrs["more"] = more
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
