"""Orders as shops have them: discounts, shipping, tax and coupons beside the price, and refunds of a whole order."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.feed.adapters import Accepted, Reject, adapt, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import WHOLE_ORDER
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import REVENUE, Figure, sum_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.formats.reading import TopicReader
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from tests.adapters import lines

NOON = "2026-01-05T12:00:00Z"
NET = """
[fields.discount]
type = "decimal(18,4)"
default = "0"

[fields.shipping]
type = "decimal(18,4)"

[fields.tax]
type = "decimal(18,4)"

[fields.coupon]
"""


def call(event: str, **properties: Any) -> dict[str, Any]:
    shared = {"type": "track", "messageId": f"m-{event}", "userId": "u", "timestamp": NOON, "event": event}
    return shared | {"properties": {"order_id": "o-1", "currency": "EUR", **properties}}


PRODUCTS = [
    {"product_id": "shoe", "price": 30, "quantity": 2, "coupon": "SHOES"},
    {"product_id": "hat", "price": "5.50", "quantity": 1},
]
ORDER = call("Order Completed", products=PRODUCTS, discount=6.5, shipping=4.9, tax="11.20", coupon="SPRING")


def hit(
    name: str, items: list[dict[str, Any]], params: dict[str, Any] | None = None, **ecommerce: Any
) -> dict[str, Any]:
    given = [
        {"key": key, "value": {"string_value": value}} for key, value in ({"currency": "EUR"} | (params or {})).items()
    ]
    return {
        "event_name": name, "event_timestamp": 1767614400000000, "user_pseudo_id": "1.2", "event_params": given,
        "ecommerce": {"transaction_id": "o-1", **ecommerce}, "items": items,
    }  # fmt: skip


def test_segment_amounts_of_an_order_stand_on_its_first_line() -> None:
    first, second = adapt("segment", ORDER)
    assert isinstance(first, dict) and isinstance(second, dict)
    assert {name: first[name] for name in ("discount", "shipping", "tax", "coupon")} == {
        "discount": "6.5", "shipping": "4.9", "tax": "11.20", "coupon": "SHOES",
    }  # fmt: skip
    assert second["coupon"] == "SPRING" and not {"discount", "shipping", "tax"} & second.keys()


def test_segment_discounts_of_products_count_where_the_order_names_none() -> None:
    products = [product | {"discount": 1.25} for product in PRODUCTS]
    by_product = adapt("segment", call("Order Completed", products=products))
    assert [line["discount"] for line in by_product if isinstance(line, dict)] == ["1.25", "1.25"]
    by_order = adapt("segment", call("Order Completed", products=products, discount="2.50"))
    assert [line.get("discount") for line in by_order if isinstance(line, dict)] == ["2.50", None]


@pytest.mark.parametrize(
    ("properties", "refunded"),
    [
        ({"revenue": 25, "total": 31}, "25"),
        ({"subtotal": "25.50", "total": 31}, "25.50"),
        ({"total": 31, "shipping": 4, "tax": 2}, "25"),
        ({"total": 31}, "31"),
    ],
)
def test_segment_a_refund_of_a_whole_order(properties: dict[str, Any], refunded: str) -> None:
    (event,) = adapt("segment", call("Order Refunded", **properties))
    assert isinstance(event, dict)
    assert Decimal(event["price"]) == Decimal(refunded) and event["quantity"] == 1
    assert (event["order_id"], event["order_line"], event["product_id"]) == ("o-1", 1, WHOLE_ORDER)


def test_a_refund_that_says_no_amount_is_rejected() -> None:
    with pytest.raises(EventError, match="without products"):
        adapt("segment", call("Order Refunded"))
    with pytest.raises(EventError, match="without items"):
        adapt("ga4", hit("refund", []))


def test_a_refund_of_a_whole_order_leaves_the_revenue_that_is_left(tmp_path: Path) -> None:
    check = check_file(lines(tmp_path / "f", ORDER, call("Order Refunded", revenue=60)), "segment")
    assert check.revenue == {"EUR": Decimal("5.50")} and check.orders == {"EUR": 1}
    assert check.changed["chosen:whole_order"] == 1


def test_ga4_amounts_of_an_order_stand_on_its_first_line() -> None:
    items = [
        {"item_id": "shoe", "price": 30, "quantity": 2, "discount": 2.5, "coupon": "SHOES"},
        {"item_id": "hat", "price": 5.5, "coupon": "(not set)"},
    ]
    first, second = adapt("ga4", hit("purchase", items, {"coupon": "SPRING"}, shipping_value=4.9, tax_value=11.2))
    assert isinstance(first, dict) and isinstance(second, dict)
    assert (first["shipping"], first["tax"], first["coupon"], second["coupon"]) == ("4.9", "11.2", "SHOES", "SPRING")
    assert first["discount_in_price"] == "5.0" and "discount" not in first
    assert not {"shipping", "tax", "discount_in_price"} & second.keys()


def test_ga4_amounts_are_in_the_currency_of_the_items() -> None:
    record = hit("purchase", [{"item_id": "a", "price_in_usd": 3}], shipping_value=9, shipping_value_in_usd=10)
    record["event_params"] = []
    (event,) = adapt("ga4", record)
    assert isinstance(event, dict) and (event["currency"], event["shipping"]) == ("USD", "10")


def test_ga4_a_refund_of_a_whole_order() -> None:
    (event,) = adapt("ga4", hit("refund", [], refund_value=65.5))
    assert isinstance(event, dict)
    assert (event["price"], event["order_id"], event["product_id"]) == ("65.5", "o-1", WHOLE_ORDER)
    (event,) = adapt("ga4", hit("refund", [], {"value": "12.00"}))
    assert isinstance(event, dict) and event["price"] == "12.00"


def test_an_amount_that_is_none_takes_no_line_with_it(tmp_path: Path) -> None:
    odd = ORDER | {"properties": ORDER["properties"] | {"shipping": "free", "tax": {"vat": 1}}}
    check = check_file(lines(tmp_path / "f", odd), "segment")
    assert check.events == 2 and check.changed["left_out:shipping"] == check.changed["left_out:tax"] == 1


def test_further_fields_reach_the_contract_and_the_topic(tmp_path: Path) -> None:
    contract = read_contract(NET, name="shop.toml", base=shipped())
    found = list(read_rows(lines(tmp_path / "f", ORDER), "segment", contract=contract))
    events = [row.event for row in found if isinstance(row, Accepted)]
    assert [event.discount for event in events] == [Decimal("6.5000"), 0]
    assert [event.coupon for event in events] == ["SHOES", "SPRING"]
    sent = [json.loads(row.value) for row in found if isinstance(row, Accepted)]
    assert sent[0]["shipping"] == "4.9" and "shipping" not in sent[1]
    again = list(read_rows(lines(tmp_path / "again", *sent), "retailpulse", contract=contract))
    assert [row.event for row in again if isinstance(row, Accepted)] == events, "what is sent is what was read"


def test_net_revenue_is_a_figure_of_the_shop_s_own(tmp_path: Path) -> None:
    """As docs/events.md has it."""
    contract = read_contract(NET, name="shop.toml", base=shipped())
    net = Figure("net_revenue", "Net revenue", sum_of("price * quantity - discount"), "purchase - refund", "currency")
    table = FigureTable("net", (REVENUE, net.typed(contract.types)), ("currency",), (GRAINS["day"],))
    rows = read_rows(lines(tmp_path / "f", ORDER, call("Order Refunded", revenue=10)), "segment", contract=contract)
    events = [row.event for row in rows if not isinstance(row, Reject)]
    (row,) = fold(events, table, GRAINS["day"])
    assert (row["revenue"], row["net_revenue"]) == (Decimal("55.5000"), Decimal("49.0000"))


def test_segment_a_batch_holds_calls(tmp_path: Path) -> None:
    own = {"sessionId": "s-9"}
    batch = {
        "batch": [
            ORDER, {"type": "page", "messageId": "p"}, call("Order Completed", products=[]), "odd",
            call("Product Viewed", product_id="hat") | {"context": own},
        ],
        "sentAt": NOON, "context": {"sessionId": "s-1", "ip": "::1"},
    }  # fmt: skip
    found = list(read_rows(lines(tmp_path / "f", batch)))
    sessions = [row.event.session_id for row in found if isinstance(row, Accepted)]
    assert sessions == ["s-1", "s-1", "s-9"], "the context of a call is before that of its batch"
    reasons = [row.reason for row in found if isinstance(row, Reject)]
    assert reasons == ["not_mapped", "missing:products", "type:batch"]
    assert read_rows(tmp_path / "f").format == "segment" and read_rows(tmp_path / "f").known_by == "batch"


def test_segment_a_call_that_its_batch_repeats_counts_once(tmp_path: Path) -> None:
    batch = {"batch": [ORDER, call("Product Viewed", product_id="hat"), ORDER]}
    found = list(TopicReader(replace(shipped().decoding, format="segment")).events(json.dumps(batch).encode(), 0, 0))
    assert [one.event_id for one in found if isinstance(one, Event)] == [
        "m-Order Completed-1", "m-Order Completed-2", "m-Product Viewed",
    ]  # fmt: skip
    assert [one.reason for one in found if isinstance(one, EventError)] == ["repeated:event_id"] * 2
    check = check_file(lines(tmp_path / "f", batch), "segment")
    assert check.revenue == {"EUR": Decimal("65.50")} and check.repeated_ids == 2


def test_ga4_lists_with_parquet_s_own_layers() -> None:
    plain = hit("purchase", [{"item_id": "shoe", "price": 30}])
    layered = plain | {name: {"list": [{"element": one} for one in plain[name]]} for name in ("items", "event_params")}
    assert adapt("ga4", layered) == adapt("ga4", plain)
