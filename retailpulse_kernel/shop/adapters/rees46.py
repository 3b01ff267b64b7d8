"""REES46: "eCommerce behavior data from multi category store", and files of the same columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import text, utc_time

__all__ = ["Rees46"]

_TYPES = {
    "view": "view",
    "cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "purchase": "purchase",
}


class Rees46(Adapter):
    """One row is one event.

    - No event id: the file and the row are it. Two equal rows are two events (a genuine repeat), the same
      file sent twice is not.
    - No order id: a session's purchases are one order, its lines counted in the order of the file. Only the
      sessions that bought something are kept in memory for that. A record that is read alone is an order of its own.
    - No session in some rows: the user's day is one.
    - No currency: that of the rules, US dollars as in the data set.
    """

    name: ClassVar[str] = "rees46"
    columns: ClassVar[tuple[str, ...]] = (
        "event_time",
        "event_type",
        "product_id",
        "category_code",
        "brand",
        "price",
        "user_id",
        "user_session",
    )
    needs_source: ClassVar[bool] = True

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event for the row."""
        name = text(record.get("event_type"))
        event_type = _TYPES.get(name or "")
        if event_type is None:
            raise EventError("unknown:event_type", f"{(name or '')[:40]!r} is not an event type of REES46")
        time = utc_time(record.get("event_time"))
        user = text(record.get("user_id"))
        session = self.session(text(record.get("user_session")), user, time)
        price = self.price(record.get("price"))
        fields = {
            "event_id": self.event_id(row),
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": session,
            "product_id": text(record.get("product_id")),
            "category": text(record.get("category_code")),
            "brand": text(record.get("brand")),
            "price": price,
            "quantity": 1,
            "currency": self.rules.currency,
        }
        if event_type == "purchase" and session is not None:
            if price is None:  # a bad row takes no line of the order
                raise EventError("missing:price", "a purchase needs a price")
            order = fields["event_id"] if self.alone else session
            fields |= {"order_id": order, "order_line": self.next_line(order)}
        return [fields]
