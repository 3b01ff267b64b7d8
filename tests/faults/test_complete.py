"""A result that is written whole each time: rows vanish from it, and kills leave neither too many nor too few."""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jupytext
import nbformat
import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.workbench.workbench import Workbench
from tests.faults.pipeline import PARTS, Part, Pipeline
from tests.jobs import produce
from tests.worked import Event, sent, shop

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(1800)]

#: What is killed after each part of the messages but the first.
KILLS: tuple[Part, ...] = PARTS if os.environ.get("RETAILPULSE_LONG") == "1" else ("tree", "worker")
STORES = ("cassandra", "hbase", "hive")
PLACES = 15
CELLS = f"""
# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow, or take what there is
trigger: timedelta = timedelta(seconds=1)  # the time between two micro-batches

# %%
from pyspark.sql import functions as F

import retailpulse_kernel as rp

job = rp.job("top", run=run, trigger=trigger)
events = job.events(watermark="10m")
for store in {STORES}:
    seen = events.df.groupBy("product_id").agg(F.count("*").alias("events"), F.max("event_time").alias("newest"))
    best = seen.orderBy(F.desc("events"), F.desc("newest"), "product_id").limit({PLACES})
    job.write(best, to=getattr(rp, store), table="top", key="product_id", mode="complete", name=store)
job.run()
"""


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace="t_complete_faults")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    content = jupytext.reads(CELLS, fmt="py:percent")
    content.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(content, tmp_path / "top.ipynb")
    return tmp_path / "top.ipynb"


@pytest.fixture
def pipeline(stack: Settings, settings: Settings, notebook: Path) -> Iterator[Pipeline]:
    run = [sys.executable, "-m", "retailpulse_kernel.cli", "run", str(notebook), "-p", "run", "continuous"]
    made = Pipeline(stack, settings, {"top": run})
    yield made
    made.remove()


def best(events: list[Event]) -> dict[str, tuple[int, datetime]]:
    """The products with the most events, by nothing but a loop."""
    counts = Counter(event["product_id"] for event in events)
    newest: dict[str, datetime] = {}
    for event in events:
        product = event["product_id"]
        newest[product] = max(event["event_time"], newest.get(product, event["event_time"]))
    places = sorted(counts, key=lambda one: (-counts[one], -newest[one].timestamp(), one))[:PLACES]
    return {one: (counts[one], newest[one]) for one in places}


def stored(settings: Settings, store: str) -> dict[str, tuple[int, datetime]]:
    rows = Workbench(namespace=settings.namespace_name).table("top", store=store, limit=None, as_="arrow").to_pylist()
    assert len({row["product_id"] for row in rows}) == len(rows), f"{store} has a product twice"
    return {row["product_id"]: (row["events"], row["newest"]) for row in rows}


def test_complete_tables_hold_what_a_plain_fold_gives(settings: Settings, pipeline: Pipeline, seed: int) -> None:
    chance = random.Random(seed)
    messages = list(shop(datetime.now(UTC) - timedelta(hours=2), 3_600, seed=seed))
    size = -(-len(messages) // (len(KILLS) + 1))
    parts = [messages[begin : begin + size] for begin in range(0, len(messages), size)]
    ranks = [set(best(sent(messages[: size * number]))) for number in range(1, len(parts) + 1)]
    assert all(before - after for before, after in itertools.pairwise(ranks)), "some rows vanish each time"
    pipeline.start()
    for number, part in enumerate(parts):
        produce(settings, [(message.key, message.value) for message in part])
        if number:
            time.sleep(chance.uniform(0, 2))  # somewhere within the job's batches
            pipeline.kill_job("top", KILLS[number - 1])
        else:
            pipeline.await_taken(len(part))
    pipeline.await_taken(len(messages))  # by each of the three queries
    pipeline.stop()
    assert {store: stored(settings, store) for store in STORES} == dict.fromkeys(STORES, best(sent(messages))), seed
