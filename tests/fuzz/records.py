"""An order as each format's records have it, and the contract by which they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract

__all__ = ["BESIDE", "FLAT", "FORMS", "NESTED", "SINGLE", "Form", "Line", "contract"]

TIME = "2026-01-01T10:00:00Z"
IGLU = "iglu:com.snowplowanalytics.snowplow.ecommerce/{}/jsonschema/1-0-0"
OWN = """
[formats.own]
types = {sold = "purchase"}
lines = "lines"
[formats.own.fields]
event_id = "no"
event_type = "kind"
event_time = "at"
user_id = "who"
order_id = "no"
shipping = {path = "delivery", scale = 2, once = true}
[formats.own.line]
product_id = "what"
price = {path = "cents", scale = 2}
quantity = "count"

[fields.note]
[fields.points]
path = "more.points"
type = "int"
"""


class Line(NamedTuple):
    """A line of an order: its price in cents, and how many pieces."""

    cents: int
    quantity: int

    @property
    def price(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02}"


def _segment(order: str, lines: list[Line]) -> dict[str, Any]:
    products = [{"product_id": "p", "price": float(line.price), "quantity": line.quantity} for line in lines]
    return {
        "type": "track", "event": "Order Completed", "messageId": f"m-{order}", "userId": "u", "timestamp": TIME,
        "properties": {"order_id": order, "currency": "EUR", "products": products, "shipping": 4.9, "coupon": "C"},
    }  # fmt: skip


def _ga4(order: str, lines: list[Line]) -> dict[str, Any]:
    items = [{"item_id": "p", "price": float(line.price), "quantity": line.quantity} for line in lines]
    params = [
        {"key": "currency", "value": {"string_value": "EUR", "int_value": None}},
        {"key": "ga_session_id", "value": {"string_value": None, "int_value": 7}},
    ]
    return {
        "event_name": "purchase", "event_timestamp": 1767261600000000, "user_pseudo_id": "1.2",
        "event_params": params, "ecommerce": {"transaction_id": order, "tax_value": 1.5}, "items": items,
    }  # fmt: skip


def _snowplow(order: str, lines: list[Line]) -> dict[str, Any]:
    products = [
        {"schema": IGLU.format("product"), "data": {"id": "p", "price": float(line.price), "quantity": line.quantity}}
        for line in lines
    ]
    transaction = {"schema": IGLU.format("transaction"), "data": {"transaction_id": order, "currency": "EUR"}}
    action = {"schema": IGLU.format("snowplow_ecommerce_action"), "data": {"type": "transaction"}}
    return {
        "event": "unstruct", "event_id": f"e-{order}", "collector_tstamp": "2026-01-01 10:00:00.123", "user_id": "u",
        "domain_sessionid": "s", "unstruct_event": {"data": action}, "contexts": {"data": [*products, transaction]},
    }  # fmt: skip


def _own(order: str, lines: list[Line]) -> dict[str, Any]:
    sold = [{"what": "p", "cents": line.cents, "count": line.quantity} for line in lines]
    return {
        "no": order, "kind": "sold", "at": TIME, "who": "u", "delivery": 490, "lines": sold, "note": "n",
        "more": {"points": 3},
    }  # fmt: skip


def _retailpulse(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "event_id": f"e-{order}", "event_type": "purchase", "event_time": TIME, "user_id": "u", "session_id": "s",
        "product_id": "p", "price": line.price, "quantity": line.quantity, "currency": "EUR", "order_id": order,
        "order_line": 1, "note": "n", "more": {"points": 3},
    }  # fmt: skip


def _rees46(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "event_time": "2026-01-01 10:00:00 UTC", "event_type": "purchase", "product_id": "p", "category_id": "1",
        "category_code": "a.b", "brand": "b", "price": line.price, "user_id": "u", "user_session": order,
    }  # fmt: skip


def _retailrocket(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "timestamp": 1767261600000, "visitorid": "u", "event": "transaction", "itemid": f"i{line.cents}",
        "transactionid": order,
    }  # fmt: skip


def _shopify(order: str, lines: list[Line]) -> dict[str, Any]:
    (line,) = lines
    return {
        "Name": order, "Email": "ann@example.com", "Financial Status": "paid",
        "Created at": "2026-01-01 10:00:00 +0100", "Currency": "EUR",
        "Lineitem quantity": line.quantity, "Lineitem price": line.price,
        "Lineitem sku": "p",
        "Discount Amount": "1.00",
    }  # fmt: skip


#: Writes an order by its name and lines.
Form = Callable[[str, list[Line]], dict[str, Any]]
#: How each format writes an order: those with several lines in a record, and those with one.
NESTED: dict[str, Form] = {
    "segment": _segment, "ga4": _ga4, "snowplow": _snowplow, "own": _own,
}  # fmt: skip
FLAT: dict[str, Form] = {
    "retailpulse": _retailpulse, "rees46": _rees46, "retailrocket": _retailrocket, "shopify": _shopify,
}  # fmt: skip
FORMS = NESTED | FLAT
#: What an order says of itself beside its lines, which one of its events bears.
BESIDE = {
    "segment": ("shipping", "4.9"),
    "ga4": ("tax", "1.5"),
    "own": ("shipping", "4.9"),
    "shopify": ("discount", "1"),
}
#: Formats whose records have one piece each.
SINGLE = ("rees46", "retailrocket")


@cache
def contract() -> Contract:
    """That of a shop with a format and fields of its own."""
    return read_contract(OWN, name="shop.toml", base=shipped())
