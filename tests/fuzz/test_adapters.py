"""Whatever a record or a file holds, an adapter gives events or rejects and nothing is raised on the way."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from retailpulse_kernel.feed.adapters import FORMATS, Accepted, Reject, adapt, read_rows
from retailpulse_kernel.ground.errors import EventError, UsageError
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.formats.reading import TopicReader
from tests.fuzz.forms import fuzzed, json_values, literals

#: A record that each format accepts.
RECORDS: dict[str, dict[str, Any]] = {
    "retailpulse": {
        "event_id": "e-1", "event_type": "purchase", "event_time": "2026-01-01T10:00:00Z", "user_id": "u",
        "session_id": "s", "product_id": "p", "price": "1.50", "quantity": 2, "order_id": "o", "order_line": 1,
    },
    "rees46": {
        "event_time": "2019-10-01 00:00:00 UTC", "event_type": "purchase", "product_id": "44600062",
        "category_id": "2103807459595387724", "category_code": "a.b", "brand": "shiseido", "price": "35.79",
        "user_id": "541312140", "user_session": "72d76fde",
    },
    "retailrocket": {
        "timestamp": "1433221332117", "visitorid": "257597", "event": "view", "itemid": "355908", "transactionid": "",
    },
    "ga4": {
        "event_timestamp": "1612069510766593", "event_name": "purchase", "user_pseudo_id": "10.4",
        "event_params": [{"key": "ga_session_id", "value": {"int_value": "66"}}],
        "ecommerce": {"transaction_id": "741471"},
        "items": [{"item_id": "G", "item_category": "A", "price": 12.35, "quantity": "2"}],
    },
    "segment": {
        "type": "track", "event": "Order Completed", "messageId": "m", "userId": "u",
        "timestamp": "2026-01-01T10:00:00Z", "context": {"sessionId": 7},
        "properties": {"order_id": "o", "currency": "EUR", "products": [{"sku": "G", "price": 19, "quantity": 1}]},
    },
    "snowplow": {
        "event": "unstruct", "event_id": "c6ef3124", "collector_tstamp": "2026-01-01 10:00:00.123", "user_id": "u",
        "domain_sessionid": "s",
        "unstruct_event": {"data": {
            "schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
            "data": {"type": "transaction"},
        }},
        "contexts": {"data": [
            {"schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0",
             "data": {"id": "G", "category": "a/b", "price": 19.5, "quantity": 2, "currency": "EUR"}},
            {"schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/transaction/jsonschema/1-0-0",
             "data": {"transaction_id": "o", "revenue": 42, "currency": "EUR", "tax": 3, "shipping": 2.5}},
        ]},
    },
    "shopify": {
        "Name": "#1001", "Email": "ann@example.com", "Financial Status": "paid",
        "Created at": "2026-01-01 10:00:00 +0100", "Currency": "EUR", "Shipping": "4.90", "Taxes": "3.19",
        "Discount Code": "SPRING", "Discount Amount": "2.00", "Lineitem quantity": "2", "Lineitem name": "Shoe",
        "Lineitem price": "11.00", "Lineitem sku": "S-1", "Vendor": "Acme", "Refunded Amount": "0.00",
    },
}  # fmt: skip
#: The formats that come as CSV.
FLAT = ("retailpulse", "rees46", "retailrocket", "shopify")


def test_there_is_a_record_of_every_format() -> None:
    assert RECORDS.keys() == set(FORMATS)
    for format, record in RECORDS.items():
        assert adapt(format, record)


@st.composite
def near_records(draw: st.DrawFn, record: dict[str, Any]) -> Any:
    """A record in which some value, at any depth, was replaced, removed or added."""
    changed = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys) | st.text(max_size=3)) if isinstance(place, dict) and keys else None
            if key is None and keys:
                key = draw(st.sampled_from(keys))
            inner = place.get(key) if isinstance(place, dict) else place[key] if keys else None
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            break
        if isinstance(place, dict):
            if key in place and draw(st.integers(0, 3)) == 0:
                del place[key]
            else:
                place[key if key is not None else "x"] = draw(_VALUES)
        else:
            place.append(draw(_VALUES))
    return changed


# A record may come from Parquet, too: bytes, infinities, decimals are values there.
_VALUES = json_values | st.floats() | st.binary(max_size=4) | st.decimals() | st.datetimes()
_RECORDS = st.sampled_from(FORMATS).flatmap(
    lambda format: st.tuples(st.just(format), near_records(RECORDS[format]) | st.dictionaries(st.text(), _VALUES))
)


@fuzzed(0.1, given_record=_RECORDS)
def test_any_record(given_record: tuple[str, dict[str, Any]]) -> None:
    format, record = given_record
    with suppress(EventError):
        for fields in adapt(format, record):
            assert isinstance(fields, dict | EventError)


@fuzzed(0.1, given_record=_RECORDS)
def test_any_message_of_a_topic(given_record: tuple[str, dict[str, Any]]) -> None:
    """A job must not stop at a message, whatever it holds: it is events, or has a reason each."""
    format, record = given_record
    if format == "retailpulse":
        return
    try:
        message = msgspec.json.Encoder(decimal_format="number").encode(record)
    except (TypeError, ValueError):
        return
    for found in TopicReader(replace(shipped().decoding, format=format)).events(message, 0, 0):
        assert isinstance(found, Event | EventError)


def read_all(content: bytes, format: str) -> list[Accepted | Reject]:
    """All that a file gives; that it is no file of the format at all is said before the first row."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        path.write_bytes(content)
        try:
            reading = read_rows(path, format)
        except UsageError:
            return []
        found = list(reading)
    for row in found:
        if isinstance(row, Accepted):
            assert parse_event(row.value) == row.event
        else:
            assert isinstance(row, Reject)
            assert row.reason
            json.dumps(row).encode()
    return found


