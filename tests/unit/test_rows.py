"""Tables of rows: what a function means, what a change of a query means, and what becomes of rows without a key."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark import cloudpickle

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.versions import resume_plan
from retailpulse_kernel.shop.rows import DELETED, Column, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, new_epoch
from retailpulse_kernel.streaming.checkpoint.outputs import forget_outputs
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan, read_plan, write_plan
from retailpulse_kernel.streaming.query.functions import digest
from retailpulse_kernel.streaming.run.changes import Effect, again, compare
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.streaming.sinks.rows import RowSink

CARTS = RowTable("carts", (Column("user_id", "string"), Column("events", "long")), key=("user_id",))
ROWS = RowsPlan(
    "carts", (("user_id", "string"), ("events", "long")), ("user_id",), "update", "q1", (("t", "event_id"),)
)


def plan(*tables: TablePlan) -> Plan:
    return Plan("shop", "t", "event_id", 600_000, (), "change", "publish", tables)


def carts(**changed: Any) -> TablePlan:
    return TablePlan("carts", "cassandra", rows=replace(ROWS, **changed))


class Memory:
    """A store that keeps one table of rows, by its key."""

    name = "memory"

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.written: list[MicroBatch] = []

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        self.written.append(by)
        for row in rows.to_pylist():
            key = tuple(row[name] for name in table.key)
            if row.pop(DELETED, False):
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def read_rows(self, table: RowTable) -> pa.Table:
        return pa.Table.from_pylist(list(self.rows.values()), schema=SCHEMA)


SCHEMA = pa.schema([("user_id", pa.string()), ("events", pa.int64())])


class Frame:
    """What a sink takes of a micro-batch: its rows."""

    def __init__(self, *rows: tuple[str | None, int]) -> None:
        self._rows = [{"user_id": user, "events": events} for user, events in rows]

    def toArrow(self) -> pa.Table:  # noqa: N802
        return pa.Table.from_pylist(self._rows, schema=SCHEMA)


def sink(store: Memory, **given: Any) -> RowSink:
    return RowSink(CARTS, store, "shop/carts", **given)  # type: ignore[arg-type]


EPOCH = Epoch(3, 1_000, "e0003")


def test_a_row_without_a_key_is_handed_on_and_the_others_are_written() -> None:
    store, refused = Memory(), []
    written = sink(store, refused=lambda reason, rows, epoch, batch: refused.append((reason, rows.to_pylist(), batch)))
    assert written.compute(Frame(("a", 1), (None, 2)), epoch=EPOCH, batch=7)() == 1  # type: ignore[arg-type]
    assert store.rows == {("a",): {"user_id": "a", "events": 1}}
    assert refused == [("null_key:user_id", [{"user_id": None, "events": 2}], 7)]
    assert written.null_keys == 1
    assert store.written == [MicroBatch(3, 7, 1_007, "shop/carts")]


def test_a_complete_result_removes_the_rows_that_it_does_not_have() -> None:
    store = Memory()
    written = sink(store, complete=True)
    written.compute(Frame(("a", 1), ("b", 2)), epoch=EPOCH, batch=0)()  # type: ignore[arg-type]
    written.compute(Frame(("b", 3)), epoch=EPOCH, batch=1)()  # type: ignore[arg-type]
    assert store.rows == {("b",): {"user_id": "b", "events": 3}}


def test_a_batch_without_rows_writes_nothing() -> None:
    store = Memory()
    assert sink(store).compute(Frame(), epoch=EPOCH, batch=0)() == 0  # type: ignore[arg-type]
    assert store.written == []


def compiled(source: str, **names: Any) -> Callable[..., Any]:
    """A function as a notebook has it: of no module that could be imported, in a file of no lasting name."""
    found: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(source, f"/tmp/ipykernel_{id(found)}.py", "exec"), found)
    return found["f"]  # type: ignore[no-any-return]


def test_a_function_means_the_same_wherever_its_cell_stands() -> None:
    source = "def f(x):\n    return x + limit"
    assert digest(compiled(source, limit=1)) == digest(compiled("\n\n" + source, limit=1))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    return x - limit", {"limit": 1}),
        ("def f(x):\n    return x + limit", {"limit": 2}),
        ("def f(x):\n    return x + limit + 1", {"limit": 1}),
        ("def f(x, y=0):\n    return x + limit", {"limit": 1}),
        ("def g(x):\n    return limit\ndef f(x):\n    return x + g(x)", {"limit": 1}),
    ],
)
def test_a_function_that_computes_something_else_means_something_else(source: str, names: dict[str, Any]) -> None:
    assert digest(compiled(source, **names)) != digest(compiled("def f(x):\n    return x + limit", limit=1))


def test_a_method_means_what_its_class_and_its_object_mean() -> None:
    source = "class P:\n    def __init__(self, n): self.n = n\n    def run(self, x): return x * {}\nf = P({}).run"
    same = digest(compiled(source.format(2, 5)))
    assert same == digest(compiled("\n" + source.format(2, 5)))
    assert len({same, digest(compiled(source.format(3, 5))), digest(compiled(source.format(2, 6)))}) == 3
    bare = "class P:\n    def run(self, x): return x\nf = P().run"
    pickled = compiled(bare)
    cloudpickle.dumps(pickled)  # which leaves something in the class
    assert digest(compiled(bare)) == digest(pickled) == digest(cloudpickle.loads(cloudpickle.dumps(pickled)))


def test_a_class_within_a_function_means_the_same_when_it_is_made_of_its_pickle() -> None:
    source = "def g():\n    class P:\n        def run(self, x): return x\n    return P().run\nf = g()"
    pickled = cloudpickle.dumps(compiled(source))
    gc.collect()  # the class itself is gone, so a new one comes out of the pickle
    assert digest(cloudpickle.loads(pickled)) == digest(compiled(source))


def test_a_class_within_a_function_of_a_module_means_the_same_when_it_is_made_of_its_pickle() -> None:
    def made() -> Any:
        class Local:
            def run(self, x: int) -> int:
                return x + 1

        return Local().run

    pickled = cloudpickle.dumps(made())
    gc.collect()
    restored = cloudpickle.loads(pickled)
    type(restored.__self__).__qualname__ = "Local"  # the short name, that of no class of the module
    assert digest(restored) == digest(made())


def test_a_function_that_calls_itself_has_a_digest() -> None:
    source = "def f(x):\n    return 1 if x < 2 else x * f(x - 1)"
    assert digest(compiled(source)) == digest(compiled(source))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"query": "q2"}, "the query of carts changed"),
        ({"key": ("user_id", "events")}, "the key of carts changed"),
        ({"columns": (("user_id", "string"),)}, "the columns of carts changed"),
        ({"columns": (("user_id", "string"),), "key": ()}, "have the old ones; the key was user_id, and now is none"),
        ({"mode": "append"}, "the output mode of carts changed"),
        ({"reads": (("other", "event_id"),)}, "reads other topics"),
    ],
)
def test_another_query_is_another_epoch(changed: dict[str, Any], reason: str) -> None:
    (difference,) = compare(plan(carts()), plan(carts(**changed)))
    assert difference.effect is Effect.EPOCH and reason in difference.reason


STEPS = (
    ("source", "t"), ("source", "paid"), ("watermark of paid", "60 s"), ("join", "inner on (a = b)"),
    ("filter", "(a > 1)"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "steps", "words"),
    [
        ({"query": "q2"}, (*STEPS[:4], ("filter", "(a > 2)")), "; the filter changed from (a > 1) to (a > 2)"),
        ({"query": "q2"}, STEPS[:4], "; the filter (a > 1) was removed"),
        ({"query": "q2"}, (*STEPS, ("filter", "(a > 1)")), "; the filter (a > 1) was added"),
        (
            {"query": "q2"},
            (*STEPS[:3], ("join", "left outer on (a = b)"), STEPS[4]),
            "; the join changed from inner on",
        ),
        ({"reads": (("x", "event_id"),)}, (("source", "x"), *STEPS[1:]), "; the source changed from t to x"),
        ({"columns": (("user_id", "int"),)}, (*STEPS, ("column user_id", "1")), "; the column user_id 1 was added"),
        ({"query": "q2"}, STEPS, "are of the old one"),
        ({"query": "q2"}, (), "are of the old one"),
        ({"query": "q2"}, (*STEPS, *(("filter", f"{n}") for n in range(5))), "the filter 2 was added, and 2 more"),
        ({"query": "q2"}, (*STEPS[:4], ("filter", "x" * 500)), f"to {'x' * 99}…"),
    ],
)
def test_a_change_of_a_query_names_what_changed(changed: dict[str, Any], steps: Any, words: str) -> None:
    before, after = plan(carts(steps=STEPS)), plan(carts(**changed, steps=steps))
    (difference,) = compare(before, after)
    assert words in difference.reason, difference
    assert len(difference.reason) < 400


def test_another_watermark_of_a_further_topic_holds_from_the_next_batch_on() -> None:
    later = (*STEPS[:2], ("watermark of paid", "90 s"), *STEPS[3:])
    (difference,) = compare(plan(carts(steps=STEPS)), plan(carts(steps=later)))
    assert (difference.what, difference.effect) == ("watermark", Effect.RESUME)
    assert "in the query of carts, the watermark of paid changed from 60 s to 90 s" in difference.reason
    assert compare(plan(carts()), plan(carts(steps=STEPS))) == [], "a plan of before says nothing of its steps"


@pytest.mark.parametrize(
    ("changed", "effect", "words"),
    [
        ({"query": "q2"}, Effect.EPOCH, "its readers get the rows of the new query from the cutover on"),
        ({"columns": (*ROWS.columns, ("more", "int"))}, Effect.EPOCH, "what was sent to carts stays"),
        ({"columns": (("user_id", "string"),)}, Effect.EPOCH, "what was sent to carts stays"),
        ({"columns": (("user_id", "string"), ("events", "int"))}, Effect.REFUSED, "write to a topic of another name"),
        ({"key": ()}, Effect.REFUSED, "write to a topic of another name"),
    ],
)
def test_what_was_sent_can_t_be_taken_back(changed: dict[str, Any], effect: Effect, words: str) -> None:
    sent = replace(carts(), store="kafka")
    (difference,) = compare(plan(sent), plan(replace(carts(**changed), store="kafka")))
    assert difference.effect is effect and words in difference.reason, difference


def test_a_table_that_becomes_a_topic_begins_with_all_rows() -> None:
    (difference,) = compare(plan(carts()), plan(replace(carts(), store="kafka")))
    assert difference.effect is Effect.EPOCH and "moved from cassandra to kafka" in difference.reason


def test_one_table_of_rows_more_or_less_changes_no_other() -> None:
    more = TablePlan("scores", "hive", rows=replace(ROWS, output="scores"))
    for before, after in ((plan(carts()), plan(carts(), more)), (plan(carts(), more), plan(carts()))):
        (difference,) = compare(before, after)
        assert difference.effect is Effect.RESUME and "scores" in difference.reason
    assert compare(plan(carts()), plan(carts())) == []


def test_an_output_that_an_epoch_gave_up_can_t_come_back_in_it(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "carts").mkdir(parents=True)
    assert again(str(tmp_path), plan(carts())) == []
    forget_outputs(str(tmp_path), {"scores"})
    (reason,) = again(str(tmp_path), plan(carts()))
    assert "gave it up" in reason


def test_an_output_that_comes_back_takes_a_new_epoch(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, namespace="t_again")
    epoch = new_epoch(f"{settings.checkpoints}/shop")
    write_plan(epoch.path, plan())
    assert resume_plan(settings, plan(carts())).kind == "resume"
    (Path(epoch.path) / "outputs" / "carts").mkdir(parents=True)
    forget_outputs(epoch.path, {"scores"})
    resume = resume_plan(settings, plan(carts()))
    assert resume.kind == "new epoch" and "gave it up" in resume.reasons[0]


def test_a_plan_with_rows_is_written_and_read_and_is_of_the_newer_version(tmp_path: Path) -> None:
    one = plan(carts())
    write_plan(str(tmp_path), one)
    assert read_plan(str(tmp_path)) == one
    assert (one.version, plan().version) == (3, 2)
    assert one.archive is None and one.rows == (carts(),) and one.tables[0].row_table == CARTS


def test_a_report_counts_the_messages_of_the_first_output_and_the_rows_of_all() -> None:
    first = Account("shop", 1, 0, {"t": {"0": 5}}, 5, 5, 0, 0, 0, 2, 0, 0, 1, output="carts", null_keys=1)
    second = replace(first, output="scores", further=True, rows=3, null_keys=0, failed_rows=2)
    assert first.key != second.key
    report = Report("shop", "t", 1)
    report.add(first)
    report.add(second)
    assert (report.batches, report.totals["consumed"], report.totals["rows"]) == (1, 5, 5)
    assert "carts: 2 rows in 1 batches, 1 without a key" in str(
        report
    ) and "scores: 3 rows in 1 batches, 2 that failed" in str(report)
