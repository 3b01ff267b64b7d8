"""What the tests of the adapters share: rows of REES46, files of JSON lines, and reading a file to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retailpulse_kernel.feed.adapters import Reject, read
from retailpulse_kernel.shop.events import Event

__all__ = ["BUY", "CART", "HEADER", "VIEW", "events_of", "lines", "rees46", "rejects_of"]

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
VIEW = "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,s-1\n"
CART = "2019-10-01 00:00:01 UTC,cart,44600062,2103807459595387724,apparel.shoes,,35.79,541312140,s-1\n"
BUY = "2019-10-01 00:00:02 UTC,purchase,44600062,2103807459595387724,apparel.shoes,,35.79,541312140,s-1\n"


def events_of(path: Path, format: str, **given: Any) -> list[Event]:
    rows = list(read(path, format, **given))
    assert not [row for row in rows if isinstance(row, Reject)]
    return [row for row in rows if isinstance(row, Event)]


def rejects_of(path: Path, format: str) -> list[Reject]:
    return [row for row in read(path, format) if isinstance(row, Reject)]


def lines(path: Path, *records: dict[str, Any] | str) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def rees46(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "events.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
