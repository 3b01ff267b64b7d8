"""Segment: track calls of its e-commerce spec (version 2), as JSONL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.adapters.base import Adapter, day_session, exact_price, text, utc_time, whole
from retailpulse_kernel.errors import EventError

__all__ = ["Segment"]

_TYPES = {
    "product viewed": "view",
    "product clicked": "click",
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "order completed": "purchase",
    "order refunded": "refund",
}
_PATH = re.compile(r"\s*[/>]\s*")


class Segment(Adapter):
    """A product event is one event; of an order, each of its products is one, its position the order line.

    - Event id: ``messageId``, and the position for an order's products.
    - User: ``userId``, else ``anonymousId``.
    - Session: ``context.sessionId`` or ``properties.session_id``; the spec has none, so else the user's day.
    - Category: ``Apparel/Shoes`` and ``Apparel > Shoes`` become dot paths.
    - Other calls (pages, identifies, other track events) are rejected as ``not_mapped``. So is an order refunded
      as a whole, without products: what it returned is not in the message (``missing:products``).
    """

    name: ClassVar[str] = "segment"
    columns: ClassVar[tuple[str, ...]] = ("messageId", "event", "timestamp", "properties")
    sparse: ClassVar[bool] = True

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """One event, or one for each product of an order."""
        name = text(record.get("event"))
        event_type = _TYPES.get((name or "").lower())
        if event_type is None or record.get("type", "track") != "track":
            raise EventError("not_mapped", f"the call {(name or '')[:60]!r} is about no product")
        properties = _mapping(record.get("properties"), "properties")
        context = _mapping(record.get("context"), "context")
        message = text(record.get("messageId"))
        if message is None:
            raise EventError("missing:event_id", "the call has no messageId")
        user = text(record.get("userId")) or text(record.get("anonymousId"))
        time = utc_time(record.get("timestamp") or record.get("originalTimestamp"))
        session = text(context.get("sessionId")) or text(properties.get("session_id"))
        shared = {
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": session or day_session(user, time),
            "currency": text(properties.get("currency")),
        }
        if event_type not in ("purchase", "refund"):
            return [{"event_id": message} | shared | _product(properties)]
        products = properties.get("products")
        if not isinstance(products, list) or not products:
            raise EventError("missing:products", f"{name} without products")
        order = text(properties.get("order_id"))
        return [
            {"event_id": f"{message}-{line}", "order_id": order, "order_line": line}
            | shared
            | _product(_mapping(product, "products"))
            for line, product in enumerate(products, start=1)
        ]


def _product(product: Mapping[str, Any]) -> dict[str, Any]:
    path = _PATH.split((text(product.get("category")) or "").strip())
    return {
        "product_id": text(product.get("product_id")) or text(product.get("sku")),
        "category": ".".join(part for part in path if part),
        "brand": text(product.get("brand")),
        "price": exact_price(product.get("price")),
        "quantity": whole(product.get("quantity")),
    }


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EventError(f"type:{name}", f"{name} is an object")
    return value
