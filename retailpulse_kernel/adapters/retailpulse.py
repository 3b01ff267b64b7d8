"""RetailPulse's own events, from CSV and Parquet; JSONL needs no mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retailpulse_kernel.adapters.base import Adapter, exact_price, utc_time, whole

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
    sparse: ClassVar[bool] = True

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """The row itself, its values in the types of the contract."""
        fields = {name: value for name, value in record.items() if value is not None and value != ""}
        time = fields.get("event_time")
        fields["event_time"] = whole(time) if isinstance(time, str) and time.isdigit() else utc_time(time)
        for name in ("quantity", "order_line", "schema_version"):
            if name in fields:
                fields[name] = whole(fields[name])
        if "price" in fields:
            fields["price"] = exact_price(fields["price"])
        return [fields]
