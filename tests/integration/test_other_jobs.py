"""Jobs of one's own are reconciled as the shipped ones are: by their plans, or not at all and with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.reconcile import Reconciliation, reconcile
from retailpulse_kernel.shop.figures import REVENUE, UNITS, Figure, count, last, sum_of, users_of
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.plan.data import read_plan, write_plan
from retailpulse_kernel.workbench.workbench import Workbench
from tests.conditions import CONDITIONS, EVENTS
from tests.jobs import JOBS, produce, run_here

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "batch" / "reconcile.ipynb"
HOUR = GRAINS["hour"]
#: Not what `events` and `active_users` are elsewhere.
LINES = Figure("events", "Lines", count(), where="purchase or refund")
SESSIONS = Figure("active_users", "Sessions", users_of("session_id"))
GROSS = Figure("gross", "Gross", sum_of("price * quantity"), where="purchase")
NEWEST = Figure("newest", "Newest", last("event_time"), where="purchase")
#: Some events of a job's own.
CONDITION = "currency = 'EUR'  AND (brand IS NOT NULL\n OR event_type <> 'view') AND NOT category LIKE 'x%'"


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    """A namespace in which a shipped job and one of one's own have taken all of a stream with everything in it."""
    made = Settings.load(namespace="t_other_jobs")
    drop(made)
    ensure_topics(made)
    generator = Generator(
        rate=100, seconds=40, seed=23, duplicates=0.05, late=0.03, bad=0.03, currencies={"EUR": 1, "USD": 3},
        start=datetime.now(UTC) - timedelta(hours=1),
    )  # fmt: skip
    produce(made, [(message.key, message.value) for message in generator.messages()])
    run_here(made, JOBS[0])
    own_job(made, "brands", CONDITION)
    yield made
    drop(made)


def own_job(settings: Settings, name: str, condition: str) -> None:
    """Run a job whose figures by the hour go to HBase, and those by the day to Cassandra."""
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job(name)
    events = job.events(rejects="count").where(condition)
    hourly = events.figures(
        LINES, UNITS, GROSS, REVENUE, by=["brand", "currency"], every=["1 hour"], table=f"{name}_by"
    )
    daily = events.figures(SESSIONS, NEWEST, by=["category"], every=["1 minute", "1 day"], table=name)
    job.write(hourly, to=rp.hbase)
    job.write(daily, to=rp.cassandra)
    job.run()


def states(result: Reconciliation, job: str) -> dict[str, str]:
    return {f"{check.store} {check.table}": check.state for check in result.tables if check.job == job}


def command(settings: Settings, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "retailpulse_kernel.cli", "reconcile", "--namespace", settings.namespace.name, *options],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_fourth_job_is_reconciled(settings: Settings) -> None:
    result = reconcile(settings)
    assert result.outcome == "equal", [*result.differences, *result.unchecked]
    assert states(result, "brands") == dict.fromkeys(
        ("hbase brands_by_hour", "cassandra brands_minute", "cassandra brands_day"), "equal"
    )
    rows = {check.table: check.rows for check in result.tables}
    assert rows["brands_by_hour"] > 0 and 0 < rows["brands_day"] < rows["brands_minute"]
    assert all("brands" not in total.figures["events"] for total in result.totals), "its condition leaves events out"
    assert command(settings)[0] == 0


def test_one_whose_table_is_wrong_differs(settings: Settings) -> None:
    table = FigureTable("brands_by", (LINES, UNITS, GROSS, REVENUE), ("brand", "currency"), (HOUR,))
    store, now = HBaseStore(settings), int(time.time() * 1000)
    row = next(row for row in store.read(table, HOUR) if row["gross"])
    try:
        store.write(table, HOUR, [row | {"gross": row["gross"] + Decimal("0.01")}], version=now)
        result = reconcile(settings)
        (said,) = result.differences
        assert result.outcome == "differs" and said.startswith("hbase brands_by_hour, 1 of ")
        assert f"brand {row['brand']!r}" in said and f"the fold of the topic gross {row['gross']}" in said
        assert command(settings)[0] == 1
    finally:
        store.write(table, HOUR, [row], version=now + 1)
        store.close()
    assert reconcile(settings).ok


def test_one_that_does_not_do_what_it_plans_differs(settings: Settings) -> None:
    epoch = find_epoch(f"{settings.checkpoints}/brands")
    assert epoch is not None
    plan = read_plan(epoch.path)
    assert plan is not None
    try:
        write_plan(epoch.path, replace(plan, conditions=("currency = 'EUR'", "event_type <> 'purchase'")))
        result = reconcile(settings)
        assert result.outcome == "differs"
        assert set(states(result, "brands").values()) == {"differs"}
        assert set(states(result, JOBS[0]).values()) == {"equal"}
    finally:
        write_plan(epoch.path, plan)
    assert reconcile(settings).ok


def test_one_of_which_it_can_t_be_told_is_not_checked(settings: Settings) -> None:
    own_job(settings, "patterns", "brand RLIKE '^[a-m]'")
    result = reconcile(settings)
    assert result.outcome == "not checked" and not result.ok and not result.differences
    assert states(result, "patterns") == dict.fromkeys(
        ("hbase patterns_by_hour", "cassandra patterns_minute", "cassandra patterns_day"), "not checked"
    )
    assert set(states(result, "brands").values()) == {"equal"}
    (job,) = (job for job in result.jobs if job.job == "patterns")
    assert job.reported == job.found, "its accounts are checked all the same"

    code, shown = command(settings)
    assert code == 3 and "Not checked: hbase patterns_by_hour of the job patterns" in " ".join(shown.split())
    assert "it has RLIKE" in " ".join(shown.split())
    code, shown = command(settings, "--json")
    written = json.loads(shown)
    assert (code, written["ok"], written["outcome"], len(written["unchecked"])) == (3, False, "not checked", 3)
    with pytest.raises(CheckFailed, match=r"Not checked: .*patterns_day"):
        run_notebook(settings, NOTEBOOK, {})


def test_one_that_left_no_plan_is_not_checked(settings: Settings) -> None:
    epoch = find_epoch(f"{settings.checkpoints}/patterns")
    assert epoch is not None
    Path(epoch.path.removeprefix("file://"), "plan.json").unlink()
    result = reconcile(settings)
    assert result.outcome == "not checked"
    (said,) = result.unchecked
    assert said.startswith("The tables of the job patterns: neither its checkpoint nor a promoted version has a plan")


def test_conditions_hold_for_the_events_for_which_spark_says_so(settings: Settings) -> None:
    rows = Workbench(namespace=settings.namespace_name).job("asked").events().given(EVENTS)
    columns = [f"({condition}) AS `{place}`" for place, condition in enumerate(CONDITIONS)]
    found = rows.selectExpr("event_id", *columns).orderBy("event_id").collect()
    assert {
        condition: [number for number, row in enumerate(found) if row[str(place)]]
        for place, condition in enumerate(CONDITIONS)
    } == CONDITIONS
