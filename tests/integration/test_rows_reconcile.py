"""Tables of rows against a batch: the same notebook over the same messages, on the real servers; damage is named."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import Reconciliation, TableCheck, reconcile
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import row_store
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.stores.spark.session import spark_session
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.plan.data import Plan, read_plan
from retailpulse_kernel.streaming.query.closing import as_written
from retailpulse_kernel.streaming.state.aggregation import event_time
from tests.jobs import produce, run_here
from tests.rows_jobs import WRITES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Messages = list[tuple[str | bytes, bytes | None]]

ROOT = Path(__file__).parents[2]


def namespace(name: str, pipelines: Path) -> Iterator[Settings]:
    made = Settings.load(namespace=f"{name}_{os.getpid()}", pipelines=pipelines)
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def messages(seconds: int) -> Messages:
    start = datetime.now(UTC) - timedelta(hours=2)
    generator = Generator(rate=1, seconds=seconds, seed=7, start=start, users=200, duplicates=0.03, bad=0.01, late=0.02)
    return [(message.key, message.value) for message in generator.messages()]


def plan_of_rows(settings: Settings) -> Plan:
    epoch = find_epoch(f"{settings.checkpoints}/rows")
    plan = None if epoch is None else read_plan(epoch.path)
    assert plan is not None
    return plan


def promote(settings: Settings, notebook: Path, **parameters: str) -> None:
    """Freeze a version as a promotion does, without its gate, for the job that has run."""
    registry = Registry(settings)
    number = len(registry.versions("rows")) + 1
    plan = plan_of_rows(settings)
    manifest = Manifest("rows", number, notebook.name, "", "stream", "@continuous", "", "", parameters, plan=plan)
    registry.freeze(notebook, manifest)


def table_of(settings: Settings, name: str) -> RowTable:
    return next(table.row_table for table in plan_of_rows(settings).tables if table.name == name)


def write(settings: Settings, name: str, row: dict[str, Any]) -> None:
    """Write a row by hand, over what the job has written."""
    table = table_of(settings, name)
    by = MicroBatch(1, 9_999, int(time.time() * 1_000) + 1_000_000, "by/hand")
    row_store(WRITES[name][0], settings).write_rows(table, pa.Table.from_pylist([row], schema_of(table)), by=by)


def rows(settings: Settings, name: str) -> list[dict[str, Any]]:
    return row_store(WRITES[name][0], settings).read_rows(table_of(settings, name)).to_pylist()


def by_table(result: Reconciliation) -> dict[str, TableCheck]:
    return {check.table: check for check in result.tables}


# -- what a stream has not written yet -------------------------------------------------------


def test_a_session_that_is_open_is_left_out_as_a_whole(stack: Settings) -> None:
    from pyspark.sql import functions as F

    spark = spark_session(stack, "sessions", brief=True)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    seen = [("u", start + timedelta(seconds=second)) for second in (0, 40, 80, 300, 340)]
    events = spark.createDataFrame(seen, "user_id string, event_time timestamp").withColumn(
        "event_time", event_time("event_time", "event_time", timedelta(minutes=1))
    )
    window = F.session_window("event_time", "1 minute").alias("w")
    for closed, expected in ((80, []), (139, []), (140, [3]), (399, [3]), (400, [2, 3])):
        frame = events.observe("unique_0", F.count(F.lit(1)).alias("n")).groupBy(window, "user_id").count()
        closed_ms = round((start + timedelta(seconds=closed)).timestamp() * 1_000)
        batch = as_written(frame.select("w.start", "user_id", "count"), closed_ms=closed_ms, append=True)
        assert (sorted(batch.frame.toArrow()["count"].to_pylist()), batch.told) == (expected, True), closed


@pytest.mark.parametrize(
    ("closing", "told", "ordered"),
    [
        (lambda left, right: left.where("user_id = 'u'"), True, True),
        (lambda left, right: left.groupBy("user_id", "event_time").count(), True, False),
        (lambda left, right: left.join(right, "user_id"), True, False),
        (lambda left, right: left.join(right, "user_id", "left"), False, False),
        (
            lambda left, right: left.join(right.drop("event_time"), "user_id").groupBy("event_time").count(),
            False,
            False,
        ),
    ],
)
def test_what_can_t_be_told_of_a_plan_is_not_claimed(stack: Settings, closing: Any, told: bool, ordered: bool) -> None:
    from pyspark.sql import functions as F

    spark = spark_session(stack, "plans", brief=True)
    made = spark.createDataFrame([("u", datetime(2026, 1, 1, tzinfo=UTC))], "user_id string, event_time timestamp")
    marked = made.withColumn("event_time", event_time("event_time", "event_time", timedelta(minutes=1)))
    left, right = (marked.observe(f"unique_{n}", F.count(F.lit(1)).alias("n")) for n in range(2))
    batch = as_written(closing(left, right), closed_ms=0, append=True)
    assert (batch.told, batch.ordered) == (told, ordered)


# -- two queries, in a bounded run -----------------------------------------------------------


@pytest.fixture(scope="module")
def small(stack: Settings, rows_notebook: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A promoted job that has written windows into Cassandra, and rows without a key into Hive."""
    for settings in namespace("t_rows_again", tmp_path_factory.mktemp("pipelines")):
        produce(settings, messages(1_000))
        run_here(settings, rows_notebook, tables="windows,enriched")
        promote(settings, rows_notebook, tables="windows,enriched")
        yield settings


