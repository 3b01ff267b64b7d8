"""How a figure table lies in Cassandra.

A partition holds a bucket of windows (the minutes of an hour, say), a row a key, and a column a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import chain, product
from typing import Any

from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, Grain, Row
from retailpulse_kernel.stores.figure_rows import PATHS, Only

__all__ = [
    "choices_of",
    "columns_of",
    "ddl",
    "figure_column",
    "from_cql",
    "halves",
    "keyspace_ddl",
    "plain",
    "times_of",
    "to_cql",
    "unpack",
]

#: The type of a figure's column.
_TYPES = {Value.WHOLE: "bigint", Value.DECIMAL: "decimal", Value.TIME: "timestamp", Value.SKETCH: "blob"}


def keyspace_ddl(settings: Settings) -> str:
    """The statement that makes the namespace's keyspace where it is absent.

    Parameters
    ----------
    settings : Settings
        Its profile says where the copies are, and how many.
    """
    address = settings.profile.cassandra
    return (
        f"create keyspace if not exists {settings.namespace.keyspace} with replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{address.datacenter}': {address.replication_factor}}}"
    )


def ddl(keyspace: str, table: FigureTable, grain: Grain) -> str:
    """The statement that makes the table of a grain where it is absent.

    Parameters
    ----------
    keyspace : str
        The namespace's.
    table, grain : FigureTable, Grain
        Which stored table.
    """
    bucket = grain.bucket
    columns = {bucket.name: _time_type(bucket), grain.name: _time_type(grain)}
    columns |= dict.fromkeys(table.by, "text")
    texts = [*(f"{name} {cql_type}" for name, cql_type in columns.items()), *map(figure_column, table.figures)]
    clustering = [c for c in table.key_columns(grain) if c != bucket.name]
    return (
        f"create table if not exists {keyspace}.{table.physical(grain)} ("
        + ", ".join(texts)
        + f", primary key (({bucket.name}), {', '.join(clustering)}))"
    )


def figure_column(figure: Figure) -> str:
    """A figure's column with its type, as a table is made with.

    Parameters
    ----------
    figure : Figure
        Of any kind.
    """
    return f"{figure.name} {_TYPES[figure.rules.value]}"


def times_of(grain: Grain, figures: Iterable[Figure]) -> set[str]:
    """The columns of a stored table that hold dates or times.

    Parameters
    ----------
    grain : Grain
        Its name is the column of the window's start.
    figures : iterable of Figure
        Those that are read.
    """
    return {grain.name, *(figure.name for figure in figures if figure.rules.value is Value.TIME)}


def columns_of(table: FigureTable, grain: Grain) -> list[str]:
    """The columns of a stored row: the partition's key, the rest of the key, the figures.

    Parameters
    ----------
    table, grain : FigureTable, Grain
        Which stored table.
    """
    bucket = grain.bucket
    return list(dict.fromkeys([bucket.name, *table.key_columns(grain), *(f.name for f in table.figures)]))


def choices_of(only: Only) -> tuple[str, list[tuple[str, ...]]]:
    """Conditions for some values of dimensions, and what to bind to them: a request for each choice.

    What is below a dot path lies between it and it with the next character after the dot; what else does is removed
    by `is_among`.

    Parameters
    ----------
    only : Only
        The values by dimension; empty asks once, without conditions.
    """
    conditions = [f"{name} >= ? and {name} < ?" if name in PATHS else f"{name} = ?" for name in only]
    bound = [
        [(value, f"{value}/") if name in PATHS else (value,) for value in dict.fromkeys(values)]
        for name, values in only.items()
    ]
    return "".join(f" and {text}" for text in conditions), [tuple(chain(*choice)) for choice in product(*bound)]


def halves(grain: Grain, start: datetime, first: datetime, end: datetime) -> list[tuple[datetime, datetime, datetime]]:
    """A range of windows within a partition as two of about the same length.

    Parameters
    ----------
    grain : Grain
        How long the windows are.
    start : datetime
        The partition's.
    first, end : datetime
        The range within the partition, without its end. A single window is not divided.
    """
    middle = grain.start(first + (end - first) / 2)
    return [(start, first, middle), (start, middle, end)] if first < middle < end else [(start, first, end)]


def unpack(
    columns: Sequence[str],
    times: set[str],
    results: Iterable[tuple[bool, Iterable[Any]]],
    calendar: Calendar = UTC_CALENDAR,
) -> Iterator[Row]:
    """Rows from the driver's tuples. Few different times stand in many rows, so each is converted once.

    Parameters
    ----------
    columns : sequence of str
        What each tuple holds, in order.
    times : set of str
        Those of the columns that are dates or times.
    results : iterable of tuple of bool and iterable of object
        Whether a request succeeded, and its tuples, as ``execute_concurrent`` gives them.
    calendar : Calendar
        As for `to_cql`.
    """
    known: dict[Any, Any] = {}
    places = [(name, columns.index(name)) for name in times]
    for _, found in results:
        for values in found:
            row = dict(zip(columns, values, strict=True))
            for name, place in places:
                value = values[place]
                if value not in known:
                    known[value] = from_cql(value, calendar)
                row[name] = known[value]
            yield row


def to_cql(column: str, value: Any, calendar: Calendar = UTC_CALENDAR) -> Any:
    """A value as its column takes it: that of a day's windows is a date.

    Parameters
    ----------
    column : str
        Its name.
    value : object
        A time has a zone.
    calendar : Calendar
        By whose clock the days of the partitions are counted.
    """
    return calendar.day_of(value) if column == GRAINS["day"].name else value


def from_cql(value: Any, calendar: Calendar = UTC_CALENDAR) -> Any:
    """A value of the driver's with dates and times as UTC times; any other as it is.

    Parameters
    ----------
    value : object
        As the driver gives it: times without a zone, which are UTC.
    calendar : Calendar
        As for `to_cql`.
    """
    value = plain(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return calendar.midnight(value)
    return value


def plain(value: Any) -> Any:
    """A value of the driver's with times in UTC, and dates as Python's, or as text where Python has none.

    Parameters
    ----------
    value : object
        As the driver gives it: times without a zone, which are UTC.
    """
    from cassandra.util import Date

    if isinstance(value, Date):
        try:
            return value.date()
        except (OverflowError, ValueError):
            return str(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _time_type(grain: Grain) -> str:
    return "date" if grain.name == "day" else "timestamp"
