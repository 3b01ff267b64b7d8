"""The rows that late events add to a table: computed anew, compared with those that are there, and written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from retailpulse_kernel.shop.comparison import comparable
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CORRECTED_AT, FigureTable, Grain, Row, late_part
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.streaming.checkpoint.corrections import Backfilled, counts_late
from retailpulse_kernel.upkeep.correcting.kept import LateEvent

__all__ = ["correct_table"]

_Rows = dict[tuple[Any, ...], Row]


def correct_table(
    store: FigureStore,
    table: FigureTable,
    grain: Grain,
    events: Iterable[LateEvent],
    *,
    since: datetime,
    kept: Collection[datetime],
    backfills: tuple[Backfilled, ...],
    now: datetime,
    version: int,
) -> int:
    """Write what late events add to the windows of one width; how many rows have changed.

    The rows are absolute values: to do it again, after a kill or not, gives the same.

    Parameters
    ----------
    store : FigureStore
        Where the table is.
    table, grain : FigureTable, Grain
        Which stored table is corrected.
    events : iterable of LateEvent
        All late events of the windows from `since` on.
    since : datetime
        The start of the first window.
    kept : collection of datetime
        Hours whose events have left the archive: windows that hold one of them stay as they are.
    backfills : tuple of Backfilled
        Those that have written the table, oldest first.
    now : datetime
        When the rows are said to be corrected.
    version : int
        The write version, in milliseconds.
    """
    part = late_part(table)
    gone = {grain.start(hour) for hour in kept}
    wanted = (
        one.event
        for one in events
        if not counts_late(backfills, grain.start(one.event.event_time), grain, one.partition, one.offset)
    )
    stored = _by_key(part, grain, store.read(part, grain, since=since), since, gone)
    found = _by_key(part, grain, fold(wanted, part, grain), since, gone)
    nothing = {key: _emptied(part, grain, key) for key in stored.keys() - found.keys()}
    changed = [
        row | {CORRECTED_AT.name: now}
        for key, row in (found | nothing).items()
        if key not in stored or _figures(part, row) != _figures(part, stored[key])
    ]
    if changed:
        store.write(part, grain, changed, version=version)
    return len(changed)


def _by_key(
    table: FigureTable, grain: Grain, rows: Iterable[Row], since: datetime, gone: Collection[datetime]
) -> _Rows:
    return {table.key(row, grain): row for row in rows if row[grain.name] >= since and row[grain.name] not in gone}


def _emptied(table: FigureTable, grain: Grain, key: tuple[Any, ...]) -> Row:
    """A row to which no late event adds anything any more."""
    return dict(zip(table.key_columns(grain), key, strict=True)) | {
        figure.name: figure.combine(()) for figure in table.figures
    }


def _figures(table: FigureTable, row: Row) -> Row:
    """What of a row is compared: its figures, without the time of the correction."""
    figures = {figure.name: row[figure.name] for figure in table.figures}
    return comparable(table, figures) | {CORRECTED_AT.name: None}
