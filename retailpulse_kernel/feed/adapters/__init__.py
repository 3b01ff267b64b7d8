"""Other shops' files as events.

`read` goes through a CSV, JSON, JSONL or Parquet file, packed or plain, row by row, in constant memory, and
gives an `Event` for each line of an order or thing that a user did, or a `Reject` for each row that
can't be one. `adapt` maps one record, whatever it came from: files and topics share the adapters of `shop/adapters`.
"""

from __future__ import annotations

from retailpulse_kernel.feed.adapters.reading import AUTO, Accepted, Reading, Reject, read, read_rows
from retailpulse_kernel.feed.adapters.rows import Row, Rows
from retailpulse_kernel.shop.adapters.base import Adapter, Rules
from retailpulse_kernel.shop.adapters.formats import FORMATS, adapt, adapter
from retailpulse_kernel.shop.contract.mapping.items import Items
from retailpulse_kernel.shop.contract.model import PRICES, USERS

__all__ = [
    "AUTO",
    "FORMATS",
    "PRICES",
    "USERS",
    "Accepted",
    "Adapter",
    "Items",
    "Reading",
    "Reject",
    "Row",
    "Rows",
    "Rules",
    "adapt",
    "adapter",
    "read",
    "read_rows",
]
