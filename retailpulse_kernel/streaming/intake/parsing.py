"""What `parse_event` says, for thousands of messages at once.

Plain messages are decoded one by one in C and checked column by column. Whatever is not plain,
good or bad, goes to `parse_event` itself: the columns may only accept what it accepts, with the
same values, and never reject anything on their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.shop.events import (
    MAX_AHEAD,
    MAX_DEPTH,
    ORDER_EVENTS,
    UNKNOWN_CATEGORY,
    Count,
    Event,
    EventType,
    Id,
    parse_event,
)

__all__ = ["EVENT_TYPES", "Parsed", "parse_events"]

_TIME: Final = pa.timestamp("us", tz="UTC")
_MONEY: Final = pa.decimal128(18, 4)

#: Every column of an event, with its type.
EVENT_TYPES: Final[dict[str, pa.DataType]] = {
    "event_id": pa.string(),
    "event_type": pa.string(),
    "event_time": _TIME,
    "user_id": pa.string(),
    "session_id": pa.string(),
    "product_id": pa.string(),
    "category": pa.string(),
    "brand": pa.string(),
    "price": _MONEY,
    "quantity": pa.int32(),
    "currency": pa.string(),
    "order_id": pa.string(),
    "order_line": pa.int32(),
}

#: The columns that the rules are about.
_JUDGED: Final = ("event_type", "event_time", "category", "price", "quantity", "currency", "order_id", "order_line")

# Times as `to_message` writes them; every other form is read by `parse_event`.
_PLAIN_TIME: Final = r"^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?Z$"
_PLAIN_PRICE: Final = r'^(null|"?[0-9]{1,14}(\.[0-9]{1,4})?"?)$'
_PLAIN_CATEGORY: Final = r"^[^.]+(\.[^.]+)*$"
_MAX_AHEAD_MS: Final = int(MAX_AHEAD.total_seconds() * 1000)
# Below both, price times quantity fits DECIMAL(18,4) in any case.
_PLAIN_QUANTITY: Final = 10_000
_PLAIN_AMOUNT: Final = Decimal(10**9)


class _Plain(msgspec.Struct, gc=False):
    """`events.Message` without its patterns, which cost more than all the rest of it."""

    event_id: Id
    event_type: EventType
    event_time: str
    user_id: Id
    session_id: Id
    product_id: Id
    category: Annotated[str, Meta(max_length=256)] | None = None
    brand: Annotated[str, Meta(max_length=256)] | None = None
    price: msgspec.Raw = msgspec.Raw(b"null")
    quantity: Count | None = None
    currency: str | None = None
    order_id: Id | None = None
    order_line: Count | None = None
    schema_version: Annotated[int, Meta(ge=1, le=1)] | None = None


_decode = msgspec.json.Decoder(_Plain).decode


class Parsed(NamedTuple):
    """The verdicts on a chunk of messages.

    Attributes
    ----------
    events : pyarrow.Table
        The columns asked for, and event_id and event_time, of every valid event in the order of the messages.
    positions : numpy.ndarray
        Which message each event came from.
    bad : list of (int, EventError)
        The messages that are not events, and why.
    """

    events: pa.Table
    positions: np.ndarray[Any, Any]
    bad: list[tuple[int, EventError]]


def parse_events(values: Sequence[bytes | None], arrivals_ms: Sequence[int], columns: Sequence[str]) -> Parsed:
    """Judge messages.

    Parameters
    ----------
    values : sequence of bytes or None
        Messages as they came.
    arrivals_ms : sequence of int
        The broker's time of each.
    columns : sequence of str
        Which of `EVENT_TYPES` are wanted.
    """
    wanted = list(dict.fromkeys(("event_id", "event_time", *columns)))
    plain, positions = _plain(values, np.asarray(arrivals_ms, dtype=np.int64), wanted)
    others = np.setdiff1d(np.arange(len(values)), positions, assume_unique=True)
    events, at, bad = [], [], []
    for position in map(int, others):
        try:
            events.append(parse_event(values[position], arrival_ms=arrivals_ms[position]))
            at.append(position)
        except EventError as error:
            bad.append((position, error))
    if not events:
        return Parsed(plain, positions, bad)
    both = pa.concat_tables([plain, _table(events, wanted)])
    positions = np.concatenate([positions, at])
    order = np.argsort(positions)
    return Parsed(both.take(order), positions[order], bad)


def _plain(
    values: Sequence[bytes | None], arrivals_ms: np.ndarray[Any, Any], wanted: Sequence[str]
) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """The plain messages' events, and which they are."""
    decoded, at = [], []
    for position, value in enumerate(values):
        try:
            decoded.append(_decode(value.decode()))  # type: ignore[union-attr]
            at.append(position)
        except (ValueError, AttributeError, RecursionError):
            pass
    positions = np.asarray(at, dtype=np.int64)
    names = dict.fromkeys((*wanted, *_JUDGED))
    lists = {name: [getattr(message, name) for message in decoded] for name in names if name != "price"}
    table = pa.table(
        {
            **{name: pa.array(texts, _READ_AS.get(name, pa.string())) for name, texts in lists.items()},
            "price": pa.array([bytes(message.price) for message in decoded], pa.string()),
        }
    )
    keep = _well_formed(table) & _shallow([values[i] for i in at])
    table, positions = table.filter(pa.array(keep)), positions[keep]
    try:
        table = _typed(table)
    except pa.ArrowInvalid:  # there is a 30th of February among them
        return _table([], wanted), positions[:0]
    keep = _within_limits(table, arrivals_ms[positions])
    return table.filter(pa.array(keep)).select(wanted), positions[keep]


