"""Rows of a store as a pandas frame whose columns have the right types, empty or not; or as polars' or Arrow's.

The types are the same wherever a frame comes from:

=================  ==========================================  =======================================
values             dtype                                       without a value
=================  ==========================================  =======================================
text               ``string``                                  ``<NA>``
few different      ``category`` (the columns `CATEGORIES`)     ``NaN``
whole numbers      ``int64``; ``Int64`` where some are absent  ``<NA>``
times              ``datetime64[ns, UTC]``                     ``NaT``
dates              ``date32[day][pyarrow]``                    ``<NA>``
exact decimals     ``object``, each a `decimal.Decimal`        ``None``
=================  ==========================================  =======================================

Money is exact, so that sums agree to the cent. pandas has no exact dtype with which its numeric verbs work: with
Arrow's decimals, pandas 2.3 fails at ``nlargest``, ``describe``, ``cumsum`` and ``price * quantity``. ``as_="float"``
gives ``float64`` instead, for plots and statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.shop.kinds import Value

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "CATEGORIES",
    "FIGURE_COLUMNS",
    "ColumnKind",
    "Form",
    "checked_limit",
    "cut",
    "from_arrow",
    "limited",
    "one_of",
    "shaped",
    "text_series",
    "to_frame",
]

#: What a frame comes as: `as_` everywhere. ``"float"`` is a pandas frame whose exact decimals became ``float64``.
Form = Literal["pandas", "float", "polars", "arrow"]

#: How a column's values are kept; what has no kind (decimals, bytes) stays as the Python objects it is.
ColumnKind = Literal["integer", "boolean", "float", "time", "date", "text", "category"]

#: How a frame keeps figures, by what they are; a decimal stays exact as it is.
FIGURE_COLUMNS: dict[Value, ColumnKind] = {Value.WHOLE: "integer", Value.TIME: "time"}


_T = TypeVar("_T")

#: Columns of few different values, which a frame keeps as categories.
CATEGORIES = ("event_type", "category", "brand", "currency")


def from_arrow(batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, limit: int | None = None) -> pd.DataFrame:
    """A frame from Arrow batches, column by column and without a Python object for each value.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All of one schema.
    schema : pyarrow.Schema
        Theirs; what an empty frame has, too.
    limit : int, optional
        At most this many rows; batches beyond are not read. ``.attrs`` says what is left out, as in `to_frame`.

    Returns
    -------
    pandas.DataFrame
        Whole numbers and booleans may have gaps; the other types are this module's.
    """
    import pandas as pd
    import pyarrow as pa

    found, rows = [], 0
    for batch in batches:
        found.append(batch)
        rows += batch.num_rows
        if checked_limit(limit) is not None and rows > limit:
            break
    table = pa.Table.from_batches(found, schema).slice(0, limit)
    for place, name in enumerate(table.column_names):
        if name in CATEGORIES and pa.types.is_string(table.schema.field(place).type):
            table = table.set_column(place, name, table.column(place).dictionary_encode())
    dtypes = {
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype("pyarrow"),
        pa.date32(): pd.ArrowDtype(pa.date32()),
    }
    frame = table.to_pandas(types_mapper=dtypes.get, coerce_temporal_nanoseconds=True)
    for place, field in enumerate(schema):
        if pa.types.is_decimal(field.type):
            frame.isetitem(place, _decimals(table.column(place)))
    more = rows > len(frame)
    return _with_attributes(frame, more=more, total=None if more else rows)


def _decimals(values: pa.ChunkedArray) -> pd.Series:
    """Exact decimals as Python's; each different value is one object, however often it comes."""
    import numpy as np
    import pandas as pd

    encoded = values.combine_chunks().dictionary_encode()
    known = np.array([*encoded.dictionary.to_pylist(), None], dtype="object")
    return pd.Series(known[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], dtype="object")


def checked_limit(limit: int | None) -> int | None:
    """A number of rows, or None for all.

    Parameters
    ----------
    limit : int or None
        Whole and not negative; numpy's numbers are such, too.

    Raises
    ------
    UsageError
        It is neither.
    """
    given: Any = limit  # numpy's whole numbers are such, too
    if given is not None and (isinstance(given, bool) or not isinstance(given, Integral) or given < 0):
        raise UsageError(f"{limit!r} is not a number of rows.", remedy="Give a whole number, or None for all rows.")
    return limit


def one_of(known: Mapping[str, _T], name: str, what: str) -> dict[str, _T]:
    """The entry of a name by itself.

    Parameters
    ----------
    known : mapping of str to object
        The entries by name.
    name : str
        The one that is wanted.
    what : str
        What such an entry is called, for the error.

    Raises
    ------
    UnknownName
        There is none.
    """
    if name not in known:
        raise UnknownName(what, name, known)
    return {name: known[name]}


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
    checked_limit(limit)
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
    """A pandas frame as what was asked for; where it was cut, the note in its ``attrs`` is shown.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `to_frame` and its like.
    as_ : str
        ``"pandas"`` gives the frame itself, ``"float"`` the same with exact decimals as ``float64``, ``"polars"`` a
        `polars.DataFrame`, ``"arrow"`` a `pyarrow.Table`.

    Raises
    ------
    UnknownName
        It was asked for as something else.
    UsageError
        Polars or Arrow can't hold a number of the frame.
    """
    if as_ not in get_args(Form):
        raise UnknownName("kind of frame", str(as_), get_args(Form))
    if note := frame.attrs.get("note"):
        say(f"{note}: `limit=None` gives all." if frame.attrs.get("more") else f"{note}.")
    if as_ == "pandas":
        return frame
    if as_ == "float":
        return _with_floats(frame)
    import pyarrow as pa

    # Both know a column by its name alone, and a join may have one name twice.
    given = [str(name) for name in frame.columns]
    names = [name if name not in given[:place] else f"{name}_{place + 1}" for place, name in enumerate(given)]
    table = pa.table([_arrow(name, frame.iloc[:, place]) for place, name in enumerate(names)], names=names)
    if as_ == "arrow":
        return table
    require_extra("polars")

    import polars as pl

    for field in table.schema:
        if pa.types.is_decimal256(field.type):
            raise _too_wide(field.name, "decimals of more than 38 digits", "polars")
    return pl.from_arrow(table)


