"""RetailRocket: the events file of "Retailrocket recommender system dataset"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import text, whole

__all__ = ["RetailRocket"]

_TYPES = {"view": "view", "addtocart": "add_to_cart", "transaction": "purchase"}


class RetailRocket(Adapter):
    """One row is one event; a transaction's rows are one order.

    - No price and no category: they come from `items` (by itemid). A transaction of an item without a price is
      rejected as ``missing:price``, since revenue must not be guessed; views and carts need none.
    - No event id: the file and the row are it. No session: the visitor's day is one. Currency: that
      of the rules, US dollars unless told.
    - The items of a transaction are lines of one order. A record that is read alone is an order of its own.
    """

    name: ClassVar[str] = "retailrocket"
    columns: ClassVar[tuple[str, ...]] = ("timestamp", "visitorid", "event", "itemid", "transactionid")
    needs_source: ClassVar[bool] = True

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event for the row."""
        name = text(record.get("event"))
        event_type = _TYPES.get(name or "")
        if event_type is None:
            raise EventError("unknown:event_type", f"{(name or '')[:40]!r} is not an event of RetailRocket")
        time = whole(record.get("timestamp"))
        visitor = text(record.get("visitorid"))
        product = text(record.get("itemid"))
        item = self.items.get(product or "") if self.items else None
        fields = {
            "event_id": self.event_id(row),
            "event_type": event_type,
            "event_time": time,
            "user_id": visitor,
            "session_id": self.session(None, visitor, time),
            "product_id": product,
            "category": item.category if item else None,
            "price": self.price(item.price) if item else None,
            "quantity": 1,
            "currency": self.rules.currency,
        }
        if event_type == "purchase":
            if fields["price"] is None:
                what = "name a file of items" if self.items is None else f"the file of items has none of {product!r}"
                raise EventError("missing:price", f"a transaction needs a price: {what}"[:200])
            order = text(record.get("transactionid"))
            if order is None:
                raise EventError("missing:order_id", "a transaction needs a transactionid")
            if self.alone:
                order = fields["event_id"]
            fields |= {"order_id": order, "order_line": self.next_line(order)}
        return [fields]
