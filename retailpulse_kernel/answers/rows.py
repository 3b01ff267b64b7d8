"""Flat rows of one figure: each total is made here, exactly, so that a panel has nothing left to add up.

A row has its keys, then ``value`` (a number to draw), ``decimal`` (the exact value as text), ``minor`` and ``exponent``
(the exact value is ``minor * 10 ** exponent``). A series over time also has ``complete``, and ``running_total`` and
``peak`` where values can be added up. What a chart draws in several ways is there in columns of their own:
``complete_value`` is null where the window is not complete, ``unfinished_value`` where it and its neighbours are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from retailpulse_kernel.answers.base_figures import is_based, stored_parts
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.largest import Largest
from retailpulse_kernel.answers.ranges import Extent, SignedRead, fitting
from retailpulse_kernel.answers.reading import chosen_figures, grouped, money, over_time, parts_of, read_rows
from retailpulse_kernel.answers.request import Asked, fitted
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName
from retailpulse_kernel.ground.spans import iso_text, ms_of
from retailpulse_kernel.shop.figures import EVENTS, Figure, Ratio
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, Row
from retailpulse_kernel.stores.base import FigureStore

__all__ = ["figure_rows", "funnel_rows", "valued"]

#: Money has four exact decimal places everywhere.
MONEY_EXPONENT = -4
_STARTS = ("bucket",)
#: The steps from looking to buying.
FUNNEL = ("view", "add_to_cart", "purchase")


def figure_rows(
    store: FigureStore,
    pool: Executor,
    name: str | Figure | Ratio,
    asked: Asked,
    *,
    now: datetime | None = None,
    table: FigureTable | None = None,
    conversion: Conversion | None = None,
    largest: Largest | None = None,
) -> list[Row]:
    """The rows of a figure, by the dimensions that were asked for; money always by its currency, too.

    Parameters
    ----------
    store : FigureStore
        Where the table is.
    pool : Executor
        What the requests to it run in.
    name : str or Figure or Ratio
        One of the table's figures, or what is divided of them.
    asked : Asked
        Range, dimensions and values.
    now : datetime, optional
        The present, when absent; windows that end later are not complete.
    table : FigureTable, optional
        The table that answers; `CATEGORY` by the clock of the request when absent. In the base currency its windows lie
        within a business day each.
    conversion : Conversion, optional
        What converts the rows of a figure in the base currency.
    largest : Largest, optional
        What keeps the largest groups, and makes one of all others.

    Raises
    ------
    UnknownName
        There is no such figure.
    UsageError
        The table's windows do not add up to those that are asked for, or the range has too many of them.
    """
    table = CATEGORY.within(asked.calendar) if table is None else table
    for dimension in asked.dimensions:
        if dimension not in table.by:
            raise UnknownName("dimension", dimension, table.by, of=f"the table {table.name!r}")
    asked = fitted(asked, table)
    (figure,) = chosen_figures([name], table)
    # A plan does not keep the unit of a job's own figure. What has decimals in a table by currency may be money.
    decimals = any(part.rules.shows is Value.DECIMAL for part in parts_of([figure]))
    is_money = figure.unit == "currency" or (decimals and "currency" in table.by)
    is_split = is_money and not is_based(figure)
    split = is_split or "currency" in asked.by
    rows = _read(store, pool, figure, asked, table)
    if conversion is not None:
        rows = [{**row, "bucket": asked.grain.start(row["bucket"])} for row in conversion.rows(rows, [figure], _STARTS)]
    if (
        not split and "currency" in table.by
    ):  # counts may cross currencies: `grouped` keeps them apart, so they get the same
        rows = [{**row, "currency": ""} for row in rows]
    if largest is not None:
        rows = largest.merged(rows, table, [figure])
    found = grouped(rows, asked.by, table, [figure])
    keys = [*asked.by, *(["currency"] if is_split and "currency" not in asked.by else [])]
    result = [
        {key: _plain(row[key], asked) for key in keys} | valued(row[figure.name], is_money=is_money)
        for row in found
        if row[figure.name] is not None
    ]
    if "bucket" in asked.by:
        extent = Extent(asked.grain, asked.since, asked.until, (now or datetime.now(UTC)) + asked.shift)
        additive = isinstance(figure, Figure) and figure.rules.is_added
        for members in _series(result, [key for key in keys if key != "bucket"]):
            _mark(members, extent)
            if additive:
                _accumulate(members, is_money=is_money)
    else:
        result.sort(key=lambda row: -row["minor"])
    return result if largest is None else sorted(result, key=largest.order)


def funnel_rows(store: FigureStore, pool: Executor, asked: Asked) -> list[Row]:
    """Events of each step from looking to buying, with their shares of the first step and of the one before in percent.

    Parameters
    ----------
    store : FigureStore
        Where the figures are.
    pool : Executor
        Reads the steps side by side.
    asked : Asked
        Range and filters.
    """
    by_type = {
        row["event_type"]: row["minor"] for row in figure_rows(store, pool, EVENTS.name, _by(asked, "event_type"))
    }
    counts = [by_type.get(step, 0) for step in FUNNEL]
    return [
        {
            "step": step,
            **valued(count, is_money=False),
            "percent": _percent(count, counts[0]),
            "of_before": _percent(count, before),
        }
        for step, count, before in zip(FUNNEL, counts, [counts[0], *counts], strict=False)
    ]


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 2) if whole else None


def _by(asked: Asked, dimension: str) -> Asked:
    return replace(asked, by=(dimension,), limit=0)


def _read(store: FigureStore, pool: Executor, figure: Figure | Ratio, asked: Asked, table: FigureTable) -> list[Row]:
    since, until = (asked.calendar.shifted(end, -asked.shift) for end in (asked.since, asked.until))
    # Without a series the widest windows do; with one, the range is read by its own.
    table = fitting(table, since, until, asked.grain if "bucket" in asked.by else None)
    grain = asked.grain if "bucket" in asked.by else table.widest
    if is_based(figure):
        grain = table.widest  # each row is converted by the rate of its own day
    parts = stored_parts([figure])
    try:
        # Windows can be taken away where all events of a row are counted, so that a row without any is known.
        if EVENTS in table.figures and all(part.rules.is_added for part in parts):
            rows = SignedRead(store, table, pool, since, until, grain, parts, _read_by(asked, table)).rows()
        else:
            only = {name: sorted(values) for name, values in asked.where}
            rows = read_rows(
                store, table, since=since, until=until, grain=grain, figures=parts, only=only or None
            )  # fmt: skip
    except NoSuchTable:
        return []
    return [row for row in rows if all(row[name] in values for name, values in asked.where)]


def _read_by(asked: Asked, table: FigureTable) -> Sequence[str]:
    """The first columns of the key that hold all that is needed: the store adds up the others."""
    needed = {"currency", *asked.dimensions} & set(table.by)
    last = max((place for place, name in enumerate(table.by) if name in needed), default=-1)
    return table.by[: last + 1]


def _plain(value: Any, asked: Asked) -> Any:
    if not isinstance(value, datetime):
        return value
    return asked.calendar.text(asked.calendar.shifted(value, asked.shift))


def valued(value: Any, *, is_money: bool) -> Row:
    """A value in every form that a row has it in; a time as milliseconds since 1970 and in ISO 8601.

    Parameters
    ----------
    value : object
        A stored or divided figure; None for nothing.
    is_money : bool
        Text of it gets two decimal places at least.
    """
    if isinstance(value, datetime):
        ms = ms_of(value)
        return {"value": ms, "decimal": iso_text(value), "minor": ms, "exponent": 0}
    if not isinstance(value, Decimal):
        return {"value": value, "decimal": str(value), "minor": value, "exponent": 0}
    return {
        "value": float(value),
        "decimal": _text(value, is_money=is_money),
        "minor": int(value.scaleb(-MONEY_EXPONENT)),
        "exponent": MONEY_EXPONENT,
    }


def _text(value: Decimal, *, is_money: bool) -> str:
    return money(value) if is_money else format(value, "f")


def _series(rows: list[Row], keys: Sequence[str]) -> Iterator[list[Row]]:
    """The rows of each series, in the order of time."""
    series: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        series[tuple(row[key] for key in keys)].append(row)
    for members in series.values():
        yield sorted(members, key=lambda row: row["bucket"])


def _mark(rows: list[Row], extent: Extent) -> None:
    """Tell of the rows of a series which windows are complete; a chart draws the others in their own way."""
    for row in rows:
        row["complete"] = extent.complete(datetime.fromisoformat(row["bucket"]))
        row["complete_value"] = row["value"] if row["complete"] else None
    for place, row in enumerate(rows):
        around = rows[max(place - 1, 0) : place + 2]  # a dashed line begins where the drawn one ends
        row["unfinished_value"] = None if all(other["complete"] for other in around) else row["value"]


def _accumulate(rows: list[Row], *, is_money: bool) -> None:
    """Add running totals and peaks to the rows of a series."""
    complete = {datetime.fromisoformat(row["bucket"]): row["complete"] for row in rows}
    by_bucket = {datetime.fromisoformat(row["bucket"]): Decimal(row["decimal"]) for row in rows}
    for row, bucket in zip(rows, over_time(by_bucket, complete.__getitem__), strict=True):
        total, is_whole = bucket.running_total, isinstance(row["value"], int)
        row["running_total"] = int(total) if is_whole else float(total)
        row["running_total_decimal"] = str(int(total)) if is_whole else _text(total, is_money=is_money)
        row["peak"] = bucket.peak
        row["peak_value"] = row["value"] if bucket.peak else None  # a column that a chart draws as points
