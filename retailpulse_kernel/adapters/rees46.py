"""REES46: "eCommerce behavior data from multi category store", and files of the same columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.adapters.base import Adapter, day_session, exact_price, text, utc_time
from retailpulse_kernel.errors import EventError

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
      sessions that bought something are kept in memory for that.
    - No session in some rows: the user's day is one.
    - No currency: US dollars.
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

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._lines: Counter[str] = Counter()

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """One event for the row."""
        name = text(record.get("event_type"))
        event_type = _TYPES.get(name or "")
        if event_type is None:
            raise EventError("unknown:event_type", f"{(name or '')[:40]!r} is no event type of REES46")
        time = utc_time(record.get("event_time"))
        user = text(record.get("user_id"))
        session = text(record.get("user_session")) or day_session(user, time)
        fields = {
            "event_id": self.event_id(row),
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": session,
            "product_id": text(record.get("product_id")),
            "category": text(record.get("category_code")),
            "brand": text(record.get("brand")),
            "price": exact_price(record.get("price")),
            "quantity": 1,
            "currency": "USD",
        }
        if event_type == "purchase" and session is not None:
            if fields["price"] is None:  # a bad row takes no line of the order
                raise EventError("missing:price", "a purchase needs a price")
            self._lines[session] += 1
            fields |= {"order_id": session, "order_line": self._lines[session]}
        return [fields]
