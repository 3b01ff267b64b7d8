"""A store's rows against the fold's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.reconcile.result import Difference, TableCheck
from retailpulse_kernel.reconcile.sums import Key
from retailpulse_kernel.reconcile.tables import ARCHIVE
from retailpulse_kernel.reconcile.topic import JobFold
from retailpulse_kernel.shop.comparison import comparable, compare
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, Grain, Row
from retailpulse_kernel.stores.base import EventArchive, FigureStore

__all__ = ["Compared", "Hours", "Range", "check_figures", "compare_archive", "compare_figures"]

_HOUR = GRAINS["hour"]
#: A longer range is read without its end: between two ends, Cassandra is asked for each hour there could be.
_LONG = timedelta(days=366)
#: The column by which the sets of event ids in an hour are compared.
_IDS = "ids_checksum"

#: Figures by key.
Rows = dict[Key, tuple[Any, ...]]

#: The offsets that the fold took, by partition: the first, and the one after the last.
Spans = dict[int, tuple[int, int]]


class Range(NamedTuple):
    """The windows that are compared: those that lie within ``[start_ms, end_ms)``; None is not a bound."""

    start_ms: int | None
    end_ms: int | None

    def holds(self, start_ms: int, grain: Grain) -> bool:
        """Whether a window lies within.

        Parameters
        ----------
        start_ms : int
            The window's start, in milliseconds since 1970.
        grain : Grain
            How long the window is.
        """
        return (self.start_ms is None or start_ms >= self.start_ms) and (
            self.end_ms is None or grain.end(moment_at(start_ms)) <= moment_at(self.end_ms)
        )


class Hours(NamedTuple):
    """A table's figures by hour, as the store has them and as the fold does."""

    table: FigureTable
    stored: Rows
    folded: Rows


class Compared(NamedTuple):
    """What was compared of a job in one store: checks of its tables, and what the totals are made of.

    `hours` is None where no table has all figures of the totals by the hour.
    """

    job: str
    store: str
    within: Range
    checks: list[TableCheck]
    hours: Hours | None

    @property
    def equal(self) -> bool:
        """Whether no table differs."""
        return not any(check.state == "differs" for check in self.checks)


def compare_figures(store: FigureStore, fold: JobFold, tables: Iterable[FigureTable], within: Range) -> Compared:
    """Every grain of the tables that a job writes to a store of figures.

    Parameters
    ----------
    store : FigureStore
        Where the job wrote.
    fold : JobFold
        What the job should have written.
    tables : iterable of FigureTable
        Those of the job's tables that are in this store.
    within : Range
        Only windows within are compared.
    """
    checks: list[TableCheck] = []
    hours: Hours | None = None
    for table in tables:
        for grain in table.every:
            stored = _stored(store, table, grain, within)
            folded = fold.tables[table.name].rows(grain, within.start_ms, within.end_ms)
            checks.append(check_figures(store.name, fold.job.name, table, grain, stored, folded))
            if grain == _HOUR and hours is None and {*ARCHIVE.figures, "currency"} <= {*table.figures, *table.by}:
                hours = Hours(table, stored, folded)
    return Compared(fold.job.name, store.name, within, checks, hours)


def compare_archive(store: EventArchive, fold: JobFold, within: Range, spans: Spans) -> Compared:
    """The archive's events by hour, those in time and the late ones, and the set of their ids.

    When something differs, it is asked once more: while files are merged, rows may show twice for a moment.

    Parameters
    ----------
    store : EventArchive
        Where the job wrote.
    fold : JobFold
        What the job should have written.
    within : Range
        Only hours within are compared.
    spans : Spans
        Only events that come from these offsets are compared.
    """
    compared = _compare_archive(store, fold, within, spans)
    return compared if compared.equal else _compare_archive(store, fold, within, spans)


def _compare_archive(store: EventArchive, fold: JobFold, within: Range, spans: Spans) -> Compared:
    stored, stored_ids = _archived(store, within, spans)
    in_time = fold.tables[ARCHIVE.name]
    assert fold.late is not None, "the archive keeps late events"
    parts = {
        late: sums.rows(_HOUR, within.start_ms, within.end_ms) for late, sums in ((False, in_time), (True, fold.late))
    }
    checks = [
        check_figures(store.name, fold.job.name, ARCHIVE, _HOUR, stored[late], parts[late], name=name)
        for late, name in ((False, "events"), (True, "events (late)"))
    ]
    ids = {key: (value,) for key, value in fold.ids.items() if within.holds(key[0], _HOUR)}
    columns = ("hour", "late")
    checks.append(_table_check(store.name, "event ids", fold.job.name, columns, _ids_row, stored_ids, ids))
    return Compared(fold.job.name, store.name, within, checks, Hours(ARCHIVE, stored[False], parts[False]))


