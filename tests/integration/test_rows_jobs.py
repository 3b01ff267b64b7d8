"""Any DataFrame out: five queries of one job, killed and stopped on the way, equal to a batch over the same topic."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.checkpoint.log import newest_batch
from retailpulse_kernel.streaming.intake.frames import read_range
from retailpulse_kernel.streaming.intake.judging import EVENT_COLUMNS, Intake
from retailpulse_kernel.streaming.query.analysis import analysed
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.workbench.workbench import Workbench
from tests.rows_jobs import FRAMES, WRITES, job_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Messages = list[tuple[str | bytes, bytes | None]]


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace=f"t_rows_jobs_{os.getpid()}")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def accounts_of(settings: Settings, output: str) -> list[Account]:
    return [account for account in read_accounts(settings, further=True) if account.output == output]


@pytest.fixture(scope="module")
def done(killed_rows: Settings) -> Job:
    """The job after it was killed in the middle, stopped, and run to the end of the topic twice."""
    return job_of(killed_rows.namespace.name)


def bounded(job: Job) -> Any:
    """All events of the topic but those that the continuous runs found late."""
    intake = Intake((*EVENT_COLUMNS, "partition", "offset"), job.topic)
    rows = read_range(job.spark, job.settings, intake, KafkaStore(job.settings).offsets(job.topic))
    sent = KafkaStore(job.settings).messages(job.settings.namespace.late_topic)
    rejects = [orjson.loads(message.value or b"{}") for message in sent]
    late = {(reject["partition"], reject["offset"]) for reject in rejects}
    assert len(late) > 10
    behind = job.spark.createDataFrame(sorted(late), "partition int, offset bigint")
    once = rows.join(behind, ["partition", "offset"], "left_anti").where("dedup_key IS NOT NULL")
    return once.dropDuplicates(["dedup_key"]).select(*EVENT_COLUMNS)


def batch(job: Job, name: str) -> Any:
    """What a batch makes of the same frame; own state is not to be had in one, and is counted instead."""
    from pyspark.sql import functions as F

    if name == "baskets":
        counted = bounded(job).groupBy("user_id")
        return counted.agg(F.count("*").alias("events"), F.max("event_time").alias("newest")).toArrow()
    more = [bounded(job)] if name == "purchases" else []
    return FRAMES[name](bounded(job), job.spark, *more).toArrow()


def in_order(table: Any) -> list[tuple[str, ...]]:
    return sorted(tuple(map(str, row.values())) for row in table.to_pylist())


@pytest.mark.long
@pytest.mark.parametrize("name", WRITES)
def test_an_output_that_was_killed_and_stopped_is_what_a_batch_gives(done: Job, name: str) -> None:
    (output,) = (output for output in done.writes.rows if output.name == name)
    stored, wanted = output.store.read_rows(output.table), batch(done, name)
    if name == "sessions":  # a session is written once it is closed
        logged = newest_batch(f"{done.checkpoints}/e0001/outputs/sessions")
        assert logged is not None
        closed = datetime.fromtimestamp(logged.watermark_ms / 1_000, UTC)
        wanted = wanted.filter([end <= closed for end in wanted["end"].to_pylist()])
    assert wanted.num_rows > 20
    assert in_order(stored.select(wanted.column_names)) == in_order(wanted)


@pytest.mark.long
def test_every_output_accounts_for_all_messages_and_the_job_counts_them_once(done: Job) -> None:
    held = sum(end - begin for begin, end in KafkaStore(done.settings).offsets(done.topic).values())
    for name in WRITES:
        accounts = accounts_of(done.settings, name)
        assert sum(account.consumed for account in accounts) == held, name
        assert all(a.consumed == a.accepted + a.duplicate + a.late + a.bad for a in accounts)
    assert sum(account.consumed for account in read_accounts(done.settings)) == held


@pytest.mark.long
def test_a_bad_message_is_rejected_once(done: Job) -> None:
    bad = sum(account.bad for account in accounts_of(done.settings, "windows"))
    keys = [m.key for m in KafkaStore(done.settings).messages(done.settings.namespace.dlq_topic)]
    assert bad > 0 and len(set(keys)) == bad


def test_the_columns_that_a_query_looks_at_are_known(settings: Settings) -> None:
    events = Workbench(namespace=settings.namespace.name).job("looks").events()
    from pyspark.sql import functions as F

    every = set(EVENT_COLUMNS)
    for frame, wanted in (
        (events.df.withColumn("x", F.col("price") * 2).drop("brand").select("event_id", "x"), [{"event_id", "price"}]),
        (events.df.where("quantity > 1").groupBy("user_id").count(), [{"quantity", "user_id"}]),
        (events.df, [every]),
        (events.df.unionByName(events.df).select("event_id"), [every, every]),
        (events.df.dropDuplicatesWithinWatermark(["user_id"]).select("event_id"), [every]),
    ):
        assert [set(columns) for columns in analysed(frame).columns] == wanted


def test_a_query_means_the_same_every_time_and_something_else_when_changed(settings: Settings) -> None:
    assert plan_of(job_of(settings.namespace.name)) == plan_of(job_of(settings.namespace.name))
    job = Workbench(namespace=settings.namespace.name).job("other")
    frame = job.events(watermark="5m").df
    from pyspark.sql import functions as F

    grouped = frame.groupBy(F.window("event_time", "5 minutes").alias("w"), "event_type", "currency")
    found = []
    for number, measure in enumerate((F.sum("quantity"), F.max("quantity"))):
        rows = grouped.agg(measure.alias("n")).selectExpr("w.start AS start", "event_type", "currency", "n")
        job.write(rows, to=Workbench().cassandra, table=f"n{number}", key=["start", "event_type", "currency"])
        found.append(job.writes.rows[-1].fingerprint)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("rand() AS x", "rand"),
        ("uuid() AS x", "uuid"),
        ("current_timestamp() AS x", "current_timestamp"),
        ("monotonically_increasing_id() AS x", "monotonically_increasing_id"),
        ("named_struct('a', 1) AS x", "column 'x'"),
        ("map('a', 1) AS x", "column 'x'"),
    ],
)
def test_what_can_t_be_written_is_refused_before_it_runs(settings: Settings, expression: str, reason: str) -> None:
    rp = Workbench(namespace=settings.namespace.name)
    job = rp.job("refused")
    frame = job.events().df
    with pytest.raises(UsageError, match=reason):
        job.write(frame.selectExpr("event_id", expression), to=rp.cassandra, table="refused", key="event_id")


def test_a_bounded_frame_and_a_stream_of_somebody_else_s_are_refused(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace.name)
    job = rp.job("refused")
    frame = job.events().df
    for other, reason in (
        (job.spark.range(3), "is not a stream"),
        (job.spark.readStream.format("rate").load(), "not the job's"),
        (frame.alias("a").join(frame.alias("b"), "event_id").select("event_id"), "reads one stream twice"),
    ):
        with pytest.raises(UsageError, match=reason):
            job.write(other, to=rp.cassandra, table="refused", key=list(other.columns)[:1])


def test_a_table_has_a_name_and_is_written_once(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace.name)
    job = rp.job("refused")
    rows = job.events().df.select("event_id")
    for name in ("Shelf-1; drop", "x" * 41):
        with pytest.raises(UsageError, match=f"'{name}' can't be the name of a table. Use lower-case letters"):
            job.write(rows, to=rp.cassandra, table=name, key="event_id")
    with pytest.raises(UsageError, match=r"'Shelf-1; drop' can't be the name of a topic\. Use letters, digits"):
        job.write(rows, to=rp.kafka, topic="Shelf-1; drop", key="event_id")
    with pytest.raises(UsageError, match=r"'1' can't be the name of an output\. Give the output a name of its own"):
        job.write(rows, to=rp.kafka, topic="1", key="event_id")
    with pytest.raises(UsageError, match="There is no column 'evnt_id' of the rows of 'ids'"):
        job.write(rows, to=rp.cassandra, table="ids", key="evnt_id")
    with pytest.raises(JobError, match=r"DataFrame can't be written to 'cassandra'\. Figures go to a store"):
        job.write(rows, to="cassandra", table="ids", key="event_id")  # type: ignore[arg-type]
    job.write(rows, to=rp.cassandra, table="ids", key="event_id")
    with pytest.raises(UsageError, match="The job writes the table 'ids' of cassandra twice"):
        job.write(rows, to=rp.cassandra, table="ids", key="event_id")
    with pytest.raises(UsageError, match="The job has two outputs with the name 'ids'"):
        job.write(rows, to=rp.hbase, table="ids", key="event_id", name="ids")
    job.write(rows, to=rp.hbase, table="ids", key="event_id")
    assert [output.name for output in job.writes.rows] == ["ids", "ids_hbase"]
    job.write(rows, to=rp.kafka, topic="Ids.All", key="event_id")
    assert job.writes.rows[-1].name == "ids_all"


def test_what_depends_on_the_order_of_rows_is_known(settings: Settings) -> None:
    from pyspark.sql import functions as F

    job = Workbench(namespace=settings.namespace.name).job("orders")
    events = job.events().df
    users, kinds = events.groupBy("user_id"), F.collect_set("event_type")
    listed = users.agg(F.collect_list("quantity").alias("all"), F.count("*").alias("n"))
    static = job.spark.range(9).selectExpr("id", "cast(id as string) AS user_id").limit(3)
    repeated = {
        "sorted list": users.agg(F.array_sort(F.array_distinct(kinds)).alias("kinds")),
        "sorted later": listed.where(F.size("all") > 1).select("user_id", F.array_sort("all").alias("sorted")),
        "size": users.agg(F.size(kinds).alias("n")),
        "not looked at": listed.select("user_id", "n"),
        "by time": users.agg(F.max_by("price", F.struct("event_time", "event_id")).alias("price")),
        "distinct": events.select("user_id", "currency").distinct(),
        "top": users.count().orderBy(F.desc("count"), "user_id").limit(3),
        "sorted": users.count().orderBy("count"),
        "limit at the side": events.join(static, "user_id").groupBy("user_id").agg(F.max("id").alias("id")),
    }
    assert [name for name, frame in repeated.items() if analysed(frame).ordered] == []
    depends = {
        "first(price)": users.agg(F.first("price").alias("price")),
        "last(price)": users.agg(F.last("price", ignorenulls=True).alias("p")).selectExpr("user_id", "p + 1 AS price"),
        "any_value(price)": users.agg(F.any_value("price").alias("price")),
        "collect_list(quantity)": listed.withColumn("sorted", F.array_sort("all")),
        "collect_set(event_type)": users.agg(F.array_join(kinds, " ").alias("kinds")),
        "listagg()": users.agg(F.listagg("event_type").alias("kinds")),
        "limit()": events.limit(3).select("event_id"),
        "offset()": users.count().orderBy("count").offset(3),
        "sample()": events.sample(0.5, seed=1),
    }
    assert [[part.what for part in analysed(frame).ordered] for frame in depends.values()] == [[one] for one in depends]
    assert [part.what for part in analysed(users.count().orderBy("count").limit(3)).ordered] == ["limit()"], "ties"
    rare = {
        "max_by(product_id, price) may be of any of the rows that share price": F.max_by("product_id", "price"),
        "percentile_approx(price, 0.5D, 10000) depends a little": F.percentile_approx("price", 0.5),
    }
    for said, column in rare.items():
        (found,) = analysed(users.agg(column.alias("one"))).uncertain
        assert found.startswith(said)
    assert not any(analysed(frame).uncertain for frame in repeated.values())
    assert not analysed(users.agg(F.max_by("product_id", "price").alias("one")).select("user_id")).uncertain
    rp = Workbench(namespace=settings.namespace.name)
    with pytest.raises(
        UsageError, match=r"first\(price\) makes the rows of 'refused' depend on the order .* F\.min_by"
    ):
        job.write(depends["first(price)"], to=rp.cassandra, table="refused", key="user_id")


class Quiet:
    """A state of its own that keeps nothing; the mode of time is all that is asked of it."""

    def init(self, handle: Any) -> None:
        pass

    def handleInputRows(self, key: Any, rows: Any, timers: Any) -> Iterator[Any]:  # noqa: N802
        yield from ()

    def close(self) -> None:
        pass


def test_rows_wait_for_the_watermark_where_they_are_only_given_once_it_has_passed(settings: Settings) -> None:
    from pyspark.sql import functions as F
    from pyspark.sql.streaming.state import GroupStateTimeout
    from pyspark.sql.streaming.stateful_processor import StatefulProcessor

    class Processor(Quiet, StatefulProcessor):
        pass

    rp = Workbench(namespace=settings.namespace.name)
    events = rp.job("waiting").events()
    later = events.df.select(F.col("event_id").alias("other"), F.col("event_time").alias("then"))
    near = F.expr("event_id = other AND then >= event_time AND then <= event_time + INTERVAL 1 HOUR")

    def state(mode: str) -> Any:
        by_user = events.df.groupBy("user_id")
        return by_user.transformWithStateInPandas(Processor(), "user_id string", "Append", mode)

    def older_state(timeout: str) -> Any:
        by_user = events.df.groupBy("user_id")
        return by_user.applyInPandasWithState(lambda *_: iter(()), "user_id string", "n int", "append", timeout)

    waits = {
        "rows": (events.df, False),
        "inner": (events.df.join(later, near), False),
        "outer": (events.df.join(later, near, "leftOuter"), True),
        "state": (state("None"), False),
        "timers": (state("EventTime"), True),
        "older state": (older_state(GroupStateTimeout.NoTimeout), False),
        "timeouts": (older_state(GroupStateTimeout.EventTimeTimeout), True),
    }
    assert {name: analysed(frame).waits for name, (frame, _) in waits.items()} == {
        name: wanted for name, (_, wanted) in waits.items()
    }


def test_state_that_is_never_forgotten_is_named(settings: Settings) -> None:
    from pyspark.sql import functions as F

    rp = Workbench(namespace=settings.namespace.name)
    events = rp.job("endless").events()
    second = F.date_trunc("second", "event_time")
    plain = events.df.withColumn("at", second)
    later = events.df.select(F.col("event_id").alias("other"), F.col("event_time").alias("then"), second.alias("when"))

    def joined(left: str, right: str) -> Any:
        near = F.expr(f"event_id = other AND {right} >= {left} AND {right} <= {left} + INTERVAL 1 HOUR")
        return plain.join(later, near)

    rates = plain.sparkSession.createDataFrame([("EUR", 1)], "currency string, rate int")
    of_left, of_right = (f"the join keeps every row of its {side} side" for side in ("left", "right"))
    named = {
        "both": (joined("event_time", "then"), []),
        "left": (joined("event_time", "when"), [of_left]),
        "right": (joined("at", "then"), [of_right]),
        "neither": (plain.join(later, F.expr("event_id = other")), [of_left, of_right]),
        "table": (plain.join(rates, "currency"), []),
        "window": (plain.groupBy(F.window("event_time", "1 hour")).count(), []),
        "other window": (plain.groupBy(F.window("at", "1 hour")).count(), ["window is kept for ever"]),
        "session": (
            plain.groupBy(F.session_window("at", "1 hour"), "user_id").count(), ["session_window is kept for ever"]
        ),
        "totals": (plain.groupBy("category").count(), []),
        "ids": (plain.dropDuplicates(["order_id"]), ["dropDuplicates keeps every order_id for ever"]),
        "ids in time": (plain.dropDuplicates(["order_id", "event_time"]), []),
        "ids within": (plain.dropDuplicatesWithinWatermark(["order_id"]), []),
    }  # fmt: skip
    for name, (frame, wanted) in named.items():
        said = analysed(frame).endless
        assert len(said) == len(wanted) and all(map(str.startswith, said, wanted)), (name, said)


_KILLED = """
import os, signal, sys, threading, time
from pyspark import SparkContext
from retailpulse_kernel.workbench.workbench import Workbench

