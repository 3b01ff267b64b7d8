"""Tests of jobs, on Spark: the job's own DataFrames read given messages, and no other server is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jupytext
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.ground.errors import TestFailed, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.trial import run_tests
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.testing import Passed
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JOBS
from tests.rows_jobs import Basket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CONTRACT = """
[topics.payments]
topic = "shop.payments"

[tables.products]
file = "products.csv"
key = "product_id"
columns = {product_id = "string", title = "string", weight = "int"}
"""
GIVEN = """
    event_type   event_time  user_id  product_id  price
    add_to_cart  10:00       u1       p1          10.00
    purchase     10:05       u1       p1          10.50
    add_to_cart  10:05       u2       p2          1.00
    add_to_cart  12:05       u2       p3          3.00
"""


@pytest.fixture
def told() -> list[Passed]:
    return []


@pytest.fixture
def job(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Passed]) -> Job:
    """Sessions, rows with a reference table, figures, totals, and payments of another topic; no server is needed."""
    (tmp_path / "shop.toml").write_text(CONTRACT)
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(tmp_path / "shop.toml"))
    monkeypatch.setenv("RETAILPULSE_PORT_OFFSET", "40000")
    rp = Workbench(namespace=f"never_used_{os.getpid()}")
    with using_context(RunContext(on_test=told.append)):
        job = rp.job("carts", run="continuous")
    events = job.events(watermark="10m")
    from pyspark.sql import functions as F

    sessions = events.df.groupBy(F.session_window("event_time", "30 minutes").alias("w"), "user_id").agg(
        F.count("*").alias("events"), F.sum("price").alias("amount")
    )
    rows = sessions.select("user_id", F.col("w.start").alias("start"), "events", "amount")
    job.write(rows, to=rp.cassandra, table="carts", key=["user_id", "start"])
    titled = events.df.join(F.broadcast(job.reference("products")), "product_id", "left")
    job.write(titled.select("event_id", "title", "weight"), to=rp.hive, table="titled")
    job.write(events.figures(EVENTS, by=["event_type"], every=["1 hour"], table="kinds"), to=rp.cassandra)
    payments = job.events(watermark="1m", topic="shop.payments")
    paid = payments.df.select("user_id", "price")
    job.write(paid, to=rp.kafka, topic="paid")
    totals = events.df.groupBy("user_id").agg(F.count("*").alias("events"))
    job.write(totals, to=rp.cassandra, table="totals", key="user_id", mode="complete")
    return job


def test_sessions_close_by_the_time_that_is_passed_in(job: Job, told: list[Passed], capsys: Any) -> None:
    given: dict[str, Any] = {"given": {"retail.events": GIVEN}, "name": "sessions"}
    closed = """
        start  user_id  events  amount
        10:00  u1       2       20.50
        10:05  u2       1       1.00
    """
    job.test(**given, expected={"carts": closed}, at="2026-01-31T12:10Z")
    assert capsys.readouterr().out.endswith("test 'sessions': 2 rows of carts, ok\n")
    job.test(**given, expected={"carts": f"{closed}\n12:05 u2 1 3"}, at="2026-01-31T12:45Z")
    assert [passed.rows for passed in told] == [{"carts": 2}, {"carts": 3}]
    with pytest.raises(TestFailed, match=r"u1 2026-01-31T10:00:00Z\s+amount\s+20.51\s+20.5000"):
        job.test(**given, expected={"carts": closed.replace("20.50", "20.51")}, at="2026-01-31T12:10Z")
    with pytest.raises(
        TestFailed, match=r"carts: 3 expected, 2 found\n(.*\n)+  A row that is not final at the test's present"
    ):
        job.test(**given, expected={"carts": f"{closed}\n12:05 u2 1 3"}, at="2026-01-31T12:10Z")
    assert not Path(job.test_epochs).exists() and len(told) == 2


def test_reference_tables_figures_and_topics_are_given(job: Job) -> None:
    job.test(
        "all at once",
        given={"retail.events": GIVEN, "shop.payments": [{"user_id": "u9", "price": "2.50"}]},
        references={"products": 'product_id weight title\np1 3 "a red towel"\np2 null mug'},
        expected={
            "titled": 'event_id title weight\ne1 "a red towel" 3\ne2 "a red towel" 3\ne3 mug null\ne4 null null',
            "kinds_hour": "hour event_type events\n10:00 add_to_cart 2\n10:00 purchase 1\n12:00 add_to_cart 1",
            "paid": "user_id price\nu9 2.50",
            "totals": "user_id events\nu1 2\nu2 2",
        },
        at="2026-01-31T12:10Z",
    )


ORDERED = """
    event_time  user_id  product_id  price
    12:00       u1       p1          1.00
    11:49       u1       p1          2.00
    11:51       u1       p1          4.00
