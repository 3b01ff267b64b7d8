"""Values that other people's files hold: each is read exactly, or refused with a reason, or counted as changed."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retailpulse_kernel.feed.adapters import Accepted, Reading, Reject, Rules, read_rows
from tests.adapters import HEADER

NATIVE = {
    "event_id": "e", "event_type": "purchase", "event_time": "2026-03-01T10:00:00Z", "user_id": "u", "session_id": "s",
    "product_id": "p", "price": "10.00", "quantity": 2, "currency": "EUR", "order_id": "o", "order_line": 1,
}  # fmt: skip


def native(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps({name: value for name, value in (NATIVE | more).items() if value is not None}))
    return path


def parquet(path: Path, **columns: Any) -> Path:
    rees46 = {
        "event_time": pa.array([datetime(2026, 3, 1, 10)], pa.timestamp("us")), "event_type": ["purchase"],
        "product_id": [1], "category_code": ["a.b"], "brand": ["x"], "price": [19.99], "user_id": [7],
        "user_session": ["s"],
    }  # fmt: skip
    pq.write_table(pa.table(rees46 | columns), path)
    return path


def ga4(path: Path, *hits: dict[str, Any]) -> Path:
    hit = {
        "event_name": "purchase", "event_timestamp": 1772359200000000, "user_pseudo_id": "1.2",
        "event_params": [{"key": "currency", "value": {"string_value": "EUR"}}],
        "ecommerce": {"transaction_id": "T"}, "items": [{"item_id": "A", "price": 1.5, "quantity": 1}],
    }  # fmt: skip
    path.write_text("\n".join(json.dumps(hit | more) for more in hits))
    return path


def only(reading: Reading) -> Accepted:
    (row,) = reading
    assert isinstance(row, Accepted), row
    return row


def reason(reading: Reading) -> str:
    (row,) = reading
    assert isinstance(row, Reject), row
    return row.reason


@pytest.mark.parametrize("price", ["1_000", "\u0661\u0662", "\uff11"])
def test_a_price_has_no_digits_but_those_of_the_contract(tmp_path: Path, price: str) -> None:
    row = f"2026-03-01 10:00:00 UTC,purchase,1,2,,,{price},7,s\n"
    (tmp_path / "f").write_text(HEADER.strip() + "\n" + row)
    assert reason(read_rows(tmp_path / "f", "rees46")) == "format:price"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("within", ["a\r\nb", "a\rb", "a\nb"])
def test_the_end_of_a_line_within_quotes_is_kept(tmp_path: Path, within: str, encoding: str) -> None:
    row = f'2026-03-01 10:00:00 UTC,view,"{within}",2,,,1.00,7,s\r\n'
    (tmp_path / "f").write_bytes(f"{HEADER.strip()}\r\n{row}".encode(encoding))
    assert only(read_rows(tmp_path / "f", "rees46")).event.product_id == within


def test_utf_16_whose_lines_end_in_cr(tmp_path: Path) -> None:
    row = "2026-03-01 10:00:00 UTC,view,1,2,,,1.00,7,s\r"
    (tmp_path / "f").write_bytes(f"{HEADER.strip()}\r{row}".encode("utf-16"))
    assert only(read_rows(tmp_path / "f", "rees46")).event.product_id == "1"


@pytest.mark.parametrize(
    "column",
    [
        np.array([541312141], np.float32),
        np.array([2103807459595387724.0]),
        np.array([2.0**53]),
        np.array([2.0**24], "f"),
    ],
)
def test_an_id_that_lost_its_digits_in_a_float_is_refused(tmp_path: Path, column: Any) -> None:
    assert reason(read_rows(parquet(tmp_path / "f", product_id=column), "rees46")) == "type:row"


def test_an_id_that_a_float_holds_is_read(tmp_path: Path) -> None:
    event = only(read_rows(parquet(tmp_path / "f", product_id=[541312141.0]), "rees46")).event
    assert event.product_id == "541312141"


def test_short_floats_of_a_dictionary_keep_their_digits(tmp_path: Path) -> None:
    price = pa.array([0.1], pa.float32()).dictionary_encode()
    reading = read_rows(parquet(tmp_path / "f", price=price), "rees46")
    assert only(reading).event.price == Decimal("0.1") and not reading.changed


FAR = pa.array([10**18], pa.timestamp("us"))
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")]
)
NESTED = pa.StructArray.from_arrays([NOT_UTF8], ["x"])


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [("event_time", FAR, "format:event_time"), ("brand", NOT_UTF8, "not_utf8"), ("brand", NESTED, "type:row")],
)
def test_a_cell_that_python_can_t_hold_spoils_its_row_only(tmp_path: Path, column: str, values: Any, why: str) -> None:
    assert reason(read_rows(parquet(tmp_path / "f", **{column: values}), "rees46")) == why
    assert only(read_rows(parquet(tmp_path / "g", further=values), "rees46"))


def test_a_day_is_no_time(tmp_path: Path) -> None:
    assert reason(read_rows(parquet(tmp_path / "f", event_time=[date(2026, 3, 1)]), "rees46")) == "format:event_time"


@pytest.mark.parametrize("infinity", [float("inf"), float("-inf")])
def test_a_quantity_that_is_infinite_is_refused(tmp_path: Path, infinity: float) -> None:
    pq.write_table(
        pa.table({name: [value] for name, value in (NATIVE | {"quantity": infinity}).items()}), tmp_path / "f"
    )
    assert reason(read_rows(tmp_path / "f")) == "type:quantity"


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ({"currency": None}, "defaulted:currency"),
        ({"quantity": None}, "defaulted:quantity"),
        ({"event_time": "2026-03-01T10:00:00.123456Z"}, "cut:event_time"),
        ({"event_time": "2026-03-01T10:00:00.123000Z"}, None),
        ({}, None),
    ],
)
def test_what_the_contract_assumes_is_counted_in_native_files_too(
    tmp_path: Path, more: dict[str, Any], changed: str | None
) -> None:
    for path in (native(tmp_path / "f", **more), tmp_path / "g"):
        if path.name == "g":
            record = {name: value for name, value in (NATIVE | more).items() if value is not None}
            pq.write_table(pa.table({name: [value] for name, value in record.items()}), path)
        reading = read_rows(path)
        only(reading)
        assert dict(reading.changed) == ({changed: 1} if changed else {})


def test_the_currency_of_the_rules_holds_for_native_json(tmp_path: Path) -> None:
    row = only(read_rows(native(tmp_path / "f", currency=None, further=[1.10]), rules=Rules(currency="EUR")))
    assert row.event.currency == "EUR"
    assert json.loads(row.value) == NATIVE | {"further": [1.10]}


def test_ga4_a_decimal_and_a_float_are_one_number(tmp_path: Path) -> None:
    path = ga4(tmp_path / "f", {}, {})
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + second.replace("1.5", "1.50"))
    assert len({row.event.event_id for row in read_rows(path, "ga4") if isinstance(row, Accepted)}) == 1


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ({"event_timestamp": 1772359200123456}, "cut:event_time"),
        ({"items": [{"item_id": "A", "price": 1, "quantity": 1, "item_category": "St. John"}]}, "replaced:category"),
    ],
)
def test_ga4_what_is_cut_or_replaced_is_counted(tmp_path: Path, more: dict[str, Any], changed: str) -> None:
    reading = read_rows(ga4(tmp_path / "f", more), "ga4")
    only(reading)
    assert reading.changed[changed] == 1


@pytest.mark.parametrize(
    "params",
    [
        [{"key": "currency", "value": "EUR"}],
        [5],
        [
            {"key": "currency", "value": {"string_value": "EUR"}},
            {"key": "currency", "value": {"string_value": "USD"}},
        ],
    ],
)
def test_ga4_a_parameter_that_can_t_be_read_is_not_left_out_in_silence(tmp_path: Path, params: list[Any]) -> None:
    assert reason(read_rows(ga4(tmp_path / "f", {"event_params": params}), "ga4")) == "type:event_params"
