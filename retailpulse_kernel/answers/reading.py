"""Reading figures back: any range, by any of a table's dimensions, ratios divided at the end."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.base_figures import in_base, is_based
from retailpulse_kernel.answers.ranges import Extent, SignedRead, cover_open
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.events import ORDER_EVENTS
from retailpulse_kernel.shop.figures import (
    ACTIVE_USERS,
    AVERAGE_ORDER_VALUE,
    EVENTS,
    FIGURES,
    ORDERS,
    REVENUE,
    UNITS,
    Figure,
    Ratio,
    parts_of,
)
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable, Grain, Row, grain_of
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.figure_rows import Only
from retailpulse_kernel.stores.frames import FIGURE_COLUMNS, ColumnKind, to_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Bucket",
    "CurrencySummary",
    "Summary",
    "chosen_figures",
    "figure_frame",
    "grouped",
    "grouped_frame",
    "keys_of",
    "money",
    "over_time",
    "parts_of",
    "read_rows",
    "summarise",
]

#: Requests that one summary has under way at the same time.
_REQUESTS = 4
_TOTALS = (EVENTS, UNITS, REVENUE, ORDERS)
#: Buckets of revenue over time that a line still shows well; a finer grain is taken below it.
_MOST_BUCKETS = 400


def money(value: Decimal) -> str:
    """An exact amount as text, with at least two decimal places.

    >>> money(Decimal("27773.5200")), money(Decimal("0.1250"))
    ('27773.52', '0.125')

    Parameters
    ----------
    value : Decimal
        Any number of decimal places; none is dropped but zeros.
    """
    text = format(value.quantize(Decimal("0.0001")), "f")
    return text[:-2] if text.endswith("00") else text.rstrip("0")


@dataclass(frozen=True)
class Bucket:
    """Revenue of one window.

    Attributes
    ----------
    start : datetime
        UTC.
    revenue, running_total : Decimal
        Of the window, and of all windows up to its end.
    peak : bool
        A local maximum that stands out: above the mean by more than one standard deviation.
    complete : bool
        Whether the window is over and lies in the range as a whole; one that is not complete is not a peak.
    """

    start: datetime
    revenue: Decimal
    running_total: Decimal
    peak: bool = False
    complete: bool = True


@dataclass(frozen=True)
class CurrencySummary:
    """The figures of one currency."""

    revenue: Decimal
    orders: int
    units: int
    average_order_value: Decimal | None
    revenue_by_category: dict[str, Decimal]
    revenue_over_time: list[Bucket]


@dataclass(frozen=True)
class Summary:
    """The canonical figures of a range.

    Attributes
    ----------
    since, until : datetime or None
        The range that was read, UTC; None where there is nothing.
    grain : Grain
        The windows of revenue over time.
    currencies : dict
        A `CurrencySummary` by currency; sums never cross currencies.
    events_by_type : dict
        Events by type, of all currencies.
    active_users : int or None
        From a sketch: exact up to some 3,000 users, then within about 1 %. None where it was not asked for.
    """

    since: datetime | None
    until: datetime | None
    grain: Grain
    currencies: dict[str, CurrencySummary]
    events_by_type: dict[str, int]
    active_users: int | None

    def to_json(self) -> dict[str, Any]:
        """As plain values: money as decimal strings, times in ISO 8601."""
        return {
            "since": _iso(self.since),
            "until": _iso(self.until),
            "grain": self.grain.name,
            "currencies": {
                currency: {
                    "revenue": money(s.revenue),
                    "orders": s.orders,
                    "units": s.units,
                    "average_order_value": None if s.average_order_value is None else money(s.average_order_value),
                    "revenue_by_category": {c: money(r) for c, r in s.revenue_by_category.items()},
                    "revenue_over_time": [
                        {
                            "bucket": _iso(b.start),
                            "revenue": money(b.revenue),
                            "running_total": money(b.running_total),
                            "peak": b.peak,
                            "complete": b.complete,
                        }
                        for b in s.revenue_over_time
                    ],
                }
                for currency, s in self.currencies.items()
            },
            "events_by_type": self.events_by_type,
            "active_users": self.active_users,
        }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso_text(moment)


def read_rows(
    store: FigureStore,
    table: FigureTable,
    *,
    since: datetime | None,
    until: datetime | None,
    grain: Grain,
    figures: Sequence[Figure] | None = None,
    only: Only | None = None,
) -> list[Row]:
    """Rows of a range whose windows are exact: the ends come from finer tables where they must.

    Each row has its window's start at `grain` under ``bucket``. Reading only some `figures` is cheaper: the
    sketches of users are most of what a table holds.

    Parameters
    ----------
    store : FigureStore
        Where the table is.
    table : FigureTable
        Which one.
    since, until : datetime or None
        The range, UTC; both are starts of the table's finest windows. All there is where None.
    grain : Grain
        The windows of the rows that are returned: those of the table, or what its windows add up to.
    figures : sequence of Figure, optional
        Which of the table's; all when absent.
    only : Only, optional
        Values that a row's dimensions must have; every row when absent.

    Raises
    ------
    UsageError
        An end of the range is not the start of a window, the range is empty, or the table's windows do not add up to
        those of the grain.
    """
    return [
        {**row, "bucket": grain.start(row[part.name])}
        for part, start, stop in cover_open(since, until, table.parts(grain))
        for row in store.read(table, part, since=start, until=stop, figures=figures, only=only)
    ]


def chosen_figures(asked: Sequence[str | Figure | Ratio], table: FigureTable = CATEGORY) -> list[Figure | Ratio]:
    """Figures by what they are called or by themselves; all of the table, and what is divided of them, for none.

    Money also has a figure in the base currency, such as ``revenue_base``, which is given where it is asked for.

    Parameters
    ----------
    asked : sequence of str or Figure or Ratio
        Names or definitions.
    table : FigureTable
        Whose figures they are.

    Raises
    ------
    UnknownName
        The table keeps no such figure, nor what it is divided of.
    UsageError
        Something is not a figure, such as a list of several.
    """
    for one in asked:
        if not isinstance(one, str | Figure | Ratio):
            raise UsageError(
                f"{one!r} is not a figure.",
                remedy="Give figures by their names or definitions, several one after another: 'revenue', 'orders'.",
            )
    kept = {figure.name: figure for figure in table.figures}
    known: dict[str, Figure | Ratio] = {**kept}
    # One that was defined beside the table, as an average is, is known by itself.
    for ratio in (one for one in (*FIGURES.values(), *table.ratios, *asked) if isinstance(one, Ratio)):
        if {ratio.over.name, ratio.under.name} <= kept.keys():
            known[ratio.name] = replace(ratio, over=kept[ratio.over.name], under=kept[ratio.under.name])
    names = [figure if isinstance(figure, str) else figure.name for figure in asked]
    for name in names:
        if name not in known and (based := in_base(name, known, table.by)) is not None:
            known[name] = based
        if name not in known:
            raise UnknownName("figure", name, known, of=f"the table {table.name!r}")
    return [known[name] for name in dict.fromkeys(names)] or list(known.values())


def grouped(
    rows: Iterable[Row],
    by: Sequence[str],
    table: FigureTable = CATEGORY,
    figures: Sequence[Figure | Ratio] | None = None,
) -> list[Row]:
    """Rows summed up by some of their columns, with ratios divided of the sums.

    Parameters
    ----------
    rows : iterable of dict
        From `read_rows`.
    by : sequence of str
        Dimensions of the table, or ``bucket``. ``currency`` is added, since money needs it.
    table : FigureTable
        Where they are from.
    figures : sequence of Figure or Ratio, optional
        From `chosen_figures`; all when absent.

    Raises
    ------
    UnknownName
        A name is not a dimension of the table.
    """
    wanted = chosen_figures((), table) if figures is None else figures
    keys = keys_of(by, table, wanted)
    parts: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        parts[tuple(row[key] for key in keys)].append(row)
    result = []
    for key in sorted(parts):
        row = dict(zip(keys, key, strict=True))
        values = {f.name: f.combine(part[f.name] for part in parts[key]) for f in parts_of(wanted)}
        for figure in wanted:
            if isinstance(figure, Ratio):
                row[figure.name] = figure.divide(values[figure.over.name], values[figure.under.name])
            else:
                row[figure.name] = figure.rules.shown(values[figure.name])
        result.append(row)
    return result


def grouped_frame(
    rows: Iterable[Row],
    by: Sequence[str],
    table: FigureTable = CATEGORY,
    figures: Sequence[Figure | Ratio] | None = None,
    extent: Extent | None = None,
) -> pd.DataFrame:
    """What `grouped` gives as a frame, whose columns and their types are there without rows, too.

    By ``bucket`` and with the `extent` of what was read there is a column ``complete``: false for a window that is
    not over, or of which the range holds only a part.

    Parameters
    ----------
    rows : iterable of Row
        As `read_rows` gives them.
    by : sequence of str
        Dimensions of the table, or ``bucket``.
    table : FigureTable
        Where the rows are from.
    figures : sequence of Figure or Ratio, optional
        The columns; all of the table when absent.
    extent : Extent, optional
        What was read, for the column ``complete``.

    Raises
    ------
    UnknownName
        As `grouped`.
    """
    wanted = chosen_figures((), table) if figures is None else figures
    keys = keys_of(by, table, wanted)
    return figure_frame(grouped(rows, by, table, wanted), keys, wanted, extent)


def figure_frame(
    rows: Sequence[Row], keys: Sequence[str], figures: Sequence[Figure | Ratio], extent: Extent | None = None
) -> pd.DataFrame:
    """A frame of grouped rows; see `grouped_frame`.

    Parameters
    ----------
    rows : sequence of Row
        With all keys; a figure that a row does not have is empty.
    keys : sequence of str
        The first columns.
    figures : sequence of Figure or Ratio
        The other columns.
    extent : Extent, optional
        What was read, for the column ``complete``.
    """
    names = [*keys, *(figure.name for figure in figures)]
    kinds: dict[int, ColumnKind] = {
        place: "time" if name == "bucket" else "category" for place, name in enumerate(keys)
    }
    for place, figure in enumerate(figures, start=len(keys)):
        if isinstance(figure, Figure) and figure.rules.shows in FIGURE_COLUMNS:
            kinds[place] = FIGURE_COLUMNS[figure.rules.shows]
    frame = to_frame(names, ([row.get(name) for name in names] for row in rows), kinds)
    if extent is not None and "bucket" in keys:
        frame["complete"] = [extent.complete(start.to_pydatetime()) for start in frame["bucket"]]
        frame["complete"] = frame["complete"].astype(bool)
    return frame


def keys_of(by: Sequence[str], table: FigureTable, figures: Sequence[Figure | Ratio] = ()) -> list[str]:
    """The keys of an answer: what it goes by, and the currency where the table has one, since money needs it.

    Money in the base currency needs no other one: where nothing else is asked for, it is added up over all currencies.

    Parameters
    ----------
    by : sequence of str
        Dimensions of the table, or ``bucket``.
    table : FigureTable
        The table.
    figures : sequence of Figure or Ratio
        What is asked for.

    Raises
    ------
    UnknownName
        A name is not a dimension of the table.
    """
    known = ("bucket", *table.by)
    for name in by:
        if name not in known:
            raise UnknownName("dimension", str(name), known)
    is_crossed = bool(figures) and all(map(is_based, figures))
    return list(dict.fromkeys([*by, *(["currency"] if "currency" in table.by and not is_crossed else [])]))


def summarise(
    store: FigureStore,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    grain: str | None = None,
    users: bool = True,
    now: datetime | None = None,
    calendar: Calendar = UTC_CALENDAR,
) -> Summary:
    """The canonical figures of a range, from the table `CATEGORY`.

    Parameters
    ----------
    store : FigureStore
        Where the table is.
    since, until : datetime, optional
        The range ``[since, until)`` on whole minutes; all there is when absent.
    grain : str, optional
        The windows of revenue over time; chosen by the range's length when absent.
    users : bool
        Whether to count active users: their sketches are most of what a table holds.
    now : datetime, optional
        The present, when absent; windows that end later are not complete.
    calendar : Calendar
        The shop's, by which the table's days are counted.
    """
    table = CATEGORY.within(calendar)
    if since is None or until is None:
        first, end = _extent(store, table)
        since, until = since or first, until or end
        if since is None or until is None or since >= until:  # the range lies outside of what there is
            return Summary(since, until, GRAINS["minute"], {}, {}, 0 if users else None)
    day = GRAINS["day"].within(calendar)
    chosen = grain_of(grain, calendar) if grain else _fitting_grain(until - since).within(calendar)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        over_time = SignedRead(store, table, pool, since, until, chosen, (REVENUE,), ("currency",))
        totals = SignedRead(store, table, pool, since, until, day, _TOTALS, table.by)
        events: dict[str, int] = defaultdict(int)
        rows: dict[str, list[Row]] = defaultdict(list)
        for row in totals.rows():
            events[row["event_type"]] += row[EVENTS.name]
            rows[row["currency"]].append(row)
        series: dict[str, dict[datetime, Decimal]] = defaultdict(dict)
        for row in over_time.rows():
            series[row["currency"]][row["bucket"]] = row[REVENUE.name]
        active_users = sketches.estimate(ACTIVE_USERS.combine(totals.sketches())) if users else None
    extent = Extent(chosen, since, until, now or datetime.now(UTC))
    return Summary(
        since,
        until,
        chosen,
        {currency: _of_currency(rows[currency], series[currency], extent) for currency in sorted(rows)},
        dict(sorted(events.items(), key=lambda item: (-item[1], item[0]))),
        active_users,
    )


def _extent(store: FigureStore, table: FigureTable) -> tuple[datetime | None, datetime | None]:
    """The first hour that has figures, and the end of the last."""
    _, hour, day = table.every
    days = [row["day"] for row in store.read(table, day, figures=(EVENTS,), by=())]
    if not days:
        return None, None

    def hours(of: datetime) -> list[datetime]:
        found = store.read(table, hour, since=of, until=day.end(of), figures=(EVENTS,), by=())
        return [row["hour"] for row in found] or [of]

    return min(hours(min(days))), hour.end(max(hours(max(days))))


def _fitting_grain(span: timedelta) -> Grain:
    for grain in (GRAINS["minute"], GRAINS["hour"]):
        if span / grain.width <= _MOST_BUCKETS:
            return grain
    return GRAINS["day"]


def _of_currency(rows: Sequence[Row], by_bucket: dict[datetime, Decimal], extent: Extent) -> CurrencySummary:
    by_category: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        # A category that was only looked at has no revenue to show.
        if row["event_type"] in ORDER_EVENTS:
            by_category[row["category"]] += row[REVENUE.name]
    revenue = REVENUE.combine(row[REVENUE.name] for row in rows)
    orders = ORDERS.combine(row[ORDERS.name] for row in rows)
    return CurrencySummary(
        revenue,
        orders,
        UNITS.combine(row[UNITS.name] for row in rows),
        AVERAGE_ORDER_VALUE.divide(revenue, orders),
        dict(sorted(by_category.items(), key=lambda item: (-item[1], item[0]))),
        over_time(by_bucket, extent.complete),
    )


def over_time(by_bucket: Mapping[datetime, Decimal], complete: Callable[[datetime], bool]) -> list[Bucket]:
    """Amounts of windows in order, with their running total and the peaks marked.

    Parameters
    ----------
    by_bucket : mapping
        The amount of each window by its start.
    complete : callable
        Whether the window of a start is complete: the others are neither peaks nor count for what stands out.
    """
    starts = sorted(by_bucket)
    values = [by_bucket[start] for start in starts]
    whole = [float(by_bucket[start]) for start in starts if complete(start)]
    threshold = statistics.fmean(whole) + statistics.pstdev(whole) if whole else 0.0
    buckets, total = [], Decimal(0)
    for i, (start, value) in enumerate(zip(starts, values, strict=True)):
        total += value
        highest = value == max(values[max(i - 1, 0) : i + 2])
        done = complete(start)
        buckets.append(Bucket(start, value, total, done and highest and float(value) > threshold, done))
    return buckets
