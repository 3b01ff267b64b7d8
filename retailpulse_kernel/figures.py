"""Reading figures back: any range, by any of a table's dimensions, ratios divided at the end."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from retailpulse_kernel import sketches
from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.events import ORDER_EVENTS
from retailpulse_kernel.metrics import ACTIVE_USERS, AVERAGE_ORDER_VALUE, EVENTS, ORDERS, REVENUE, UNITS, Kind
from retailpulse_kernel.stores.base import FigureStore, Row
from retailpulse_kernel.tables import CATEGORY, GRAINS, FigureTable, Grain, grain_of

__all__ = ["Bucket", "CurrencySummary", "Summary", "grouped", "money", "read_rows", "summarise"]

#: Buckets of revenue over time that a line still shows well; a finer grain is taken below it.
_MOST_BUCKETS = 400


def money(value: Decimal) -> str:
    """An exact amount as text, with at least two decimal places.

    >>> money(Decimal("27773.5200")), money(Decimal("0.1250"))
    ('27773.52', '0.125')
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
    """

    start: datetime
    revenue: Decimal
    running_total: Decimal
    peak: bool = False


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
    active_users : int
        From a sketch: exact up to some 3,000 users, then within about 1 %.
    """

    since: datetime | None
    until: datetime | None
    grain: Grain
    currencies: dict[str, CurrencySummary]
    events_by_type: dict[str, int]
    active_users: int

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
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_rows(
    store: FigureStore, table: FigureTable, *, since: datetime | None, until: datetime | None, grain: Grain
) -> list[Row]:
    """Rows of a range whose windows are exact: the ends come from finer tables where they must.

    Each row has its window's start at `grain` under ``bucket``.

    Raises
    ------
    UsageError
        An end of the range is not on a whole minute, or the range is empty.
    """
    if since is None or until is None:
        parts = [(grain, since, until)]
    else:
        if since >= until:
            raise UsageError(f"The range from {since} until {until} is empty.", remedy="Give a later --until.")
        for moment in (since, until):
            if moment.second or moment.microsecond:
                raise UsageError(f"{moment.isoformat()} is not on a whole minute.", remedy="Figures go by the minute.")
        parts = list(_cover(since, until, grain))
    return [
        {**row, "bucket": grain.start(row[part.name])}
        for part, start, stop in parts
        for row in store.read(table, part, since=start, until=stop)
    ]


def _cover(since: datetime, until: datetime, grain: Grain) -> Iterable[tuple[Grain, datetime, datetime]]:
    """Split a range into whole windows of `grain` and finer ones at its ends."""
    first, last = grain.start(since + grain.width - timedelta(microseconds=1)), grain.start(until)
    finer = {"day": GRAINS["hour"], "hour": GRAINS["minute"]}.get(grain.name)
    if finer is None:
        yield grain, since, until
    elif first >= last:
        yield from _cover(since, until, finer)
    else:
        if since < first:
            yield from _cover(since, first, finer)
        yield grain, first, last
        if last < until:
            yield from _cover(last, until, finer)


def grouped(rows: Iterable[Row], by: Sequence[str], table: FigureTable = CATEGORY) -> list[Row]:
    """Rows summed up by some of their columns, with the average order value where it makes sense.

    Parameters
    ----------
    rows : iterable of dict
        From `read_rows`.
    by : sequence of str
        Dimensions of the table, or ``bucket``. ``currency`` is added, since money needs it.

    Raises
    ------
    UnknownName
        A name is not a dimension of the table.
    """
    known = ("bucket", *table.by)
    for name in by:
        if name not in known:
            raise UnknownName("dimension", name, known)
    keys = list(dict.fromkeys([*by, *(["currency"] if "currency" in table.by else [])]))
    parts: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        parts[tuple(row[key] for key in keys)].append(row)
    result = []
    for key in sorted(parts):
        row = dict(zip(keys, key, strict=True))
        for figure in table.figures:
            value = figure.combine(part[figure.name] for part in parts[key])
            row[figure.name] = sketches.estimate(value) if figure.measure.kind is Kind.USERS else value
        ratio = AVERAGE_ORDER_VALUE
        if ratio.over.name in row and ratio.under.name in row:
            row[ratio.name] = ratio.divide(row[ratio.over.name], row[ratio.under.name])
        result.append(row)
    return result


def summarise(
    store: FigureStore, *, since: datetime | None = None, until: datetime | None = None, grain: str | None = None
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
    """
    if since is None or until is None:
        # The extent is known by the hour, from few rows: a day has 24 windows.
        hours = [row["hour"] for row in store.read(CATEGORY, GRAINS["hour"])]
        if not hours:
            return Summary(since, until, GRAINS["minute"], {}, {}, 0)
        since = since or min(hours)
        until = until or max(hours) + GRAINS["hour"].width
        if since >= until:
            return Summary(since, until, GRAINS["minute"], {}, {}, 0)  # the range lies outside of what there is
    chosen = grain_of(grain) if grain else _fitting_grain(until - since)
    rows = read_rows(store, CATEGORY, since=since, until=until, grain=chosen)
    events: dict[str, int] = defaultdict(int)
    for row in rows:
        events[row["event_type"]] += row[EVENTS.name]
    currencies = sorted({row["currency"] for row in rows})
    return Summary(
        since,
        until,
        chosen,
        {currency: _of_currency([row for row in rows if row["currency"] == currency]) for currency in currencies},
        dict(sorted(events.items(), key=lambda item: -item[1])),
        sketches.estimate(ACTIVE_USERS.combine(row[ACTIVE_USERS.name] for row in rows)),
    )


def _fitting_grain(span: timedelta) -> Grain:
    for grain in (GRAINS["minute"], GRAINS["hour"]):
        if span / grain.width <= _MOST_BUCKETS:
            return grain
    return GRAINS["day"]


def _of_currency(rows: Sequence[Row]) -> CurrencySummary:
    by_category: dict[str, Decimal] = defaultdict(Decimal)
    by_bucket: dict[datetime, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_bucket[row["bucket"]] += row[REVENUE.name]
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
        _over_time(by_bucket),
    )


def _over_time(by_bucket: dict[datetime, Decimal]) -> list[Bucket]:
    starts = sorted(by_bucket)
    values = [by_bucket[start] for start in starts]
    threshold = statistics.fmean(values) + statistics.pstdev(map(float, values)) if values else 0.0
    buckets, total = [], Decimal(0)
    for i, (start, value) in enumerate(zip(starts, values, strict=True)):
        total += value
        around = values[max(i - 1, 0) : i + 2]
        buckets.append(Bucket(start, value, total, peak=value == max(around) and float(value) > threshold))
    return buckets
