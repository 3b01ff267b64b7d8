"""Other people's files: what went wrong in silence once, and its siblings, with data of our own."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import uuid
import zipfile
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.feed.adapters import Reject, Rules, adapt, read, read_rows
from retailpulse_kernel.ground.errors import EventError, RetailPulseError, UnknownName, UsageError
from retailpulse_kernel.shop.adapters.values import exact_price, utc_time
from retailpulse_kernel.shop.events import Event, parse_event
from tests.adapters import BUY, HEADER, VIEW, events_of, lines, rees46, rejects_of

# Numbers


def segment_order(**more: Any) -> dict[str, Any]:
    product = {"product_id": "p", "price": 10, "quantity": 2}
    properties = {"order_id": "o", "currency": "EUR", "products": [product | more.pop("product", {})]}
    call = {"messageId": "m", "type": "track", "event": "Order Completed", "timestamp": "2026-03-01T10:00:00Z"}
    return call | {"userId": "u", "properties": properties | more.pop("properties", {})} | more


@pytest.mark.parametrize("number", ["18446744073709551617", "123456789012345678901234567890", "-9223372036854775809"])
def test_a_number_for_an_id_keeps_all_its_digits(tmp_path: Path, number: str) -> None:
    text = json.dumps(segment_order(userId="USER", product={"product_id": "PRODUCT"}))
    path = lines(tmp_path / "f", text.replace('"USER"', number).replace('"PRODUCT"', number))
    (event,) = events_of(path, "segment")
    assert (event.user_id, event.product_id) == (number, number)


def test_a_price_keeps_all_its_digits(tmp_path: Path) -> None:
    path = lines(tmp_path / "f", json.dumps(segment_order(product={"price": "P"})).replace('"P"', "9999999999999.1234"))
    assert events_of(path, "segment")[0].price == Decimal("9999999999999.1234")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "marked"])
@pytest.mark.parametrize("container", ["array", "spread", "jsonl"])
def test_numbers_are_exact_in_every_way_to_write_json(tmp_path: Path, container: str, mark: bytes) -> None:
    own = (
        '{"event_id": "e", "event_type": "view", "event_time": "2026-03-01T10:00:00Z", "user_id": "u", '
        '"session_id": "s", "product_id": "p", "price": 9007199254740.9931}'
    )
    text = {"array": f"[{own}]", "spread": own.replace(",", ",\n"), "jsonl": own}[container]
    path = tmp_path / "f"
    path.write_bytes(mark + text.encode())
    assert events_of(path, "retailpulse")[0].price == Decimal("9007199254740.9931")


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (6.666666666666667, "6.6667"),  # computed by a machine
        ("6.666666666666667", "6.6667"),
        (Decimal("3.3333333333333335"), "3.3333"),
        (0.1 + 0.2, "0.3"),  # only the noise of a float
        ("1.2345", "1.2345"),
    ],
)
def test_a_computed_price_is_rounded_and_counted(value: Any, price: str) -> None:
    changed: list[str] = []
    assert Decimal(exact_price(value, changed) or "") == Decimal(price)
    assert changed == (["rounded:price"] if price.startswith(("6", "3")) else [])


def test_a_written_price_is_never_rounded_unless_told() -> None:
    for value in ("6.66667", 6.66667, Decimal("6.66667")):
        with pytest.raises(EventError, match="4 decimal places"):
            exact_price(value)
    assert exact_price("6.66667", every=True) == "6.6667"
    with pytest.raises(EventError):
        exact_price(6.666666666666667, computed=False)


def test_short_floats_keep_their_digits_however_deep(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("item_id", pa.string()), ("price", pa.float32()), ("deeper", pa.list_(pa.float16()))]))
    table = {
        "event_name": ["view_item"], "event_timestamp": [1772359200000000], "user_pseudo_id": ["1.2"],
        "event_params": pa.array([[]], pa.list_(pa.struct([("key", pa.string())]))),
        "items": pa.array([[{"item_id": "A", "price": 19.99, "deeper": None}]], kind),
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "f")
    assert events_of(tmp_path / "f", "ga4")[0].price == Decimal("19.99")


# Times


@pytest.mark.parametrize("offset", ["+00", "+0000", "+00:00", "Z", "z", "", " UTC", "-00:00", " +00:00"])
def test_every_offset_of_iso_8601_in_files(tmp_path: Path, offset: str) -> None:
    path = rees46(tmp_path, HEADER + VIEW.replace("2019-10-01 00:00:00 UTC", f"2019-10-01 00:00:00{offset}"))
    assert events_of(path, "rees46")[0].event_time.isoformat() == "2019-10-01T00:00:00+00:00"


@pytest.mark.parametrize(("offset", "hour"), [("+02", 8), ("+0230", 7), ("-05", 15), ("-0530", 15), ("+02:30", 7)])
def test_every_offset_of_iso_8601_in_topics(offset: str, hour: int) -> None:
    message = {
        "event_id": "e", "event_type": "view", "event_time": f"2026-03-01T10:00:00.5{offset}", "user_id": "u",
        "session_id": "s", "product_id": "p",
    }  # fmt: skip
    assert parse_event(json.dumps(message).encode()).event_time.hour == hour
    assert (
        parse_event(json.dumps(message | {"event_time": utc_time(message["event_time"])}).encode()).event_time.hour
        == hour
    )


def test_one_instant_is_one_session_in_whatever_zone_it_was_written(tmp_path: Path) -> None:
    times = ["2026-03-01T23:30:00-05:00", "2026-03-02T04:30:00Z", "2026-03-02T05:30:00+01", "2026-03-02T10:00:00+0530"]
    calls = [segment_order(messageId=str(n), timestamp=time) for n, time in enumerate(times)]
    assert {event.session_id for event in events_of(lines(tmp_path / "f", *calls), "segment")} == {"u-2026-03-02"}


# GA4


def ga4(name: str = "purchase", item: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    row = {
        "event_timestamp": "1772359200000000", "event_bundle_sequence_id": "7658063987", "user_pseudo_id": "77.88",
        "event_params": [{"key": "currency", "value": {"string_value": "EUR"}}], "event_name": name,
        "items": [{"item_id": "A", "price": 10.0, "quantity": 1} | (item or {})], "ecommerce": {"transaction_id": "T"},
    }  # fmt: skip
    return row | more


def test_ga4_hits_of_one_batch_differ_by_what_they_say() -> None:
    rows = [
        ga4(), ga4(ecommerce={"transaction_id": "T2"}), ga4(item={"item_id": "B"}), ga4(item={"quantity": 2}),
        ga4(event_params=[{"key": "page", "value": {"string_value": "x"}}]), ga4(batch_event_index="1"),
    ]  # fmt: skip
    ids = [adapt("ga4", row)[0]["event_id"] for row in rows]
    assert len(set(ids)) == len(rows)
    assert adapt("ga4", ga4())[0]["event_id"] == ids[0]


def test_ga4_a_hit_has_one_id_in_json_csv_and_parquet(tmp_path: Path) -> None:
    row = ga4(event_bundle_sequence_id=7658063987, event_timestamp=1772359200000000)
    lines(tmp_path / "jsonl", row)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    cells = [json.dumps(v) if isinstance(v, list | dict) else v for v in row.values()]
    cells[list(row).index("event_bundle_sequence_id")] = "7658063987.0"  # a column with gaps, through pandas
    writer.writerows([list(row), cells])
    (tmp_path / "csv").write_text(buffer.getvalue())
    pq.write_table(pa.Table.from_pylist([row | {"event_bundle_sequence_id": 7658063987.0}]), tmp_path / "parquet")
    found = [events_of(tmp_path / name, "ga4") for name in ("jsonl", "csv", "parquet")]
    assert found[0] == found[1] == found[2] and found[0][0].price == 10


def test_ga4_a_hit_without_consent_has_a_user_of_its_own(tmp_path: Path) -> None:
    rows = [ga4(user_pseudo_id=None), ga4(user_pseudo_id="", ecommerce={"transaction_id": "T2"})]
    reading = read_rows(lines(tmp_path / "f", *rows), "ga4")
    users = {row.event.user_id for row in reading if not isinstance(row, Reject)}
    assert len(users) == 2 and all(user.startswith("no-consent.") for user in users)
    assert reading.changed["derived:user_id"] == 2
    strict = list(read(tmp_path / "f", "ga4", rules=Rules(users="reject")))
    assert {row.reason for row in strict if isinstance(row, Reject)} == {"missing:user_id"} and len(strict) == 2


@pytest.mark.parametrize(
    ("item", "price", "currency"),
    [
        ({"price": None, "item_revenue": 30.0, "quantity": 2}, "15", "EUR"),
        ({"price": None, "item_revenue": 10.0, "quantity": "3"}, "3.3333", "EUR"),
        ({"price": None, "item_revenue_in_usd": 30.0, "quantity": 2}, "15", "USD"),
        ({"price": None, "price_in_usd": 7.5}, "7.5", "USD"),
    ],
)
def test_ga4_revenue_without_a_price(tmp_path: Path, item: dict[str, Any], price: str, currency: str) -> None:
    (event,) = events_of(lines(tmp_path / "f", ga4(item=item)), "ga4")
    assert (event.price, event.currency) == (Decimal(price), currency)


def test_ga4_a_currency_is_never_guessed_in_silence(tmp_path: Path) -> None:
    both = ga4(event_params=[], item={"price": 16.0, "price_in_usd": 15.0})
    neither = ga4(event_params=[], ecommerce={"transaction_id": "T2"})
    reading = read_rows(lines(tmp_path / "f", both, neither), "ga4", rules=Rules(currency="GBP"))
    found = [(row.event.price, row.event.currency) for row in reading if not isinstance(row, Reject)]
    assert found == [(15, "USD"), (10, "GBP")]
    assert (reading.changed["chosen:price_in_usd"], reading.changed["defaulted:currency"]) == (1, 1)


def test_ga4_a_name_stands_for_an_absent_id_however_long(tmp_path: Path) -> None:
    items = [{"item_id": None, "item_name": "n" * 140 + end} for end in ("a", "b")]
    events = events_of(lines(tmp_path / "f", *(ga4(item=item) for item in items)), "ga4")
    assert len({event.product_id for event in events}) == 2 and all(len(e.product_id) == 128 for e in events)


# Segment


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("Completed Order", "purchase"), ("completed_order", "purchase"), ("orderCompleted", "purchase"),
        ("Viewed Product", "view"), ("Added Product", "add_to_cart"), ("Removed Product", "remove_from_cart"),
        ("Clicked Product", "click"), ("Refunded Order", "refund"),
    ],
)  # fmt: skip
def test_segment_names_of_its_first_version(name: str, event_type: str) -> None:
    call = segment_order(event=name)
    call["properties"] |= call["properties"]["products"][0]
    assert adapt("segment", call)[0]["event_type"] == event_type


@pytest.mark.parametrize("order", ["order_id", "orderId", "id"])
@pytest.mark.parametrize("product", ["product_id", "productId", "id", "sku"])
def test_segment_fields_of_its_first_version(tmp_path: Path, order: str, product: str) -> None:
    call = segment_order()
    call["properties"] = {order: "o", "currency": "eur", "products": [{product: "p", "price": 2}]}
    (event,) = events_of(lines(tmp_path / "f", call), "segment")
    assert (event.order_id, event.product_id, event.currency) == ("o", "p", "EUR")


# Tables


def test_a_field_that_is_absent_is_null_whichever_row_comes_first(tmp_path: Path) -> None:
    view = {"timestamp": 1772359200000, "visitorid": 1, "event": "view", "itemid": 5}
    path = lines(tmp_path / "f", view, view | {"event": "transaction", "transactionid": 9})
    (tmp_path / "items.csv").write_text("itemid,category,price\n5,1016,12.50\n")
    assert [e.price for e in events_of(path, "retailrocket", items=tmp_path / "items.csv")] == [Decimal("12.50")] * 2
    columns = HEADER.strip().split(",")
    row = {name: value for name, value in zip(columns, VIEW.strip().split(","), strict=True) if value}
    assert events_of(lines(tmp_path / "g", row), "rees46")[0].category == "unknown"


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_what_is_no_end_of_a_line_in_csv_is_kept(tmp_path: Path, separator: str) -> None:
    row = VIEW.replace("44600062", f"p{separator}1").replace("shiseido", '"A, B"')
    assert events_of(rees46(tmp_path, HEADER + row), "rees46")[0].product_id == f"p{separator}1"


def test_a_column_twice_is_refused_by_name(tmp_path: Path) -> None:
    twice = HEADER.strip() + ",price \n" + VIEW.strip() + ",99.00\n"
    with pytest.raises(UsageError, match="more than one column 'price'"):
        read(rees46(tmp_path, twice), "rees46")
    with pytest.raises(UsageError, match="more than one column 'price'"):
        read(rees46(tmp_path, twice.replace(",", ";")), "rees46")
    items = tmp_path / "items.csv"
    items.write_text("itemid,category,price,price\n5,a,1,99\n")
    with pytest.raises(UsageError, match="more than one column 'price'"):
        read(rees46(tmp_path, HEADER + VIEW), "rees46", items=items)
    item = pa.StructArray.from_arrays(
        [pa.array(["a"]), pa.array([1.0]), pa.array([99.0])], ["item_id", "price", "price"]
    )
    pq.write_table(pa.table({"items": pa.ListArray.from_arrays([0, 1], item)}), tmp_path / "f")
    with pytest.raises(UsageError, match=r"more than one column 'items\.price'"):
        read(tmp_path / "f", "ga4")


def test_a_column_that_nobody_asked_for_costs_no_row_and_is_told(tmp_path: Path) -> None:
    own = {
        "event_id": ["e"], "event_type": ["view"], "event_time": ["2026-03-01T10:00:00Z"], "user_id": ["u"],
        "session_id": ["s"], "product_id": ["p"],
    }  # fmt: skip
    more = {
        "tax": [Decimal("1.20")], "blob": [b"\xff"], "took": [timedelta(seconds=1)], "on": [date(2026, 3, 1)],
        "many": [[1, 2]], "key": pa.array([uuid.UUID(int=5).bytes], pa.uuid()),
    }  # fmt: skip
    pq.write_table(pa.table(own | more), tmp_path / "f")
    reading = read_rows(tmp_path / "f", "retailpulse")
    assert [row.event.event_id for row in reading if not isinstance(row, Reject)] == ["e"]
    assert reading.ignored == tuple(more)


def test_an_id_of_the_type_uuid_is_its_usual_text(tmp_path: Path) -> None:
    row = dict(zip(HEADER.strip().split(","), ([v] for v in BUY.strip().split(",")), strict=True))
    key = uuid.uuid4()
    pq.write_table(pa.table(row | {"user_session": pa.array([key.bytes], pa.uuid())}), tmp_path / "f")
    assert events_of(tmp_path / "f", "rees46")[0].session_id == str(key)
    plain = uuid.UUID(bytes=b"\xff" * 16).bytes
    pq.write_table(pa.table(row | {"user_session": pa.array([plain], pa.binary(16))}), tmp_path / "f")
    (reject,) = rejects_of(tmp_path / "f", "rees46")
    assert reject.reason == "type:row" and "UUID" in reject.detail


# Containers

TABLE = (HEADER + VIEW + BUY).encode()


def zipped(content: bytes, *more: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/", "")
        archive.writestr("data/events.csv", content)
        archive.writestr("__MACOSX/data/._events.csv", b"x")
        for name in more:
            archive.writestr(name, content)
    return buffer.getvalue()


TEXT = TABLE.decode()
PACKED = {
    "gzip": gzip.compress(TABLE, mtime=0),
    "zstd": pa.compress(TABLE, "zstd", asbytes=True),
    "bzip2": bz2.compress(TABLE),
    "xz": lzma.compress(TABLE),
    "zip": zipped(TABLE),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-le": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16-be": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "cr": TABLE.replace(b"\n", b"\r"),
    "bom and crlf": codecs.BOM_UTF8 + TABLE.replace(b"\n", b"\r\n"),
    "utf-16 in gzip": gzip.compress(TEXT.encode("utf-16"), mtime=0),
}


@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
def test_a_table_however_it_is_packed_and_encoded(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    plain = events_of(rees46(tmp_path, TABLE), "rees46", source="x")
    assert events_of(tmp_path / "f", "rees46", source="x") == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zipped(TABLE, "second.csv"), "holds 2 files: data/events.csv, second.csv"),
        (TABLE.decode().encode("utf-16-le"), "UTF-16 without its mark"),
        (b"PK\x03\x04 and nothing more", "damaged zip"),
    ],
)
def test_what_can_t_be_read_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read(tmp_path / "f", "rees46")


def test_a_damaged_packed_file_says_so(tmp_path: Path) -> None:
    table = HEADER.encode() + b"".join(VIEW.replace("s-1", uuid.uuid4().hex).encode() for _ in range(20_000))
    for whole in (bz2.compress(table), lzma.compress(table), pa.compress(table, "zstd", asbytes=True)):
        (tmp_path / "f").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(RetailPulseError, match=r"is damaged|can't be read"):
            list(read(tmp_path / "f", "rees46"))


@pytest.mark.parametrize("spread", [None, 2])
@pytest.mark.parametrize("array", [True, False])
def test_json_as_people_print_it(tmp_path: Path, spread: int | None, array: bool) -> None:
    calls = [segment_order(messageId=str(n)) for n in range(3)]
    text = json.dumps(calls, indent=spread) if array else "\n".join(json.dumps(call, indent=spread) for call in calls)
    (tmp_path / "f").write_text(text)
    assert [e.event_id for e in events_of(tmp_path / "f", "segment")] == ["0-1", "1-1", "2-1"]


def test_one_bad_line_of_jsonl_spoils_no_other(tmp_path: Path) -> None:
    """Also the first one, which looks as if an object spanned lines."""
    path = lines(tmp_path / "f", '{"messageId": ', segment_order(), "[1]", segment_order(messageId="n"))
    found = list(read(path, "segment"))
    assert [row.reason if isinstance(row, Reject) else row.event_id for row in found] == [
        "not_json", "m-1", "not_object", "n-1",
    ]  # fmt: skip


def test_a_json_file_that_ends_too_early_says_where(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(json.dumps([segment_order(), segment_order()], indent=1)[:-200])
    with pytest.raises(RetailPulseError, match="damaged after value 1"):
        list(read(tmp_path / "f", "segment"))


# Formats by their columns


def test_a_format_is_known_by_its_columns(tmp_path: Path) -> None:
    for format, path in {
        "rees46": rees46(tmp_path, HEADER + VIEW),
        "segment": lines(tmp_path / "s", segment_order()),
        "ga4": lines(tmp_path / "g", ga4()),
    }.items():
        reading = read_rows(path)
        assert reading.format == format and reading.known_by
        assert len(list(reading)) == 1
    with pytest.raises(UsageError, match="can't be told by its columns: a, b"):
        read_rows(lines(tmp_path / "x", {"a": 1, "b": 2}))


def test_rules_that_there_are_not() -> None:
    with pytest.raises(UsageError, match="ISO 4217"):
        Rules(currency="EURO")
    for wrong in ({"prices": "exakt"}, {"users": "none"}):
        with pytest.raises(UnknownName):
            Rules(**wrong)


def test_native_tables_name_a_currency_or_it_is_counted(tmp_path: Path) -> None:
    text = "event_id,event_type,event_time,user_id,session_id,product_id,price\ne,view,2026-03-01T10:00:00Z,u,s,p,1.5\n"
    (tmp_path / "f").write_text(text)
    reading = read_rows(tmp_path / "f", "retailpulse", rules=Rules(currency="EUR"))
    (row,) = reading
    assert not isinstance(row, Reject) and row.event.currency == "EUR"
    assert reading.changed == {"defaulted:currency": 1}
    assert isinstance(row.event, Event) and row.event.event_time == datetime.fromisoformat("2026-03-01T10:00:00Z")
