"""The contract: what is an event, what is not and why, and that nothing else is ever raised."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.shop.events import (
    EVENT_TYPES,
    MAX_DEPTH,
    REASONS,
    Event,
    EventError,
    json_schema,
    parse_event,
    schema_text,
    to_message,
)

ROOT = Path(__file__).resolve().parents[2]
VIEW = {
    "event_id": "e-1",
    "event_type": "view",
    "event_time": "2026-01-01T10:00:00.123Z",
    "user_id": "u-1",
    "session_id": "s-1",
    "product_id": "p-1",
}
PURCHASE = VIEW | {"event_type": "purchase", "price": "19.90", "order_id": "o-1", "order_line": 1}
TEN_O_CLOCK = 1_767_261_600_000


def reason_of(value: bytes | dict[str, Any] | None, **given: Any) -> str:
    with pytest.raises(EventError) as caught:
        parse_event(json.dumps(value).encode() if isinstance(value, dict) else value, **given)
    assert caught.value.reason in REASONS
    assert len(caught.value.detail) <= 200
    return caught.value.reason


def parse(fields: dict[str, Any], **given: Any) -> Event:
    return parse_event(json.dumps(fields).encode(), **given)


def with_price(literal: str) -> bytes:
    return json.dumps(VIEW).encode()[:-1] + f',"price":{literal}}}'.encode()


def test_defaults_are_filled_in() -> None:
    assert parse(VIEW) == Event(
        event_id="e-1",
        event_type="view",
        event_time=datetime(2026, 1, 1, 10, 0, 0, 123_000, UTC),
        user_id="u-1",
        session_id="s-1",
        product_id="p-1",
        category="unknown",
        brand=None,
        price=None,
        quantity=1,
        currency="USD",
        order_id=None,
        order_line=None,
        schema_version=1,
    )


def test_an_event_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse(VIEW).price = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_type(event_type: str) -> None:
    assert parse(PURCHASE | {"event_type": event_type}).event_type == event_type


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00+00:00"),
        ("2026-01-01T10:00:00.1Z", "2026-01-01T10:00:00.100000+00:00"),
        ("2026-01-01t10:00:00z", "2026-01-01T10:00:00+00:00"),
        ("2026-01-01 10:00:00+02:00", "2026-01-01T08:00:00+00:00"),
        ("2026-01-01T23:59:59.999999999Z", "2026-01-01T23:59:59.999000+00:00"),  # cut, never rounded into tomorrow
        ("1999-12-31T23:00:00-05:00", "2000-01-01T04:00:00+00:00"),
        (TEN_O_CLOCK, "2026-01-01T10:00:00+00:00"),
    ],
)
def test_times_become_utc_milliseconds(text: str | int, utc: str) -> None:
    assert parse(VIEW | {"event_time": text}).event_time.isoformat() == utc


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("2026-01-01T10:00:00", "format:event_time"),
        ("2026-01-01", "format:event_time"),
        ("2026-02-30T10:00:00Z", "format:event_time"),
        ("2026-12-31T23:59:60Z", "format:event_time"),
        ("2026-01-01T10:00:00+99:00", "format:event_time"),
        ("2026-01-01T10:00:00Z\n", "format:event_time"),
        ("\uff12026-01-01T10:00:00Z", "format:event_time"),
        ("20260101T100000Z", "format:event_time"),
        ("", "format:event_time"),
        ("1999-12-31T23:59:59Z", "range:event_time"),
        ("2101-01-01T00:00:00Z", "range:event_time"),
        (1_767_261_600, "range:event_time"),  # seconds
        (10**30, "range:event_time"),
        (1.5, "type:event_time"),
        (True, "type:event_time"),
        (None, "missing:event_time"),
    ],
)
def test_bad_times(time: Any, reason: str) -> None:
    assert reason_of(VIEW | {"event_time": time}) == reason


def test_ten_minutes_ahead_of_the_broker_is_the_limit() -> None:
    event = VIEW | {"event_time": TEN_O_CLOCK}
    ten_minutes = 600_000
    assert parse(event, arrival_ms=TEN_O_CLOCK - ten_minutes)
    assert reason_of(event, arrival_ms=TEN_O_CLOCK - ten_minutes - 1) == "time:future"
    assert parse(event, arrival_ms=-1), "a topic without timestamps has no time to compare with"


@pytest.mark.parametrize(
    ("literal", "price"),
    [
        ("19.9", "19.9"),
        ('"19.90"', "19.90"),
        ("0", "0"),
        ("-0.0", "0"),
        ("1e2", "100"),
        ("1.5E-3", "0.0015"),
        ("1.50000000", "1.5"),
        ('"1.50000000"', "1.5"),
        ("0.1", "0.1"),
        ("99999999999999.9999", "99999999999999.9999"),  # a float would make 100000000000000.0 of it
        ('"99999999999999.9999"', "99999999999999.9999"),
        ("9007199254740.9931", "9007199254740.9931"),
    ],
)
def test_prices_are_exact(literal: str, price: str) -> None:
    found = parse_event(with_price(literal)).price
    assert found == Decimal(price)
    assert found is not None and not found.is_signed()


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("-1", "range:price"),
        ("1.23456", "range:price"),
        ("1e-5", "range:price"),
        ("100000000000000", "range:price"),
        ("1e999999999999999999999", "range:price"),
        ("0.1000000000000000055511151231257827", "range:price"),
        ("9" * 100_000, "range:price"),
        ('"' + "9" * 100_000 + '"', "range:price"),
        ('"NaN"', "format:price"),
        ('"Infinity"', "format:price"),
        ('"1_000"', "format:price"),
        ('" 1"', "format:price"),
        ('"1,50"', "format:price"),
        ('"\u0661"', "format:price"),
        ('""', "format:price"),
        ("true", "type:price"),
        ("[1]", "type:price"),
        ("{}", "type:price"),
        ("NaN", "not_json"),
        ("1.", "not_json"),
        ("01", "not_json"),
    ],
)
def test_bad_prices(literal: str, reason: str) -> None:
    assert reason_of(with_price(literal)) == reason


@pytest.mark.parametrize("event_type", ["purchase", "refund"])
@pytest.mark.parametrize("field", ["price", "order_id", "order_line"])
def test_an_order_line_needs_its_fields(event_type: str, field: str) -> None:
    event = PURCHASE | {"event_type": event_type}
    assert parse(event)
    assert reason_of({k: v for k, v in event.items() if k != field}) == f"missing:{field}"
    assert reason_of(event | {field: None}) == f"missing:{field}"


def test_an_amount_must_fit() -> None:
    assert parse(PURCHASE | {"price": "49999999999999.9999", "quantity": 2}).quantity == 2
    assert reason_of(PURCHASE | {"price": "50000000000000", "quantity": 2}) == "range:amount"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"event_id": ""}, "range:event_id"),
        ({"event_id": "x" * 129}, "range:event_id"),
        ({"event_id": 5}, "type:event_id"),
        ({"event_id": None}, "missing:event_id"),
        ({"user_id": ""}, "range:user_id"),
        ({"session_id": []}, "type:session_id"),
        ({"product_id": {}}, "type:product_id"),
        ({"event_type": "teleport"}, "unknown:event_type"),
        ({"event_type": 1}, "type:event_type"),
        ({"quantity": 0}, "range:quantity"),
        ({"quantity": 2**31}, "range:quantity"),
        ({"quantity": 10**40}, "range:quantity"),
        ({"quantity": 1.0}, "type:quantity"),
        ({"quantity": "1"}, "type:quantity"),
        ({"quantity": True}, "type:quantity"),
        ({"currency": "usd"}, "unknown:currency"),
        ({"currency": "XXX"}, "unknown:currency"),
        ({"currency": ""}, "unknown:currency"),
        ({"category": "a..b"}, "format:category"),
        ({"category": ".a"}, "format:category"),
        ({"category": "x" * 257}, "range:category"),
        ({"order_id": ""}, "range:order_id"),
        ({"order_line": 0}, "range:order_line"),
        ({"schema_version": 2}, "unknown:schema_version"),
        ({"schema_version": "1"}, "type:schema_version"),
    ],
)
def test_bad_fields(fields: dict[str, Any], reason: str) -> None:
    assert reason_of(VIEW | fields) == reason


def test_null_is_the_same_as_absent_and_empty_texts_say_nothing() -> None:
    optional = ("category", "brand", "price", "quantity", "currency", "order_id", "order_line", "schema_version")
    assert parse(VIEW | dict.fromkeys(optional)) == parse(VIEW)
    assert parse(VIEW | {"category": "", "brand": ""}) == parse(VIEW)


def test_unknown_fields_do_no_harm() -> None:
    assert parse(VIEW | {"utm": {"source": ["mail", None, 1.5]}, "": 1}) == parse(VIEW)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b" ", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (b'{"event_id": "\xff"}', "not_utf8"),
        (b"{", "not_json"),
        (b'{"event_id": 5,', "not_json"),  # broken before it is mistyped
        (b'{"event_id": "\\ud800"}', "not_json"),
        (b'{"event_id": "e"} {}', "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"[]", "not_object"),
        (b"null", "not_object"),
        (b'"' + b"[" * 1_000_000 + b'"', "not_object"),
        (b"[" * 1_000_000, "too_deep"),
        (b'{"a":' * 200_000, "too_deep"),
        (b"{}", "missing:event_id"),
        (b"9" * 1_000_000, "not_object"),
    ],
)
def test_bytes_that_are_no_event(value: bytes | None, reason: str) -> None:
    assert reason_of(value) == reason


def test_the_depth_is_a_fixed_limit() -> None:
    def nested(depth: int) -> bytes:
        return json.dumps(VIEW).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"

    assert parse_event(nested(MAX_DEPTH - 1))
    assert reason_of(nested(MAX_DEPTH)) == "too_deep"
    wide = json.dumps(VIEW | {"x": "[[{{" * 100, "y": [[]] * 100}).encode()
    assert parse_event(wide), "brackets in texts and side by side are not depth"


def test_the_last_of_two_keys_wins() -> None:
    assert parse_event(json.dumps(VIEW).encode()[:-1] + b',"user_id":"u-2"}').user_id == "u-2"
    assert parse_event(b'{"user_id":5,' + json.dumps(VIEW).encode()[1:]).user_id == "u-1"
    assert reason_of(json.dumps(VIEW).encode()[:-1] + b',"user_id":5}') == "type:user_id"


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_at_all(value: bytes) -> None:
    try:
        parse_event(value)
    except EventError as error:
        assert error.reason in REASONS and len(error.detail) <= 200


# Values that are near enough to valid ones to get past the first check, as JSON literals.
_TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "u", "x" * 128, "x" * 129, "a.b", "a..b", "USD", "EUR", "usd", "view"]
)
_NUMBERS = (
    st.integers(-2, 3)
    | st.sampled_from([2**31 - 1, 2**31, 10**13, 10**14, TEN_O_CLOCK, 946_684_799_999, 4_133_980_800_000])
    | st.integers()
)
_TIMES = st.datetimes(datetime(1998, 1, 1), datetime(2102, 1, 1)).map(lambda time: time.isoformat() + "Z")
_PRICES = st.from_regex(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS, lambda inner: st.lists(inner, max_size=2), max_leaves=4
)
_LITERALS = _JSON.map(json.dumps) | _PRICES | _PRICES.map(json.dumps) | _TIMES.map(json.dumps)
_SCHEMA = jsonschema.Draft202012Validator(json_schema())


@st.composite
def near_events(draw: st.DrawFn) -> bytes:
    """An event of which up to three fields were replaced by something else."""
    literals = {name: json.dumps(value) for name, value in draw(st.sampled_from([VIEW, PURCHASE])).items()}
    names = st.sampled_from([*json_schema()["properties"], "extra"])
    literals |= draw(st.dictionaries(names, _LITERALS, max_size=3))
    return ("{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in literals.items()) + "}").encode()


def slow_verdict(value: bytes) -> bool:
    """The schema, and the rules that a schema can't say, on numbers that were never floats."""
    fields = json.loads(value, parse_float=Decimal)
    if not _SCHEMA.is_valid(fields):
        return False
    if isinstance(fields.get("schema_version"), Decimal):
        return False  # 1.0 is among the schema's values, which are compared as numbers, and is no integer to the parser
    time = fields["event_time"]
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            return False
        if not re.fullmatch(r"[\x00-\x7f]+", time) or time.endswith("\n") or not 2000 <= moment.year <= 2100:
            return False
    if fields.get("price") is None:
        return True
    if isinstance(fields["price"], str) and fields["price"].endswith("\n"):
        return False
    price = Decimal(fields["price"])
    amount = price * (fields.get("quantity") or 1)
    return price == round(price, 4) and amount < 10**14


