"""Other shops' events as ours: REES46, RetailRocket, GA4 and Segment, from files or from a topic.

`read` goes through a CSV, JSONL or Parquet file (gzip too) row by row, in constant memory, and
gives an `Event` for each line of an order or thing that a user did, or a `Reject` for each row that
can't be one. `adapt` maps one record, whatever it came from: files and topics share it.

To add a format, write a module with one subclass of `Adapter` and name it in `formats.ADAPTERS`.
"""

from __future__ import annotations

from retailpulse_kernel.adapters.base import Adapter, Items
from retailpulse_kernel.adapters.formats import FORMATS, adapt, adapter
from retailpulse_kernel.adapters.reading import Accepted, Reading, Reject, read, read_rows

__all__ = ["FORMATS", "Accepted", "Adapter", "Items", "Reading", "Reject", "adapt", "adapter", "read", "read_rows"]
