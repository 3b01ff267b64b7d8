"""Conditions on rows as a filter of Parquet files: row groups without a row that is wanted are not read."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import arrow_type
from retailpulse_kernel.stores.selecting import Conditions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["file_condition"]


def file_condition(table: RowTable, conditions: Conditions, columns: Collection[str]) -> Any:
    """The conditions on some columns as an expression of Arrow; None for all rows.

    Parameters
    ----------
    table : RowTable
        The table.
    conditions : Conditions
        Which rows are wanted.
    columns : collection of str
        The columns whose conditions the files may check.
    """
    import pyarrow.dataset as ds

    parts = []
    for name, values in conditions.where.items():
        if name in columns:
            given = _stored(table.types[name], [value for value in values if value is not None])
            among = ds.field(name).isin(given)
            parts.append(among | ds.field(name).is_null() if None in values else among)
    if conditions.time in columns:
        time = ds.field(conditions.time)
        for bound, holds in ((conditions.since, operator.ge), (conditions.until, operator.lt)):
            if bound is not None:
                parts.append(holds(time, _stored("timestamp", [bound])[0]))
    return functools.reduce(operator.and_, parts) if parts else None


def _stored(kind: str, values: list[Any]) -> pa.Array:
    """Values in the type of the files, which keep times in UTC and without a zone."""
    import pyarrow as pa

    made = pa.array(values, arrow_type(kind))
    return made.cast(pa.timestamp("us")) if kind == "timestamp" else made
