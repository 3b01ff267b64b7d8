"""A file as events: each row mapped, checked by the contract, and accepted or rejected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from retailpulse_kernel.adapters.base import Adapter, Items
from retailpulse_kernel.adapters.files import BadRow, Rows, open_rows
from retailpulse_kernel.adapters.formats import FORMATS, adapter
from retailpulse_kernel.adapters.retailpulse import RetailPulse
from retailpulse_kernel.errors import EventError, UsageError
from retailpulse_kernel.events import Event, parse_event, to_message

__all__ = ["Accepted", "Reading", "Reject", "content_hash", "read", "read_rows"]


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


class Reading:
    """A file on its way to become events; iterate once.

    Attributes
    ----------
    rows : int
        How many rows have been read.
    """

    def __init__(self, mapping: Adapter, rows: Rows) -> None:
        self.rows = 0
        self._mapping = mapping
        self._source = rows

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return self._source.fraction(self.rows)

    def __iter__(self) -> Iterator[Accepted | Reject]:
        for row in self._source:
            self.rows += 1
            if isinstance(row, BadRow):
                yield Reject(*row)
                continue
            own = row.value if isinstance(self._mapping, RetailPulse) else None
            try:
                found: list[Any] = [own] if own is not None else self._mapping.adapt(row.record, self.rows)
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


def read_rows(path: str | Path, format: str, *, source: str | None = None, items: str | Path | None = None) -> Reading:
    """Like `read`, with the message of each event beside it, and how far the reading is."""
    path = Path(path)
    mapping = adapter(format, items=Items.load(items) if items else None)
    rows = open_rows(path)
    _check_columns(mapping, rows, path)
    if mapping.needs_source:
        mapping.source = source or content_hash(path)
    return Reading(mapping, rows)


def content_hash(path: Path) -> str:
    """The first 12 hex digits of the BLAKE2b hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


def _check_columns(mapping: Adapter, rows: Rows, path: Path) -> None:
    if rows.columns is None:
        return
    missing = [name for name in mapping.columns if name not in rows.columns]
    # A JSON object may leave out what is null: only one that has none of the columns is another format's.
    if missing and (rows.fixed or not mapping.sparse or len(missing) == len(mapping.columns)):
        found = ", ".join(rows.columns[:20]) or "nothing"
        raise UsageError(
            f"{path} has no column {', '.join(repr(name) for name in missing)}, which the format {mapping.name} needs; "
            f"found: {found[:300]}.",
            remedy=f"Check --format (known: {', '.join(FORMATS)}).",
        )


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError as error:
        reason = "not_utf8" if "UTF-8" in str(error) else "not_json"
        raise EventError(reason, str(error)[:200]) from None