_READ_AS: Final = {"quantity": pa.int32(), "order_line": pa.int32()}


def _well_formed(table: pa.Table) -> np.ndarray[Any, Any]:
    """Which rows' texts have the plain form, and which have the fields that their type needs."""
    category, currency, price = table["category"], table["currency"], table["price"]
    needs_order = pc.is_in(table["event_type"], pa.array(sorted(ORDER_EVENTS)))
    has_order = pc.and_(
        pc.and_(pc.is_valid(table["order_id"]), pc.is_valid(table["order_line"])), pc.not_equal(price, "null")
    )
    checks = [
        pc.match_substring_regex(table["event_time"], _PLAIN_TIME),
        pc.match_substring_regex(price, _PLAIN_PRICE),
        pc.or_(pc.match_substring_regex(pc.fill_null(category, "_"), _PLAIN_CATEGORY), pc.equal(category, "")),
        pc.is_in(pc.fill_null(currency, "USD"), pa.array(sorted(CURRENCIES))),
        pc.or_(pc.invert(needs_order), has_order),
    ]
    return np.logical_and.reduce([pc.fill_null(check, True).to_numpy() for check in checks])


def _shallow(values: Sequence[bytes | None]) -> np.ndarray[Any, Any]:
    """Which messages can't nest too deep, by the number of their brackets."""
    packed = b"".join(value or b"" for value in values)
    # Each has a bracket of its own, so with no more than this none has too many.
    if packed.count(b"{") + packed.count(b"[") < len(values) + MAX_DEPTH:
        return np.ones(len(values), dtype=bool)
    return np.array([value is not None and value.count(b"{") + value.count(b"[") <= MAX_DEPTH for value in values])


def _typed(table: pa.Table) -> pa.Table:
    """Texts as times and decimals, with the defaults filled in."""
    price = pc.utf8_trim(table["price"], characters='"')
    brand = table["brand"] if "brand" in table.column_names else None
    typed = {
        "event_time": pc.cast(table["event_time"], _TIME),
        "price": pc.cast(pc.if_else(pc.equal(price, "null"), None, price), _MONEY),
        "category": _filled(table["category"], UNKNOWN_CATEGORY),
        "currency": pc.fill_null(table["currency"], "USD"),
        "quantity": pc.fill_null(table["quantity"], 1),
    }
    if brand is not None:
        typed["brand"] = pc.if_else(pc.equal(brand, ""), None, brand)
    return pa.table({name: typed.get(name, table[name]) for name in table.column_names})


def _filled(texts: pa.ChunkedArray, default: str) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.fill_null(texts, ""), ""), default, texts)


def _within_limits(table: pa.Table, arrivals_ms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows are not too far ahead of their arrival, and have an ordinary amount."""
    ahead = pc.cast(table["event_time"], pa.int64()).to_numpy() // 1000 - arrivals_ms
    on_time = (ahead <= _MAX_AHEAD_MS) | (arrivals_ms < 0)
    small = pc.and_(
        pc.less(pc.fill_null(table["price"], 0), pa.scalar(_PLAIN_AMOUNT, _MONEY)),
        pc.less_equal(table["quantity"], _PLAIN_QUANTITY),
    )
    return on_time & small.to_numpy()


def _table(events: Sequence[Event], columns: Sequence[str]) -> pa.Table:
    """The columns of events that were read one by one."""
    return pa.table({name: pa.array([getattr(e, name) for e in events], EVENT_TYPES[name]) for name in columns})
