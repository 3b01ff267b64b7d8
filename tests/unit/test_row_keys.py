"""Rows of one micro-batch that share a key: identical ones are one, and others stop the run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from retailpulse_kernel.ground.errors import AmbiguousKey
from retailpulse_kernel.shop.rows import DELETED, Column, RowTable
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.sinks.keys import identified

START = datetime(2026, 3, 2, tzinfo=UTC)
COLUMNS = {"start": "timestamp", "shop": "string", "score": "double", "tags": "list<string>"}
TABLE = RowTable("scores", tuple(Column(name, kind) for name, kind in COLUMNS.items()), ("start", "shop"))


def rows(*given: tuple[Any, ...], deleted: list[bool | None] | None = None) -> pa.Table:
    found = [dict(zip(COLUMNS, (START, *row), strict=True)) for row in given]
    made = pa.Table.from_pylist(found, schema=schema_of(TABLE))
    return made if deleted is None else made.append_column(DELETED, pa.array(deleted, pa.bool_()))


def test_rows_with_keys_of_their_own_are_left_as_they_are() -> None:
    given = rows(("a", 1.0, ["x"]), ("b", 1.0, ["x"]))
    assert identified(TABLE, given) is given
    assert identified(TABLE, rows()).num_rows == 0


def test_without_a_key_each_row_is_one() -> None:
    given = rows(("a", 1.0, []), ("a", 2.0, []))
    assert identified(RowTable("scores", TABLE.columns), given) is given


@pytest.mark.parametrize("row", [("a", 1.0, ["x", None]), ("a", float("nan"), []), ("a", None, None)])
def test_identical_rows_are_one(row: tuple[Any, ...]) -> None:
    found = identified(TABLE, rows(row, ("b", 2.0, []), row))
    assert sorted(found["shop"].to_pylist()) == ["a", "b"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("a", 2.0, ["x"]), "score 1.0 and 2.0"),
        (("a", None, ["x"]), "score 1.0 and None"),
        (("a", float("nan"), ["x"]), "score 1.0 and nan"),
        (("a", 1.0, ["x", "y"]), "tags ['x'] and ['x', 'y']"),
        (("a", 1.0, None), "tags ['x'] and None"),
    ],
)
def test_rows_that_differ_stop_the_run(other: tuple[Any, ...], words: str) -> None:
    with pytest.raises(AmbiguousKey) as raised:
        identified(TABLE, rows(("b", 3.0, []), ("a", 1.0, ["x"]), other))
    assert raised.value.message == (
        "The key (start, shop) of the table 'scores' does not identify a row: in one micro-batch 1 key has rows that "
        f"differ, such as start 2026-03-02T00:00:00Z, shop 'a' with {words}."
    )


def test_the_keys_are_counted_and_the_first_is_the_example() -> None:
    given: list[tuple[Any, ...]] = [(f"s{number % 1_500}", float(number), []) for number in range(3_000)]
    with pytest.raises(
        AmbiguousKey, match=r"1,500 keys have rows that differ, such as .*'s0' with score 0.0 and 1500.0"
    ):
        identified(TABLE, rows(*given))


def test_of_a_row_and_its_removal_the_last_one_holds() -> None:
    given = rows(
        ("a", 1.0, []), ("a", None, None), ("b", None, None), ("b", 2.0, []), deleted=[None, True, True, False]
    )
    found = identified(TABLE, given)
    assert [(row["shop"], row[DELETED]) for row in found.to_pylist()] == [("a", True), ("b", False)]
    with pytest.raises(AmbiguousKey, match="1 key has"):
        identified(TABLE, rows(("a", 1.0, []), ("a", None, None), ("a", 2.0, []), deleted=[False, True, False]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bool", True), ("int", 1), ("binary", b"a"), ("date", START.date()), ("decimal(38,4)", 1), ("timestamp", START)],
)
def test_a_key_may_have_any_type_of_a_key(kind: str, value: Any) -> None:
    table = RowTable("t", (Column("id", kind), Column("n", "long")), ("id",))
    given = pa.table({"id": [value, value], "n": [1, 1]}).cast(schema_of(table))
    assert identified(table, given).to_pylist() == given.slice(1).to_pylist()
    with pytest.raises(AmbiguousKey, match=r"key \(id\) of the table 't'"):
        identified(table, given.set_column(1, "n", pa.array([1, 2], pa.int64())))


def test_a_table_of_a_key_alone_has_each_row_once() -> None:
    table = RowTable("t", (Column("id", "string"),), ("id",))
    assert identified(table, pa.table({"id": ["a", "b", "a"]})).num_rows == 2
