"""What the tests of formats share: records of Segment and GA4 as a topic may have them, good and bad."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

__all__ = ["UNREADABLE", "ga4_hit", "order", "page", "viewed"]

#: Messages that can't be opened, with the reason.
UNREADABLE = {
    b"\xff\x00garbage": "not_utf8",
    b'{"messageId": "half': "not_json",
    b'["no object"]': "not_object",
    b"[" * 70 + b"]" * 70: "too_deep",
}


def _call(name: str, event: str, time: datetime, properties: dict[str, Any], user: str) -> bytes:
    return json.dumps(
        {
            "type": "track", "event": event, "messageId": name, "userId": user, "anonymousId": f"anonymous-{user}",
            "timestamp": time.isoformat().replace("+00:00", "Z"), "context": {"sessionId": f"session-{user}"},
            "properties": properties,
        }
    ).encode()  # fmt: skip


def viewed(name: str, time: datetime, *, category: str = "Apparel/Shoes", user: str = "u") -> bytes:
    """A call of Segment's about one product."""
    return _call(name, "Product Viewed", time, {"product_id": "p1", "category": category, "price": 9.5}, user)


def order(name: str, time: datetime, lines: Sequence[dict[str, Any]], *, user: str = "u", currency: str = "") -> bytes:
    """A call of Segment's about the products of an order."""
    named = {"currency": currency} if currency else {}
    return _call(name, "Order Completed", time, {"order_id": f"order-{name}", "products": list(lines), **named}, user)


def page(name: str) -> bytes:
    """A call of Segment's about no product."""
    return json.dumps({"type": "page", "messageId": name, "name": "Home"}).encode()


def ga4_hit(name: str, time: datetime, items: Sequence[dict[str, Any]], *, event: str = "purchase") -> bytes:
    """A row of GA4's export."""
    micros = (time - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(microseconds=1)
    params = [
        {"key": "ga_session_id", "value": {"int_value": 7}},
        {"key": "currency", "value": {"string_value": "EUR"}},
    ]
    return json.dumps(
        {
            "event_name": event, "event_timestamp": micros, "user_pseudo_id": "10.4", "event_params": params,
            "ecommerce": {"transaction_id": name}, "items": list(items),
        }
    ).encode()  # fmt: skip
