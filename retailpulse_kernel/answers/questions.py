"""Questions about categories, each answered with a frame: what `rp.explore()` shows, and a notebook can call.

>>> scope = Scope(("electronics",), last="1d")
>>> brands(rp, scope)  # doctest: +SKIP

Revenue over time, by category and by hour of the day comes from the stored figures; brands, products, the funnel,
sessions and order values come from the archive's single events, without late ones, as the figures are. A figure by any
dimension comes from a table that keeps it, or else from the archive (`answers/dimensions.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.answers.dimensions import by_dimension
from retailpulse_kernel.answers.ranges import Extent
from retailpulse_kernel.answers.reading import grouped_frame, read_rows
from retailpulse_kernel.answers.scope import TOP, Scope, archived, known_values, shop_table
from retailpulse_kernel.shop.columns import sums
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE, EVENTS, ORDERS, PURCHASES, REVENUE, UNITS, VIEWS
from retailpulse_kernel.shop.tables import GRAINS, Grain
from retailpulse_kernel.stores.frames import limited

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = [
    "QUESTIONS",
    "Scope",
    "brands",
    "categories",
    "engagement",
    "funnel",
    "hours",
    "known_values",
    "order_values",
    "over_time",
]

_BINS = 30
_LENGTHS = ["1", "2", "3", "4-5", "6-10", "11+"]
_FUNNEL = ("view", "add_to_cart", "purchase")
_PARTS = (EVENTS, VIEWS, PURCHASES, UNITS, REVENUE, ORDERS)


def categories(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """The categories below the chosen one, or those that are compared, with their figures.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    scope : Scope
        Categories, range and currency.
    """
    return _by(_rows(rp, scope, "day"), scope, ["category"]).sort_values("revenue", ascending=False, ignore_index=True)


def over_time(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """Revenue and orders by bucket and category: minutes up to three hours, hours up to two weeks, then days.

    A range of which only a part has events is as long as that part. The column ``complete`` is false for a bucket that
    is not over, or of which the range holds only a part.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    scope : Scope
        Categories, range and currency.
    """
    since, until = scope.bounds()
    span = None if since is None or until is None else until - since
    grain = _fitting(span)
    rows = _rows(rp, scope, grain.name)
    while found := {row["bucket"] for row in rows}:
        finer = _fitting(max(found) - min(found) + grain.width)
        if finer.seconds >= grain.seconds:
            break
        grain = finer
        rows = _rows(rp, scope, grain.name)
    calendar = contract_of(rp.settings).shop.calendar
    extent = Extent(grain.within(calendar), since, until, datetime.now(UTC))
    frame = _by(rows, scope, ["bucket", "category"], extent)
    if len(frame):
        frame["bucket"] = frame["bucket"].dt.tz_convert(calendar.tzinfo)
    return frame


def _fitting(span: timedelta | None) -> Grain:
    """The buckets that a line shows well."""
    if span is None or span > timedelta(days=14):
        return GRAINS["day"]
    return GRAINS["hour" if span > timedelta(hours=3) else "minute"]


def hours(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """Figures by the hour of the shop's day.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    scope : Scope
        Categories, range and currency.
    """
    calendar = contract_of(rp.settings).shop.calendar
    rows = [
        {**row, "bucket": datetime(2000, 1, 1, row["bucket"].astimezone(calendar.tzinfo).hour, tzinfo=UTC)}
        for row in _rows(rp, scope, "hour")
    ]
    frame = _by([{**row, "category": "all"} for row in rows], Scope(currency=scope.currency), ["bucket"])
    frame.insert(0, "hour", frame.pop("bucket").dt.hour.astype("int64"))
    frame.attrs["zone"] = calendar.zone
    return frame


def brands(rp: Workbench, scope: Scope, *, limit: int | None = TOP) -> pd.DataFrame:
    """The brands with the highest revenue: views, units, revenue, orders, and what is viewed but not bought.

    Parameters
    ----------
    rp : Workbench
        Whose archive is read.
    scope : Scope
        Categories, range and currency.
    limit : int or None
        At most this many rows; None for all.
    """
    return _top(archived(rp, scope), scope, "brand", limit)


def products(rp: Workbench, scope: Scope, *, limit: int | None = TOP) -> pd.DataFrame:
    """The products with the highest revenue.

    Parameters
    ----------
    rp : Workbench
        Whose archive is read.
    scope : Scope
        Categories, range and currency.
    limit : int or None
        At most this many rows; None for all.
    """
    return _top(archived(rp, scope), scope, "product_id", limit)


def funnel(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """Sessions that came to each step, and their share of those that came to the step before.

    Parameters
    ----------
    rp : Workbench
        Whose archive is read.
    scope : Scope
        Categories, range and currency.
    """
    events = archived(rp, scope)
    reached = [set(events.filter(pc.equal(events["event_type"], step))["session_id"].to_pylist()) for step in _FUNNEL]
    counts = [len(sessions) for sessions in reached]
    rates = [None, *(after / before if before else None for before, after in pairwise(counts))]
    return pd.DataFrame({"step": _FUNNEL, "sessions": counts, "of_step_before": pd.array(rates, "Float64")})


def engagement(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """Sessions by how many events they have: how many there are, how long they last, how many buy.

    Parameters
    ----------
    rp : Workbench
        Whose stores are asked.
    scope : Scope
        Categories, range and currency.
    """
    events = archived(rp, scope)
    table = pa.table(
        {
            "session_id": events["session_id"],
            "at": events["event_time"].cast(pa.int64()),
            "bought": pc.equal(events["event_type"], "purchase").cast(pa.int64()),
        }
    )
    found = table.group_by("session_id").aggregate(
        [("at", "count"), ("at", "min"), ("at", "max"), ("bought", "max")]
    ).to_pandas()  # fmt: skip
    found["length"] = pd.cut(
        found["at_count"], [0, 1, 2, 3, 5, 10, np.inf], labels=["1", "2", "3", "4-5", "6-10", "11+"]
    )
    found["minutes"] = (found["at_max"] - found["at_min"]) / 60e6
    by = found.groupby("length", observed=False)
    return pd.DataFrame(
        {
            "events": by.size().index.astype(str),
            "sessions": by.size().to_numpy(),
            "median_minutes": by["minutes"].median().to_numpy(),
            "buyers": by["bought_max"].sum().to_numpy().astype("int64"),
        }
    )


def order_values(rp: Workbench, scope: Scope) -> pd.DataFrame:
    """How many orders are worth how much: bins of equal width up to the 99th percentile, the last one open.

    Parameters
    ----------
    rp : Workbench
        Whose archive is read.
    scope : Scope
        Categories, range and currency.
    """
    events = archived(rp, scope)
    bought = events.filter(
        pc.and_(pc.equal(events["event_type"], "purchase"), pc.equal(events["currency"], scope.currency))
    )
    values = np.sort(np.array(sums(bought, ["order_id"], [REVENUE])["revenue"].to_pylist(), dtype=float))
    if not len(values):
        return pd.DataFrame({"from": [], "to": [], "orders": pd.array([], "int64")})
    edges = np.linspace(0, max(np.ceil(np.quantile(values, 0.99)), 1), _BINS)
    counts, _ = np.histogram(values, [*edges, np.inf])
    return pd.DataFrame({"from": edges, "to": [*edges[1:], np.inf], "orders": counts})


#: Every question by its name, in the order of the explorer.
QUESTIONS: dict[str, Callable[[Workbench, Scope], pd.DataFrame]] = {
    question.__name__: question
    for question in (categories, over_time, brands, products, by_dimension, funnel, engagement, hours, order_values)
}


def _rows(rp: Workbench, scope: Scope, grain: str) -> list[dict[str, Any]]:
    since, until = scope.bounds()
    only = scope.only(money=True)
    table = shop_table(rp)
    chosen = next(one for one in table.every if one.name == grain)
    return read_rows(rp.serving, table, since=since, until=until, grain=chosen, only=only)


def _by(rows: Sequence[dict[str, Any]], scope: Scope, by: list[str], extent: Extent | None = None) -> pd.DataFrame:
    rows = [{**row, "category": scope.branch(row["category"])} for row in rows]
    return grouped_frame(rows, by, extent=extent).drop(columns="currency")


def _top(events: pa.Table, scope: Scope, by: str, limit: int | None) -> pd.DataFrame:
    """The first by revenue. Views have a currency too: that of the user."""
    events = events.filter(pc.equal(events["currency"], scope.currency))
    found = sums(events, [by], _PARTS).to_pandas()
    found[by] = found[by].fillna("(none)")
    found[AVERAGE_ORDER_VALUE.name] = [
        AVERAGE_ORDER_VALUE.divide(over, under) for over, under in zip(found["revenue"], found["orders"], strict=True)
    ]
    found["revenue"] = [Decimal(value) for value in found["revenue"]]
    # Equal ones by name: Arrow's threads finish in any order.
    found = found.sort_values(["revenue", "views", by], ascending=[False, False, True], ignore_index=True)
    return limited(found, limit)
