"""A row that a job's Python function can't compute: another try, and then a stop that says which row of which batch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pandas as pd
import pytest

from retailpulse_kernel.ground.errors import FunctionFailed
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace=f"t_failing_{os.getpid()}")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def send(settings: Settings, **products: str) -> None:
    """Views of some products, all by one user: in one partition, one behind the other."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    common = {"event_type": "view", "event_time": now, "user_id": "u1", "session_id": "s1"}
    events = ({**common, "event_id": one, "product_id": product} for one, product in products.items())
    produce(settings, [("u1", json.dumps(event).encode()) for event in events])


def job_of(settings: Settings, known: dict[str, int]) -> Job:
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("shelves")
    events = job.events(rejects="count")
    from pyspark.sql import functions as F

    @F.pandas_udf("long")  # type: ignore[call-overload]
    def shelf(product: pd.Series) -> pd.Series:
        return product.map(lambda one: known[one])

    rows = events.df.select("event_id", shelf("product_id").alias("shelf"))
    job.write(rows, to=rp.cassandra, table="shelves", key="event_id")
    return job


def test_a_row_that_a_function_can_t_compute_stops_the_job(settings: Settings) -> None:
    send(settings, a="p1", b="p2")
    job_of(settings, {"p1": 1, "p2": 2}).run()
    send(settings, c="p1", d="p13", e="p2")
    with pytest.raises(FunctionFailed) as failed:
        job_of(settings, {"p1": 1, "p2": 2}).run()
    said = str(failed.value)
    assert said.startswith("The function 'shelf' of the job 'shelves' failed twice on the same messages of t_failing_")
    assert ": 2 to 4): KeyError: 'p13'. Nothing of them is written." in said
    with closing(CassandraStore(settings)) as store:
        assert set(store.query("select event_id from shelves")["event_id"]) == {"a", "b"}
