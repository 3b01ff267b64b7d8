"""What the reader of a contract says, for thousands of messages at once.

Plain messages are decoded one by one in C and checked column by column. Whatever is not plain,
good or bad, goes to the reader's `parse` itself: the columns may only accept what it accepts, with the
same values, and never reject anything on their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.times import plain_times
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.shop.decoding import ARRIVALS_MS, reader_of
from retailpulse_kernel.shop.events import MAX_AHEAD, MAX_DEPTH, ORDER_EVENTS, UNKNOWN_CATEGORY, YEARS, Event
from retailpulse_kernel.streaming.intake.shapes import Shape, column_types, shape_of

__all__ = ["EVENT_TYPES", "Parsed", "parse_events"]

_TIME: Final = pa.timestamp("us", tz="UTC")
_MONEY: Final = pa.decimal128(18, 4)
_SINCE, _UNTIL = (pa.scalar(moment, _TIME) for moment in YEARS)

#: Every column of an event of the shipped contract, with its type.
EVENT_TYPES: Final[dict[str, pa.DataType]] = column_types(shipped())

#: The columns that the rules are about.
_JUDGED: Final = ("event_type", "event_time", "category", "price", "quantity", "currency", "order_id", "order_line")

_PLAIN_PRICE: Final = r'^(null|"?[0-9]{1,14}(\.[0-9]{1,4})?"?)$'
_PLAIN_CATEGORY: Final = r"^[^.]+(\.[^.]+)*$"
_MAX_AHEAD_MS: Final = int(MAX_AHEAD.total_seconds() * 1000)
_NEVER_US: Final = 2**62
# Below both, price times quantity fits DECIMAL(18,4) in any case.
_PLAIN_QUANTITY: Final = 10_000
_PLAIN_AMOUNT: Final = Decimal(10**9)


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


def parse_events(
    values: Sequence[bytes | None],
    arrivals_ms: Sequence[int],
    columns: Sequence[str],
    contract: Contract | None = None,
    places: Sequence[str] = (),
) -> Parsed:
    """Judge messages.

    Parameters
    ----------
    values : sequence of bytes or None
        Messages as they came.
    arrivals_ms : sequence of int
        The broker's time of each.
    columns : sequence of str
        Which of the contract's columns are wanted.
    contract : Contract, optional
        What the messages hold; the shipped one when absent.
    places : sequence of str
        Where each message is, ``PARTITION-OFFSET``: its id, where the contract counts each message.
    """
    shape = shape_of(shipped() if contract is None else contract)
    parse_event = reader_of(shape.contract).parse
    wanted = list(dict.fromkeys(("event_id", "event_time", *columns)))
    plain, positions = _plain(shape, values, np.asarray(arrivals_ms, dtype=np.int64), wanted, places)
    place_of = places.__getitem__ if shape.contract.counts_messages else _nowhere
    others = np.setdiff1d(np.arange(len(values)), positions, assume_unique=True)
    events, at, bad = [], [], []
    for position in map(int, others):
        try:
            arrival_ms, place = arrivals_ms[position], place_of(position)
            events.append(parse_event(values[position], arrival_ms=arrival_ms, place=place))
            at.append(position)
        except EventError as error:
            bad.append((position, error))
    if not events:
        return Parsed(plain, positions, bad)
    both = pa.concat_tables([plain, _table(shape, events, wanted)])
    positions = np.concatenate([positions, at])
    order = np.argsort(positions)
    return Parsed(both.take(order), positions[order], bad)


def _nowhere(position: int) -> str:
    return ""


def _plain(
    shape: Shape,
    values: Sequence[bytes | None],
    arrivals_ms: np.ndarray[Any, Any],
    wanted: Sequence[str],
    places: Sequence[str],
) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """The plain messages' events, and which they are."""
    decode = shape.decode
    decoded, at = [], []
    for position, value in enumerate(values):
        try:
            decoded.append(decode(value.decode()))  # type: ignore[union-attr]
            at.append(position)
        except (ValueError, AttributeError, RecursionError):
            pass
    positions = np.asarray(at, dtype=np.int64)
    shallow = _shallow([values[i] for i in at])
    if not shape.contract.holds_events:
        return _of_another_shape(shape, decoded, positions, shallow, arrivals_ms, wanted, places)
    own, keep = shape.own(decoded, wanted)
    names = dict.fromkeys(name for name in (*wanted, *_JUDGED, *shape.missing) if name not in own)
    lists = {name: shape.values(decoded, name) for name in names if name not in ("price", "event_time")}
    prices = shape.values(decoded, "price")
    table = pa.table(
        {
            **{name: pa.array(texts, _READ_AS.get(name, pa.string())) for name, texts in lists.items()},
            "event_time": _whole_ms(plain_times(shape.values(decoded, "event_time"))),
            "price": pa.array([bytes(price or b"null") for price in prices], pa.string()),
            **own,
        }
    )
    for name in shape.missing:
        keep &= pc.is_valid(table[name]).to_numpy()
    keep &= _well_formed(table) & shallow
    table, positions = _typed(table.filter(pa.array(keep))), positions[keep]
    keep = _within_limits(table, arrivals_ms[positions])
    return table.filter(pa.array(keep)).select(wanted), positions[keep]


