"""The cells of HBase's tables of rows, as Avro's specification has them."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, FIRST_EVENT, REVENUE
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.stores.figure_rows import arrow_rows
from retailpulse_kernel.stores.hbase.avro import fingerprint, pack, schema_text, unpack
from retailpulse_kernel.stores.hbase.rows import pack_cells, pack_keys, unpacker
from retailpulse_kernel.stores.rows import schema_of

LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": LONG,
    "double": st.floats(allow_nan=False),
    "string": st.text(),
    "binary": st.binary(),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "decimal(38,4)": st.decimals(-(10**33), 10**33, places=4, allow_nan=False),
    "decimal(3,0)": st.integers(-999, 999).map(Decimal),
}
LISTS = {f"list<{kind}>": st.lists(st.none() | values, max_size=4) for kind, values in VALUES.items()}
ALL = RowTable("cells", tuple(Column(f"c{place}", kind) for place, kind in enumerate(VALUES | LISTS)), ("c2",))
RECORDS = st.fixed_dictionaries(
    {name: st.none() | values for name, values in zip(ALL.types, (VALUES | LISTS).values(), strict=True)}
)
DAY = GRAINS["day"]
TABLE = FigureTable("day", (EVENTS, REVENUE, FIRST_EVENT, ACTIVE_USERS), ("category", "currency"), (DAY,))


@pytest.mark.parametrize(
    ("schema", "crc"),
    [('"null"', "63dd24e7cc258f8a"), ('"int"', "7275d51a3f395c8f"), ('"string"', "8f014872634503c7")],
)
def test_fingerprints_are_those_of_the_specification_s_tests(schema: str, crc: str) -> None:
    assert fingerprint(schema)[::-1].hex() == crc


def test_a_cell_is_byte_for_byte_what_the_specification_says() -> None:
    columns = {"a": "long", "b": "string", "c": "decimal(9,2)", "d": "list<bool>", "e": "date", "f": "timestamp"}
    table = RowTable("cells", tuple(Column(name, kind) for name, kind in columns.items()), ("a",))
    row = {
        "a": -65, "b": "é", "c": Decimal("-1.28"), "d": [True, None], "e": date(1969, 12, 31),
        "f": datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    }  # fmt: skip
    rows = pa.Table.from_pylist([row], schema_of(table))
    (cell,) = pack(table, rows)
    assert cell[:2] == b"\xc3\x01" and cell[2:10] == fingerprint(schema_text(table))
    assert cell[10:].hex(" ") == "02 81 01 02 04 c3 a9 02 02 80 02 04 02 01 00 00 02 01 02 02"
    assert unpack(table, [cell], {cell[2:10]: schema_text(table)}).equals(rows)


def test_a_cell_of_an_older_schema_has_null_for_what_came_later() -> None:
    old = RowTable("cells", (Column("a", "int"), Column("gone", "string")), ("a",))
    new = RowTable("cells", (Column("later", "double"), Column("a", "int")), ("a",))
    cells = pack(old, pa.table({"a": pa.array([1], pa.int32()), "gone": ["x"]}))
    schemas = {fingerprint(schema_text(table)): schema_text(table) for table in (old, new)}
    assert unpack(new, cells, schemas).to_pylist() == [{"later": None, "a": 1}]


@given(st.lists(RECORDS, max_size=5), st.integers(0, 2))
def test_another_reader_reads_what_was_packed(records: list[dict[str, Any]], start: int) -> None:
    schema = schema_text(ALL)
    parsed = fastavro.parse_schema(orjson.loads(schema))
    rows = pa.Table.from_pylist(records, schema_of(ALL))[start:]
    cells = pack(ALL, rows)
    assert [fastavro.schemaless_reader(io.BytesIO(cell[10:]), parsed, None) for cell in cells] == records[start:]
    assert unpack(ALL, cells, {fingerprint(schema): schema}).equals(rows)


def test_rows_that_are_long_are_packed_in_several_steps() -> None:
    table = RowTable("cells", (Column("a", "int"), Column("b", "string")), ("a",))
    rows = pa.table({"a": pa.array(range(9), pa.int32()), "b": ["x" * 1_000_000] * 8 + [None]})
    cells = pack(table, rows)
    assert [len(cell) for cell in cells] == [10 + 2 + 1 + 3 + 1_000_000] * 8 + [10 + 2 + 1]
    assert unpack(table, cells, {fingerprint(schema_text(table)): schema_text(table)}).equals(rows)


def test_a_figure_s_cell_of_before_says_the_same_as_one_of_now() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    row = {
        "day": start, "category": 'tea "green"', "currency": "EUR", "events": 3, "revenue": Decimal("-1.2300"),
        "first_event": datetime(2026, 3, 2, 7, 5, 0, 123000, tzinfo=UTC),
        ACTIVE_USERS.name: b"\0\xff",
    }  # fmt: skip
    rows = arrow_rows(TABLE, DAY, [row])
    (key,), (cell,) = pack_keys(TABLE, DAY, rows), pack_cells(TABLE, rows)
    told = {"events": 3, "revenue": "-1.2300", "first_event": "2026-03-02T07:05:00.123000Z", ACTIVE_USERS.name: "AP8="}
    before = orjson.dumps({"category": 'tea "green"', "currency": "EUR"} | told)
    unpack = unpacker(TABLE, DAY)
    assert unpack(key, cell) == unpack(key, before) == row
    assert len(cell) < len(before)
