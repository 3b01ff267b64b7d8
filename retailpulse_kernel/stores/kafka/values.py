"""How a row is written as a message: JSON that keeps each value, and a key that tells rows apart.

Decimals are texts with all their digits, times ISO 8601 in UTC, dates ISO, bytes base64. JSON has no NaN and no
infinity: they are the texts ``NaN``, ``Infinity`` and ``-Infinity``, as Spark writes them.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import element_of, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["keys_of", "table_of", "values_of"]


def keys_of(table: RowTable, rows: pa.Table) -> list[bytes | None]:
    """The messages' keys: the key's one value as text, several as a JSON list, none where the table has none.

    Parameters
    ----------
    table : RowTable
        The table.
    rows : pyarrow.Table
        With the table's columns.
    """
    if not table.is_keyed:
        return [None] * len(rows)
    columns = [_plain(rows[name].to_pylist(), table.types[name]) for name in table.key]
    if len(columns) > 1:
        return [orjson.dumps(values) for values in zip(*columns, strict=True)]
    return [(value if isinstance(value, str) else orjson.dumps(value).decode()).encode() for value in columns[0]]


def values_of(table: RowTable, rows: pa.Table) -> list[bytes]:
    """The messages' values: a JSON object of the table's columns.

    Parameters
    ----------
    table : RowTable
        The table.
    rows : pyarrow.Table
        With the table's columns.
    """
    columns = [_plain(rows[name].to_pylist(), kind) for name, kind in table.types.items()]
    names = list(table.types)
    return [orjson.dumps(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def table_of(table: RowTable, values: Sequence[bytes]) -> pa.Table:
    """Rows from the messages' values; a column that a message does not have is null.

    Parameters
    ----------
    table : RowTable
        The table.
    values : sequence of bytes
        As `values_of` makes them.
    """
    import pyarrow as pa

    found = [orjson.loads(value) for value in values]
    columns = [_read([row.get(name) for row in found], kind) for name, kind in table.types.items()]
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema_of(table), strict=True)],
        schema_of(table),
    )


def _plain(values: list[Any], kind: str) -> list[Any]:
    """Values as JSON has them."""
    return _each(values, _WRITTEN.get(_family(kind)))


def _read(values: list[Any], kind: str) -> list[Any]:
    """Values from what JSON has of them."""
    return _each(values, _READ.get(_family(kind)))


def _family(kind: str) -> str:
    return (element_of(kind) or kind).partition("(")[0]


def _each(values: list[Any], function: Callable[[Any], Any] | None) -> list[Any]:
    """A function of each value that is there, and of each element of a list."""
    if function is None:
        return values
    return [
        None
        if value is None
        else [None if one is None else function(one) for one in value]
        if isinstance(value, list)
        else function(value)
        for value in values
    ]


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


#: How values are written that JSON has no form for, and how they are read.
_WRITTEN: dict[str, Callable[[Any], Any]] = {
    "double": _double,
    "decimal": lambda value: format(value, "f"),
    "binary": lambda value: b64encode(value).decode(),
    "date": date.isoformat,
    "timestamp": lambda value: value.isoformat().replace("+00:00", "Z"),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "double": float,
    "decimal": Decimal,
    "binary": b64decode,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
}