def _of_another_shape(
    shape: Shape,
    decoded: Sequence[Any],
    positions: np.ndarray[Any, Any],
    keep: np.ndarray[Any, Any],
    arrivals_ms: np.ndarray[Any, Any],
    wanted: Sequence[str],
    places: Sequence[str],
) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """The events of plain messages that are not standard events, and which they are."""
    contract, arrivals = shape.contract, arrivals_ms[positions]
    columns, judged = shape.own(decoded, [*wanted, contract.id, contract.time])
    if contract.time:
        columns["event_time"] = _whole_ms(columns[contract.time])
        on_time = _arrived(columns["event_time"], arrivals)
    else:
        columns["event_time"] = pa.array(arrivals * 1000, pa.int64()).cast(_TIME)
        on_time = (arrivals >= ARRIVALS_MS[0]) & (arrivals < ARRIVALS_MS[1])
    if contract.id:
        columns["event_id"] = pc.cast(columns[contract.id], pa.string())
    else:
        columns["event_id"] = pa.array([places[position] for position in positions], pa.string())
    keep = keep & judged & on_time
    table = pa.table({name: columns[name] for name in wanted})
    return table.filter(pa.array(keep)), positions[keep]


_READ_AS: Final = {"quantity": pa.int32(), "order_line": pa.int32()}


def _well_formed(table: pa.Table) -> np.ndarray[Any, Any]:
    """Which rows' texts have the plain form, and which have the fields that their type needs."""
    category, currency, price = table["category"], table["currency"], table["price"]
    needs_order = pc.is_in(table["event_type"], pa.array(sorted(ORDER_EVENTS)))
    has_order = pc.and_(
        pc.and_(pc.is_valid(table["order_id"]), pc.is_valid(table["order_line"])), pc.not_equal(price, "null")
    )
    checks = [
        pc.fill_null(pc.and_(pc.less_equal(_SINCE, table["event_time"]), pc.less(table["event_time"], _UNTIL)), False),
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
        "price": pc.cast(pc.if_else(pc.equal(price, "null"), None, price), _MONEY),
        "category": _filled(table["category"], UNKNOWN_CATEGORY),
        "currency": pc.fill_null(table["currency"], "USD"),
        "quantity": pc.fill_null(table["quantity"], 1),
    }
    if brand is not None:
        typed["brand"] = pc.if_else(pc.equal(brand, ""), None, brand)
    return pa.table({name: typed.get(name, table[name]) for name in table.column_names})


def _whole_ms(times: pa.Array) -> pa.Array:
    """Times since 1970, cut to milliseconds."""
    return pc.multiply(pc.divide(times.cast(pa.int64()), 1_000), 1_000).cast(_TIME)


def _filled(texts: pa.ChunkedArray, default: str) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.fill_null(texts, ""), ""), default, texts)


def _within_limits(table: pa.Table, arrivals_ms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows are not too far ahead of their arrival, and have an ordinary amount."""
    small = pc.and_(
        pc.less(pc.fill_null(table["price"], 0), pa.scalar(_PLAIN_AMOUNT, _MONEY)),
        pc.less_equal(table["quantity"], _PLAIN_QUANTITY),
    )
    return _arrived(table["event_time"], arrivals_ms) & small.to_numpy()


def _arrived(times: pa.Array | pa.ChunkedArray, arrivals_ms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which times are not too far ahead of the broker's time; a time that is null is."""
    ahead = pc.fill_null(pc.cast(times, pa.int64()), _NEVER_US).to_numpy(zero_copy_only=False) // 1000 - arrivals_ms
    return (ahead <= _MAX_AHEAD_MS) | (arrivals_ms < 0)


def _table(shape: Shape, events: Sequence[Event], columns: Sequence[str]) -> pa.Table:
    """The columns of events that were read one by one."""
    return pa.table({name: pa.array([getattr(e, name) for e in events], shape.types[name]) for name in columns})
