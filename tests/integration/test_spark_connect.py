"""Ad hoc work on the shared Spark Connect server: beside jobs and Hive, apart from other notebooks, after its death."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from retailpulse_kernel.ground.errors import NoSuchTable, StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import EVENTS, REVENUE
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.workbench.workbench import Workbench
from tests.integration.test_stack import disturbs

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def rp(stack: Settings) -> Iterator[Workbench]:
    """A workbench in a namespace with three purchases in its topic."""
    bench = Workbench(namespace=f"ct_connect_{os.getpid()}")
    ensure_topics(bench.settings)
    now = datetime.now(UTC)
    bench.kafka.produce(
        [
            {
                "event_id": f"e{i}", "event_type": "purchase", "event_time": now, "user_id": f"u{i}", "session_id": "s",
                "product_id": "p", "category": "a.b", "price": "0.10", "quantity": 1, "currency": "USD",
                "order_id": f"o{i}", "order_line": 1,
            }
            for i in range(3)
        ]
    )  # fmt: skip
    yield bench
    namespaces.drop(bench.settings)


def test_a_job_runs_in_a_kernel_that_asks_spark_too(rp: Workbench) -> None:
    """A driver of the process beside a session on the server; Spark's functions follow the one that was asked for."""
    from pyspark.sql import functions as F

    assert rp.sql("select 1 n")["n"][0] == 1
    job = rp.job("archive", run="available_now")
    events = job.events()
    preview = events.figures(EVENTS, REVENUE, by=["currency"], every=["1 day"], table="x").preview()
    assert list(preview["revenue"]) == [Decimal("0.3000")]
    job.write(events, to=rp.hive)
    try:
        assert job.run().state == "finished"
        own = job.spark
        assert own.range(4).agg(F.sum("id")).first()[0] == 6
        shared = rp.spark
        assert shared is not own
        assert shared.table("events").agg(F.sum("price")).first()[0] == Decimal("0.3")
    finally:
        job.spark.stop()
    assert rp.hive.query("select sum(price) s from events")["s"][0] == Decimal("0.3")


def test_hive_and_spark_see_each_other_s_tables(rp: Workbench) -> None:
    rp.hive.create()
    rp.sql("create table by_spark using parquet as select 1 n, cast(:d as decimal(18,4)) d", {"d": Decimal("0.1")})
    assert rp.hive.query("select d from by_spark")["d"][0] == Decimal("0.1")
    rp.hive.query("create table by_hive as select 2 n, 'x' t")
    assert rp.sql("select n, t from by_hive").iloc[0].to_dict() == {"n": 2, "t": "x"}
    assert {"by_spark", "by_hive"} <= set(rp._spark.tables())


def test_a_statement_s_values_are_bound(rp: Workbench) -> None:
    day = datetime(2026, 3, 1, 10, 30)
    values = {"t": 'it\'s \\ "x"', "d": Decimal("0.10"), "day": day, "many": [1, 3], "flag": True}
    frame = rp.sql("select :t t, :d d, :day day, 3 in :many yes, :flag flag", values)
    expected = {"t": values["t"], "d": Decimal("0.1"), "day": day.replace(tzinfo=UTC), "yes": True, "flag": True}
    assert frame.iloc[0].to_dict() == expected
    assert "Range" in rp._spark.explain("select count(*) from range(5) where id > :n;", {"n": 2})


def test_sessions_are_apart_and_one_that_has_ended_is_replaced(
    rp: Workbench, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Workbench(namespace=f"{rp.settings.namespace_name}_b")
    rp.spark.range(3).createOrReplaceTempView("mine")
    assert rp.sql("select count(*) n from mine")["n"][0] == 3
    with pytest.raises(NoSuchTable):
        other.sql("select * from mine")
    rp.spark.client.release_session()  # as the server does with one that is idle
    assert rp.sql("select 1 n")["n"][0] == 1
    assert "This notebook's session of Spark has ended" in capsys.readouterr().err
    with pytest.raises(NoSuchTable):
        rp.sql("select * from mine")
    assert other.sql("select 1 n")["n"][0] == 1


@pytest.mark.faults
@disturbs
def test_a_killed_server_is_told_and_comes_back(rp: Workbench, stack: Settings) -> None:
    rp.sql("select 1")
    frame = rp.spark.range(3)
    # Within the query's two minutes: killed before it has begun, the server would be waited for, and nothing lost.
    threading.Timer(8, lambda: os.kill(pid_of(stack), signal.SIGKILL)).start()
    with pytest.raises(StoreUnavailable, match=r"Spark's server at localhost:\d+ has ended.* Run the cell again"):
        rp.sql("select java_method('java.lang.Thread', 'sleep', cast(120000 as bigint))")
    assert rp.sql("select 2 n")["n"][0] == 2, "the supervisor has started another"
    # Of the frame's own session, or of the connection it had: which of the two is told depends on which is tried first.
    with pytest.raises(StoreUnavailable, match=r"has ended.* Run the cell again, from where it asks for `rp\.spark`"):
        frame.count()
    supervision.up(stack, ["spark-connect"], console=Console(file=io.StringIO()))


def pid_of(stack: Settings) -> int:
    (pid,) = [entry.pid for entry in supervision.status(stack) if entry.name == "spark-connect"]
    assert pid is not None
    return pid
