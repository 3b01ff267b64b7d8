"""A file as events: each row mapped, checked by the contract, and accepted or rejected."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from retailpulse_kernel.feed.adapters.files import open_rows
from retailpulse_kernel.feed.adapters.rows import BadRow, Row, Rows
from retailpulse_kernel.ground.errors import EventError, UsageError
from retailpulse_kernel.shop.adapters.base import Adapter, Rules
from retailpulse_kernel.shop.adapters.formats import adapter, adapters_of
from retailpulse_kernel.shop.adapters.placing import at, kept_cells, kept_parts, placed
from retailpulse_kernel.shop.adapters.records import assumed, message_of, record_of
from retailpulse_kernel.shop.adapters.retailpulse import RetailPulse
from retailpulse_kernel.shop.adapters.values import is_cut
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.mapping.items import Items
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.contract.paths import path_text
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event, Message, fields_of, to_message
from retailpulse_kernel.shop.personal import told_detail

__all__ = ["AUTO", "Accepted", "Reading", "Reject", "read", "read_rows"]

#: The format that is told by a file's columns.
AUTO: Final = "auto"
_NO_COLUMNS: Final = "none of its first rows is a JSON object of UTF-8"


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
    """Rows on their way to become events; iterate once.

    Attributes
    ----------
    format, known_by : str
        The format's name, and the columns that told it when nobody named one.
    rows : int
        How many rows have been read.
    changed : Counter
        Rows in which a value was rounded, derived, chosen or defaulted, by which: ``rounded:price``.
    ignored : tuple of str
        Columns of a table that the format does not read.
    contract : Contract
        What says what an event is.
    """

    def __init__(self, mapping: Adapter, rows: Rows, known_by: str = "", contract: Contract | None = None) -> None:
        self.contract = (shipped() if contract is None else contract).decoding
        self._parse = reader_of(self.contract).parse
        self.format = mapping.name
        self.known_by = known_by
        self.rows = 0
        self.changed: Counter[str] = Counter()
        self._defaults = [field for field in self.contract.own if field.default is not None]
        own = (name for field in self.contract.fields for name in (str(field.steps[0]), path_text(field.steps)))
        reads = {*(mapping.reads or mapping.columns), *own}
        self.ignored = tuple(name for name in (rows.columns or ()) if name not in reads) if rows.fixed else ()
        self._mapping = mapping
        self._source = rows

    @property
    def fraction(self) -> float:
        """How much has been read, from 0 to 1."""
        return self._source.fraction(self.rows)

    def __iter__(self) -> Iterator[Accepted | Reject]:
        for row in self._source:
            self.rows += 1
            if isinstance(row, BadRow):
                yield Reject(*row)
                continue
            try:
                # Every format passes through the contract's own parser: it alone says what an event is.
                if row.value is not None and isinstance(self._mapping, RetailPulse):
                    yield self._judged(row, row.value)
                else:
                    yield from self._mapped(row)
            except EventError as error:
                yield _reject(row, error, self.contract)
            self._count_lost()
        self._mapping.lost += self._mapping.owed
        self._count_lost()

    def _count_lost(self) -> None:
        """Count the amounts of orders of which no line is an event."""
        self.changed.update(f"left_out:{name}" for name in self._mapping.lost)
        self._mapping.lost.clear()

    def _judged(self, row: Row, value: bytes) -> Accepted | Reject:
        """The event of a message that is sent as it is."""
        try:
            event = self._parse(value, arrival_ms=row.arrival_ms, place=str(row.line))
        except EventError as error:
            return _reject(row, error, self.contract)
        if self._defaults or not self.contract.holds_events:
            self.changed.update(self._assumed_of_own(record_of(value)))
        if not self.contract.holds_events:
            return Accepted(event, value)
        given = self._given(value)
        self.changed.update(assumed(given, event.event_type, event.price))
        currency = self._mapping.rules.currency
        if event.price is None or given.get("currency") is not None or currency == Rules.currency:
            return Accepted(event, value)
        value = self._message({"currency": currency}, record_of(value))
        return Accepted(self._parse(value, arrival_ms=row.arrival_ms), value)

    def _given(self, value: bytes) -> Mapping[str, Any]:
        """What a message itself says of the fields that `assumed` looks at."""
        if self.contract.moved:
            return self._named(record_of(value))
        return msgspec.structs.asdict(_look(value))

    def _assumed_of_own(self, record: Mapping[str, Any]) -> Iterator[str]:
        """What the contract assumes or cuts of the fields that are not the standard event's."""
        for field in self._defaults:
            if at(record, field.steps) is None:
                yield f"defaulted:{field.name}"
        if self.contract.time and is_cut(at(record, self.contract.by_name[self.contract.time].steps)):
            yield "cut:event_time"

    def _mapped(self, row: Row) -> Iterator[Accepted | Reject]:
        """The events of a row, each judged by the contract, and written as its message."""
        record = self._mapping.opened(row.value or b"") if row.fields is None else self._named(row.fields)
        self._mapping.changed.clear()
        self._mapping.once.clear()
        found = self._mapping.adapt(record, self.rows)
        changed = set(self._mapping.changed)
        own = self.contract.own
        kept: Mapping[str, Any] = kept_parts(record, own) if row.fields is None else kept_cells(record, own)
        for fields in found:
            try:
                if isinstance(fields, EventError):
                    raise fields
                accepted = self._written(row, fields, kept)
            except EventError as error:
                self._mapping.lost += self._mapping.once.get(id(fields), ())
                yield _reject(row, error, self.contract)
                continue
            changed.update(assumed(fields, accepted.event.event_type, accepted.event.price))
            changed.update(self._assumed_of_own(kept))
            yield accepted
        self.changed.update(changed)

    def _written(self, row: Row, fields: dict[str, Any], kept: Mapping[str, Any]) -> Accepted:
        further = {name: value for name, value in fields.items() if name not in Message.__struct_fields__}
        event = self._parse(self._message(fields, kept), arrival_ms=row.arrival_ms)
        plain = not further and not kept and self.contract.is_plain
        return Accepted(event, to_message(event) if plain else self._message(fields_of(event) | further, kept))

    def _message(self, fields: dict[str, Any], kept: Mapping[str, Any]) -> bytes:
        message = message_of(placed(fields, self.contract, kept))
        if isinstance(message, EventError):
            raise message
        return message

    def _named(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A table's row with the standard fields under their names, where the contract has other columns for them."""
        moved = {field.name: at(record, field.steps) for field in self.contract.moved}
        return {name: value for name, value in moved.items() if value is not None} | {**record} if moved else record


class _Given(msgspec.Struct):
    """The fields that `assumed` looks at. A whole message takes as long to read again as for the first time."""

    event_time: Any = None
    quantity: Any = None
    currency: Any = None


_look: Final = msgspec.json.Decoder(_Given).decode


def _reject(row: Row, error: EventError, contract: Contract) -> Reject:
    return Reject(row.line, error.reason, told_detail(error.reason, error.detail, contract), row.raw)


def read(
    path: str | Path,
    format: str = AUTO,
    *,
    source: str | None = None,
    items: str | Path | None = None,
    rules: Rules | None = None,
) -> Iterator[Event | Reject]:
    """Read a file's events, in the order of the file.

    Parameters
    ----------
    path : str or Path
        CSV, JSON, JSONL or Parquet, plain or packed (gzip, zstd, bzip2, xz, a zip of one file); the content says which.
    format : str
        One of `FORMATS`; ``auto`` takes the one whose columns the file has.
    source : str, optional
        What event ids start with where the format has none; a hash of the file's content when absent, so
        that the same file read twice gives the same ids.
    items : str or Path, optional
        CSV file with the columns itemid, category and price, for RetailRocket.
    rules : Rules, optional
        Choices where shops differ.

    Raises
    ------
    UsageError
        The file or the format is missing, or a column is; known before the first event.
    """
    rows = read_rows(path, format, source=source, items=items, rules=rules)
    return (row.event if isinstance(row, Accepted) else row for row in rows)


def read_rows(
    path: str | Path,
    format: str = AUTO,
    *,
    source: str | None = None,
    items: str | Path | None = None,
    rules: Rules | None = None,
    contract: Contract | None = None,
) -> Reading:
    """Like `read`, with the message of each event beside it, and how far the reading is.

    Parameters
    ----------
    path : str or Path
        A file of that format.
    format : str
        One of `FORMATS`, or ``auto``.
    source : str, optional
        Goes into the ids of events that have none; the file's hash when absent.
    items : str or Path, optional
        For RetailRocket: the file with the items' categories and prices.
    rules : Rules, optional
        Choices where shops differ.
    contract : Contract, optional
        What a message holds, and the shop's own formats; the shipped one when absent.
    """
    path = Path(path)
    contract = shipped() if contract is None else contract
    own = contract.formats
    if format != AUTO:
        adapter(format, own=own)  # an unknown one is told before the file is opened
    prices = Items.load(items) if items else None
    known = adapters_of(own)
    rows = open_rows(path, [kind.headless for kind in known.values() if kind.headless and format in (AUTO, kind.name)])
    names = {path_text(field.steps): field.name for field in contract.moved}
    columns = tuple(names.get(name, name) for name in rows.columns or ())
    known_by = ""
    if format == AUTO:
        format, known_by = _recognised(known, columns, path)
    mapping = adapter(format, items=prices, rules=rules, own=own)
    if rows.columns is not None:
        _check_columns(mapping, known, columns, rows.fixed, path)
    if mapping.needs_source:
        mapping.source = source or content_hash(path)
    return Reading(mapping, rows, known_by, contract)


def content_hash(path: Path) -> str:
    """The first 12 hex digits of the BLAKE2b hash of a file's bytes.

    Parameters
    ----------
    path : Path
        A file of any size; it is read in pieces.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


def _check_columns(
    mapping: Adapter, known: Mapping[str, type[Adapter]], columns: Sequence[str], fixed: bool, path: Path
) -> None:
    missing = mapping.missing_in(columns)
    # A JSON object may leave out what is null; a file that has all columns of another format is of that one.
    others = [kind for kind in known.values() if kind.name != mapping.name and not kind.missing_in(columns)]
    if missing and (fixed or others or not mapping.found_in(columns)):
        found = ", ".join(columns[:20]) or "nothing"
        raise UsageError(
            f"{path} has no column {', '.join(repr(name) for name in missing)}, which the format {mapping.name} needs; "
            f"found: {found[:300]}.",
            remedy=f"Check --format (known: {', '.join(known)}).",
        )


def _recognised(known: Mapping[str, type[Adapter]], columns: Sequence[str], path: Path) -> tuple[str, str]:
    """The format that has most of its columns in a file, and which columns these are.

    Parameters
    ----------
    known : mapping of str to type
        The formats.
    columns : sequence of str
        Those of the file.
    path : Path
        The file, for the error.

    Raises
    ------
    UsageError
        No format has half of its columns there, or two have as many.
    """
    shares = {
        name: 1 - len(kind.missing_in(columns)) / len(kind.columns)
        for name, kind in known.items()
        if kind.found_in(columns)
    }
    best = max(shares.values(), default=0.0)
    likely = [name for name, share in shares.items() if share == best]
    if best < 0.5 or len(likely) > 1:
        raise UsageError(
            f"The format of {path} can't be told by its columns: {', '.join(columns[:20]) or _NO_COLUMNS}.",
            remedy=f"Name it with --format (known: {', '.join(known)}).",
        )
    return likely[0], ", ".join(known[likely[0]].found_in(columns))
