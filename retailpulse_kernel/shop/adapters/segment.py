"""Segment: track calls of its e-commerce spec, version 2 and the names of version 1, alone or in batches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import category_path, coupon_of, first_of, is_nothing, nested, text, whole

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
#: What was paid for an order's products, the exact ones first.
_FOR_PRODUCTS = ("revenue", "subtotal")


class Segment(Adapter):
    """A product event is one event; of an order, each of its products is one, its position the order line.

    - Event id: ``messageId``, and the position for an order's products.
    - The names of version 1 of the spec (``Completed Order``, ``orderId``, ``id``) are read as those of version 2.
    - User: ``userId``, else ``anonymousId``.
    - Session: ``context.sessionId`` or ``properties.session_id``; the spec has none, so else the user's day.
    - Category: ``Apparel/Shoes`` and ``Apparel > Shoes`` become dot paths.
    - Further fields: ``discount``, ``shipping`` and ``tax`` of the order on its first line that is an event. Where the
      order has no ``discount``, those of its products count. ``coupon`` is the product's, else the order's.
    - An order refunded as a whole, without products, is one event at its ``revenue``, else its ``subtotal``, else its
      ``total`` less shipping and tax. Without any of them it is rejected (``missing:products``).
    - The body of a batch (``{"batch": [...]}``) holds several calls. Its ``context`` and ``sentAt`` are those of each.
    - Other calls (pages, identifies, other track events) are rejected as ``not_mapped``.
    """

    name: ClassVar[str] = "segment"
    columns: ClassVar[tuple[str, ...]] = ("messageId", "event", "timestamp", "properties")
    reads: ClassVar[tuple[str, ...]] = (*columns, *_TIMES, "type", "context", "userId", "anonymousId", "batch")
    envelope: ClassVar[tuple[str, ...]] = ("batch",)

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event, or one for each product of an order; of a batch, those of each of its calls."""
        if "batch" not in record:
            return self._call(record)
        shared = {name: record[name] for name in ("context", "sentAt") if name in record}
        found: list[Mapped] = []
        for one in nested(record["batch"], list, "batch") or ():
            try:
                call = nested(one, dict, "batch") or {}
                found += self._call(shared | call | {"context": _merged(shared, call)})
            except EventError as error:
                found.append(error)
        return found

    def _call(self, record: Mapping[str, Any]) -> list[Mapped]:
        name = text(record.get("event"))
        event_type = _TYPES.get(_SEPARATORS.sub("", name or "").lower())
        if event_type is None or (text(record.get("type")) or "track") != "track":
            raise EventError("not_mapped", f"the call {(name or '')[:60]!r} is about no product")
        properties = nested(record.get("properties"), dict, "properties") or {}
        context = nested(record.get("context"), dict, "context") or {}
        message = text(record.get("messageId"))
        if message is None:
            raise EventError("missing:event_id", "the call has no messageId")
        user = text(record.get("userId")) or text(record.get("anonymousId"))
        time = self.time(first_of(*map(record.get, _TIMES)))
        shared = {
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": self.session(_text(context, ("sessionId",)) or _text(properties, _SESSION), user, time),
        }
        if event_type not in ("purchase", "refund"):
            return [{"event_id": message} | shared | self._product(properties, properties)]
        products = nested(properties.get("products"), list, "products")
        order = _text(properties, _ORDER)
        if not products:
            paid = self._for_products(properties) if event_type == "refund" else None
            if paid is None:
                raise EventError("missing:products", f"{name} without products")
            return [shared | self.whole_refund(f"{message}-1", order, paid, properties.get("currency"))]
        once = self.amounts(**{name: properties.get(name) for name in ("discount", "shipping", "tax")})
        return self.lines(
            products,
            lambda line, product: (
                {"event_id": f"{message}-{line}", "order_id": order, "order_line": line}
                | shared
                | self._line(nested(product, dict, "products") or {}, properties)
            ),
            once,
        )

    def _line(self, product: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
        """A product of an order, with what is known beside its price."""
        own = {} if not is_nothing(properties.get("discount")) else self.amounts(discount=product.get("discount"))
        coupon = coupon_of(text(product.get("coupon")) or text(properties.get("coupon")))
        return self._product(product, properties) | own | coupon

    def _for_products(self, properties: Mapping[str, Any]) -> str | None:
        """What was paid for an order's products, without shipping and tax; None where the call does not say."""
        if (paid := self.price(first_of(*map(properties.get, _FOR_PRODUCTS)))) is not None:
            return paid
        if (total := self.price(properties.get("total"))) is None:
            return None
        beside = self.amounts(shipping=properties.get("shipping"), tax=properties.get("tax"))
        return format(Decimal(total) - sum(map(Decimal, beside.values())), "f")

    def _product(self, product: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
        price = self.price(product.get("price"))
        return {
            "product_id": _text(product, _PRODUCT),
            "category": category_path(product.get("category")),
            "brand": text(product.get("brand")),
            "price": price,
            "quantity": whole(product.get("quantity")),
            "currency": self.currency(first_of(properties.get("currency"), product.get("currency")), price),
        }


def _merged(shared: Mapping[str, Any], call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The context of a batch, with what one of its calls says of its own."""
    contexts = (nested(one.get("context"), dict, "context") or {} for one in (shared, call))
    return {key: value for context in contexts for key, value in context.items()}


def _text(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of several fields that is set."""
    return text(first_of(*map(record.get, names)))
