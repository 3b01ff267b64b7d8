"""A row that a job's Python function can't compute: another try, and then a stop that says which row of which batch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from retailpulse_kernel.ground.errors import AmbiguousKey, FunctionFailed, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.gate.dry_run import _failed
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
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


def last_seen(settings: Settings, *, in_order: bool) -> Job:
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("newest" if in_order else "seen")
    rows = job.events(rejects="count").df.select("user_id", "product_id")
    rows = rows if in_order else rows.distinct()
    job.write(rows, to=rp.cassandra, table="seen", key="user_id")
    return job


def test_rows_that_share_a_key_and_differ_stop_the_job_before_it_writes(settings: Settings) -> None:
    send(settings, a="p1", b="p1")
    last_seen(settings, in_order=False).run()
    send(settings, c="p2", d="p3")
    with pytest.raises(AmbiguousKey) as failed:
        last_seen(settings, in_order=False).run()
    assert str(failed.value).startswith(
        "The key (user_id) of the table 'seen' does not identify a row: in one micro-batch 1 key has rows that differ, "
        "such as user_id 'u1' with product_id "
    )
    with closing(CassandraStore(settings)) as store:
        assert store.query("select * from seen").to_dict("records") == [{"user_id": "u1", "product_id": "p1"}]
    assert [account.rows for account in read_accounts(settings, further=True)] == [1], "identical rows are one"


def test_of_rows_in_the_order_of_the_messages_the_last_of_a_key_stands(settings: Settings) -> None:
    send(settings, a="p1", b="p3", c="p2")
    last_seen(settings, in_order=True).run()
    with closing(CassandraStore(settings)) as store:
        assert store.query("select * from seen").to_dict("records") == [{"user_id": "u1", "product_id": "p2"}]


def tried_job_of(settings: Settings, known: dict[str, int], *, pandas: bool) -> Job:
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("shelves")
    events = job.events(rejects="count")
    from pyspark.sql import functions as F

    @job.try_udf("long", pandas=pandas)
    def shelf(product: Any) -> Any:
        return product.map(lambda one: known[one]) if pandas else known[product]

    rows = events.df.withColumn("shelf", shelf("product_id")).select(
        "event_id", "product_id", F.col("shelf.value").alias("shelf"), F.col("shelf.failed").alias("_failed")
    )
    job.write(rows, to=rp.cassandra, table="shelves", key="event_id")
    return job


@pytest.mark.parametrize("pandas", [True, False])
def test_a_row_that_a_tried_function_can_t_compute_is_one_dead_letter(settings: Settings, pandas: bool) -> None:
    send(settings, a="p1", b="p2", c="p1", d="p13", e="p2")
    job = tried_job_of(settings, {"p1": 1, "p2": 2}, pandas=pandas)
    job.test(
        "a product without a shelf is not written",
        given=[{"event_id": "e1", "product_id": "p1"}, {"event_id": "e2", "product_id": "p13"}],
        expected=[{"event_id": "e1", "shelf": 1}],
    )
    report = job.run()
    assert "shelves: 4 rows in 1 batches, 1 that failed are in the dead-letter topic" in str(report)
    (step,) = _failed(read_accounts(settings, further=True))
    said = "a function failed for 1 row of shelves, which went to the dead-letter topic"
    assert (step.name, step.found, step.verdict, step.ok) == ("functions", said, "warning", True)
    with closing(CassandraStore(settings)) as store:
        found = store.query("select event_id, shelf from shelves")
    assert dict(zip(found["event_id"], found["shelf"], strict=True)) == {"a": 1, "b": 2, "c": 1, "e": 2}
    (letter,) = KafkaStore(settings).messages(settings.namespace.dlq_topic)
    record = json.loads(letter.value or b"")
    assert (record["reason"], record["detail"]) == ("function_failed", "KeyError: 'p13'")
    assert (record["output"], record["row"]) == ("shelves", {"event_id": "d", "product_id": "p13", "shelf": None})


def test_what_a_tried_function_gives_must_have_a_type(settings: Settings) -> None:
    with pytest.raises(UsageError, match="'shelf' is not a type of Spark"):
        Workbench(namespace=settings.namespace_name).job("shelves").try_udf("shelf")(len)
