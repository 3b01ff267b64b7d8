"""What other tools write, and once came in changed without a word, or stopped the reading."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.feed.adapters import Reject, read, read_rows
from retailpulse_kernel.feed.adapters.lines import MAX_LINE
from retailpulse_kernel.feed.checking import check_file
from retailpulse_kernel.ground.errors import EventError, RetailPulseError, UsageError
from retailpulse_kernel.shop.adapters.values import canonical, day_session, exact_price, first_of
from retailpulse_kernel.shop.events import Event
from tests.adapters import events_of

CALL = {
    "messageId": "m", "type": "track", "event": "Product Viewed", "timestamp": "2026-03-01T10:00:00Z", "userId": "u",
    "properties": {"product_id": "p"},
}  # fmt: skip
ORDER = CALL | {
    "event": "Order Completed",
    "properties": {
        "order_id": "o", "currency": "EUR", "products": [{"product_id": "p", "price": 10, "quantity": 2}],
    },
}  # fmt: skip
ITEM = {"item_id": "A", "price": 10, "quantity": 2}
SESSION = {"key": "ga_session_id", "value": {"int_value": 9}}
HIT = {
    "event_name": "purchase", "event_timestamp": 1772359200000000, "user_pseudo_id": "1.2",
    "event_params": [{"key": "currency", "value": {"string_value": "EUR"}}, SESSION],
    "items": [ITEM], "ecommerce": {"transaction_id": "T"},
}  # fmt: skip
OWN = {
    "event_id": "e", "event_type": "purchase", "event_time": "2026-03-01T10:00:00Z", "user_id": "u", "session_id": "s",
    "product_id": "p", "price": "10.00", "quantity": 2, "currency": "EUR", "order_id": "o", "order_line": 1,
}  # fmt: skip


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode(errors="surrogatepass") if isinstance(content, str) else content)
    return path


def changed(tmp_path: Path, record: dict[str, Any]) -> dict[str, int]:
    reading = read_rows(write(tmp_path / "f", json.dumps(record)))
    assert all(not isinstance(row, Reject) for row in reading)
    return dict(reading.changed)


def own_table(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({name: [value] for name, value in OWN.items()} | columns), path)
    return path


# Numbers


@pytest.mark.parametrize("text", ["1_000", "\u0661\u0662", "\uff11\uff12", "1_0.5"])
def test_only_plain_digits_are_a_price(text: str) -> None:
    with pytest.raises(EventError, match="is not a number"):
        exact_price(text)


@pytest.mark.parametrize("zero", ["-0", "-0.0", -0.0, Decimal("-0.00"), -1e-13])
def test_zero_has_no_sign(zero: Any) -> None:
    assert not exact_price(zero, computed=True).startswith("-")  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_the_nan_of_every_float_is_nothing(tmp_path: Path, kind: pa.DataType) -> None:
    values = [float("nan")] if kind != pa.float16() else pa.array([float("nan")]).cast(pa.float32()).to_numpy()
    column = pa.array(values, pa.float32()).cast(kind) if kind != pa.float64() else pa.array([float("nan")])
    (event,) = events_of(own_table(tmp_path, event_type=["view"], price=column), "retailpulse")
    assert event.price is None


def test_a_nan_is_passed_over_for_the_next_field() -> None:
    assert first_of(float("nan"), Decimal("NaN"), "", None, 5) == 5


# Text and JSON


def test_the_ends_of_lines_within_quotes_stay(tmp_path: Path) -> None:
    row = ",".join(str(value) for value in OWN.values())
    content = ",".join([*OWN, "brand"]) + "\r\n" + row + ',"A\r\nB\rC\nD"\r\n'
    (event,) = events_of(write(tmp_path / "f", content), "retailpulse")
    assert event.brand == "A\r\nB\rC\nD"


@pytest.mark.parametrize("damage", [b"J\xf6", b"\\ud800"], ids=["byte", "surrogate"])
def test_a_damaged_text_within_an_array_costs_its_own_value(tmp_path: Path, damage: bytes) -> None:
    text = json.dumps([CALL, CALL | {"messageId": "n", "userId": "HERE"}]).encode().replace(b"HERE", damage)
    first, second = read(write(tmp_path / "f", text))
    assert isinstance(first, Event) and isinstance(second, Reject) and second.reason in ("not_utf8", "not_json")


def test_depth_within_an_array_costs_no_memory(tmp_path: Path) -> None:
    deep = json.dumps(CALL).replace('"u"', "[" * 100_000 + "]" * 100_000)
    first, second = read(write(tmp_path / "f", f"[{json.dumps(CALL)},{deep}]"))
    assert isinstance(first, Event) and isinstance(second, Reject) and second.reason == "too_deep"


def test_values_of_every_kind_in_an_array_are_rows(tmp_path: Path) -> None:
    text = '[ 1,null , "a,]\\"b", [], [{}], {"x":"}"} ,' + json.dumps(CALL) + "]\n" + json.dumps(ORDER) + "[true]"
    found = list(read(write(tmp_path / "f", text), "segment"))
    reasons = [row.reason if isinstance(row, Reject) else row.event_type for row in found]
    assert reasons == [*["not_object"] * 5, "not_mapped", "view", "purchase", "not_object"]


@pytest.mark.parametrize(
    "text", ["[{},", "[{}", "[{}}", "[{}{}]", "[{},,{}]", '[{"a', "[{}] x", "[,{}]", "[{},]", "[", "[1 2]"]
)
def test_an_array_that_is_none_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(RetailPulseError, match="damaged after value"):
        list(read(write(tmp_path / "f", text), "segment"))


def test_values_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    calls = [CALL | {"messageId": f"m{n}", "pad": '\\"[{' * n * 3000} for n in range(12)]
    calls.insert(3, CALL | {"pad": "x" * (MAX_LINE + 1)})
    found = list(read(write(tmp_path / "f", json.dumps(calls))))
    assert [row.reason if isinstance(row, Reject) else "" for row in found] == ["", "", "", "too_long", *[""] * 9]


def test_a_line_of_spaces_is_blank(tmp_path: Path) -> None:
    assert len(list(read(write(tmp_path / "f", f"  \n{json.dumps(CALL)}\n \t \n")))) == 1


# Containers


def test_the_notes_of_a_system_are_no_files_of_an_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/events.jsonl", json.dumps(CALL))
        for note in ("__MACOSX/a/._events.jsonl", "a/.DS_Store", "a/Thumbs.db"):
            archive.writestr(note, "x")
    assert len(list(read(write(tmp_path / "f", buffer.getvalue())))) == 1


@pytest.mark.parametrize("magic", [b"ORC", b"ARROW1", b"Obj\x01", b"SQLite format 3\0", b"\x04\x22\x4d\x18"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, magic: bytes) -> None:
    with pytest.raises(UsageError, match="which is not read"):
        read(write(tmp_path / "f", magic + b"\0" * 50))


def test_a_file_without_columns_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of its first rows is a JSON object"):
        read(write(tmp_path / "f", '{"price": NaN}\n'))


# Parquet


@pytest.mark.parametrize("used", [True, False])
def test_a_time_that_python_lacks_costs_no_other_row(tmp_path: Path, used: bool) -> None:
    far = pa.array([300_000_000_000_000_000], pa.int64()).cast(pa.timestamp("us"))
    found = list(read(own_table(tmp_path, **({"event_time": far} if used else {"more": far}))))
    assert [row.reason if isinstance(row, Reject) else "" for row in found] == ["format:event_time" if used else ""]


def test_a_map_is_an_object(tmp_path: Path) -> None:
    path, kind = tmp_path / "f", pa.map_(pa.string(), pa.string())
    fields = {name: [value] for name, value in CALL.items() if name != "properties"}
    pq.write_table(pa.table(fields | {"properties": pa.array([[("product_id", "p")]], kind)}), path)
    assert events_of(path, "segment")[0].product_id == "p"
    pq.write_table(pa.table(fields | {"properties": pa.array([[("a", "p"), ("a", "q")]], kind)}), path)
    (row,) = read(path)
    assert isinstance(row, Reject) and row.reason == "type:properties"


# What is counted


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (OWN | {"currency": None}, "defaulted:currency"),
        ({name: value for name, value in OWN.items() if name != "quantity"}, "defaulted:quantity"),
        (ORDER | {"timestamp": "2026-03-01T10:00:00"}, "defaulted:zone"),
        (ORDER | {"properties": ORDER["properties"] | {"shipping": 1.23456}}, "rounded:shipping"),  # type: ignore[operator]
        (HIT | {"items": [{"item_id": "A", "price": 10}]}, "defaulted:quantity"),
        (HIT | {"items": [ITEM | {"discount": 1.23456}]}, "rounded:discount_in_price"),
        (HIT | {"items": [ITEM | {"item_category": "St. Pauli"}]}, "replaced:category"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_value_that_is_filled_in_or_rounded_is_counted(tmp_path: Path, record: dict[str, Any], name: str) -> None:
    assert changed(tmp_path, record).get(name) == 1


@pytest.mark.parametrize("record", [OWN, OWN | {"quantity": 1, "currency": "USD"}, HIT])
def test_nothing_is_counted_where_nothing_is_changed(tmp_path: Path, record: dict[str, Any]) -> None:
    assert changed(tmp_path, record) == {}


def test_a_tables_times_without_a_zone_are_counted(tmp_path: Path) -> None:
    moment = [datetime(2026, 3, 1, 10)]
    assert check_file(own_table(tmp_path, event_time=moment), "retailpulse").changed == {"defaulted:zone": 1}


def test_long_users_have_sessions_of_their_own() -> None:
    sessions = {day_session("x" * 127 + end, 1772359200000) for end in "abc"}
    assert len(sessions) == 3 and all(len(one or "") <= 128 for one in sessions)


@pytest.mark.parametrize(
    "params",
    [
        [{"key": "currency", "value": {"string_value": "EUR"}}, {"key": "currency", "value": {"string_value": "GBP"}}],
        [{"key": "currency", "value": "EUR"}],
        [["currency", "EUR"]],
    ],
    ids=["twice", "no record of types", "no records"],
)
def test_parameters_that_can_not_be_read_are_no_silence(tmp_path: Path, params: Any) -> None:
    (row,) = read(write(tmp_path / "f", json.dumps(HIT | {"event_params": params})))
    assert isinstance(row, Reject) and row.reason == "type:event_params"


def test_a_type_of_null_is_none(tmp_path: Path) -> None:
    assert len(events_of(write(tmp_path / "f", json.dumps(CALL | {"type": None})), "segment")) == 1


@pytest.mark.parametrize(("second", "right"), [("1.00", True), ("2.00", False)])
def test_an_item_with_two_prices_is_refused(tmp_path: Path, second: str, right: bool) -> None:
    events = write(tmp_path / "f", "timestamp,visitorid,event,itemid,transactionid\n1772359200000,1,transaction,5,9\n")
    items = write(tmp_path / "items", f"itemid,category,price\n5,a,1.00\n5,a,{second}\n")
    if right:
        assert len(list(read(events, items=items))) == 1
        return
    with pytest.raises(UsageError, match="has the item '5' twice"):
        read(events, items=items)


@pytest.mark.parametrize("number", ["sNaN", "NaN", "Infinity"])
def test_a_number_that_is_none_has_a_canonical_text(number: str) -> None:
    assert canonical([Decimal(number)]) == "[]"
