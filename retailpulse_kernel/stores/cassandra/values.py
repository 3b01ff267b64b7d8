"""How the values of a table of rows lie in Cassandra: the types, and what the driver takes and gives.

A time has milliseconds there, and a list no null: what does not fit is refused, never rounded in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import arrow_type, element_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cql_type", "from_cql", "to_cql"]

_TYPES = {
    "bool": "boolean",
    "int": "int",
    "long": "bigint",
    "double": "double",
    "string": "text",
    "binary": "blob",
    "date": "date",
    "timestamp": "timestamp",
}
#: The driver's count of days for 1970-01-01, as the protocol has it.
_DAY_0 = 2**31
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def cql_type(column_type: str) -> str:
    """Cassandra's type of a column.

    >>> cql_type("list<decimal(18,4)>")
    'frozen<list<decimal>>'

    Parameters
    ----------
    column_type : str
        As `retailpulse_kernel.shop.rows.Column` has it.
    """
    if (element := element_of(column_type)) is not None:
        return f"frozen<list<{cql_type(element)}>>"
    return _TYPES.get(column_type, "decimal")


def to_cql(table: RowTable, name: str, values: pa.ChunkedArray) -> list[Any]:
    """A column's values as the driver takes them: times as milliseconds, dates as days.

    Parameters
    ----------
    table : RowTable
        The table.
    name : str
        The column's.
    values : pyarrow.ChunkedArray
        In the column's type.

    Raises
    ------
    UsageError
        A time has microseconds.
    """
    import pyarrow as pa

    kind = table.types[name]
    element = element_of(kind)
    match element or kind:
        case "timestamp":
            micros = values.cast(pa.list_(pa.int64()) if element else pa.int64())
            _refuse_micros(table, name, micros)
            return _each(micros.to_pylist(), lambda us: us // 1000)
        case "date":
            days = values.cast(pa.list_(pa.int32()) if element else pa.int32())
            return _each(days.to_pylist(), lambda day: day + _DAY_0)
        case _:
            return values.to_pylist()


def _refuse_micros(table: RowTable, name: str, micros: pa.ChunkedArray) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = pc.list_flatten(micros) if pa.types.is_list(micros.type) else micros
    if pc.any(pc.not_equal(pc.multiply(pc.divide(flat, 1000), 1000), flat)).as_py():
        raise UsageError(
            f"Cassandra keeps times in milliseconds: the column {name!r} of the table {table.name!r} has a time with "
            "microseconds.",
            remedy=f"Round it in the notebook, `F.date_trunc('millisecond', {name!r})`, or write "
            f"`F.unix_micros({name!r})`.",
        )


def _each(values: list[Any], function: Callable[[Any], Any]) -> list[Any]:
    """A function of each value that is there, and of each element of a list."""
    return [
        None if value is None else [function(one) for one in value] if isinstance(value, list) else function(value)
        for value in values
    ]


def from_cql(values: Sequence[Any], kind: str) -> pa.Array:
    """A column from the driver's values.

    Parameters
    ----------
    values : sequence of object
        As the driver gives them.
    kind : str
        The column's type, as `Column.type` has it.
    """
    import pyarrow as pa

    element = element_of(kind)
    match element or kind:
        case "timestamp":
            micros = pa.array(_each(list(values), _micros), pa.list_(pa.int64()) if element else pa.int64())
            return micros.cast(arrow_type(kind))
        case "date":
            days = _each(list(values), lambda day: day.days_from_epoch)
            return pa.array(days, pa.list_(pa.int32()) if element else pa.int32()).cast(arrow_type(kind))
        case _:
            return pa.array(list(values), arrow_type(kind))


def _micros(moment: Any) -> int:
    """A time of the driver's, which computes with floats, as the whole milliseconds that are stored."""
    return int((moment.replace(tzinfo=UTC) - _EPOCH + _MILLISECOND / 2) // _MILLISECOND) * 1000
