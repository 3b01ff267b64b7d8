"""Figures as people read them: what the jobs wrote, with what the late events add to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from retailpulse_kernel.answers.ranges import cover_open
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.tables import CORRECTED_AT, LATE_EVENTS, FigureTable, Grain, Row, late_part
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.figure_rows import Only, combined

__all__ = ["Late", "added", "additions", "corrected"]

#: Rows of what late events add, as they are stored, each with the width of its window.
Late = list[tuple[Grain, Row]]


def corrected(store: FigureStore, late: Late | None = None) -> FigureStore:
    """The same store, whose `read` gives the corrected figures.

    Parameters
    ----------
    store : FigureStore
        Where the tables are, and beside them what late events add.
    late : list, optional
        Takes what late events add to the rows that are read, for `added`.
    """
    return cast("FigureStore", _Corrected(store, [] if late is None else late))


def additions(
    store: FigureStore,
    table: FigureTable,
    *,
    since: datetime | None,
    until: datetime | None,
    grain: Grain,
    figures: Sequence[Figure] = (),
    by: Sequence[str] = (),
    only: Only | None = None,
) -> list[Row]:
    """What late events added to the windows of a range: a row for each window that was corrected, and each key.

    Each row has its window's start at `grain` under ``bucket``, ``late_events`` and ``corrected_at``.

    Parameters
    ----------
    store : FigureStore
        Where the table is.
    table : FigureTable
        The table that was corrected.
    since, until : datetime or None
        The range, UTC; both are starts of the table's finest windows. All there is where None.
    grain : Grain
        The windows of the rows.
    figures : sequence of Figure
        Which of the table's the rows have beside.
    by : sequence of str
        Dimensions of the table that the rows go by.
    only : Only, optional
        Values that a row's dimensions must have; every row when absent.

    Raises
    ------
    UsageError
        As `read_rows`.
    """
    wanted = (*figures, LATE_EVENTS, CORRECTED_AT)
    late = [
        (part, row)
        for part, start, stop in cover_open(since, until, table.parts(grain))
        for row in _late_rows(store, table, part, start, stop, wanted, table.by, only)
    ]
    return added(late, grain=grain, figures=figures, by=by)


def added(late: Late, *, grain: Grain, figures: Sequence[Figure] = (), by: Sequence[str] = ()) -> list[Row]:
    """What late events added, as `additions` gives it, of rows that were read already.

    Parameters
    ----------
    late : list
        The rows, with all of their keys.
    grain : Grain
        The windows of the result.
    figures : sequence of Figure
        Which figures it has.
    by : sequence of str
        Dimensions that it goes by.
    """
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for part, row in late:
        by_key.setdefault((grain.start(row[part.name]), *(row[name] for name in by)), []).append(row)
    return [
        dict(zip(("bucket", *by), key, strict=True))
        | {
            figure.name: figure.combine(row[figure.name] for row in rows)
            for figure in (*figures, LATE_EVENTS, CORRECTED_AT)
        }
        for key, rows in sorted(by_key.items())
    ]


class _Corrected:
    """A store of figures with corrected figures; all but reading is the store's own."""

    def __init__(self, store: FigureStore, late: Late) -> None:
        self._store, self._late = store, late

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        """As `FigureStore.read`, each row combined with what late events add to it."""
        rows = self._store.read(table, grain, since=since, until=until, figures=figures, by=by, only=only)
        wanted = table.figures if figures is None else figures
        keys = table.by if by is None else by
        every = (*wanted, LATE_EVENTS, CORRECTED_AT)
        late = _late_rows(self._store, table, grain, since, until, every, keys, only)
        self._late.extend((grain, row) for row in late)
        return _merged(rows, late, table, grain, wanted, keys) if late else rows


def _late_rows(
    store: FigureStore,
    table: FigureTable,
    grain: Grain,
    since: datetime | None,
    until: datetime | None,
    figures: Sequence[Figure],
    by: Sequence[str],
    only: Only | None,
) -> list[Row]:
    """The rows that late events add; none where no correction of the table has run."""
    try:
        part = late_part(table)
        rows = store.read(part, grain, since=since, until=until, figures=figures, by=by, only=only)
    except (NoSuchTable, UsageError):  # no correction keeps such a table
        return []
    return [row for row in rows if row[LATE_EVENTS.name]]


def _merged(
    rows: Sequence[Row],
    late: Iterable[Row],
    table: FigureTable,
    grain: Grain,
    figures: Sequence[Figure],
    by: Sequence[str],
) -> list[Row]:
    """Rows in which a key stands once, with both parts."""
    columns = (grain.name, *by)
    added = {tuple(row[name] for name in columns): row for row in late}
    touched = [row for row in rows if tuple(row[name] for name in columns) in added]
    whole = [row for row in rows if tuple(row[name] for name in columns) not in added]
    return [*whole, *combined([*touched, *added.values()], table, grain, figures, by)]
