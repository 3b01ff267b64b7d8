"""Other shops' events as ours: REES46, RetailRocket, GA4 and Segment, from files or from a topic.

`read` goes through a CSV, JSONL or Parquet file (gzip too) row by row, in constant memory, and
gives an `Event` for each line of an order or thing that a user did, or a `Reject` for each row that
can't be one. `adapt` maps one record, whatever it came from: files and topics share it.

To add a format, write a module with one subclass of `Adapter` and name it in `ADAPTERS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from retailpulse_kernel.adapters.base import Adapter, Items
from retailpulse_kernel.adapters.files import BadRow, Rows, open_rows
from retailpulse_kernel.adapters.ga4 import GA4
from retailpulse_kernel.adapters.rees46 import Rees46
from retailpulse_kernel.adapters.retailpulse import RetailPulse
from retailpulse_kernel.adapters.retailrocket import RetailRocket
from retailpulse_kernel.adapters.segment import Segment
from retailpulse_kernel.errors import EventError, UnknownName, UsageError
from retailpulse_kernel.events import Event, parse_event, to_message

__all__ = ["FORMATS", "Accepted", "Adapter", "Items", "Reject", "adapt", "adapter", "read", "read_rows"]

ADAPTERS: Final[dict[str, type[Adapter]]] = {
    kind.name: kind for kind in (RetailPulse, Rees46, RetailRocket, GA4, Segment)
}
FORMATS: Final = tuple(ADAPTERS)


class Reject(NamedTuple):
    """A row that can't be an event.

    Attributes
    ----------
    line : int
        Its line in the file, from 1 (a Parquet file's row).
    reason : str
        A short code, as in `EventError.reason`.
    detail : str
        The same for a human.
    raw : str
        The row as it stands in the file.
    """

    line: int
    reason: str
    detail: str
    raw: str


class Accepted(NamedTuple):
    """An event and the message to send: a RetailPulse line as it is, so that its unknown fields live on."""

    event: Event
    value: bytes


def adapter(format: str, *, source: str = "", items: Items | None = None) -> Adapter:
    """The adapter of a format.

    Parameters
    ----------
    format : str
        One of `FORMATS`.
    source : str
        What an event id starts with where the format has none of its own.
    items : Items, optional
        Category and price by product, for a format whose events lack them (RetailRocket).

    Raises
    ------
    UnknownName
        There is no such format.
    """
    if format not in ADAPTERS:
        raise UnknownName("format", format, FORMATS)
    return ADAPTERS[format](source=source, items=items)


def adapt(format: str, record: dict[str, Any], *, source: str = "", row: int = 1) -> list[dict[str, Any]]:
    """Map one record, such as a topic's message, to fields of our events.

    An order's lines are counted within one call; keep an `adapter` to count them over many.

    Raises
    ------
    UnknownName
        There is no such format.
    EventError
        The record is nothing that our events know.
    """
    return adapter(format, source=source).adapt(record, row)


def read(
    path: str | Path, format: str, *, source: str | None = None, items: str | Path | None = None
) -> Iterator[Event | Reject]:
    """Read a file's events, in the order of the file.

    Parameters
    ----------
    path : str or Path
        CSV, JSONL or Parquet, gzip or plain; the content says which.
    format : str
        One of `FORMATS`.
    source : str, optional
        What event ids start with where the format has none; a hash of the file's content when absent, so
        that the same file read twice gives the same ids.
    items : str or Path, optional
        CSV file with the columns itemid, category and price, for RetailRocket.

    Raises
    ------
    UsageError
        The file or the format is missing, or a column is; known before the first event.
    """
    rows = read_rows(path, format, source=source, items=items)
    return (row.event if isinstance(row, Accepted) else row for row in rows)


def read_rows(
    path: str | Path, format: str, *, source: str | None = None, items: str | Path | None = None
) -> Iterator[Accepted | Reject]:
    """Like `read`, with the message of each event beside it."""
    path = Path(path)
    mapping = adapter(format, items=Items.load(items) if items else None)
    rows = open_rows(path)
    _check_columns(mapping, rows, path)
    if mapping.needs_source:
        mapping.source = source or content_hash(path)
    return _each(mapping, rows)


def content_hash(path: Path) -> str:
    """The first 12 hex digits of the BLAKE2b hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


def _check_columns(mapping: Adapter, rows: Rows, path: Path) -> None:
    if rows.columns is None:
        return
    missing = [name for name in mapping.columns if name not in rows.columns]
    # The first line of a JSONL file may lack a field or two: only a line that has none of them is another format's.
    if missing and (rows.fixed or len(missing) == len(mapping.columns)):
        found = ", ".join(rows.columns[:20]) or "nothing"
        raise UsageError(
            f"{path} has no column {', '.join(repr(name) for name in missing)}, which the format {mapping.name} needs; "
            f"found: {found[:300]}.",
            remedy=f"Check --format (known: {', '.join(FORMATS)}).",
        )


def _each(mapping: Adapter, rows: Rows) -> Iterator[Accepted | Reject]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            yield Reject(row.line, row.reason, row.detail, row.raw)
            continue
        own = row.value if isinstance(mapping, RetailPulse) else None
        try:
            found: list[Any] = [own] if own is not None else mapping.adapt(row.record, number)
        except EventError as error:
            yield Reject(row.line, error.reason, error.detail, row.raw)
            continue
        for fields in found:
            try:
                # Every format passes through the contract's own parser: it alone says what an event is.
                event = parse_event(own or _encode(fields))
            except EventError as error:
                yield Reject(row.line, error.reason, error.detail, row.raw)
            else:
                yield Accepted(event, own or to_message(event))


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError as error:
        reason = "not_utf8" if "UTF-8" in str(error) else "not_json"
        raise EventError(reason, str(error)[:200]) from None
