"""RetailPulse's own events, from CSV and Parquet; JSONL needs no mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.values import currency_code, is_nothing, text, whole
from retailpulse_kernel.shop.events import Message

__all__ = ["RetailPulse"]


class RetailPulse(Adapter):
    """One row is one event. A line of JSONL goes through as it is, unknown fields included."""

    name: ClassVar[str] = "retailpulse"
    columns: ClassVar[tuple[str, ...]] = (
        "event_id",
        "event_type",
        "event_time",
        "user_id",
        "session_id",
        "product_id",
    )
    reads: ClassVar[tuple[str, ...]] = Message.__struct_fields__

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """The row itself, its values in the types of the contract; other columns are ignored."""
        given = {name: record[name] for name in Message.__struct_fields__ if name in record}
        fields = {name: value for name, value in given.items() if not is_nothing(value)}
        fields = {name: _READ.get(name, text)(value) for name, value in fields.items()}
        if "event_time" in fields:
            fields["event_time"] = _number(fields["event_time"]) or self.time(fields["event_time"])
        if "price" in fields:
            fields["price"] = self.price(fields["price"])
        fields["currency"] = self.currency(fields.get("currency"), fields.get("price"))
        return [fields]


def _number(time: Any) -> Any:
    """Milliseconds since 1970, as a table's text; None where it is no such text."""
    return whole(time) if isinstance(time, str) and time.strip().isdigit() else None


_READ = {
    "event_time": lambda value: value,
    "quantity": whole,
    "order_line": whole,
    "schema_version": whole,
    "price": lambda value: value,
    "currency": currency_code,
}
