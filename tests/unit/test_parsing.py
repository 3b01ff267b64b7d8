"""Columns against `parse_event`: the same verdict, the same values, for anything at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.times import plain_times
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.streaming.intake.parsing import EVENT_TYPES, parse_events

ARRIVAL_MS = 1_800_000_000_000
GOOD = {
    "event_id": "e", "event_type": "purchase", "event_time": "2026-01-31T23:59:59.999Z", "user_id": "u",
    "session_id": "s", "product_id": "p", "category": "a.b", "brand": "x", "price": "19.90", "quantity": 2,
    "currency": "EUR", "order_id": "o", "order_line": 1, "schema_version": 1,
}  # fmt: skip

VALUES: dict[str, list[Any]] = {
    "event_id": ["", "x" * 128, "x" * 129, "é" * 128, "\u0000", None, 7],
    "event_type": ["view", "refund", "sale", None],
    "event_time": [
        "2026-01-31T00:00:00Z", "2026-02-30T00:00:00Z", "2024-02-29T00:00:00Z",
        "2026-01-31T24:00:00Z", "2026-01-31t00:00:00z",
        "2026-01-31T00:00:00.1234567Z", "2026-01-31T00:00:00+02:00", "2026-01-31 00:00:00Z", "1999-12-31T23:59:59Z",
        "2000-01-01T00:00:00.5Z", "2100-12-31T23:59:59Z", "2101-01-01T00:00:00Z",
        "2027-01-15T08:10:00.001Z", "2027-01-15T08:10:00Z",
        "2026-01-31T23:59:60Z", "٢٠٢٦-01-31T00:00:00Z", "2026-01-31T00:00:00Z\n", 1_790_000_000_000, 12, None, "",
    ],
    "category": ["", ".", "a..b", "a.", ".a", "a" * 256, "a" * 257, "ä.ö", "a\n", None, 5],
    "brand": ["", "b" * 256, "b" * 257, None],
    "price": ["0", "00.1", "1.23456", "1.23450", "-1", "1e2", "99999999999999.9999", "100000000000000", " 1", "",
              None, 0, 19.9, 1e-7, -0.0,
              12345678901234.25, True, [], "null", "99999999999"],
    "quantity": [0, 1, 10_000, 10_001, 2**31 - 1, 2**31, 2**70, -1, 1.0, 1.5, "1", None],
    "currency": ["USD", "usd", "XXX", "ZZZ", "", None],
    "order_id": ["", None, "o" * 129],
    "order_line": [0, 1, 2**31, None],
    "schema_version": [1, 2, None, "1"],
}  # fmt: skip


def verdicts(values: list[bytes | None]) -> list[Event | str]:
    """What the columns say of each message."""
    parsed = parse_events(values, [ARRIVAL_MS] * len(values), list(EVENT_TYPES))
    found: dict[int, Event | str] = {position: error.reason for position, error in parsed.bad}
    for position, row in zip(parsed.positions, parsed.events.to_pylist(), strict=True):
        found[int(position)] = Event(**row)
    assert sorted(found) == list(range(len(values)))
    assert list(parsed.positions) == sorted(parsed.positions)
    return [found[i] for i in range(len(values))]


def truth(value: bytes | None) -> Event | str:
    try:
        return parse_event(value, arrival_ms=ARRIVAL_MS)
    except EventError as error:
        return error.reason


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in VALUES.items() for v in [*values, ...]])
def test_each_field_is_judged_as_by_the_parser(field: str, value: Any) -> None:
    event = {name: v for name, v in {**GOOD, field: value}.items() if v is not ...}
    messages = [json.dumps(event).encode(), json.dumps({**event, "event_type": "view"}).encode()]
    assert verdicts([*messages, json.dumps(GOOD).encode()]) == [*map(truth, messages), truth(json.dumps(GOOD).encode())]


ODD = [
    None, b"", b"\xff", b"null", b"[]", b"{}", b"{", b"[" * 5000, b'{"x":' * 70 + b"1" + b"}" * 70,
    json.dumps(GOOD).encode()[:-1] + b',"more":' + b"[" * 63 + b"]" * 63 + b"}",
    json.dumps(GOOD).encode()[:-1] + b',"more":' + b"[" * 64 + b"]" * 64 + b"}",
    json.dumps(GOOD).encode()[:-1] + b',"more":"' + b"[{" * 500 + b'"}',
    json.dumps(GOOD).encode()[:-1] + b',"price":"1.00"}', json.dumps(GOOD).encode()[:-1] + b',"price":[]}',
    json.dumps(GOOD).encode()[:-1] + b',"more":"\xff"}', json.dumps(GOOD).encode().replace(b'"19.90"', b"19.900000"),
    json.dumps(GOOD).encode().replace(b'"19.90"', b'"1\\u0039.90"'), json.dumps(GOOD).encode() + b" ",
    b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    json.dumps(GOOD).encode().replace(b'"19.90"', b'"\\ud800"'),
    json.dumps(GOOD).encode().replace(b'"a.b"', b'"a\\ud800"'),
]  # fmt: skip


def test_odd_messages_are_judged_as_by_the_parser() -> None:
    assert verdicts(ODD) == [truth(value) for value in ODD]
    for value in ODD:
        assert verdicts([value]) == [truth(value)]


def test_a_price_keeps_all_its_places() -> None:
    (event,) = verdicts([json.dumps({**GOOD, "price": "12345678901234.5678", "quantity": 1}).encode()])
    assert isinstance(event, Event) and event.price == Decimal("12345678901234.5678")


near_events = st.builds(
    lambda changes, gone: json.dumps({k: v for k, v in {**GOOD, **changes}.items() if k not in gone}).encode(),
    st.dictionaries(
        st.sampled_from(sorted(GOOD)),
        st.one_of(*(st.sampled_from(v) for v in VALUES.values()), st.text(max_size=5), st.integers()),
    ),
    st.sets(st.sampled_from(sorted(GOOD)), max_size=2),
)


@settings(deadline=None)
@given(st.lists(st.one_of(near_events, st.binary(max_size=40), st.sampled_from(ODD)), max_size=12))
def test_any_chunk_is_judged_as_by_the_parser(values: list[bytes | None]) -> None:
    assert verdicts(values) == [truth(value) for value in values]


zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=12))])
moments = st.datetimes(datetime(1999, 12, 30), datetime(2101, 1, 2), timezones=zones)
times = st.one_of(
    st.builds(lambda moment, text: moment.isoformat() + text, moments.map(lambda t: t.replace(tzinfo=None)),
              st.sampled_from(["Z", "+00:00", "-00:00", "+14:00", "z", "+0530", "+05", "+24:00", ".1Z", ""])),
    st.builds(lambda moment, digits: f"{moment:%Y-%m-%d %H:%M:%S}.{digits}Z", moments,
              st.text("0123456789", min_size=1, max_size=11)),
    moments.map(str), moments.map(lambda t: round(t.timestamp() * 1_000)), st.integers(-(2**70), 2**70),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(times, max_size=12))
def test_times_of_any_form_are_read_as_by_the_parser(found: list[str | int]) -> None:
    messages: list[bytes | None] = [
        json.dumps({**GOOD, "event_id": str(n), "event_time": t}).encode() for n, t in enumerate(found)
    ]
    assert verdicts(messages) == [truth(message) for message in messages]


@pytest.mark.parametrize(
    "form",
    ["2026-01-31T10:00:00Z", "2026-01-31T10:00:00.123456Z", "2026-01-31T10:00:00.123456789Z",
     "2026-01-31T10:00:00+00:00", "2026-01-31 15:30:00.5+05:30", 1_769_853_600_000],
)  # fmt: skip
def test_a_usual_form_of_a_time_needs_no_look_at_each_message(form: str | int) -> None:
    assert plain_times([form]).null_count == 0
    assert plain_times([form, "2026-02-30T10:00:00Z"]).to_pylist() == [*plain_times([form]).to_pylist(), None]