def test_a_wrong_row_and_one_too_many_are_the_only_ones_that_differ(small: Settings) -> None:
    wrong, twice = max(rows(small, "windows"), key=lambda row: row["amount"] or 0), rows(small, "enriched")[0]
    write(small, "windows", wrong | {"amount": wrong["amount"] + Decimal("0.01")})
    write(small, "enriched", twice)
    result = reconcile(small)
    checks = by_table(result)
    windows, enriched = checks["windows"], checks["enriched"]
    assert result.outcome == "differs" and not result.unchecked
    assert (windows.state, windows.differing, enriched.state, enriched.differing) == ("differs", 1, "differs", 1)
    assert windows.rows > 10 and enriched.rows > 5
    assert windows.first is not None and windows.first.key == {n: wrong[n] for n in ("start", "event_type", "currency")}
    said = next(sentence for sentence in result.differences if "windows" in sentence)
    assert f"the store has amount {wrong['amount'] + Decimal('0.01')}, the batch amount {wrong['amount']}" in said
    assert enriched.first is not None and enriched.first.key["event_id"] == twice["event_id"]
    assert (enriched.first.stored, enriched.first.folded) == ({"rows": 2}, {"rows": 1})


# -- five queries, killed and stopped on the way -----------------------------------------------


@pytest.mark.long
def test_a_job_that_was_never_promoted_needs_its_notebook(killed_rows: Settings, rows_notebook: Path) -> None:
    checks = by_table(reconcile(killed_rows))
    assert {check.state for check in checks.values()} == {"not checked"}
    assert "--notebook" in checks["windows"].reason


@pytest.mark.long
def test_every_table_is_what_a_batch_gives(killed_rows: Settings, rows_notebook: Path) -> None:
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "reconcile", "--notebook", str(rows_notebook)]
    done = subprocess.run(command, env={**os.environ, **environment(killed_rows)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    promote(killed_rows, rows_notebook)
    result = reconcile(killed_rows)
    assert result.jobs[0].reported["late"] > 10
    checks = by_table(result)
    assert {name: (c.state, c.reason) for name, c in checks.items()} == dict.fromkeys(WRITES, ("equal", ""))
    assert all(check.rows > 10 for check in checks.values()), checks
    assert result.ok


@pytest.mark.long
def test_another_query_is_not_compared(killed_rows: Settings, rows_notebook: Path) -> None:
    promote(killed_rows, rows_notebook, least="2")
    try:
        checks = by_table(reconcile(killed_rows))
        assert {check.state for check in checks.values()} == {"not checked"}
        assert "is not the one that wrote it" in checks["windows"].reason
    finally:
        Registry(killed_rows).activate("rows", 1)


@pytest.mark.long
def test_rows_of_kafka_and_hbase_that_nothing_explains_are_named(killed_rows: Settings, rows_notebook: Path) -> None:
    promote(killed_rows, rows_notebook)
    strange = rows(killed_rows, "purchases")[0] | {"event_id": "by-hand"}
    session = rows(killed_rows, "sessions")[0]
    write(killed_rows, "purchases", strange)
    write(killed_rows, "sessions", session | {"events": session["events"] + 1})
    checks = by_table(reconcile(killed_rows))
    assert [name for name, check in checks.items() if check.state == "differs"] == ["sessions", "purchases"]
    bought, seen = checks["purchases"].first, checks["sessions"].first
    assert bought is not None and bought.key["event_id"] == "by-hand" and bought.folded is None
    assert seen is not None and (seen.stored, seen.folded) == (
        {"events": session["events"] + 1},
        {"events": session["events"]},
    )
