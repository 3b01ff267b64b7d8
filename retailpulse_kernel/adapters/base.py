"""What all adapters share: the interface, and careful reading of values of any type."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from retailpulse_kernel.errors import EventError, UsageError

__all__ = ["Adapter", "Item", "Items", "day_session", "exact_price", "text", "utc_time", "whole"]


class Item(NamedTuple):
    """What is known of a product beside the events."""

    category: str
    price: str


class Items(dict[str, Item]):
    """Category and price by product, from a CSV file with the columns itemid, category, price."""

    @classmethod
    def load(cls, path: str | Path) -> Items:
        """Read the file.

        Raises
        ------
        UsageError
            It is missing, not text, or lacks a column.
        """
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                found = list(reader.fieldnames or ())
                missing = {"itemid", "category", "price"} - set(found)
                if missing:
                    raise UsageError(
                        f"{path} has no column {', '.join(sorted(missing))}; found: {', '.join(found)}.",
                        remedy="An items file has the columns itemid, category and price.",
                    )
                return cls(
                    {row["itemid"]: Item(row["category"] or "", row["price"] or "") for row in reader if row["itemid"]}
                )
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"The items file {path} can't be read: {error}.") from error


class Adapter:
    """One format. A subclass names its columns and maps a record.

    Parameters
    ----------
    source : str
        What an event id starts with where the format has none of its own.
    items : Items, optional
        Category and price by product.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    needs_source: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    """Whether a JSON object of this format may leave columns out."""

    def __init__(self, *, source: str = "", items: Items | None = None) -> None:
        self.source = source
        self.items = items

    def adapt(self, record: Mapping[str, Any], row: int) -> list[dict[str, Any]]:
        """The fields of our events that a record holds; `row` counts the source's records from 1.

        Raises
        ------
        EventError
            The record is nothing that our events know.
        """
        raise NotImplementedError

    def event_id(self, row: int) -> str:
        """An id for a record that has none: where it comes from."""
        return f"{self.source}-{row}" if self.source else str(row)


def text(value: Any) -> str | None:
    """An identifier or a name as text; None when there is nothing."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):  # some writers leave text in Parquet as plain bytes
        return value.decode(errors="surrogateescape")
    if isinstance(value, float):
        # A column of ids with gaps becomes float on its way through pandas: 17.0 was 17.
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    raise EventError("type:row", f"a text was expected, found {type(value).__name__}")


def whole(value: Any) -> Any:
    """A count: 2, "2" and 2.0 are the same; anything else is left to the contract to refuse."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, (float, Decimal)):
        if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
            return None
        if -(10**18) < value < 10**18 and value == int(value):
            return int(value)
    return value


def exact_price(value: Any) -> str | None:
    """A price as decimal text; a binary float's noise after the fourth place is taken off, real digits never are."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise EventError("type:price", f"a price was expected, found {type(value).__name__}")
    if isinstance(value, str):
        value = value.strip()
        if len(value) > 40:
            raise EventError("format:price", f"{value[:40]!r} is too long for a price")
    try:
        price = Decimal(repr(value) if isinstance(value, float) else value)
        if not price.is_finite() or price.adjusted() > 15:
            raise EventError("range:price", f"{str(value)[:40]} is not an amount")
        exponent = int(price.as_tuple().exponent)
        rounded = price.quantize(Decimal("0.0001"))
    except (InvalidOperation, ValueError):
        raise EventError("format:price", f"{str(value)[:40]!r} is not a number") from None
    if price == rounded:
        return format(price if -4 <= exponent <= 0 else rounded, "f")
    if isinstance(value, float) and abs(price - rounded) < Decimal("1e-9"):
        return format(rounded.normalize(), "f")
    raise EventError("range:price", f"{str(value)[:40]} has more than 4 decimal places")


def utc_time(value: Any) -> Any:
    """A time in RFC 3339; one without a zone is UTC, as these formats have it."""
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if not isinstance(value, str):
        return value
    value = value.strip().removesuffix(" UTC")
    if len(value) >= 19 and "Z" not in value[19:] and "+" not in value[19:] and "-" not in value[19:]:
        value += "Z"
    return value


def day_session(user: str | None, time: Any) -> str | None:
    """A session for a record without one: the user's day in UTC."""
    if user is None:
        return None
    if isinstance(time, int):
        time = datetime.fromtimestamp(time / 1000, UTC).isoformat() if abs(time) < 10**13 else ""
    return f"{user[:100]}-{str(time)[:10]}"
