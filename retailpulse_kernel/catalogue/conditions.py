"""What is wanted of a table: values of columns, a range of time, an order and a number of rows.

Every store is asked for as little as it can tell apart by itself (`stores.selecting`). What comes is checked here
once more, so a store may give too much and never too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import UnknownName, UsageError, did_you_mean
from retailpulse_kernel.ground.spans import moment_of
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.frames import checked_limit
from retailpulse_kernel.stores.rows import arrow_type, element_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Wanted", "require_currency", "texts_of", "time_column", "time_column_if_any", "wanted_of"]

_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a table.

    Attributes
    ----------
    where : mapping of str to tuple
        The values that a column may have; None is a value, too.
    time : str
        The column that the range is of; empty without a range.
    since, until : datetime or None
        The range, without its end.
    columns : tuple of str
        The columns to give, in order.
    order : tuple of (str, str)
        Columns to sort by, each ``ascending`` or ``descending``.
    limit : int or None
        At most this many rows; all when None.
    """

    where: Mapping[str, tuple[Any, ...]]
    time: str
    since: datetime | None
    until: datetime | None
    columns: tuple[str, ...]
    order: tuple[tuple[str, str], ...] = ()
    limit: int | None = None

    @property
    def first(self) -> int | None:
        """How many rows do where any will do; None where all must be looked at."""
        return None if self.order or self.limit is None else self.limit + 1

    def of(self, table: RowTable, rows: pa.Table) -> tuple[pa.Table, bool]:
        """The rows that are wanted, and whether there are more than the limit lets through.

        Parameters
        ----------
        table : RowTable
            The columns' types.
        rows : pyarrow.Table
            What a store gave.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for name, values in self.where.items():
            among = pa.array(values, arrow_type(table.types[name]))
            rows = rows.filter(pc.is_in(rows[name], value_set=among))
        for bound, holds in ((self.since, pc.greater_equal), (self.until, pc.less)):
            if bound is not None:
                rows = rows.filter(holds(rows[self.time], pa.scalar(bound, arrow_type("timestamp"))))
        if self.order:
            rows = rows.sort_by(list(self.order))
        more = self.limit is not None and rows.num_rows > self.limit
        return rows.slice(0, self.limit).select(list(self.columns)), more


def wanted_of(
    table: RowTable,
    *,
    where: Mapping[str, Any] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    time: str | None = None,
    columns: Sequence[str] | None = None,
    order: str | Sequence[str] | None = None,
    limit: int | None = None,
) -> Wanted:
    """What is wanted of a table, checked before anything is read.

    Parameters
    ----------
    table : RowTable
        The table's columns, types and key.
    where : mapping, optional
        A value, or a list of values, by column. Texts are read as the column's type has them.
    since, until : datetime, optional
        The range.
    time : str, optional
        The column that the range is of; see `time_column`.
    columns : sequence of str, optional
        The columns to give; all when absent.
    order : str or sequence of str, optional
        Columns to sort by, with ``-`` in front for descending.
    limit : int, optional
        At most this many rows.

    Raises
    ------
    UnknownName
        There is no such column.
    UsageError
        A value is none of the column's type, or no column tells the time.
    """
    chosen = [columns] if isinstance(columns, str) else list(table.types) if columns is None else list(columns)
    sorting = [order] if isinstance(order, str) else list(order or ())
    named = [name.removeprefix("-") for name in sorting]
    for name in (*(where or {}), *chosen, *named):
        if name not in table.types:
            raise UnknownName("column", str(name), table.types, of=f"the table {table.name!r}")
    for name in (*(where or {}), *named):
        if element_of(table.types[name]):
            raise UsageError(f"The column {name!r} holds lists.", remedy="Choose rows and sort by another column.")
    ranged = since is not None or until is not None or time is not None
    directions = ("descending" if name.startswith("-") else "ascending" for name in sorting)
    return Wanted(
        {name: _values(table, name, value) for name, value in (where or {}).items()},
        time_column(table, time) if ranged else "",
        since,
        until,
        tuple(dict.fromkeys(chosen)),
        tuple(zip(named, directions, strict=True)),
        checked_limit(limit),
    )


def texts_of(where: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """What dimensions of figures may be: a value or several, by dimension.

    Parameters
    ----------
    where : mapping, optional
        A text, or a sequence of texts, by dimension; of a column of a reference table any values.

    Raises
    ------
    UsageError
        A value is none that a dimension can have.
    """
    if where is not None and not isinstance(where, Mapping):
        raise UsageError(f"where={where!r} is no mapping.", remedy="Write where={'device': 'phone'}.")
    found: dict[str, list[Any]] = {}
    for name, value in (where or {}).items():
        several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        found[name] = list(value) if several else [value]
        for one in found[name]:
            if one is None or ("." not in name and not isinstance(one, str)):
                raise UsageError(
                    f"{name} can't be {one!r}: values of a dimension are texts.",
                    remedy=f"Write where={{{name!r}: 'a value'}}, or a list of values.",
                )
    return found


def require_currency(name: str | None) -> None:
    """Refuse a currency that there is not.

    Parameters
    ----------
    name : str or None
        Its code; None for none.

    Raises
    ------
    UsageError
        It is no code of ISO 4217.
    """
    if name is None or name in CURRENCIES:
        return
    if name == "base":
        raise UsageError(
            "currency='base' chooses no figures: amounts in the base currency are figures of their own.",
            remedy="Ask for them by their names, such as 'revenue_base'.",
        )
    hint = did_you_mean(str(name).upper(), CURRENCIES)
    raise UsageError(f"{name!r} is not a currency of ISO 4217.", remedy=f"{hint}Write its code, such as EUR.")


def time_column(table: RowTable, name: str | None = None) -> str:
    """The column that tells the time of a row: the first timestamp of the key, or else the only timestamp.

    Parameters
    ----------
    table : RowTable
        The table.
    name : str, optional
        The column that somebody has chosen.

    Raises
    ------
    UsageError
        The choice is not a timestamp, or there is none, or none of several is in the key.
    """
    times = [column for column, kind in table.types.items() if kind == "timestamp"]
    if name is not None:
        if name not in times:
            raise UnknownName("column of times", name, times, of=f"the table {table.name!r}")
        return name
    of_key = [column for column in table.key if column in times]
    if of_key or len(times) == 1:
        return (of_key or times)[0]
    if not times:
        raise UsageError(
            f"The table {table.name!r} has no column of times, so there is no range of it.",
            remedy="Leave last, since and until out.",
        )
    raise UsageError(
        f"The table {table.name!r} has several columns of times, and none is in its key.",
        remedy=f"Name one: time=... Choose from {', '.join(times)}.",
    )


def time_column_if_any(table: RowTable, name: str | None = None) -> str:
    """The column that tells the time of a row, as `time_column` gives it; empty where none does.

    Parameters
    ----------
    table : RowTable
        The table.
    name : str, optional
        The column that somebody has chosen.

    Raises
    ------
    UnknownName
        The choice is not a timestamp.
    """
    try:
        return time_column(table, name)
    except UnknownName:
        raise
    except UsageError:
        return ""


def _values(table: RowTable, name: str, given: Any) -> tuple[Any, ...]:
    several = isinstance(given, list | tuple | set | frozenset)
    return tuple(_value(name, table.types[name], value) for value in (given if several else [given]))


def _value(name: str, kind: str, value: Any) -> Any:
    """A value in the column's type."""
    import pyarrow as pa

    try:
        typed = _read(kind.partition("(")[0], value) if isinstance(value, str) else value
        if kind == "timestamp" and typed is not None:
            typed = moment_of(typed)
        elif kind.startswith("decimal") and isinstance(typed, float):
            typed = Decimal(repr(typed))
        pa.scalar(typed, arrow_type(kind))
    except (ValueError, TypeError, InvalidOperation, UsageError, pa.ArrowException) as error:
        raise UsageError(
            f"{value!r} is not a value of the column {name!r}, which is {kind}.", remedy=_REMEDIES.get(kind)
        ) from error
    return typed


_REMEDIES = {
    "timestamp": "Write a time as 2026-01-31T10:00.",
    "date": "Write a date as 2026-01-31.",
    "bool": "Write true or false.",
}


def _read(kind: str, text: str) -> Any:
    """A text as a value of some type."""
    match kind:
        case "bool":
            if text.lower() not in (*_TRUE, *_FALSE):
                raise ValueError(text)
            return text.lower() in _TRUE
        case "int" | "long":
            return int(text)
        case "double":
            return float(text)
        case "decimal":
            return Decimal(text)
        case "date":
            return date.fromisoformat(text)
        case "binary":
            return bytes.fromhex(text)
    return text
