"""The rule of a table's key: it tells the rows of one micro-batch apart.

Rows of one micro-batch have no order that a second try would repeat. So of two rows that share a key and differ, nobody
could say which one the table should have.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import AmbiguousKey
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.shop.tables import Row
from retailpulse_kernel.stores.rows import last_of_each

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["identified", "with_keys"]

_PLACE: Final = "_place"
_COUNT: Final[list[Any]] = [([], "count_all")]


def with_keys(rows: pa.Table, column: str) -> tuple[pa.Table, pa.Table]:
    """The rows that have a value in a column of the key, and those that have none and are not written.

    Parameters
    ----------
    rows : pyarrow.Table
        The rows.
    column : str
        The column.
    """
    import pyarrow.compute as pc

    missing = pc.is_null(rows[column])
    return rows.filter(pc.invert(missing)), rows.filter(missing)


def identified(table: RowTable, rows: pa.Table, told: Callable[[Row], Row] = dict) -> pa.Table:
    """The rows of a micro-batch, one of each key.

    Identical rows are one row. A row and its removal may share a key: the last one holds.

    Parameters
    ----------
    table : RowTable
        The table, with a key or without.
    rows : pyarrow.Table
        The rows, with a whole key.
    told : callable
        Makes a row of which all may be told in an error; see `shop.personal.masked`.

    Raises
    ------
    AmbiguousKey
        Rows share a key and differ: the key does not identify them.
    """
    import pyarrow.compute as pc

    key = list(table.key)
    if not key:
        return rows
    counts = rows.select(key).group_by(key).aggregate(_COUNT)
    if len(counts) == len(rows):
        return rows
    repeated = counts.filter(pc.greater(counts["count_all"], 1)).select(key)
    places = _placed(rows.select(key)).join(repeated, key, join_type="left semi")[_PLACE]
    _require_identical(table, rows.take(places.combine_chunks().sort()), told)
    return last_of_each(rows, key)


def _require_identical(table: RowTable, rows: pa.Table, told: Callable[[Row], Row]) -> None:
    """Refuse rows that share a key and differ."""
    import pyarrow.compute as pc

    key = list(table.key)
    if DELETED in rows.column_names:
        rows = rows.filter(pc.invert(pc.fill_null(rows[DELETED], False))).drop_columns([DELETED])
    rows = rows.select(list(table.types))
    distinct = _placed(_hashable(rows)).group_by(rows.column_names).aggregate([(_PLACE, "min")])
    first = f"{_PLACE}_min"
    keys = distinct.group_by(key).aggregate([*_COUNT, (first, "min"), (first, "max")])
    shared = keys.filter(pc.greater(keys["count_all"], 1)).sort_by(f"{first}_min")
    if not len(shared):
        return
    one, other = rows.take([shared[f"{first}_{end}"][0].as_py() for end in ("min", "max")]).to_pylist()
    column = next(name for name in rows.column_names if name not in key and repr(one[name]) != repr(other[name]))
    one, other = told(one), told(other)
    example = ", ".join(f"{name} {_text(one[name])}" for name in key)
    count = "1 key has" if len(shared) == 1 else f"{len(shared):,} keys have"
    raise AmbiguousKey(
        f"The key ({', '.join(key)}) of the table {table.name!r} does not identify a row: in one micro-batch {count} "
        f"rows that differ, such as {example} with {column} {_text(one[column])} and {_text(other[column])}.",
        remedy="Nothing of the micro-batch was written. Add the column to the key that tells such rows apart, or make "
        "one row of each key with groupBy(...).agg(...).",
    )


def _placed(rows: pa.Table) -> pa.Table:
    """The rows with their places."""
    import pyarrow as pa

    return rows.append_column(_PLACE, pa.array(range(len(rows)), pa.int64()))


def _hashable(rows: pa.Table) -> pa.Table:
    """The rows with lists and doubles as texts: Arrow can't group by a list, and NaN is here equal to itself."""
    import pyarrow as pa

    for number, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            rows = rows.set_column(number, field.name, rows[field.name].cast(pa.string()))
        elif pa.types.is_nested(field.type):
            rows = rows.set_column(number, field.name, pa.array([repr(one.as_py()) for one in rows[field.name]]))
    return rows


def _text(value: Any) -> str:
    return iso_text(value) if isinstance(value, datetime) else repr(value) if isinstance(value, str) else str(value)