@st.composite
def json_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good line, then lines of all sorts."""
    format = draw(st.sampled_from(FORMATS))
    record = RECORDS[format]
    changed = st.dictionaries(st.sampled_from(list(record)), literals, min_size=1, max_size=2).map(
        lambda more: "{" + ",".join(f"{json.dumps(k)}:{more.get(k, json.dumps(v))}" for k, v in record.items()) + "}"
    )
    line = (
        changed.map(lambda text: text.encode(errors="surrogatepass"))
        | literals.map(str.encode)
        | st.binary(max_size=40)
    )
    lines = draw(st.lists(line, max_size=4))
    return format, b"\n".join([json.dumps(record).encode(), *lines])


@fuzzed(0.05, file=json_files())
def test_any_lines_of_json(file: tuple[str, bytes]) -> None:
    format, content = file
    found = read_all(content, format)
    assert isinstance(found[0], Accepted), "one bad line spoils no other"


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A header and a good row, then rows of all sorts."""
    format = draw(st.sampled_from(FLAT))
    record = RECORDS[format]
    cells = st.text(max_size=10) | literals | st.sampled_from(list(record.values()))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([list(record), list(record.values())])
    for _ in range(draw(st.integers(0, 4))):
        row = list(record.values())
        for place in draw(st.lists(st.integers(0, len(row) - 1), max_size=3)):
            row[place] = draw(cells)
        writer.writerow(row[: draw(st.integers(len(row) - 1, len(row)))])
    return format, buffer.getvalue().encode(errors="surrogatepass") + draw(st.binary(max_size=20))


@fuzzed(0.05, file=csv_files())
def test_any_rows_of_csv(file: tuple[str, bytes]) -> None:
    format, content = file
    found = read_all(content, format)
    assert isinstance(found[0], Accepted), "one bad row spoils no other"


def test_a_number_that_is_none_is_nothing() -> None:
    """Found by `test_any_record`: `math.isfinite` raises for a signaling NaN."""
    record = RECORDS["retailrocket"] | {"timestamp": Decimal("sNaN")}
    assert adapt("retailrocket", record)[0]["event_time"] is None


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_object_is_refused_or_rejected(format: str) -> None:
    assert not any(isinstance(row, Accepted) for row in read_all(b"{}", format))