def _with_floats(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose exact decimals are floats. A column of objects without any value may be one of decimals, too."""
    import pandas as pd

    made = frame.copy(deep=False)
    for place, dtype in enumerate(frame.dtypes):
        values = frame.iloc[:, place]
        kind = pd.api.types.infer_dtype(values, skipna=True) if pd.api.types.is_object_dtype(dtype) else None
        if kind in ("decimal", "empty"):
            made.isetitem(place, values.astype("float64"))
    return made


def _arrow(name: str, series: pd.Series) -> pa.Array | pa.ChunkedArray:
    """A column as Arrow has it; one that holds several kinds of values as text."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(series.dtype, pd.StringDtype):
        return pa.array(series, pa.string(), from_pandas=True)
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        kind = pd.api.types.infer_dtype(series, skipna=True)
        if kind in ("integer", "decimal"):
            what = "whole numbers of more than 64 bits" if kind == "integer" else "decimals of more than 76 digits"
            raise _too_wide(name, what, "Arrow") from error
        return pa.array([None if value is None else str(value) for value in series], pa.string())


def _too_wide(column: str, what: str, library: str) -> UsageError:
    return UsageError(
        f"The column {column!r} has {what}, which {library} can't hold.",
        remedy='Take as_="pandas", or cast the column to text in the statement.',
    )


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
        What a column holds, by its position.
    more : bool
        Whether rows were cut off; kept as ``.attrs["more"]``, and in words as ``.attrs["note"]``.
    total : int, optional
        How many rows there are in all, where that is known; kept as ``.attrs["total"]``.
    """
    import pandas as pd

    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    series = [_series(values, kinds.get(place)) for place, values in enumerate(columns)]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(names)
    return _with_attributes(frame, more=more, total=total)


def _with_attributes(frame: pd.DataFrame, *, more: bool, total: int | None) -> pd.DataFrame:
    frame.attrs |= {"more": more, "total": total}
    if more:
        frame.attrs["note"] = f"{len(frame):,} of {total:,} rows" if total else f"{len(frame):,} rows, more exist"
    return frame


def limited(frame: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """The first rows of a frame, whose ``attrs`` say what is left out, as in `to_frame`.

    Parameters
    ----------
    frame : pandas.DataFrame
        All rows.
    limit : int or None
        At most this many; None is all.

    Raises
    ------
    UsageError
        The limit is not a number of rows.
    """
    kept = frame if checked_limit(limit) is None else frame.head(limit)
    return _with_attributes(kept, more=len(kept) < len(frame), total=len(frame))


def text_series(values: pa.Array) -> pd.Series:
    """Text as a column of pandas' ``string``, without a Python object for each value.

    Parameters
    ----------
    values : pyarrow.Array
        Text, with or without nulls.
    """
    import pandas as pd

    return pd.Series(pd.StringDtype("pyarrow").__from_arrow__(values))


def _of_type(values: Sequence[Any], python: type, arrow: pa.DataType, dtype: Any) -> pd.Series:
    """A column that Arrow keeps; one of objects where a value has another type, or can't be written in UTF-8."""
    import pandas as pd
    import pyarrow as pa

    if all(value is None or type(value) is python for value in values):
        try:
            return pd.Series(dtype.__from_arrow__(pa.array(values, arrow)))
        except UnicodeEncodeError:
            pass
    return pd.Series(list(values), dtype="object")


def _in_utc(time: Any) -> Any:
    return time.replace(tzinfo=UTC) if isinstance(time, datetime) and time.tzinfo is None else time


def _series(values: Sequence[Any], kind: ColumnKind | None) -> pd.Series:
    import pandas as pd
    import pyarrow as pa

    if kind == "time":
        try:
            return pd.Series(pd.to_datetime(list(values), utc=True))
        except (pd.errors.OutOfBoundsDatetime, OverflowError):  # the year 9999 is beyond pandas' nanoseconds
            return pd.Series([_in_utc(value) for value in values], dtype="object")
    if kind == "date":
        return _of_type(values, date, pa.date32(), pd.ArrowDtype(pa.date32()))
    if kind == "text":
        return _of_type(values, str, pa.string(), pd.StringDtype("pyarrow"))
    gaps = any(value is None for value in values)
    dtypes = {
        "integer": "Int64" if gaps else "int64",
        "boolean": "boolean" if gaps else "bool",
        "float": "float64",
        "category": "category",
    }
    return pd.Series(list(values), dtype=dtypes.get(kind or "", "object"))
