"""Messages as a frame: exact, and whole whatever stands in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.stores.kafka.messages import MessageTable

ARRIVAL_MS = 1_700_000_000_000


def frame_of(*values: bytes | None, limit: int = 100_000) -> pd.DataFrame:
    table = MessageTable()
    table.add([1] * len(values), range(len(values)), [ARRIVAL_MS] * len(values), values)
    return table.frame(limit)


def test_messages_become_a_typed_frame() -> None:
    frame = frame_of(
        b'{"event_type": "view", "event_time": "2026-01-01T00:00:00.5Z", "price": 0.1, "quantity": 1, "user_id": "u"}',
        b'{"event_type": "purchase", "event_time": 1767225600500, "price": "12.3400"}',
    )
    assert list(frame["price"]) == [Decimal("0.1"), Decimal("12.3400")]
    assert [str(price) for price in frame["price"]] == ["0.1", "12.3400"], "with the places that were sent"
    assert list(frame["event_time"]) == [datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)] * 2
    assert str(frame["arrival"].dtype) == str(frame["event_time"].dtype) == "datetime64[ns, UTC]"
    assert str(frame["event_type"].dtype) == "category"
    assert str(frame["quantity"].dtype) == "Int64" and frame["quantity"].isna()[1]
    assert frame["user_id"][0] == "u" and frame["user_id"].isna()[1]
    assert list(frame["kafka_offset"]) == [0, 1]
    assert "order_id" not in frame, "what no message has is no column"


def test_every_day_of_the_calendar_is_read_and_no_other() -> None:
    days = [f"{year}-{month:02}-{day:02}" for year in (2024, 2026) for month in range(14) for day in range(33)]
    frame = frame_of(*(f'{{"event_time": "{day}T23:59:59.5Z"}}'.encode() for day in days), b'{"event_type": "view"}')
    real = pd.to_datetime(pd.Series(days), format="%Y-%m-%d", errors="coerce", utc=True)
    assert real.notna().sum() == 366 + 365
    assert (frame["event_time"][:-1].dt.floor("D").dropna() == real.dropna()).all()
    assert (frame["event_time"][:-1].isna() == real.isna()).all()


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"nonsense", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b'{"price": "free"}', b'{"price": [1]}',
        b'{"price": NaN}', b'{"event_time": "yesterday"}', b'{"event_time": 1e400}', b'{"event_time": {}}',
        b'{"event_time": 99999999999999999999}', b'{"category": ["a"], "event_type": {}}', b'{"quantity": "two"}',
        b'{"quantity": 99999999999999999999}', b'{"kafka_offset": "mine", "arrival": "never", "partition": 9}',
        b'{"event_time": true, "price": true}', b'{"user_id": "\\ud800"}', b'{"quantity": 1.5}',
        b'{"event_time": "2026-13-45T00:00:00Z"}', b'{"event_time": "9999-12-31T23:59:59Z"}', b'{"a": {"b": [1, {}]}}',
        b'{"event_time": "2026-02-30T00:00:00Z", "brand": null}', b'{"quantity": true}', b'{}',
    ],
)  # fmt: skip
def test_any_bytes_in_a_topic_can_be_looked_at(value: bytes | None) -> None:
    good = b'{"event_type": "view", "event_time": "2026-01-01T00:00:00Z", "price": 1, "category": "c", "quantity": 1}'
    usual = b'{"event_type": "view", "event_time": "2026-01-01T00:00:00Z", "price": "1", "user_id": "u", "quantity": 1}'
    frame = frame_of(good, value, usual)
    assert list(frame["kafka_offset"]) == [0, 1, 2]
    assert list(frame["event_time"][[0, 2]]) == [datetime(2026, 1, 1, tzinfo=UTC)] * 2
    assert list(frame["price"][[0, 2]]) == [1, 1] and list(frame["quantity"][[0, 2]]) == [1, 1]
    assert frame["arrival"][1] == datetime.fromtimestamp(1_700_000_000, UTC)
    assert frame["user_id"][2] == "u"


@pytest.mark.parametrize(
    ("value", "field", "there"),
    [
        (b"nonsense", "raw", b"nonsense"),
        (b'{"campaign": "spring", "event_id": "e"}', "campaign", "spring"),
        (b'{"campaign": 0.10, "event_id": "e"}', "campaign", Decimal("0.10")),
        (b'{"campaign": {"a": [1]}}', "campaign", {"a": [1]}),
        (b'{"event_id": 7}', "event_id", 7),
        (b'{"quantity": "two"}', "quantity", "two"),
        (b'{"quantity": 18446744073709551616}', "quantity", 18446744073709551616),
        (b'{"user_id": "\\ud800"}', "user_id", "\ud800"),
    ],
)
def test_odd_values_stay_as_they_were_sent(value: bytes, field: str, there: object) -> None:
    frame = frame_of(b'{"event_id": "first", "quantity": 3, "user_id": "u"}', value, b'{"event_id": "last"}')
    assert frame[field][1] == there and type(frame[field][1]) is type(there)
    assert frame["event_id"][0] == "first" and frame["event_id"][2] == "last"
    assert frame["quantity"][0] == 3 and pd.isna(frame["quantity"][2])


def test_no_messages_are_a_frame_too() -> None:
    frame = MessageTable().frame(10)
    assert list(frame.columns) == ["kafka_partition", "kafka_offset", "arrival"]
    assert frame.empty and frame.attrs["more"] is False


def test_a_frame_of_events_has_the_same_columns_whatever_came() -> None:
    empty, one = MessageTable(), MessageTable()
    one.add([0], [1], [5], [b'{"event_id":"a","price":"1.5","event_time":"2026-01-01T00:00:00Z","own":1}'])
    nothing, something = empty.frame(9, of_events=True), one.frame(9, of_events=True)
    assert nothing.dtypes.equals(something.drop(columns="own").dtypes)
    assert list(nothing.groupby("event_type", observed=True)["quantity"].sum()) == []
    assert something["order_id"].isna().all() and "raw" not in something


def test_the_newest_are_kept_in_the_order_of_their_arrival() -> None:
    table = MessageTable()
    table.add([0, 0, 1], [7, 8, 3], [10, 30, 20], [b'{"user_id": "a"}', b'{"x": 1}', b'{"user_id": "b"}'])
    table.add([1, 0], [4, 9], [30, 40], [b'{"user_id": "c"}', b"?"])
    whole = table.frame(5)
    assert list(zip(whole["kafka_partition"], whole["kafka_offset"], strict=True)) == [
        (0, 7), (1, 3), (0, 8), (1, 4), (0, 9),
    ]  # fmt: skip
    assert whole.attrs["more"] is False
    newest = table.frame(3)
    assert newest.attrs["more"] is True and list(newest["kafka_offset"]) == [8, 4, 9]
    assert list(newest["user_id"].isna()) == [True, False, True]
    assert (newest["x"][0], newest["raw"][2]) == (1, b"?")
    assert table.frame(0).empty


def plain(value: bytes) -> dict[str, Any]:
    """A message by Python's own decoder."""
    try:
        fields = json.loads(value, parse_float=Decimal)
    except ValueError:
        return {"raw": value}
    return fields if isinstance(fields, dict) else {"raw": value}


