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

__all__ = ["additions", "corrected"]


def corrected(store: FigureStore) -> FigureStore:
    """The same store, whose `read` gives the corrected figures.

    Parameters
    ----------
    store : FigureStore
        Where the tables are, and beside them what late events add.
    """
    return cast("FigureStore", _Corrected(store))


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
    found = [
        {**row, "bucket": grain.start(row[part.name])}
        for part, start, stop in cover_open(since, until, table.parts(grain))
        for row in _late_rows(store, table, part, start, stop, wanted, table.by, only)
    ]
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        by_key.setdefault((row["bucket"], *(row[name] for name in by)), []).append(row)
    return [
        dict(zip(("bucket", *by), key, strict=True))
        | {figure.name: figure.combine(row[figure.name] for row in rows) for figure in wanted}
        for key, rows in sorted(by_key.items())
    ]


class _Corrected:
    """A store of figures with corrected figures; all but reading is the store's own."""

    def __init__(self, store: FigureStore) -> None:
        self._store = store

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
        late = _late_rows(self._store, table, grain, since, until, (*wanted, LATE_EVENTS), keys, only)
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
