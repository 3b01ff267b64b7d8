"""Google Analytics 4: rows of its BigQuery export (tables ``events_YYYYMMDD``), as JSONL or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.adapters.base import Adapter, day_session, exact_price, text, whole
from retailpulse_kernel.errors import EventError

__all__ = ["GA4"]

_TYPES = {
    "view_item": "view",
    "select_item": "click",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "purchase": "purchase",
    "refund": "refund",
}
_CATEGORIES = ("item_category", "item_category2", "item_category3", "item_category4", "item_category5")
# An export row has no id of its own; these fields together tell two hits apart.
_IDENTITY = (
    "user_pseudo_id",
    "event_timestamp",
    "event_name",
    "event_bundle_sequence_id",
    "batch_page_id",
    "batch_ordering_id",
    "batch_event_index",
)


class GA4(Adapter):
    """One of a row's items is one event; its position is the order line.

    - Event id: a hash of the fields that identify a hit, and the item's position.
    - User: ``user_pseudo_id`` (it is there before and after a login), else ``user_id``.
    - Session: ``ga_session_id`` counts within a user, so both make the id; without it, the user's day.
    - Category: ``item_category`` to ``item_category5`` as a dot path.
    - Currency: the event parameter ``currency``; ``price_in_usd`` where only that is filled.
    - Other events (page views, scrolls ...) are rejected as ``not_mapped``.
    """

    name: ClassVar[str] = "ga4"
    columns: ClassVar[tuple[str, ...]] = ("event_name", "event_timestamp", "user_pseudo_id", "event_params", "items")
    sparse: ClassVar[bool] = True

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """One event for each item of the row."""
        name = text(record.get("event_name"))
        event_type = _TYPES.get(name or "")
        if event_type is None:
            raise EventError("not_mapped", f"the event {(name or '')[:60]!r} is about no product")
        items = record.get("items")
        if not isinstance(items, list) or not items:
            raise EventError("missing:items", f"a {name} without items")
        params = _params(record.get("event_params"))
        user = _set(record.get("user_pseudo_id")) or _set(record.get("user_id"))
        micros = whole(record.get("event_timestamp"))
        time = micros // 1000 if isinstance(micros, int) and not isinstance(micros, bool) else micros
        session = text(params.get("ga_session_id"))
        ecommerce = record.get("ecommerce")
        order = _set(ecommerce.get("transaction_id")) if isinstance(ecommerce, Mapping) else None
        order = order or _set(params.get("transaction_id"))
        identity = "\x1f".join(str(record.get(field)) for field in _IDENTITY)
        hit = hashlib.blake2b(identity.encode(errors="replace"), digest_size=8).hexdigest()
        shared = {
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": f"{user}.{session}" if user and session else day_session(user, time),
            "order_id": order,
        }
        return [
            {"event_id": f"{hit}-{position}"} | shared | _item(item, position, _set(params.get("currency")))
            for position, item in enumerate(items, start=1)
        ]


def _item(item: Any, position: int, currency: str | None) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise EventError("type:items", "an item is a record")
    price = exact_price(item.get("price"))
    if price is None and (price := exact_price(item.get("price_in_usd"))) is not None:
        currency = "USD"
    parts = [part.strip().replace(".", "_") for name in _CATEGORIES if (part := _set(item.get(name)))]
    return {
        "product_id": _set(item.get("item_id")) or _set(item.get("item_name")),
        "category": ".".join(part for part in parts if part),
        "brand": _set(item.get("item_brand")),
        "price": price,
        "quantity": whole(item.get("quantity")),
        "currency": currency,
        "order_line": position,
    }


def _set(value: Any) -> str | None:
    """GA4 writes "(not set)" where it knows nothing."""
    found = text(value)
    return None if found in ("(not set)", "(none)") else found


def _params(params: Any) -> dict[str, Any]:
    """Event parameters: a list of keys, each with a value in one of four typed fields."""
    if params is None:
        return {}
    if not isinstance(params, list):
        raise EventError("type:event_params", "event_params is a list of key and value")
    found = {}
    for param in params:
        if isinstance(param, Mapping) and isinstance(value := param.get("value"), Mapping):
            fields = ("string_value", "int_value", "float_value", "double_value")
            found[str(param.get("key"))] = next((value[f] for f in fields if value.get(f) is not None), None)
    return found
