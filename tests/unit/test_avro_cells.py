"""The cells of HBase's tables of rows, as Avro's specification has them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.stores.hbase.avro import fingerprint, pack, schema_text, unpack
from retailpulse_kernel.stores.rows import schema_of


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