rp = Workbench(namespace=sys.argv[1])
job = rp.job("killed", run="continuous")
job.write(job.events(rejects="count").df.select("event_id"), to=rp.kafka, topic="killed")

def kill():
    while not job.spark.streams.active:
        time.sleep(0.1)
    os.kill(SparkContext._gateway.proc.pid, signal.SIGKILL)

threading.Thread(target=kill).start()
job.run()
"""


def test_a_run_whose_java_was_killed_says_so_and_how_to_go_on(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, settings.namespace.name],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "JobError: Spark's Java process has ended: it was killed" in done.stderr.splitlines()[-1], done.stderr
    assert done.stderr.splitlines()[-1].endswith("Run the job again: it goes on from its checkpoint.")


def test_a_table_of_another_job_is_refused_before_anything_of_it_is_changed(settings: Settings) -> None:
    rp = Workbench(namespace=settings.namespace.name)

    def run(name: str, *columns: str) -> None:
        job = rp.job(name, run="available_now")
        job.write(job.events(rejects="count").df.select(*columns), to=rp.cassandra, table="owned", key="event_id")
        job.run()

    run("owner", "event_id", "price")
    before = rp.cassandra.columns("owned")
    with pytest.raises(
        JobError, match=r"The table 'owned' is written by the job 'owner'.* `retailpulse retire owner --ke"
    ):
        run("thief", "event_id", "brand")
    assert rp.cassandra.columns("owned") == before
    run("owner", "event_id", "price")
