"""The amounts of an order stay with it whichever of its lines is rejected, or the report counts them as left out."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from retailpulse_kernel.feed.adapters import Accepted, read_rows
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.formats.opening import MAPPING, events_in, opener_of
from retailpulse_kernel.shop.formats.options import KEPT
from tests.adapters import lines

NOON = "2026-01-05T12:00:00Z"
SHOP = """
[formats.own]
types = {sold = "purchase"}
lines = "lines"
[formats.own.fields]
event_type = "kind"
event_time = "at"
user_id = "who"
order_id = "no"
shipping = {path = "delivery", once = true}
[formats.own.line]
product_id = "what"
price = "price"

[formats.rows]
types = {sold = "purchase"}
[formats.rows.fields]
event_type = "kind"
event_time = "at"
user_id = "who"
order_id = "no"
shipping = {path = "delivery", once = true}
product_id = "what"
price = "price"
"""
#: A line that an adapter refuses, one that the contract refuses, and a good one, as (product, price).
UNREADABLE, NAMELESS, GOOD = ("a", "1,5"), (None, 3), ("b", 2)
Line = tuple[str | None, Any]


def contract() -> Contract:
    return read_contract(SHOP, name="shop.toml", base=shipped())


def segment(order: str, given: list[Line]) -> list[dict[str, Any]]:
    products = [{"product_id": product, "price": price} for product, price in given]
    properties = {"order_id": order, "currency": "EUR", "products": products, "shipping": 4.9}
    return [
        {
            "type": "track", "event": "Order Completed", "messageId": f"m-{order}", "userId": "u", "timestamp": NOON,
            "properties": properties,
        }
    ]  # fmt: skip


def ga4(order: str, given: list[Line]) -> list[dict[str, Any]]:
    return [
        {
            "event_name": "purchase", "event_timestamp": 1767614400000000, "user_pseudo_id": "1.2",
            "event_params": [{"key": "currency", "value": {"string_value": "EUR"}}],
            "ecommerce": {"transaction_id": order, "shipping_value": 4.9},
            "items": [{"item_id": product, "price": price} for product, price in given],
        }
    ]  # fmt: skip


def snowplow(order: str, given: list[Line]) -> list[dict[str, Any]]:
    def entity(name: str, **data: Any) -> dict[str, Any]:
        return {"schema": f"iglu:com.snowplowanalytics.snowplow.ecommerce/{name}/jsonschema/1-0-0", "data": data}

    products = [entity("product", id=product, price=price) for product, price in given]
    transaction = entity("transaction", transaction_id=order, currency="EUR", shipping=4.9)
    return [
        {
            "event": "unstruct", "event_id": f"e-{order}", "collector_tstamp": "2026-01-05 12:00:00", "user_id": "u",
            "domain_sessionid": "s", "contexts": {"data": [*products, transaction]},
            "unstruct_event": {"data": entity("snowplow_ecommerce_action", type="transaction")},
        }
    ]  # fmt: skip


def own(order: str, given: list[Line]) -> list[dict[str, Any]]:
    sold = [{"what": product, "price": price} for product, price in given]
    return [{"kind": "sold", "at": NOON, "who": "u", "no": order, "delivery": 4.9, "lines": sold}]


def rows(order: str, given: list[Line]) -> list[dict[str, Any]]:
    """Rows of which each has the order's amount."""
    shared = {"kind": "sold", "at": NOON, "who": "u", "no": order, "delivery": 4.9}
    return [shared | {"what": product, "price": price} for product, price in given]


def shopify(order: str, given: list[Line]) -> list[dict[str, Any]]:
    """Rows of which only the first has the order's amount."""
    first = {"Financial Status": "paid", "Created at": NOON, "Email": "a@example.com", "Currency": "EUR"}
    return [
        {"Name": order, "Lineitem sku": product, "Lineitem price": price, "Lineitem quantity": 1}
        | (first | {"Shipping": 4.9} if number == 0 else {})
        for number, (product, price) in enumerate(given)
    ]


FORMATS = {
    "segment": segment, "ga4": ga4, "snowplow": snowplow, "own": own, "rows": rows, "shopify": shopify,
}  # fmt: skip
RECORDS = ("segment", "ga4", "snowplow", "own")


def shipping(path: Path, format: str) -> list[Decimal]:
    found = [row for row in read_rows(path, format, contract=contract()) if isinstance(row, Accepted)]
    sent = [json.loads(row.value, parse_float=Decimal) for row in found]
    return [Decimal(one["shipping"]) for one in sent if "shipping" in one]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "given",
    [
        [GOOD, UNREADABLE],
        [UNREADABLE, GOOD, GOOD],
        [NAMELESS, GOOD],
        [("c", 0), GOOD],
        [("c", None), NAMELESS, UNREADABLE, GOOD],
    ],
    ids=["last", "unreadable", "nameless", "free", "three"],
)
def test_the_first_line_that_is_an_event_bears_them(tmp_path: Path, format: str, given: list[Line]) -> None:
    records = [record for order in ("o-1", "o-2") for record in FORMATS[format](order, given)]
    path = lines(tmp_path / "f", *records)
    assert shipping(path, format) == [Decimal("4.9")] * 2
    assert "left_out:shipping" not in check_file(path, format, contract=contract()).changed


@pytest.mark.parametrize("format", FORMATS)
def test_of_an_order_without_an_event_they_are_counted_as_left_out(tmp_path: Path, format: str) -> None:
    given = {"o-1": [UNREADABLE], "o-2": [GOOD], "o-3": [NAMELESS, UNREADABLE]}
    path = lines(
        tmp_path / "f", *(record for order, those in given.items() for record in FORMATS[format](order, those))
    )
    assert shipping(path, format) == [Decimal("4.9")]
    check = check_file(path, format, contract=contract())
    assert check.changed["left_out:shipping"] == 2 and check.rejected.total() == 3


def test_they_are_counted_where_a_field_of_the_shop_s_own_is_refused(tmp_path: Path) -> None:
    strict = read_contract('[fields.shipping]\ntype = "decimal(3,0)"\n', name="shop.toml", base=shipped())
    path = lines(tmp_path / "f", *segment("o-1", [GOOD, GOOD]))
    check = check_file(path, "segment", contract=strict)
    assert (check.events, check.rejected, check.changed["left_out:shipping"]) == (1, {"range:shipping": 1}, 1)


@pytest.mark.parametrize("format", RECORDS)
def test_a_topic_s_events_have_them_too(format: str) -> None:
    shop = contract()
    options = {KEPT: "[]"}
    if format == "own":
        (mapping,) = (one for one in shop.formats if one.name == "own")
        options[MAPPING] = msgspec.json.encode(mapping).decode()
    (record,) = FORMATS[format]("o-1", [NAMELESS, GOOD])
    found = events_in(opener_of(format, options), json.dumps(record).encode(), 0, 0)
    assert [b"shipping" in (one if isinstance(one, bytes) else b"") for one in found] == [False, True]
