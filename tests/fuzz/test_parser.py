"""Whatever a message holds, the parser gives an event that keeps the contract, or one of its reasons."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from decimal import Decimal

import orjson
import pyarrow as pa
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.shop.events import EVENT_TYPES, ORDER_EVENTS, REASONS, Event, Message, parse_event, to_message
from retailpulse_kernel.streaming.intake.rejects import reject_record
from tests.fuzz.forms import fuzzed, json_texts, literals

VIEW = {
    "event_id": "e-1", "event_type": "view", "event_time": "2026-01-01T10:00:00.123Z", "user_id": "u-1",
    "session_id": "s-1", "product_id": "p-1",
}  # fmt: skip
PURCHASE = VIEW | {
    "event_type": "purchase", "category": "a.b", "brand": "b", "price": "19.90", "quantity": 2, "currency": "EUR",
    "order_id": "o-1", "order_line": 1, "schema_version": 1,
}  # fmt: skip

_ARRIVALS = st.none() | st.integers(-1, 2**62)


def judge(value: bytes | None, arrival_ms: int | None = None) -> Event | None:
    """The one thing that is demanded of the parser."""
    try:
        event = parse_event(value, arrival_ms=arrival_ms)
    except EventError as error:
        assert error.reason in REASONS
        assert len(error.detail) <= 200
        record = reject_record(
            value, topic="t", partition=0, offset=0, arrival_ms=0, reason=error.reason, detail=error.detail
        )
        assert orjson.loads(record)["reason"] == error.reason, "it can be sent to the dead-letter topic"
        return None
    assert_contract(event)
    again = to_message(event)
    assert parse_event(again) == event
    assert to_message(parse_event(again)) == again
    return event


def assert_contract(event: Event) -> None:
    for text in (event.event_id, event.user_id, event.session_id, event.product_id):
        assert 1 <= len(text) <= 128
    assert event.event_type in EVENT_TYPES
    assert event.event_time.utcoffset() == timedelta(0)
    assert event.event_time.tzinfo is UTC
    assert 2000 <= event.event_time.year <= 2100
    assert event.event_time.microsecond % 1000 == 0
    assert event.category
    assert all(event.category.split("."))
    assert len(event.category) <= 256
    assert event.brand is None or 1 <= len(event.brand) <= 256
    assert type(event.quantity) is int
    assert 1 <= event.quantity < 2**31
    assert event.currency in CURRENCIES
    assert event.schema_version == 1
    assert event.order_line is None or 1 <= event.order_line < 2**31
    if event.event_type in ORDER_EVENTS:
        assert None not in (event.price, event.order_id, event.order_line)
    if event.price is not None:
        assert type(event.price) is Decimal
        assert 0 <= event.price * event.quantity < 10**14
        assert not event.price.is_signed()
        assert pa.array([event.price], pa.decimal128(18, 4))[0].as_py() == event.price, "as Spark holds it"


# Any bytes


_PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"1", b"-", b"e5", b"\xff", b"\xc3", b"\xed\xa0\x80",
     b"\xef\xbb\xbf", b"\x00", b" ", b"\n", b'"event_id"', b'"price"', b'"view"', json.dumps(VIEW).encode()]
)  # fmt: skip


@fuzzed(0.2, value=st.none() | st.binary(max_size=400) | st.lists(_PIECES, max_size=20).map(b"".join))
def test_any_bytes(value: bytes | None) -> None:
    judge(value)


@fuzzed(0.15, text=json_texts(), arrival_ms=_ARRIVALS)
def test_any_json(text: str, arrival_ms: int | None) -> None:
    judge(text.encode(errors="surrogatepass"), arrival_ms)


# Near to an event


@st.composite
def near_events(draw: st.DrawFn) -> bytes:
    """An event in which fields were changed, left out, added, repeated and put in another order."""
    fields = [(json.dumps(name), json.dumps(value)) for name, value in draw(st.sampled_from([VIEW, PURCHASE])).items()]
    names = st.sampled_from([*Message.__struct_fields__, "extra", "Event_Id", "event_id "]).map(json.dumps)
    for name, literal in draw(st.lists(st.tuples(names, literals), max_size=4)):
        known = [i for i, (other, _) in enumerate(fields) if other == name]
        if known and draw(st.booleans()):
            fields[known[0]] = name, literal
        else:
            fields.append((name, literal))  # a key that comes twice
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    space = draw(st.sampled_from(["", " ", "\n", "\t\r\n "]))
    inside = f",{space}".join(f"{name}{space}:{space}{literal}" for name, literal in fields)
    return f"{space}{{{inside}}}{space}".encode(errors="surrogatepass")


@fuzzed(0.3, value=near_events(), arrival_ms=_ARRIVALS)
def test_near_to_an_event(value: bytes, arrival_ms: int | None) -> None:
    judge(value, arrival_ms)


@st.composite
def damaged_events(draw: st.DrawFn) -> bytes:
    """An event's bytes, some of them changed, lost or doubled."""
    value = bytearray(json.dumps(draw(st.sampled_from([VIEW, PURCHASE]))).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(value) - 1)))
        end = start + draw(st.integers(0, 6))
        value[start:end] = draw(st.binary(max_size=3) | st.just(bytes(value[start:end])).map(lambda part: part * 2))
    return bytes(value)


@fuzzed(0.15, value=damaged_events())
def test_damaged_on_the_way(value: bytes) -> None:
    judge(value)


def test_what_is_unharmed_is_accepted() -> None:
    """The judge can say yes."""
    for fields in (VIEW, PURCHASE):
        assert judge(json.dumps(fields).encode(), 1_767_261_600_000) is not None