def test_a_stream_is_what_a_plain_decoder_finds_in_it() -> None:
    generator = Generator(rate=500, seconds=20, seed=3, bad=0.05, duplicates=0.02, currencies={"EUR": 0.3})
    values = [message.value for message in generator.messages()]
    frame = frame_of(*values)
    assert len(frame) == len(values) > 5000
    expected = [plain(value) for value in values]
    text = (
        "event_id",
        "event_type",
        "user_id",
        "session_id",
        "product_id",
        "category",
        "brand",
        "currency",
        "order_id",
    )
    for name in text:
        assert [None if pd.isna(v) else v for v in frame[name]] == [fields.get(name) for fields in expected], name
    for got, fields in zip(frame.itertuples(), expected, strict=True):
        if isinstance(fields.get("price"), str) and fields["price"].replace(".", "").isdigit():
            assert str(got.price) == fields["price"]
        if str(fields.get("event_time")).startswith("2026-"):
            assert got.event_time == pd.Timestamp(fields["event_time"])


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=5)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3)
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["event_id", "quantity", "brand", "campaign", "event_type"]), scalars),
        max_size=6,
    )
)
def test_any_fields_come_back(rows: list[dict[str, Any]]) -> None:
    def text(row: dict[str, Any]) -> bytes:
        parts = (f"{json.dumps(k)}: {v if isinstance(v, Decimal) else json.dumps(v)}" for k, v in row.items())
        return f"{{{', '.join(parts)}}}".encode()

    frame = frame_of(*map(text, rows))
    for place, row in enumerate(rows):
        for name, value in row.items():
            if value is None:
                assert name not in frame or pd.isna(frame[name][place])
            else:
                assert frame[name][place] == value


def test_a_field_that_a_later_message_has_first_is_learned() -> None:
    table = MessageTable()
    chunks: list[list[bytes | None]] = [
        [b'{"event_id": "a", "price": 1.10}', b"nonsense"],
        [
            b'{"event_id": "b"}',
            b'{"event_id": "c", "campaign": "spring", "share": 0.10}',
            b'{"event_id": "d", "x": [1]}',
        ],
        [json.dumps({f"f{n}": n for n in range(200)}).encode(), b'{"event_id": 7, "campaign": "summer"}'],
    ]
    for number, values in enumerate(chunks):
        table.add([number] * len(values), range(len(values)), [ARRIVAL_MS] * len(values), values)
    frame = table.frame(None)
    assert frame["event_id"].to_list()[:1] + frame["event_id"].to_list()[2:5] == ["a", "b", "c", "d"]
    assert frame["campaign"].dropna().to_dict() == {3: "spring", 6: "summer"}
    assert frame["share"].dropna().to_dict() == {3: Decimal("0.10")} and frame["x"].dropna().to_dict() == {4: [1]}
    assert frame["f199"].dropna().to_dict() == {5: 199}, "too many to learn, and all there"
    assert frame["raw"].dropna().to_dict() == {1: b"nonsense"} and frame["event_id"][6] == 7
