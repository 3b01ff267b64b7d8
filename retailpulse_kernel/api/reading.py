"""Flat rows of one figure: each total is made here, exactly, so that a panel has nothing left to add up.

A row has its keys, then ``value`` (a number to draw), ``decimal`` (the exact value as text), ``minor`` and ``exponent``
(the exact value is ``minor * 10 ** exponent``). A series over time also has ``running_total`` and ``peak``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from retailpulse_kernel.api.asking import Asked
from retailpulse_kernel.errors import NoSuchTable
from retailpulse_kernel.figures import chosen_figures, grouped, money, over_time, parts_of, read_rows
from retailpulse_kernel.metrics import ACTIVE_USERS, EVENTS, Figure, Ratio
from retailpulse_kernel.ranges import SignedRead
from retailpulse_kernel.stores.base import FigureStore, Row
from retailpulse_kernel.tables import CATEGORY, GRAINS

__all__ = ["FUNNEL", "MONEY_EXPONENT", "figure_rows", "funnel_rows", "valued"]

#: Money has four exact decimal places everywhere.
MONEY_EXPONENT = -4
#: The steps from looking to buying.
FUNNEL = ("view", "add_to_cart", "purchase")


def figure_rows(store: FigureStore, pool: Executor, name: str, asked: Asked) -> list[Row]:
    """The rows of a figure, by the dimensions that were asked for; money always by its currency, too.

    Parameters
    ----------
    store : FigureStore
        Where the table `CATEGORY` is.
    pool : Executor
        What the requests to it run in.
    name : str
        One of the table's figures, or what is divided of them.
    asked : Asked

    Raises
    ------
    UnknownName
        There is no such figure.
    """
    (figure,) = chosen_figures([name])
    is_money = figure.unit == "currency"
    split = is_money or "currency" in asked.by
    rows = _read(store, pool, figure, asked)
    if not split:  # counts may cross currencies: `grouped` keeps them apart, so they get the same
        rows = [{**row, "currency": ""} for row in rows]
    found = grouped(rows, asked.by, CATEGORY, [figure])
    keys = [*asked.by, *(["currency"] if is_money and "currency" not in asked.by else [])]
    result = [
        {key: _plain(row[key], asked) for key in keys} | valued(row[figure.name], is_money=is_money)
        for row in found
        if row[figure.name] is not None
    ]
    if "bucket" in asked.by:
        if isinstance(figure, Figure) and figure is not ACTIVE_USERS:
            _accumulate(result, [key for key in keys if key != "bucket"], is_money=is_money)
    else:
        result.sort(key=lambda row: -row["minor"])
    return result[: asked.limit] if asked.limit else result


def funnel_rows(store: FigureStore, pool: Executor, asked: Asked) -> list[Row]:
    """Events of each step from looking to buying, with their share of the first step in percent."""
    by_type = {
        row["event_type"]: row["minor"] for row in figure_rows(store, pool, EVENTS.name, _by(asked, "event_type"))
    }
    first = by_type.get(FUNNEL[0], 0)
    return [
        {
            "step": step,
            **valued(by_type.get(step, 0), is_money=False),
            "percent": round(100 * by_type.get(step, 0) / first, 2) if first else None,
        }
        for step in FUNNEL
    ]


def _by(asked: Asked, dimension: str) -> Asked:
    return Asked(
        asked.since, asked.until, asked.grain, (dimension,), asked.currencies, asked.categories, asked.shift
    )  # fmt: skip


def _read(store: FigureStore, pool: Executor, figure: Figure | Ratio, asked: Asked) -> list[Row]:
    since, until = asked.since - asked.shift, asked.until - asked.shift
    # Without a series the widest windows do; with one, the range is read by its own.
    grain = asked.grain if "bucket" in asked.by else GRAINS["day"]
    parts = parts_of([figure])
    try:
        if ACTIVE_USERS in parts:
            rows = read_rows(store, CATEGORY, since=since, until=until, grain=grain, figures=parts)
        else:
            rows = SignedRead(store, CATEGORY, pool, since, until, grain, parts, _read_by(asked)).rows()
    except NoSuchTable:
        return []
    return [row for row in rows if _kept(row, "currency", asked.currencies)
            and _kept(row, "category", asked.categories)]  # fmt: skip


def _read_by(asked: Asked) -> Sequence[str]:
    """The first columns of the key that hold all that is needed: Cassandra adds up the others."""
    needed = {"currency", *asked.by, *(["category"] if asked.categories else [])}
    last = max(place for place, name in enumerate(CATEGORY.by) if name in needed)
    return CATEGORY.by[: last + 1]


def _kept(row: Row, dimension: str, wanted: frozenset[str]) -> bool:
    return not wanted or row[dimension] in wanted


def _plain(value: Any, asked: Asked) -> Any:
    return _iso(value + asked.shift) if isinstance(value, datetime) else value


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def valued(value: Any, *, is_money: bool) -> Row:
    """A value in every form that a row has it in."""
    if not is_money:
        return {"value": value, "decimal": str(value), "minor": value, "exponent": 0}
    return {
        "value": float(value),
        "decimal": money(value),
        "minor": int(value.scaleb(-MONEY_EXPONENT)),
        "exponent": MONEY_EXPONENT,
    }


def _accumulate(rows: list[Row], keys: Sequence[str], *, is_money: bool) -> None:
    """Add running totals and peaks to each series."""
    series: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        series[tuple(row[key] for key in keys)].append(row)
    for members in series.values():
        by_bucket = {datetime.fromisoformat(row["bucket"]): Decimal(row["decimal"]) for row in members}
        for row, bucket in zip(_in_order(members), over_time(by_bucket), strict=True):
            total = bucket.running_total
            row["running_total"] = float(total) if is_money else int(total)
            row["running_total_decimal"] = money(total) if is_money else str(int(total))
            row["peak"] = bucket.peak
            row["peak_value"] = row["value"] if bucket.peak else None  # a column that a chart draws as points


def _in_order(rows: list[Row]) -> Iterator[Row]:
    return iter(sorted(rows, key=lambda row: row["bucket"]))