@given(near_events())
@settings(max_examples=500, deadline=None)
def test_the_parser_and_the_schema_agree(value: bytes) -> None:
    try:
        event = parse_event(value)
    except EventError as error:
        assert error.reason in REASONS
        assert not slow_verdict(value), error
    else:
        assert slow_verdict(value)
        fields = json.loads(value, parse_float=Decimal)
        assert event.price == (None if fields.get("price") is None else Decimal(fields["price"]))
        assert parse_event(to_message(event)) == event


@given(
    st.builds(
        Event,
        event_id=st.text(min_size=1, max_size=128),
        event_type=st.sampled_from(EVENT_TYPES),
        event_time=st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31)).map(
            lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000, tzinfo=UTC)
        ),
        user_id=st.text(min_size=1, max_size=20),
        session_id=st.text(min_size=1, max_size=20),
        product_id=st.text(min_size=1, max_size=20),
        category=st.sampled_from(["unknown", "electronics.smartphone", "é.ü"]),
        brand=st.none() | st.text(min_size=1, max_size=20),
        price=st.decimals(0, 10**6, places=4),
        quantity=st.integers(1, 1000),
        currency=st.sampled_from(["USD", "EUR", "JPY"]),
        order_id=st.text(min_size=1, max_size=20),
        order_line=st.integers(1, 100),
    )
)
@settings(max_examples=300, deadline=None)
def test_a_message_reads_back_as_the_same_event(event: Event) -> None:
    message = to_message(event)
    assert parse_event(message) == event
    assert to_message(parse_event(message)) == message
    assert _SCHEMA.is_valid(json.loads(message))


def test_a_message_is_canonical() -> None:
    event = parse(PURCHASE | {"event_time": "2026-01-01T12:00:00+02:00", "price": 1e2})
    assert to_message(event) == (
        b'{"event_id":"e-1","event_type":"purchase","event_time":"2026-01-01T10:00:00.000Z","user_id":"u-1",'
        b'"session_id":"s-1","product_id":"p-1","category":"unknown","price":"100.0","quantity":1,"currency":"USD",'
        b'"order_id":"o-1","order_line":1,"schema_version":1}'
    )


def test_an_event_survives_pickling() -> None:
    import pickle

    event = parse(PURCHASE)
    assert pickle.loads(pickle.dumps(event)) == event
    assert event.event_time.utcoffset() == timedelta(0)


def test_the_schema_file_is_fresh() -> None:
    file = ROOT / "docs" / "event.schema.json"
    refresh = "python -c \"from retailpulse_kernel.shop.events import schema_text; print(schema_text(), end='')\""
    assert file.read_text() == schema_text(), f"Refresh it: {refresh} > docs/event.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))


def test_the_documented_reasons_are_all_there() -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    kinds = {reason.split(":")[0] for reason in REASONS}
    assert {kind for kind in kinds if f"`{kind}" not in text} == set()
