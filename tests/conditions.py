"""Conditions that are evaluated without Spark, and events on which they are not all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from retailpulse_kernel.shop.events import Event

__all__ = ["CONDITIONS", "EVENTS"]


def _event(number: int, event_type: str = "view", **more: object) -> Event:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return Event(f"e{number}", event_type, at, "u1", "s1", "p1", **more)  # type: ignore[arg-type]


EVENTS = [
    _event(0, brand="Acme", category="electronics.audio", price=Decimal("9.99"), quantity=2),
    _event(1, brand=None, category="electronics", price=None),
    _event(2, "purchase", brand="acme", category="books", price=Decimal("10"), quantity=3, order_id="o1", order_line=1),
    _event(3, "purchase", brand="a%b", price=Decimal("0.0001"), currency="EUR", order_id="o1", order_line=2),
    _event(4, "refund", brand="", category="electronics_2", price=Decimal("29.97"), currency="JPY", order_id="o2",
           order_line=1),
    _event(5, "click", brand="Äcme  Söhne", category="a'b", price=Decimal("99999999999999.9999"), quantity=2**31 - 1),
]  # fmt: skip

#: Each with the numbers of the events that meet it.
CONDITIONS: dict[str, list[int]] = {
    "event_type = 'purchase'": [2, 3],
    "event_type == \"purchase\" and currency <> 'USD'": [3],
    "NOT (currency = 'USD')": [3, 4],
    "brand = 'acme'": [2],
    "brand != 'acme'": [0, 3, 4, 5],
    "NOT brand = 'acme'": [0, 3, 4, 5],
    "lower(brand) = 'acme'": [0, 2],
    "upper(`brand`) LIKE 'ÄCME%'": [5],
    "brand IS NULL": [1],
    "brand is not null AND brand <> ''": [0, 2, 3, 5],
    "brand <=> NULL": [1],
    "brand = NULL": [],
    "brand = 'acme' OR price IS NULL": [1, 2],
    "brand = 'acme' OR brand = NULL": [2],
    "NOT (brand = 'nobody' AND price > 1)": [0, 2, 3, 4, 5],
    "brand IN ('acme', 'Acme')": [0, 2],
    "brand NOT IN ('acme', 'Acme')": [3, 4, 5],
    "brand NOT IN ('acme', NULL)": [],
    "category LIKE 'electronics.%'": [0],
    "category LIKE 'electronics_%'": [0, 4],
    "category NOT LIKE 'electronics%' AND event_type <> 'click'": [2, 3],
    "brand LIKE '%\u00a0%' OR brand LIKE '%  %'": [5],
    'category = "a\'b"': [5],
    "price > 9.99": [2, 4, 5],
    "price >= 9.990": [0, 2, 4, 5],
    "price * quantity = 30": [2],
    "price * quantity > 19.98 + .0": [2, 4, 5],
    "price * quantity = 214748364699999999785251.6353": [5],
    "quantity BETWEEN 2 AND 3": [0, 2],
    "quantity NOT BETWEEN 1 AND 3": [5],
    "-quantity < -1": [0, 2, 5],
    "price BETWEEN NULL AND 5": [],
    "price NOT BETWEEN NULL AND 5": [0, 2, 4, 5],
    "order_line = 1 AND (event_type = 'purchase' OR event_type = 'refund')": [2, 4],
    "order_line = 1 AND event_type = 'purchase' OR currency = 'JPY'": [2, 4],
    "coalesce(order_id, 'none') = 'none'": [0, 1, 5],
    "coalesce(NULL, order_line, 7) > 1": [0, 1, 3, 5],
    "startswith(category, 'electronics') AND endswith(category, 'audio')": [0],
    "contains(brand, '%')": [3],
    "length(brand) = 4": [0, 2],
    "(brand = 'acme') = TRUE": [2],
    "(brand = 'acme') IS NULL": [1],
    "TRUE": [0, 1, 2, 3, 4, 5],
    "FALSE OR NULL": [],
    "event_time = event_time": [0, 1, 2, 3, 4, 5],
}
