"""Google Analytics 4: rows of its BigQuery export (tables ``events_YYYYMMDD``), as JSONL or Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import (
    canonical,
    coupon_of,
    digest,
    exact_number,
    exact_price,
    first_of,
    fitted,
    nested,
    text,
    whole,
)

__all__ = ["GA4"]

_TYPES = {
    "view_item": "view",
    "select_item": "click",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "purchase": "purchase",
    "refund": "refund",
}
#: Fields of a parameter's value.
_TYPED = ("string_value", "int_value", "float_value", "double_value")
_CATEGORIES = ("item_category", "item_category2", "item_category3", "item_category4", "item_category5")
# An export row has no id of its own. These fields tell two hits apart where the export has all of them; hits of one
# batch may share even the microsecond, so that what they say belongs to it too.
_IDENTITY = (
    "user_pseudo_id",
    "event_timestamp",
    "event_name",
    "event_bundle_sequence_id",
    "batch_page_id",
    "batch_ordering_id",
    "batch_event_index",
)
_ITEM_IDENTITY = ("item_id", "item_name", "item_variant", "price", "quantity")


class GA4(Adapter):
    """One of a row's items is one event; its position is the order line.

    - Event id: a hash of what identifies the hit (its batch, order, parameters and items), and the item's position. It
      is the same from JSON, CSV and Parquet. Two rows that are equal in all of it are one hit.
    - User: ``user_pseudo_id`` (it is there before and after a login), else ``user_id``; a hit without consent has
      neither, and gets a user of its own.
    - Session: ``ga_session_id`` counts within a user, so both make the id; without it, the user's day.
    - Product: ``item_id``, else ``item_name``; a name that is longer than an id ends in a hash of itself.
    - Price: ``price``, else ``item_revenue`` divided by the quantity.
    - Category: ``item_category`` to ``item_category5`` as a dot path.
    - Currency: the event parameter ``currency``. Without it the amounts in US dollars count, where they are filled.
    - Further fields: ``shipping`` and ``tax`` on an order's first line, ``coupon`` of the item, else of the order. An
      item's discount is in its price already, and stands in ``discount_in_price``.
    - A refund without items is one of the whole order, at ``refund_value``, else at the parameter ``value``.
    - Other events (page views, scrolls ...) are rejected as ``not_mapped``.
    """

    name: ClassVar[str] = "ga4"
    columns: ClassVar[tuple[str, ...]] = ("event_name", "event_timestamp", "user_pseudo_id", "event_params", "items")
    reads: ClassVar[tuple[str, ...]] = (*columns, *_IDENTITY, "user_id", "ecommerce")

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event for each item of the row."""
        name = text(record.get("event_name"))
        event_type = _TYPES.get(name or "")
        if event_type is None:
            raise EventError("not_mapped", f"the event {(name or '')[:60]!r} is about no product")
        items = [nested(item, dict, "items") or {} for item in nested(record.get("items"), list, "items") or ()]
        if not items and event_type != "refund":
            raise EventError("missing:items", f"a {name} without items")
        params = _params(nested(record.get("event_params"), list, "event_params"))
        ecommerce = nested(record.get("ecommerce"), dict, "ecommerce") or {}
        order = _set(ecommerce.get("transaction_id")) or _set(params.get("transaction_id"))
        hit = _identity(record, order, params, items)
        user = _set(record.get("user_pseudo_id")) or _set(record.get("user_id"))
        if user is None and self.rules.users == "own":
            self.changed.append("derived:user_id")
            user = f"no-consent.{hit}"
        micros = whole(record.get("event_timestamp"))
        time = micros
        if isinstance(micros, int) and not isinstance(micros, bool):
            time, below = divmod(micros, 1000)
            self.changed += ["cut:event_time"] if below else []
        session = text(params.get("ga_session_id"))
        shared = {
            "event_type": event_type,
            "event_time": time,
            "user_id": user,
            "session_id": self.session(f"{user}.{session}" if user and session else None, user, time),
            "order_id": order,
        }
        currency = _set(params.get("currency"))
        if not items:
            value = self.price(first_of(ecommerce.get("refund_value"), params.get("value")))
            if value is None:
                raise EventError("missing:items", f"a {name} without items and without a value")
            return [shared | self.whole_refund(f"{hit}-1", order, value, currency)]
        order_wide = self._order(ecommerce, params) if event_type in ("purchase", "refund") else {}
        coupon = _set(params.get("coupon"))
        return self.lines(
            items,
            lambda line, item: (
                {"event_id": f"{hit}-{line}", "order_line": line}
                | shared
                | self._item(item, currency)
                | coupon_of(_set(item.get("coupon")) or coupon)
            ),
            order_wide,
        )

    def _order(self, ecommerce: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
        """What is known of the order as a whole, in the currency of its items."""
        suffix = "" if _set(params.get("currency")) else "_in_usd"

        def found(name: str) -> Any:
            local = first_of(ecommerce.get(f"{name}_value"), params.get(name))
            return first_of(ecommerce.get(f"{name}_value{suffix}"), local)

        return self.amounts(shipping=found("shipping"), tax=found("tax"))

    def _item(self, item: Mapping[str, Any], currency: str | None) -> dict[str, Any]:
        quantity = whole(item.get("quantity"))
        pieces = quantity if isinstance(quantity, int) and not isinstance(quantity, bool) and quantity > 0 else 1
        amounts = ("_in_usd", "") if currency is None else ("", "_in_usd")
        found = ((suffix, self._price_of(item, suffix, pieces)) for suffix in amounts)
        suffix, price = next((one for one in found if one[1] is not None), ("", None))
        if suffix:
            self.changed.append("chosen:price_in_usd")
        words = [word.strip() for name in _CATEGORIES if (word := _set(item.get(name)))]
        parts = [word.replace(".", "_") for word in words]
        self.changed += ["replaced:category"] if parts != words else []
        return {
            "product_id": _set(item.get("item_id")) or self._named(_set(item.get("item_name"))),
            "category": ".".join(part for part in parts if part),
            "brand": _set(item.get("item_brand")),
            "price": price,
            "quantity": quantity,
            "currency": "USD" if suffix else self.currency(currency, price),
            **self.amounts(discount_in_price=_times(item.get("discount"), pieces)),
        }

    def _price_of(self, item: Mapping[str, Any], suffix: str, pieces: int) -> str | None:
        """The item's price, else its share of what its pieces brought in."""
        if (price := self.price(item.get(f"price{suffix}"))) is not None:
            return price
        revenue = exact_number(item.get(f"item_revenue{suffix}"))
        if revenue is None:
            return None
        self.changed.append("derived:price")
        return exact_price(revenue / pieces, self.changed, every=True)

    def _named(self, name: str | None) -> str | None:
        if name is None:
            return None
        self.changed.append("derived:product_id")
        return fitted(name)


def _identity(
    record: Mapping[str, Any], order: str | None, params: Mapping[str, Any], items: list[Mapping[str, Any]]
) -> str:
    content = [
        *(record.get(field) for field in _IDENTITY),
        order,
        params,
        [[item.get(field) for field in _ITEM_IDENTITY] for item in items],
    ]
    return digest(canonical(content))


def _times(amount: Any, pieces: int) -> Any:
    """What a discount of one piece is for all of them; something that is no number stays as it is."""
    try:
        exact = exact_number(amount)
    except EventError:
        return amount
    return None if exact is None else exact * pieces


def _set(value: Any) -> str | None:
    """GA4 writes "(not set)" where it knows nothing."""
    found = text(value)
    return None if found in ("(not set)", "(none)") else found


def _params(params: list[Any] | None) -> dict[str, Any]:
    """Event parameters: a list of keys, each with a value in one of four typed fields."""
    found: dict[str, Any] = {}
    for param in params or ():
        name, value = (param.get("key"), param.get("value")) if isinstance(param, Mapping) else (None, param)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise EventError(
                "type:event_params", f"a parameter is a key and a value of typed fields, not {value!r:.60}"
            )
        said = next((value[f] for f in _TYPED if value.get(f) is not None), None)
        if found.setdefault(str(name), said) != said:
            raise EventError("type:event_params", f"the parameter {str(name)[:60]!r} comes twice, with two values")
    return found