"""


def test_an_event_that_is_late_by_the_order_is_left_out(job: Job, told: list[Passed], capsys: Any) -> None:
    given: dict[str, Any] = {"given": {"retail.events": ORDERED}, "at": "2026-01-31T12:45Z", "name": "order"}
    timely = {
        "carts": "start user_id events amount\n11:51 u1 2 5.00",
        "totals": "user_id events\nu1 2",
        "kinds_hour": "hour event_type events\n11:00 view 1\n12:00 view 1",
    }
    job.test(**given, expected=timely, late=1)
    assert capsys.readouterr().out.endswith("1 row of totals, 2 rows of kinds_hour, 1 late, ok\n")
    job.test(**given, expected={"totals": "user_id events\nu1 3"})  # no order makes an event late
    with pytest.raises(TestFailed, match="late events: 0 expected, 1 found"):
        job.test(**given, expected=timely, late=0)
    with pytest.raises(TestFailed, match=r"totals: 1 expected, 1 found"):
        job.test(**given, expected={"totals": "user_id events\nu1 3"}, late=1)
    assert [passed.late for passed in told] == [1, 0]


def test_a_state_that_waits_for_the_clock_ends_with_the_messages(stack: Settings) -> None:
    """Spark asks such a state again after each micro-batch, for ever, where it is not told otherwise."""
    from pyspark.sql.streaming.stateful_processor import StatefulProcessor

    class Baskets(Basket, StatefulProcessor):
        pass

    rp = Workbench(namespace=f"never_used_{os.getpid()}")
    job = rp.job("clock", run="available_now")
    rows = "user_id string, events long, newest timestamp"
    baskets = job.events().df.groupBy("user_id").transformWithStateInPandas(Baskets(), rows, "Update", "ProcessingTime")
    job.write(baskets, to=rp.cassandra, table="baskets", key="user_id")
    job.test("baskets", given=GIVEN, expected="user_id events\nu1 2\nu2 2", at="2026-01-31T12:10Z")


ASKED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"expected": "user_id\nu1"}, UsageError, "writes 5 tables"),
    ({"expected": {"cart": "user_id\nu1"}}, UnknownName, "no table 'cart' of the job 'carts'"),
    ({"expected": {"titled": "event_id\ne1"}}, UsageError, "no rows for the reference table 'products'"),
    ({"given": "user_id\nu1", "expected": {"carts": "user_id"}}, UsageError, "reads 2 topics"),
    ({"given": {"x": "user_id"}, "expected": {"carts": "user_id"}}, UnknownName, "no topic 'x' of the job"),
    ({"given": {"retail.events": "usr\nu1"}, "expected": {"carts": "user_id"}}, UnknownName, "'usr'"),
    ({"given": {"retail.events": "event_type\nx"}, "expected": {"carts": "user_id"}}, UsageError, "is not valid"),
]


def test_what_the_job_does_not_have_is_refused(job: Job) -> None:
    for asked, error, words in ASKED:
        with pytest.raises(error, match=words):
            job.test("asked wrong", **{"given": {"retail.events": GIVEN}, "at": "2026-01-31T12:10Z", **asked})


NOTEBOOK = """# %%
import retailpulse_kernel as rp

job = rp.job("bought")
events = job.events()
assert events.sample(10).isEmpty()
rows = events.df.where("event_type = 'purchase'").select("event_id", "price")
job.write(rows, to=rp.cassandra, table="bought", key="event_id")
job.run()
# %%
raise AssertionError("a cell behind the run has nothing to look at")
# %% tags=["test"]
given = "event_id event_type price\\na purchase 1.50\\nb view 2"
job.test("what is bought", given=given, expected="event_id price\\na 1.5")
# %% tags=["test"]
assert len(job.writes.rows) == 1
"""


@pytest.fixture
def away(stack: Settings) -> Settings:
    """Settings whose servers are not there."""
    return stack.model_copy(update={"port_offset": 40_000})


def write(path: Path, cells: str) -> Path:
    notebook = jupytext.reads(cells, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    jupytext.write(notebook, path)
    return path


def test_a_notebook_s_tests_need_no_server_and_leave_nothing(away: Settings, tmp_path: Path) -> None:
    notebook = write(tmp_path / "bought.ipynb", NOTEBOOK)
    write(
        tmp_path / "bought.test.ipynb", 'one = "event_id price\\na 2"\n# %%\njob.test("more", given=one, expected=one)'
    )
    found = run_tests(away, notebook, {})
    assert [(case.cell, case.name) for case in found.cases] == [("cell 3", "what is bought"), ("cell 4", "")]
    ((cell, name, said),) = [(one.cell, one.name, one.said.splitlines()) for one in found.failures]
    assert (cell, name) == ("cell 2 of bought.test.ipynb", "more")
    assert said[:2] == ["The test 'more' fails.", "bought: 1 expected, 0 found"]
    assert list(away.home.rglob("tests_*")) == []


@pytest.mark.parametrize("name", JOBS)
def test_a_shipped_job_passes_its_tests(away: Settings, name: str) -> None:
    found = run_tests(away, job_notebook(name), {"run": "continuous"})
    assert found.ok and found.cases, str(found)
