"""Until when tables are complete: the one rule behind the column ``complete``, dashed lines, peaks and alerts.

A window is complete once its end has been passed by the clock and by the jobs that write the tables: by the newest
event of each partition of what they read. A table of which no checkpoint tells how far its job has come goes by the
clock alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from retailpulse_kernel.answers.request import Asked
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry, catalogue_of
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import FigureTable

__all__ = ["complete_until", "served_until", "until_complete"]


def complete_until(catalogue: Catalogue, entries: Iterable[TableEntry], now: datetime | None = None) -> datetime:
    """Until when all of some tables are complete.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    entries : iterable of TableEntry
        Those that an answer is read from.
    now : datetime, optional
        The present, when absent.
    """
    jobs = {entry.job for entry in entries if entry.ran}
    reached = [] if catalogue.progress is None else [catalogue.progress(job) for job in sorted(jobs)]
    return min([now or datetime.now(UTC), *(moment for moment in reached if moment is not None)])


def until_complete(asked: Asked, table: FigureTable, reached: datetime) -> Asked:
    """A request whose range ends where the table is complete; it may be empty then.

    Parameters
    ----------
    asked : Asked
        A request in windows of the table.
    table : FigureTable
        The table that answers.
    reached : datetime
        Until when it is complete.
    """
    return replace(asked, until=max(asked.since, min(asked.until, table.finest.start(reached))))


def served_until(settings: Settings, now: datetime | None = None) -> datetime:
    """Until when the table is complete that the dashboards and `retailpulse figures` read.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    now : datetime, optional
        The present, when absent.
    """
    catalogue = catalogue_of(settings)
    return complete_until(catalogue, [entry for entry in catalogue.figures if catalogue.is_served(entry)], now)