def _ids_row(values: tuple[Any, ...]) -> Row:
    return {_IDS: values[0]}


def _stored(store: FigureStore, table: FigureTable, grain: Grain, within: Range) -> Rows:
    """A store's rows; a table that is not there holds none."""
    if within.end_ms is not None and within.end_ms <= (within.start_ms or 0):
        return {}
    since = None if within.start_ms is None else moment_at(within.start_ms)
    until = None if within.end_ms is None else moment_at(within.end_ms)
    if since and until and until - since > _LONG:
        until = None
    try:
        found = store.read(table, grain, since=since, until=until)
    except NoSuchTable:
        return {}
    return {
        key: tuple(row[figure.name] for figure in table.figures)
        for row in found
        if within.holds((key := _key(row, table, grain))[0], grain)
    }


def _key(row: Row, table: FigureTable, grain: Grain) -> Key:
    moment, *dimensions = table.key(row, grain)
    return (ms_of(moment), *dimensions)


def check_figures(
    store: str, job: str, table: FigureTable, grain: Grain, stored: Rows, folded: Rows, *, name: str | None = None
) -> TableCheck:
    """A table's rows, as the store has them, against those that the fold has.

    Parameters
    ----------
    store, job : str
        Where the table is, and who writes it.
    table, grain : FigureTable, Grain
        The table.
    stored, folded : mapping of key to values
        The rows of both sides.
    name : str, optional
        How the table is called; as the stored one when absent.
    """
    names = [figure.name for figure in table.figures]

    def row_of(values: tuple[Any, ...]) -> Row:
        return comparable(table, dict(zip(names, values, strict=True)))

    return _table_check(store, name or table.physical(grain), job, table.key_columns(grain), row_of, stored, folded)


def _table_check(
    store: str,
    table: str,
    job: str,
    columns: Iterable[str],
    row_of: Callable[[tuple[Any, ...]], Row],
    stored: Rows,
    folded: Rows,
) -> TableCheck:
    """All keys of both sides; the first that differs is named."""
    rows, differing, first = compare(stored, folded, row_of)
    if first is None:
        return TableCheck(store, table, job, "equal" if rows else "nothing", rows=rows)
    (start_ms, *dimensions), ours, theirs = first
    named = dict(zip(columns, (moment_at(start_ms), *dimensions), strict=True))
    return TableCheck(store, table, job, "differs", rows, differing, Difference(named, ours, theirs))


def _archived(store: EventArchive, within: Range, spans: Spans) -> tuple[dict[bool, Rows], Rows]:
    """The archive's rows that come from the messages of the fold, in time and late; the checksums of their ids.

    The place of each row in Kafka is in the archive, so that a job that goes on writing does not disturb.
    """
    taken = " or ".join(
        f"(kafka_partition = {partition} and kafka_offset >= {begin} and kafka_offset < {end})"
        for partition, (begin, end) in sorted(spans.items())
    )
    figures = ", ".join(f"{figure.sql} as `{figure.name}`" for figure in ARCHIVE.figures)
    sums = ", ".join(f"{figure.aggregate_sql} as `{figure.name}`" for figure in ARCHIVE.figures)
    keys = "dt, hour, late, " + ", ".join(ARCHIVE.by)
    rows: dict[bool, Rows] = {False: {}, True: {}}
    ids: defaultdict[Key, int] = defaultdict(int)
    if store.table not in _tables(store):
        return rows, {}
    frame = store.query(
        f"select {keys}, {sums}, sum(id_part) as id_part from (select {keys}, {figures}, crc32(event_id) as id_part "
        f"from {store.table} where {taken or 'false'}) one group by {keys}"
    )
    for dt, hour, late, *rest in frame.itertuples(index=False, name=None):
        start = ms_of(datetime.fromisoformat(dt).replace(hour=int(hour), tzinfo=UTC))
        if within.holds(start, _HOUR):
            dimensions, values, part = rest[:3], rest[3:-1], rest[-1]
            rows[bool(late)][start, *dimensions] = tuple(values)
            ids[start, bool(late)] += int(part)
    return rows, {key: (value,) for key, value in ids.items()}


def _tables(store: EventArchive) -> list[str]:
    from retailpulse_kernel.ground.errors import UsageError

    try:
        return store.tables()
    except UsageError:  # there is no database yet
        return []
