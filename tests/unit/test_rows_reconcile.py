"""Rows of a table against those of a batch, and which messages an output had taken."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile.result import Difference, Reconciliation, TableCheck
from retailpulse_kernel.reconcile.rows import check_rows
from retailpulse_kernel.reconcile.rowwise import compare_rows, last_is_told
from retailpulse_kernel.reconcile.taken import point_of
from retailpulse_kernel.shop.rows import DELETED, Column, RowTable
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.intake.remembered import Span
from retailpulse_kernel.streaming.intake.repeating import RepeatReader, Step, steps_file, write_steps
from retailpulse_kernel.streaming.plan.data import ReferencePlan, RowsPlan, TablePlan

COLUMNS = (Column("user_id", "string"), Column("total", "decimal(18,4)"), Column("mean", "double"))
KEYED = RowTable("carts", COLUMNS, ("user_id",))
BAG = RowTable("carts", (*COLUMNS, Column("seen", "list<string>")))


def rows_of(table: RowTable, *rows: tuple[Any, ...], deleted: list[bool] | None = None) -> pa.Table:
    found = pa.Table.from_pylist([dict(zip(table.types, row, strict=True)) for row in rows], schema_of(table))
    return found if deleted is None else found.append_column(DELETED, pa.array(deleted))


A, B, C = ("a", Decimal("1.1000"), 0.5), ("b", Decimal(2), None), ("c", Decimal(3), math.nan)


class TestKeyed:
    def test_equal_rows_in_any_order_are_equal(self) -> None:
        found = compare_rows(KEYED, rows_of(KEYED, C, A, B), [rows_of(KEYED, A, B, C)], told=True)
        assert found == (3, 0, None, 0)

    def test_the_sum_of_floating_numbers_may_differ_in_its_last_digits(self) -> None:
        one, other = ("a", None, 0.1 + 0.2), ("a", None, 0.3)
        assert compare_rows(KEYED, rows_of(KEYED, one), [rows_of(KEYED, other)], told=True).differing == 0
        other = ("a", None, 0.300001)
        assert compare_rows(KEYED, rows_of(KEYED, one), [rows_of(KEYED, other)], told=True).differing == 1

    def test_a_cent_is_named_with_its_key(self) -> None:
        wrong = ("a", Decimal("1.1100"), 0.5)
        found = compare_rows(KEYED, rows_of(KEYED, wrong, B), [rows_of(KEYED, A, B)], told=True)
        assert (found.rows, found.differing) == (2, 1)
        assert str(found.first) == "user_id 'a': the store has total 1.1100, the batch total 1.1000"

    @pytest.mark.parametrize(("stored", "batch"), [((A, B), (A,)), ((A,), (A, B))])
    def test_a_row_that_only_one_of_them_has_differs(self, stored: Any, batch: Any) -> None:
        found = compare_rows(KEYED, rows_of(KEYED, *stored), [rows_of(KEYED, *batch)], told=True)
        assert found.differing == 1 and found.first is not None and found.first.key == {"user_id": "b"}

    def test_a_row_that_may_be_open_is_counted_apart_and_one_too_many_is_not(self) -> None:
        assert compare_rows(KEYED, rows_of(KEYED, A), [rows_of(KEYED, A, B)], told=False) == (1, 0, None, 1)
        assert compare_rows(KEYED, rows_of(KEYED, A, B), [rows_of(KEYED, A)], told=False).differing == 1

    def test_the_last_row_of_a_key_counts_and_a_removal_removes(self) -> None:
        batch = rows_of(KEYED, ("a", Decimal(9), 0.0), B, C, A, C, deleted=[False, False, False, False, True])
        assert compare_rows(KEYED, rows_of(KEYED, A, B), [batch], told=True) == (2, 0, None, 0)

    def test_what_changed_while_the_table_was_read_is_not_compared(self) -> None:
        later = ("a", Decimal(7), 0.5)
        batches = [rows_of(KEYED, A, B), rows_of(KEYED, later, B, C)]
        for stored in ((A, B), (later, B), (later, B, C)):
            assert compare_rows(KEYED, rows_of(KEYED, *stored), batches, told=True) == (1, 0, None, 0)
        wrong = ("b", Decimal(5), None)
        assert compare_rows(KEYED, rows_of(KEYED, A, wrong), batches, told=True).differing == 1

    def test_which_of_several_came_last_must_be_told(self) -> None:
        assert last_is_told(KEYED, rows_of(KEYED, A, B, A))
        assert not last_is_told(KEYED, rows_of(KEYED, A, ("a", Decimal(9), 0.5)))
        assert last_is_told(BAG, rows_of(BAG, (*A, []), ("a", Decimal(9), 0.5, [])))


class TestBags:
    def test_rows_with_nulls_and_lists_are_counted(self) -> None:
        rows = [(*A, ["x", None]), (*A, ["x", None]), (None, None, None, None), (*B, [])]
        assert compare_rows(BAG, rows_of(BAG, *rows), [rows_of(BAG, *reversed(rows))], told=True) == (3, 0, None, 0)

    def test_one_too_many_is_named_with_all_that_it_holds(self) -> None:
        one = (*A, ["x"])
        found = compare_rows(BAG, rows_of(BAG, one, one), [rows_of(BAG, one)], told=True)
        assert found.first is not None
        assert found.first.key == {"user_id": "a", "total": Decimal("1.1000"), "seen": ["x"]}
        assert found.first.stored is not None and found.first.stored["rows"] == 2


def account(batch: int, ends: dict[str, int], *, bounded: bool = False, watermark_ms: int = 0) -> Account:
    return Account("j", 1, batch, {"t": ends}, 0, 0, 0, 0, 0, 0, watermark_ms, 0, 0, bounded=bounded, delay_ms=60_000)


def logged(folder: Path, batch: int, *sources: dict[str, dict[str, int]]) -> LoggedBatch:
    (folder / "offsets").mkdir(exist_ok=True)
    lines = ["v1", json.dumps({"batchWatermarkMs": 50}), *map(json.dumps, sources)]
    (folder / "offsets" / str(batch)).write_text("\n".join(lines))
    return LoggedBatch(batch, 50, sources[0])


class TestTaken:
    def test_each_micro_batch_is_a_step_with_its_own_rule(self, tmp_path: Path) -> None:
        newest = logged(tmp_path, 2, {"t": {"0": 9, "1": 4}})
        accounts = [
            account(2, {"0": 9, "1": 4}, bounded=True, watermark_ms=50),
            account(0, {"0": 5, "1": 0}),
            account(1, {"0": 5, "1": 4}, watermark_ms=10),
            account(3, {"0": 99, "1": 99}),
        ]
        point = point_of(str(tmp_path), newest, accounts, ["t"], {"t": {0: 2, 1: 0}})
        (steps,) = point.readers
        assert point.closed_ms == 50
        assert [(step.batch, step.watermark_ms, step.delay_ms, step.spans) for step in steps] == [
            (0, 0, 60_000, (Span(0, 2, 5),)),  # what the topic has deleted can't be read
            (1, 10, 60_000, (Span(1, 0, 4),)),
            (2, 50, None, (Span(0, 5, 9),)),
        ]

    def test_a_second_reader_may_have_gone_further(self, tmp_path: Path) -> None:
        newest = logged(tmp_path, 0, {"t": {"0": 5}}, {"t": {"0": 7}})
        point = point_of(str(tmp_path), newest, [account(0, {"0": 5})], ["t", "t"], {"t": {0: 0}})
        first, second = ([span for step in steps for span in step.spans] for steps in point.readers)
        assert (first, second) == ([Span(0, 0, 5)], [Span(0, 0, 5), Span(0, 5, 7)])


def test_a_stream_that_feeds_several_queries_reads_what_the_present_one_had_taken(tmp_path: Path) -> None:
    file = steps_file(str(tmp_path), 0)
    reader = RepeatReader({}, Intake(("event_id",), "t", horizon_ms=0), file)
    write_steps(file, [Step(0, 0, None, (Span(0, 0, 5),))])
    (planned,) = reader.partitions()
    write_steps(file, [])
    assert list(reader.read(planned)) == []


def test_a_job_without_a_notebook_is_not_checked(tmp_path: Path) -> None:
    rows = RowsPlan("carts", (("user_id", "string"),), ("user_id",), "update", "abc", (("retail.events", "event_id"),))
    settings = Settings.load(home=tmp_path, pipelines=tmp_path / "pipelines", namespace="t_no_notebook")
    (check,) = check_rows(settings, "carts", [TablePlan("carts", "cassandra", rows=rows)])
    assert (check.state, check.store, check.table, check.job) == ("not checked", "cassandra", "carts", "carts")
    assert "--notebook" in check.reason


def test_a_checkpoint_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    rows = RowsPlan("carts", (("user_id", "string"),), ("user_id",), "update", "abc", (("retail.events", "event_id"),))
    settings = Settings.load(home=tmp_path, pipelines=tmp_path / "pipelines", namespace="t_no_checkpoint")
    table = TablePlan("carts", "cassandra", rows=rows)
    notebook = tmp_path / "carts.ipynb"
    with pytest.raises(UsageError, match="no notebook"):
        check_rows(settings, "carts", [table], notebook=notebook)
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    (check,) = check_rows(settings, "carts", [table], notebook=notebook)
    assert (check.state, check.reason) == ("not checked", "its checkpoint is not there")


def test_rows_that_were_joined_with_a_table_that_changes_are_not_checked(tmp_path: Path) -> None:
    products = ReferencePlan("products", ("product_id",), (("product_id", "string"), ("cost", "decimal(9,2)")))
    rows = RowsPlan(
        "margins",
        (("event_id", "string"),),
        ("event_id",),
        "append",
        "abc",
        (("retail.events", "event_id"),),
        (products,),
    )
    notebook = tmp_path / "margins.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    settings = Settings.load(home=tmp_path, pipelines=tmp_path / "pipelines", namespace="t_joined")
    (check,) = check_rows(settings, "margins", [TablePlan("margins", "cassandra", rows=rows)], notebook=notebook)
    assert (check.state, check.reason) == (
        "not checked",
        "earlier micro-batches may have joined other versions of products",
    )


def test_every_type_of_a_column_has_a_form_in_json() -> None:
    key = {"day": date(2026, 1, 31), "raw": b"\x00\xff", "tags": ["x"]}
    check = TableCheck("hive", "carts", "carts", "differs", 1, 1, Difference(key, {"mean": math.nan}, None))
    result = Reconciliation("n", None, None, 0, 0.0, jobs=[], tables=[check], totals=[])
    first = json.loads(json.dumps(result.to_json(), allow_nan=False))["tables"][0]["first"]
    assert first["key"] == {"day": "2026-01-31", "raw": "00ff", "tags": ["x"]}
    assert first["stored"] == {"mean": "nan"}


def test_the_key_of_a_row_shows_its_seconds() -> None:
    at = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
    said = str(Difference({"start": at}, None, {"n": 1}, against="the batch"))
    assert said == "start 2026-01-01T12:00:07+00:00: the store has nothing, the batch n 1"
