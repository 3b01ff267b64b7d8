"""The tables that hold figures, derived from the figures and the keys they are wanted by.

A table has one physical form for each grain (``category_minute``, ``category_hour``,
``sales_5m``). Its rows are absolute values under a deterministic key, so that writing a
micro-batch again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.figures import (
    ACTIVE_USERS,
    EVENTS,
    FIRST_EVENT,
    LAST_EVENT,
    ORDERS,
    PURCHASES,
    REVENUE,
    UNITS,
    VIEWS,
    Figure,
    Ratio,
    count,
    last,
)
from retailpulse_kernel.shop.windows import GRAINS, Grain, grain_of

__all__ = [
    "CATEGORY",
    "CORRECTED_AT",
    "GRAINS",
    "LATE_EVENTS",
    "SESSION",
    "TABLES",
    "USER",
    "FigureTable",
    "Grain",
    "Row",
    "grain_of",
    "late_part",
    "with_late_part",
]

#: A row of a figure table: its key's columns and its figures, by name.
Row = dict[str, Any]

#: Columns of the shipped contract's events that figures can be grouped by.
DIMENSIONS = shipped().dimensions


@dataclass(frozen=True)
class FigureTable:
    """Figures by some dimensions, in windows of one or more grains.

    Parameters
    ----------
    name : str
        The table's name without the grain.
    figures : tuple of Figure
        What its rows hold.
    by : tuple of str
        The dimensions that, with the window, make the key. Money needs ``currency`` among them.
    every : tuple of Grain
        The windows.
    ratios : tuple of Ratio
        What is divided of its figures when it is read, beside the shop's own ratios.
    dimensions : tuple of str
        Those that there are: the ones of the shop's contract.
    """

    name: str
    figures: tuple[Figure, ...]
    by: tuple[str, ...]
    every: tuple[Grain, ...]
    ratios: tuple[Ratio, ...] = ()
    dimensions: tuple[str, ...] = field(default=DIMENSIONS, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise UsageError(f"{self.name!r} can't be the name of a table.", remedy=NAME_RULE)
        for dimension in self.by:
            if dimension not in self.dimensions:
                raise UnknownName("dimension", dimension, self.dimensions)
        if not self.figures or not self.every:
            raise UsageError(f"The table {self.name!r} has no figures or no windows.", remedy="Name at least one each.")
        names = [*self.by, *(figure.name for figure in self.figures)]
        names += {column for grain in self.every for column in (grain.name, grain.bucket.name)}
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise UsageError(
                f"The table {self.name!r} would have two columns {twice!r}.",
                remedy="Give each figure a name of its own, which no dimension and no width of the table has.",
            )
        if "currency" not in self.by and any(f.unit == "currency" for f in self.figures):
            raise UsageError(
                f"The table {self.name!r} would add up money of different currencies.",
                remedy="Put 'currency' into by=[...].",
            )

    def within(self, calendar: Calendar) -> FigureTable:
        """The same table, with its windows by the clock of a calendar.

        Parameters
        ----------
        calendar : Calendar
            Such as the shop's.
        """
        return replace(self, every=tuple(grain.within(calendar) for grain in self.every))

    @property
    def finest(self) -> Grain:
        """The narrowest of its windows."""
        return min(self.every, key=lambda one: one.seconds)

    @property
    def widest(self) -> Grain:
        """The widest of its windows."""
        return max(self.every, key=lambda one: one.seconds)

    def physical(self, grain: Grain) -> str:
        """The name of the stored table of one grain.

        Parameters
        ----------
        grain : Grain
            One that the table keeps.
        """
        return f"{self.name}_{grain.suffix}"

    def parts(self, grain: Grain) -> tuple[Grain, ...]:
        """The table's windows that answer for windows of some width, the widest first; each is made of the next.

        Parameters
        ----------
        grain : Grain
            The width that is wanted, whether the table keeps it or not.

        Raises
        ------
        UsageError
            No windows of the table add up to windows of this width.
        """
        found: list[Grain] = []
        for one in sorted(self.every, key=lambda one: -one.seconds):
            if one.divides(found[-1] if found else grain):
                found.append(one)
        if not found:
            kept = ", ".join(one.title for one in sorted(self.every, key=lambda one: one.seconds))
            raise UsageError(
                f"The table {self.name!r} can't answer by the {grain.title}: it keeps windows of {kept}, and none of "
                "these widths divides that.",
                remedy="Ask for a width that is kept or a multiple of one, or add the width to the job's every=[...].",
            )
        return tuple(found)

    def key_columns(self, grain: Grain) -> tuple[str, ...]:
        """The columns of a row's key: the window's start, then the dimensions.

        Parameters
        ----------
        grain : Grain
            Its name is the column of the window's start.
        """
        return (grain.name, *self.by)

    def key(self, row: dict[str, Any], grain: Grain) -> tuple[Any, ...]:
        """A row's key.

        Parameters
        ----------
        row : dict
            A row with all of the key's columns.
        grain : Grain
            The grain of the row.
        """
        return tuple(row[column] for column in self.key_columns(grain))


# The tables below are what the package reads and fills by itself. A job's notebook says on its own what it writes, for
# two reasons. A promoted notebook is frozen with its plan, so that a table that changes here must not change what the
# notebook of an older version writes. And a copy of the notebook is an example, in which figures, keys and windows are
# there to be edited. `tests/notebooks/test_sources.py` compares the notebooks with the tables below.

#: What the dashboards, the live views and `retailpulse figures` read.
CATEGORY = FigureTable(
    "category",
    figures=(EVENTS, UNITS, REVENUE, ORDERS, ACTIVE_USERS),
    by=("currency", "category", "event_type"),
    every=(GRAINS["minute"], GRAINS["hour"], GRAINS["day"]),
)

#: A session's part in each hour; a session that crosses the hour has two.
SESSION = FigureTable(
    "session",
    figures=(EVENTS, VIEWS, PURCHASES, UNITS, REVENUE, ORDERS, FIRST_EVENT, LAST_EVENT),
    by=("session_id", "user_id", "currency"),
    every=(GRAINS["hour"],),
)

#: A user's day.
USER = FigureTable(
    "user",
    figures=(EVENTS, VIEWS, PURCHASES, UNITS, REVENUE, ORDERS, FIRST_EVENT, LAST_EVENT),
    by=("user_id", "currency"),
    every=(GRAINS["day"],),
)

#: Every table above. No job of somebody's own can have the name of one.
TABLES = tuple(table for table in list(globals().values()) if isinstance(table, FigureTable))

# What late events add to a table of figures is kept in a table beside it, of the same keys and windows. Its figures are
# parts like all others, so the corrected figure of a window is both rows combined (docs/adr/0032).

#: How many late events a row holds; 0 where a later correction found that none is left.
LATE_EVENTS: Final = Figure("late_events", "Late events", count(), unit="events")
#: When the row was last changed by a correction. It is no event's time: the correction sets it.
CORRECTED_AT: Final = Figure("corrected_at", "Corrected at", last("event_time"), unit="time")


def late_part(table: FigureTable) -> FigureTable:
    """The table that holds what late events add to a table's windows.

    Parameters
    ----------
    table : FigureTable
        The table that a job writes.

    Raises
    ------
    UsageError
        The table's name is too long for a second table, or one of its own figures has a name of the correction's.

    Examples
    --------
    >>> late_part(CATEGORY).name
    'category_late'
    """
    figures = (*table.figures, LATE_EVENTS, CORRECTED_AT)
    return FigureTable(f"{table.name}_late", figures, table.by, table.every, dimensions=table.dimensions)


def with_late_part(table: FigureTable) -> tuple[FigureTable, ...]:
    """A table, and the table of its late events where there can be one.

    Parameters
    ----------
    table : FigureTable
        The table that a job writes.
    """
    try:
        return table, late_part(table)
    except UsageError:
        return (table,)
