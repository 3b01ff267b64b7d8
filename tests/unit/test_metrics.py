from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop import figures as metrics
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE, FIGURES, Figure
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION, FigureTable, grain_of

NOON = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def event(event_type: str = "view", *, price: str | None = None, **fields: object) -> Event:
    given = {
        "event_id": "e", "event_type": event_type, "event_time": NOON, "user_id": "u1", "session_id": "s1",
        "product_id": "p1", "price": None if price is None else Decimal(price), **fields,
    }  # fmt: skip
    return Event(**given)  # type: ignore[arg-type]


LINE_1 = event("purchase", price="10.10", quantity=2, order_id="o", order_line=1)
LINE_2 = event("purchase", price="0.0001", quantity=1, order_id="o", order_line=2)
REFUND = event("refund", price="10.10", quantity=1, order_id="o", order_line=1)
VIEW = event("view", price="99")


@pytest.mark.parametrize(
    ("figure", "values"),
    [
        (metrics.EVENTS, [1, 1, 1, 1]),
        (metrics.VIEWS, [None, None, None, 1]),
        (metrics.PURCHASES, [1, 1, None, None]),
        (metrics.UNITS, [2, 1, -1, None]),
        (metrics.REVENUE, [Decimal("20.20"), Decimal("0.0001"), Decimal("-10.10"), None]),
        (metrics.ORDERS, [1, None, None, None]),
        (metrics.ACTIVE_USERS, ["u1"] * 4),
        (metrics.FIRST_EVENT, [NOON] * 4),
        (metrics.LAST_EVENT, [NOON] * 4),
    ],
    ids=lambda value: value.name if isinstance(value, Figure) else "",
)
def test_what_an_event_adds(figure: Figure, values: list[object]) -> None:
    assert [figure.of_event(e) for e in (LINE_1, LINE_2, REFUND, VIEW)] == values


def test_every_figure_is_tested_and_named_after_itself() -> None:
    assert all(name == figure.name for name, figure in FIGURES.items())
    assert {f.name for f in (*CATEGORY.figures, *SESSION.figures)} <= set(FIGURES)


def test_an_event_without_a_price_adds_no_money() -> None:
    free = Figure("value", "Value", metrics.sum_of("price * quantity"))
    assert free.of_event(event()) == 0
    assert free.of_event(VIEW) == 99


def test_a_sum_of_prices_keeps_its_cents() -> None:
    assert metrics.sum_of("price * quantity") == metrics.sum_of("price * quantity", money=True)
    assert metrics.sum_of("quantity * 2").kind is metrics.Kind.SUM


def test_the_average_is_over_orders_and_nothing_over_none() -> None:
    assert AVERAGE_ORDER_VALUE.divide(Decimal("27773.52"), 86) == Decimal("322.9479")
    assert AVERAGE_ORDER_VALUE.divide(Decimal("0"), 0) is None


def test_fold_sums_by_key_and_window() -> None:
    (row,) = fold([LINE_1, LINE_2], CATEGORY, GRAINS["hour"])
    assert row["hour"] == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert (row["currency"], row["category"], row["event_type"]) == ("USD", "unknown", "purchase")
    assert (row["events"], row["units"], row["orders"]) == (2, 3, 1)
    assert row["revenue"] == Decimal("20.2001")
    assert sketches.estimate(row["active_users"]) == 1


def test_a_sketch_counts_users_of_several_parts_once() -> None:
    a, b = sketches.of(f"u{i}" for i in range(2000)), sketches.of(f"u{i}" for i in range(1000, 2500))
    assert sketches.estimate(sketches.union([a, b, b""])) == 2500
    assert sketches.estimate(sketches.union([])) == 0


@pytest.mark.parametrize("text", ["minute", "1 minute", "1m", "1 Minute"])
def test_grains_by_name(text: str) -> None:
    assert grain_of(text) is GRAINS["minute"]


def test_tables_refuse_what_can_not_be() -> None:
    with pytest.raises(UnknownName, match=r"categroy.*Did you mean 'category'"):
        FigureTable("t", (metrics.EVENTS,), ("categroy",), (GRAINS["day"],))
    with pytest.raises(UsageError, match="currencies"):
        FigureTable("t", (metrics.REVENUE,), ("category",), (GRAINS["day"],))
    with pytest.raises(UnknownName):
        grain_of("fortnight")
