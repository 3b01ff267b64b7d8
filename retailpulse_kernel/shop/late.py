"""What late events add to a table of figures: a table beside it, of the same keys and windows.

A stream leaves late events out. Their figures are parts like all others: sums are added, sketches are united, the least
and the greatest are compared. So the corrected figure of a window is the table's row combined with the row beside it.
"""

from __future__ import annotations

from typing import Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.figures import Figure, count, last
from retailpulse_kernel.shop.tables import FigureTable

__all__ = ["CORRECTED_AT", "LATE_EVENTS", "late_part", "with_late_part"]

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
    >>> from retailpulse_kernel.shop.tables import CATEGORY
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
