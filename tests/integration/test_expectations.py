"""Expectations on real servers: what is rejected, counted and stopped, and that all who look at the topic agree."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import jupytext
import orjson
import pytest

from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.intake.given import given_message
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


#: A namespace each: Spark's workers remember where a job keeps its files.
_NUMBERS = count()


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    made = Settings.load(namespace=f"t_expect_{os.getpid()}_{next(_NUMBERS)}", pipelines=tmp_path / "pipelines")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def feed(settings: Settings, prices: list[str], *, first: int = 1) -> None:
    time = datetime.now(UTC) - timedelta(minutes=1)
    given = [{"event_time": time.isoformat(), "price": price, "category": "toys"} for price in prices]
    produce(settings, [("u1", given_message(n, one, shipped()).value) for n, one in enumerate(given, first)])


def job_of(settings: Settings, watched: str = "count") -> Job:
    rp = Workbench(namespace=settings.namespace.name)
    job = rp.job("priced", run="available_now")
    events = job.events(watermark="10m", rejects="count")
    events.expect("price is positive", "price > 0", otherwise="reject")
    events.expect("price is small", "char_length(cast(price as string)) < 9", otherwise=watched)  # type: ignore[arg-type]
    job.write(events.figures(EVENTS, by=["category"], every=["1 day"], table="priced"), to=rp.cassandra)
    job.write(events.df.select("event_id", "price"), to=rp.cassandra, table="priced_rows", key="event_id")
    return job


def dead_letters(settings: Settings) -> Counter[tuple[str, str]]:
    messages = KafkaStore(settings).messages(settings.namespace.dlq_topic)
    records = [orjson.loads(message.value or b"") for message in messages]
    return Counter((record["reason"], orjson.loads(record["value"])["event_id"]) for record in records)


def test_rejected_and_counted_events_in_figures_and_rows(settings: Settings) -> None:
    feed(settings, ["1", "0", "2", "1000.0000", "0", "3"])
    job = job_of(settings)
    # A test before the run leaves the run as it is.
    given = "event_id price\nx 1\ny 0"
    job.test("by hand", given=given, expected={"priced_rows": "event_id\nx", "priced_day": "events\n1"})
    report = job.run()
    assert report.totals["consumed"] == 6 and report.totals["bad"] == 2
    assert report.expectations == {"price is positive": [2, 6], "price is small": [1, 4]}
    assert "price is positive: 4 of 6" in str(report)
    reason = "expectation:price is positive"
    assert dead_letters(settings) == {(reason, "e2"): 1, (reason, "e5"): 1}, "once, by two queries"
    store = CassandraStore(settings)
    assert sorted(store.query("select event_id from priced_rows")["event_id"]) == ["e1", "e3", "e4", "e6"]
    assert list(store.query("select events from priced_day")["events"]) == [4]
    accounts = {account.output: account for account in read_accounts(settings, further=True)}
    assert accounts[""].bad == accounts["priced_rows"].bad == 2 and accounts["priced_rows"].expectations == {}
    found = reconcile(settings)
    assert found.differences == [] and {check.table: check.state for check in found.tables}["priced_day"] == "equal"


def test_a_job_stops_before_it_writes_and_stops_again(settings: Settings) -> None:
    feed(settings, ["1", "2"])
    job_of(settings, "stop").run()
    feed(settings, ["3", "1000.0000"], first=3)
    for _ in range(2):
        with pytest.raises(CheckFailed, match=r"an event violates the expectation 'price is small'.*the event 'e4'"):
            job_of(settings, "stop").run()
    store = CassandraStore(settings)
    assert list(store.query("select events from priced_day")["events"]) == [2]
    # What it means is the same, so it goes on once the event may pass.
    assert job_of(settings, "count").run().expectations["price is small"] == [1, 2]
    assert list(store.query("select events from priced_day")["events"]) == [4]


NOTEBOOK = """# %% tags=["parameters"]
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"
# %%
import retailpulse_kernel as rp

job = rp.job("priced", run=run)
events = job.events(watermark="10m", rejects="count")
events.expect("price is positive", "price > 0", otherwise="reject")
events.expect("price is small", "price < 100")
job.write(events.df.select("event_id", "price"), to=rp.cassandra, table="priced_rows", key="event_id")
# %% tags=["test"]
job.test("no price of 0", given="price\\n0\\n1", expected="event_id\\ne2")
# %%
job.run()
"""


def promoted(settings: Settings, path: Path, *changes: tuple[str, str]) -> Any:
    text = NOTEBOOK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    jupytext.write(notebook, path / "priced.ipynb")
    return promote(settings, path / "priced.ipynb")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_gate_runs_the_tests_and_tells_the_expectations(settings: Settings, tmp_path: Path) -> None:
    feed(settings, ["1", "0", "2", "1000.0000"])
    refused = promoted(settings, tmp_path, ("e2", "e1"))
    assert not refused.ok and refused.version is None
    assert (refused.steps[-1].name, refused.steps[-1].verdict) == ("tests", "refused")
    assert "The test 'no price of 0' fails." in refused.steps[-1].found
    done = promoted(settings, tmp_path)
    assert done.ok and done.version is not None, done.steps
    steps = [(step.name, step.found, step.verdict) for step in done.steps]
    assert ("tests", "1 case", "ok") in steps
    place = steps.index(("expectations", "price is positive: 3 of 4", "warning"))
    assert steps[place + 1] == ("", "price is small: 2 of 3", "warning")
    ran = run_notebook(settings, done.version.notebook, {"run": "available_now"})
    assert ran.reports[0]["expectations"] == {"price is positive": [1, 4], "price is small": [1, 3]}
    checks = {check.table: check for check in reconcile(settings).tables}
    assert checks["priced_rows"].state == "equal", checks["priced_rows"].reason
    again = promoted(settings, tmp_path, ("no price of 0", "nothing is free"), ("price < 100", "price < 200"))
    assert again.ok and again.verdict.outcome == "resume", again.steps
    assert "other expectations: price is small" in "; ".join(again.verdict.reasons)
