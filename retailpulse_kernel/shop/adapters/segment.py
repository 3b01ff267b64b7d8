"""Segment: track calls of its e-commerce spec, version 2 and the names of version 1, as JSONL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter, Mapped
from retailpulse_kernel.shop.adapters.values import nested, text, utc_time, whole

__all__ = ["Segment"]

#: Names of calls without case, spaces and underscores, as Segment's own libraries compare them.
_TYPES = {
    "productviewed": "view",
    "viewedproduct": "view",
    "viewedproductdetails": "view",
    "productclicked": "click",
    "clickedproduct": "click",
    "productadded": "add_to_cart",
    "addedproduct": "add_to_cart",
    "productremoved": "remove_from_cart",
    "removedproduct": "remove_from_cart",
    "ordercompleted": "purchase",
    "completedorder": "purchase",
    "orderrefunded": "refund",
    "refundedorder": "refund",
    "refundorder": "refund",
}
_SEPARATORS = re.compile(r"[ _]+")
_TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
_SESSION = ("session_id", "sessionId")
_ORDER = ("order_id", "orderId", "id")
_PRODUCT = ("product_id", "productId", "id", "sku", "SKU")
_PATH = re.compile(r"\s*[/>]\s*")


class Segment(Adapter):
    """A product event is one event; of an order, each of its products is one, its position the order line.

    - Event id: ``messageId``, and the position for an order's products.
    - The names of version 1 of the spec (``Completed Order``, ``orderId``, ``id``) are read as those of version 2.
    - User: ``userId``, else ``anonymousId``.
    - Session: ``context.sessionId`` or ``properties.session_id``; the spec has none, so else the user's day.
    - Category: ``Apparel/Shoes`` and ``Apparel > Shoes`` become dot paths.
    - Other calls (pages, identifies, other track events) are rejected as ``not_mapped``. So is an order refunded
      as a whole, without products: what it returned is not in the message (``missing:products``).
    """

    name: ClassVar[str] = "segment"
    columns: ClassVar[tuple[str, ...]] = ("messageId", "event", "timestamp", "properties")
    reads: ClassVar[tuple[str, ...]] = (*columns, *_TIMES, "type", "context", "userId", "anonymousId")

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event, or one for each product of an order."""
        name = text(record.get("event"))
        event_type = _TYPES.get(_SEPARATORS.sub("", name or "").lower())
        if event_type is None or record.get("type", "track") != "track":
            raise EventError("not_mapped", f"the call {(name or '')[:60]!r} is about no product")
        properties = nested(record.get("properties"), dict, "properties") or {}
        context = nested(record.get("context"), dict, "context") or {}
        message = text(record.get("messageId"))
        if message is None:
            raise EventError("missing:event_id", "the call has no messageId")
        user = text(record.get("userId")) or text(record.get("anonymousId"))
        time = utc_time(_first(record, _TIMES))
        shared = {
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": self.session(_text(context, ("sessionId",)) or _text(properties, _SESSION), user, time),
        }
        if event_type not in ("purchase", "refund"):
            return [{"event_id": message} | shared | self._product(properties, properties)]
        products = nested(properties.get("products"), list, "products")
        if not products:
            raise EventError("missing:products", f"{name} without products")
        order = _text(properties, _ORDER)
        return self.lines(
            products,
            lambda line, product: (
                {"event_id": f"{message}-{line}", "order_id": order, "order_line": line}
                | shared
                | self._product(nested(product, dict, "products") or {}, properties)
            ),
        )

    def _product(self, product: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
        path = _PATH.split((text(product.get("category")) or "").strip())
        price = self.price(product.get("price"))
        return {
            "product_id": _text(product, _PRODUCT),
            "category": ".".join(part for part in path if part),
            "brand": text(product.get("brand")),
            "price": price,
            "quantity": whole(product.get("quantity")),
            "currency": self.currency(properties.get("currency") or product.get("currency"), price),
        }


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of several fields that is set."""
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)


def _text(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return text(_first(record, names))
