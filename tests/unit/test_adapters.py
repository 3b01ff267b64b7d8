"""Rows of other shops as our events."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.feed.adapters import FORMATS, Reject, adapt, adapter, read, read_rows
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.adapters.values import exact_price
from retailpulse_kernel.shop.events import Event, EventError
from tests.adapters import BUY, CART, HEADER, VIEW, events_of, rees46, rejects_of

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rees46_2019-10-01.csv"
needs_sample = pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not part of the project")


# The real sample


@needs_sample
def test_the_real_sample() -> None:
    events = events_of(SAMPLE, "rees46")
    purchases = [event for event in events if event.event_type == "purchase"]
    revenue: Counter[str] = Counter()
    for event in purchases:
        assert event.price is not None
        revenue[event.category] += event.price * event.quantity  # type: ignore[assignment]
    assert len(events) == 8000
    assert len({event.event_id for event in events}) == 8000
    assert len(purchases) == 93
    assert sum(event.order_line == 1 for event in purchases) == len({event.order_id for event in purchases}) == 86
    assert sum(revenue.values()) == Decimal("27773.52")
    assert revenue["electronics.smartphone"] == Decimal("23204.02")
    assert revenue["unknown"] == Decimal("1537.01")


@needs_sample
@pytest.mark.parametrize("container", ["csv.gz", "parquet", "jsonl", "jsonl.gz"])
def test_the_real_sample_in_any_container(tmp_path: Path, container: str) -> None:
    path = tmp_path / f"sample.{container}"
    if container == "csv.gz":
        path.write_bytes(gzip.compress(SAMPLE.read_bytes()))
    elif container == "parquet":
        table = pyarrow.csv.read_csv(SAMPLE)  # times, numbers and floats get their own types here
        pq.write_table(table, path, row_group_size=1000)
    else:
        with SAMPLE.open(newline="") as file:
            text = "".join(json.dumps(row) + "\n" for row in csv.DictReader(file)).encode()
        path.write_bytes(gzip.compress(text) if container.endswith("gz") else text)
    assert events_of(path, "rees46", source="x") == events_of(SAMPLE, "rees46", source="x")


# REES46


def test_rees46_a_row(tmp_path: Path) -> None:
    (event,) = events_of(rees46(tmp_path, HEADER + VIEW), "rees46", source="file")
    assert event == Event(
        event_id="file-1",
        event_type="view",
        event_time=datetime(2019, 10, 1, tzinfo=UTC),
        user_id="541312140",
        session_id="s-1",
        product_id="44600062",
        brand="shiseido",
        price=Decimal("35.79"),
    )


def test_rees46_the_same_file_gives_the_same_ids_and_equal_rows_differ(tmp_path: Path) -> None:
    path = rees46(tmp_path, HEADER + VIEW + VIEW)
    first, second = events_of(path, "rees46")
    assert first.event_id != second.event_id
    assert [event.event_id for event in events_of(path, "rees46")] == [first.event_id, second.event_id]
    assert first.event_id.endswith("-1") and len(first.event_id) == 14
    other = events_of(rees46(tmp_path, HEADER + VIEW + CART), "rees46")
    assert other[0].event_id != first.event_id


def test_rees46_a_sessions_purchases_are_one_order(tmp_path: Path) -> None:
    other = BUY.replace("s-1", "s-2")
    bad = BUY.replace("35.79", "")
    rows = list(read(rees46(tmp_path, HEADER + BUY + VIEW + other + bad + BUY), "rees46"))
    lines = [(e.order_id, e.order_line) for e in rows if isinstance(e, Event) and e.event_type == "purchase"]
    assert lines == [("s-1", 1), ("s-2", 1), ("s-1", 2)]
    (reject,) = [row for row in rows if isinstance(row, Reject)]
    assert (reject.line, reject.reason, reject.raw) == (5, "missing:price", bad.strip())


def test_rees46_types(tmp_path: Path) -> None:
    text = HEADER + VIEW + CART + BUY + CART.replace("cart", "remove_from_cart")
    types = [event.event_type for event in events_of(rees46(tmp_path, text), "rees46")]
    assert types == ["view", "add_to_cart", "purchase", "remove_from_cart"]


def test_rees46_variants_of_the_same_row(tmp_path: Path) -> None:
    expected = events_of(rees46(tmp_path, HEADER + VIEW), "rees46", source="x")
    columns, fields = HEADER.strip().split(","), VIEW.strip().split(",")
    turned = ",".join(reversed(columns)) + ",more\n" + ",".join(reversed(fields)) + ",1\n"
    variants = {
        "crlf": (HEADER + VIEW).replace("\n", "\r\n"),
        "bom": b"\xef\xbb\xbf" + (HEADER + VIEW).encode(),
        "no zone": HEADER + VIEW.replace(" UTC", ""),
        "reordered": turned,
        "quoted": HEADER + ",".join(f'"{field}"' for field in fields) + "\n",
        "semicolons": (HEADER + VIEW).replace(",", ";"),
        "blank lines": HEADER + "\n" + VIEW + "\n\n",
        "no last line end": (HEADER + VIEW).strip(),
    }
    for name, text in variants.items():
        assert events_of(rees46(tmp_path, text), "rees46", source="x") == expected, name


def test_rees46_a_row_without_a_session_belongs_to_the_users_day(tmp_path: Path) -> None:
    (event,) = events_of(rees46(tmp_path, HEADER + VIEW.replace("s-1", "")), "rees46")
    assert event.session_id == "541312140-2019-10-01"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (VIEW.replace("view", "wish"), "unknown:event_type"),
        (VIEW.replace("541312140", ""), "missing:user_id"),
        (VIEW.replace("2019-10-01 00:00:00 UTC", "yesterday"), "format:event_time"),
        (VIEW.replace("2019-10-01", "1989-10-01"), "range:event_time"),
        (VIEW.replace("35.79", "-1"), "range:price"),
        (VIEW.replace("35.79", "1.23456"), "range:price"),
        (VIEW.replace("35.79", "cheap"), "format:price"),
        (VIEW.replace("35.79", "9" * 50), "format:price"),
        (VIEW.replace("35.79", "1e9999999"), "range:price"),
        ("a,b\n", "format:row"),
        (VIEW.strip() + ",more\n", "format:row"),
        (VIEW.replace("shiseido", '"shiseido'), "format:row"),
    ],
)
def test_rees46_a_bad_row_is_rejected_alone(tmp_path: Path, row: str, reason: str) -> None:
    path = rees46(tmp_path, HEADER + VIEW + row + VIEW)
    (reject,) = rejects_of(path, "rees46")
    assert (reject.line, reject.reason, reject.raw) == (3, reason, row.strip())
    assert sum(isinstance(found, Event) for found in read(path, "rees46")) == 2


# RetailRocket: rows as in the data set's description

RETAILROCKET = """timestamp,visitorid,event,itemid,transactionid
1439694000000,1,view,100,
1439694000001,1,addtocart,100,
1439694000002,2,transaction,100,234
1439694000002,2,transaction,200,234
"""


def test_retailrocket_with_items(tmp_path: Path) -> None:
    path, items = tmp_path / "events.csv", tmp_path / "items.csv"
    path.write_text(RETAILROCKET)
    items.write_text("itemid,category,price\n100,toys.cars,9.50\n200,,1\n")
    view, cart, first, second = events_of(path, "retailrocket", items=items)
    assert (view.event_type, cart.event_type, first.event_type) == ("view", "add_to_cart", "purchase")
    assert (view.category, view.price, view.session_id) == ("toys.cars", Decimal("9.50"), "1-2015-08-16")
    assert view.event_time == datetime(2015, 8, 16, 3, tzinfo=UTC)
    assert [(e.order_id, e.order_line, e.price) for e in (first, second)] == [
        ("234", 1, Decimal("9.50")),
        ("234", 2, Decimal(1)),
    ]


def test_retailrocket_does_not_guess_a_price(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(RETAILROCKET)
    assert [(reject.line, reject.reason) for reject in rejects_of(path, "retailrocket")] == [
        (4, "missing:price"),
        (5, "missing:price"),
    ]


def test_an_items_file_without_a_column_is_refused(tmp_path: Path) -> None:
    path, items = tmp_path / "events.csv", tmp_path / "items.csv"
    path.write_text(RETAILROCKET)
    items.write_text("itemid,price\n100,1\n")
    with pytest.raises(UsageError, match="no column category"):
        read(path, "retailrocket", items=items)


# GA4: a row of the BigQuery export as its JSON export writes it, 64-bit integers as strings


def ga4_row(name: str = "purchase", **more: Any) -> dict[str, Any]:
    return {
        "event_date": "20210131",
        "event_timestamp": "1612069510766593",
        "event_name": name,
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": "661084800"}},
            {"key": "currency", "value": {"string_value": "EUR"}},
        ],
        "user_pseudo_id": "1009283.4112",
        "event_bundle_sequence_id": "6595101026",
        "ecommerce": {"transaction_id": "741471", "purchase_revenue": 56.0},
        "items": [
            {
                "item_id": "GGOEGAYC135814",
                "item_name": "Badge Tee",
                "item_brand": "(not set)",
                "item_category": "Apparel",
                "item_category2": "Mens v2.0",
                "item_category3": "(not set)",
                "price": 12.350000000000001,
                "quantity": "2",
            },
            {"item_id": "GGOEGAXC134117", "item_category": "(not set)", "price_in_usd": 20.0, "quantity": None},
        ],
        **more,
    }


def test_ga4_each_item_is_an_event(tmp_path: Path) -> None:
    path = tmp_path / "ga4.jsonl"
    path.write_text(json.dumps(ga4_row()) + "\n")
    first, second = events_of(path, "ga4")
    assert first.event_time == datetime(2021, 1, 31, 5, 5, 10, 766_000, UTC)
    assert (first.user_id, first.session_id) == ("1009283.4112", "1009283.4112.661084800")
    assert (first.category, first.brand, first.price, first.quantity, first.currency) == (
        "Apparel.Mens v2_0",
        None,
        Decimal("12.35"),
        2,
        "EUR",
    )
    assert (second.category, second.price, second.quantity, second.currency) == ("unknown", Decimal(20), 1, "USD")
    assert [(e.order_id, e.order_line) for e in (first, second)] == [("741471", 1), ("741471", 2)]
    assert first.event_id[:-2] == second.event_id[:-2] and first.event_id != second.event_id


def test_ga4_parquet_gives_the_same(tmp_path: Path) -> None:
    lines, parquet = tmp_path / "ga4.jsonl", tmp_path / "ga4.parquet"
    row = ga4_row(event_timestamp=1612069510766593, event_bundle_sequence_id=6595101026)
    lines.write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), parquet)
    assert events_of(parquet, "ga4") == events_of(lines, "ga4")


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("view_item", "view"),
        ("select_item", "click"),
        ("add_to_cart", "add_to_cart"),
        ("remove_from_cart", "remove_from_cart"),
        ("refund", "refund"),
    ],
)
def test_ga4_types(name: str, event_type: str) -> None:
    assert {fields["event_type"] for fields in adapt("ga4", ga4_row(name))} == {event_type}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ga4_row("page_view"), "not_mapped"),
        (ga4_row(items=[]), "missing:items"),
        (ga4_row(items=None), "missing:items"),
        (ga4_row(items=[5]), "type:items"),
        (ga4_row(event_params=5), "type:event_params"),
        (ga4_row(event_timestamp=None), "missing:event_time"),
        (ga4_row(ecommerce=None), "missing:order_id"),
    ],
)
def test_ga4_bad_rows(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = tmp_path / "ga4.jsonl"
    path.write_text(json.dumps(row))
    assert {reject.reason for reject in rejects_of(path, "ga4")} == {reason}


# Segment: calls as in the e-commerce spec


def segment_call(event: str = "Order Completed", **properties: Any) -> dict[str, Any]:
    product = {"product_id": "507f1f77", "sku": "G-32", "brand": "Hasbro", "price": 19, "quantity": 1}
    if event.startswith("Order"):
        products = [
            product | {"category": "Games"},
            {"sku": "F-17", "price": 3.5, "quantity": 2, "category": "Home > Kitchen/Cups"},
        ]
        content: dict[str, Any] = {"order_id": "50314b8e", "currency": "EUR", "total": 26, "products": products}
    else:
        content = product | {"category": "Games", "currency": "EUR"}
    return {
        "type": "track",
        "event": event,
        "messageId": "ajs-1",
        "anonymousId": "a-1",
        "userId": None,
        "timestamp": "2026-01-01T12:00:00.5+02:00",
        "context": {"sessionId": 77},
        "properties": content | properties,
    }


def test_segment_an_order(tmp_path: Path) -> None:
    path = tmp_path / "segment.jsonl"
    path.write_text(json.dumps(segment_call()))
    first, second = events_of(path, "segment")
    assert (first.event_id, first.order_id, first.order_line) == ("ajs-1-1", "50314b8e", 1)
    assert (first.user_id, first.session_id, first.category, first.price) == ("a-1", "77", "Games", Decimal(19))
    assert first.event_time == datetime(2026, 1, 1, 10, 0, 0, 500_000, UTC)
    assert (second.product_id, second.category, second.quantity) == ("F-17", "Home.Kitchen.Cups", 2)
    assert (second.event_id, second.order_line, second.currency) == ("ajs-1-2", 2, "EUR")


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("Product Viewed", "view"),
        ("Product Clicked", "click"),
        ("Product Added", "add_to_cart"),
        ("Product Removed", "remove_from_cart"),
        ("Order Refunded", "refund"),
    ],
)
def test_segment_types(name: str, event_type: str) -> None:
    found = adapt("segment", segment_call(name))
    assert {fields["event_type"] for fields in found} == {event_type}
    assert len(found) == (2 if name.startswith("Order") else 1)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (segment_call("Cart Viewed"), "not_mapped"),
        (segment_call() | {"type": "page"}, "not_mapped"),
        (segment_call(products=None), "missing:products"),
        (segment_call(products=[7]), "type:products"),
        (segment_call(order_id=None), "missing:order_id"),
        (segment_call() | {"messageId": ""}, "missing:event_id"),
        (segment_call() | {"properties": []}, "type:properties"),
        (segment_call() | {"timestamp": 5}, "range:event_time"),
    ],
)
def test_segment_bad_calls(tmp_path: Path, call: dict[str, Any], reason: str) -> None:
    path = tmp_path / "segment.jsonl"
    path.write_text(json.dumps(call))
    assert {reject.reason for reject in rejects_of(path, "segment")} == {reason}


# RetailPulse

OWN = {
    "event_id": "e-1",
    "event_type": "purchase",
    "event_time": "2026-01-01T10:00:00.000Z",
    "user_id": "u-1",
    "session_id": "s-1",
    "product_id": "p-1",
    "price": "9007199254740.9931",
    "quantity": 2,
    "order_id": "o-1",
    "order_line": 1,
}


def test_a_line_of_our_own_goes_through_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = json.dumps(OWN | {"campaign": "spring"}).replace('"9007199254740.9931"', "9007199254740.9931").encode()
    path.write_bytes(line + b"\r\n{\n")
    (accepted, reject) = read_rows(path, "retailpulse")
    assert not isinstance(accepted, Reject)
    assert accepted.value == line
    assert accepted.event.price == Decimal("9007199254740.9931")
    assert isinstance(reject, Reject) and (reject.line, reject.reason, reject.raw) == (2, "not_json", "{")


def test_our_own_events_from_csv_and_parquet(tmp_path: Path) -> None:
    lines, table = tmp_path / "events.jsonl", tmp_path / "events.csv"
    lines.write_text(json.dumps(OWN))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*OWN, "brand"])
        writer.writeheader()
        writer.writerow(OWN | {"brand": ""})
    parquet = tmp_path / "events.parquet"
    row = OWN | {"event_time": datetime(2026, 1, 1, 10), "price": Decimal(OWN["price"]), "brand": None}
    pq.write_table(pa.Table.from_pylist([row]), parquet)
    assert events_of(table, "retailpulse") == events_of(parquet, "retailpulse") == events_of(lines, "retailpulse")


def test_float32_prices_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    columns = {name: [value] for name, value in OWN.items()} | {"price": pa.array([19.99], pa.float32())}
    pq.write_table(pa.table(columns), path)
    assert events_of(path, "retailpulse")[0].price == Decimal("19.99")


# What is known before the first event


def test_an_unknown_format() -> None:
    with pytest.raises(UnknownName, match="rees46"):
        read("anything", "rees47")


# Anything at all

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [*ga4_row(), *segment_call(), *segment_call()["properties"], *OWN, *HEADER.strip().split(","), "timestamp", "event"]
)


@given(st.sampled_from(FORMATS), st.sampled_from([ga4_row(), segment_call(), OWN, {}]), st.dictionaries(_NAMES, _JSON))
@settings(max_examples=500, deadline=None)
def test_an_adapter_raises_nothing_but_event_errors(format: str, record: dict[str, Any], more: dict[str, Any]) -> None:
    with suppress(EventError):
        assert isinstance(adapt(format, record | more), list)


@given(st.decimals(0, 10**9, places=4))
def test_float_noise_is_taken_off_and_digits_are_not(price: Decimal) -> None:
    assert Decimal(exact_price(float(price)) or "") == price
    assert Decimal(exact_price(str(price)) or "") == price


def test_an_adapter_counts_an_orders_lines_over_a_topics_messages() -> None:
    mapping = adapter("rees46", source="topic-0")
    names = HEADER.strip().split(",")
    record = dict(zip(names, BUY.strip().split(","), strict=True))
    found = [mapping.adapt(record, offset)[0] for offset in (7, 8)]
    assert [(fields["event_id"], fields["order_line"]) for fields in found] == [("topic-0-7", 1), ("topic-0-8", 2)]
