"""The topic as a DataFrame: judged rows, each event once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import milliseconds
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.streaming.checkpoint.following import Leader
from retailpulse_kernel.streaming.intake.judging import (
    ACCEPTED,
    AHEAD,
    BAD,
    FURTHER,
    LATE,
    OBSERVED_EXPECTED,
    OBSERVED_INTAKE,
    OBSERVED_UNIQUE,
    Intake,
)
from retailpulse_kernel.streaming.intake.refusing import REFUSED
from retailpulse_kernel.streaming.intake.source import SourceConfig, TopicSource
from retailpulse_kernel.streaming.state.aggregation import event_time

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["deduplicated", "read_again", "read_range", "read_topic"]


def read_topic(
    spark: SparkSession,
    settings: Settings,
    intake: Intake,
    *,
    epochs: str,
    reader: int = 0,
    bounded: bool = False,
    tells: bool = False,
    leader: Leader | None = None,
    drain: Path | None = None,
    given: str = "",
) -> DataFrame:
    """A topic as a stream of judged rows; it fails rather than skips when offsets are gone.

    Parameters
    ----------
    spark : SparkSession
        The session of the job.
    settings : Settings
        How to reach Kafka.
    intake : Intake
        Which topic, which columns.
    epochs : str
        The folder of the job's epochs; what a query remembers is beside its checkpoint there.
    reader : int
        The stream's number in the job's notebook.
    bounded : bool
        Whether the notebook's run is bounded.
    tells : bool
        Whether Spark's watermark also follows the last messages before a pause.
    leader : Leader, optional
        The live job that is read as far as.
    drain : Path, optional
        A file; once it is there, the stream has nothing behind what the file says.
    given : str
        The folder of the epochs of the job's tests; see `given.GivenMessages`.
    """
    spark.dataSource.register(TopicSource)
    config = SourceConfig(
        client_config(settings), intake, epochs, leader, drain=str(drain) if drain else None, reader=reader,
        bounded=bounded, tells=tells, given=given,
    )  # fmt: skip
    return spark.readStream.format(TopicSource.name()).option("config.secret", config.dump()).load()


def read_range(
    spark: SparkSession, settings: Settings, intake: Intake, ranges: dict[int, tuple[int, int]]
) -> DataFrame:
    """Judged rows of some offsets of a topic, as a bounded DataFrame.

    Parameters
    ----------
    spark : SparkSession
        A session of this process or of a Connect server.
    settings : Settings
        How to reach Kafka.
    intake : Intake
        Which topic, which columns.
    ranges : dict of int to (int, int)
        First offset and the one after the last, by partition.
    """
    spark.dataSource.register(TopicSource)
    config = SourceConfig(client_config(settings), intake, ranges={str(p): bounds for p, bounds in ranges.items()})
    return spark.read.format(TopicSource.name()).option("config.secret", config.dump()).load()


def read_again(spark: SparkSession, settings: Settings, intake: Intake, steps: str) -> DataFrame:
    """Judged rows of the micro-batches that a query has done, in their order, as a bounded DataFrame.

    Parameters
    ----------
    spark : SparkSession
        A session of this process.
    settings : Settings
        How to reach Kafka.
    intake : Intake
        Which topic, which columns. Duplicates are found while the messages are read.
    steps : str
        The file that names the micro-batches; see `repeating.write_steps`.
    """
    spark.dataSource.register(TopicSource)
    config = SourceConfig(client_config(settings), intake, steps=steps)
    return spark.read.format(TopicSource.name()).option("config.secret", config.dump()).load()


def deduplicated(
    messages: DataFrame,
    *,
    watermark: timedelta,
    horizon: timedelta,
    reader: int = 0,
    as_events: bool = False,
    expected: Sequence[str] = (),
) -> DataFrame:
    """Accepted events, each once, and with `Intake.keep_late` the late ones.

    Parameters
    ----------
    messages : DataFrame
        As `read_topic` or `read_again` gives it. The duplicates are gone already where the intake finds them.
    watermark : timedelta
        How far event time may run ahead before an event is late.
    horizon : timedelta
        How long an event's id is remembered after the watermark has passed its time, where Spark does it.
    reader : int
        The stream's number in the job's notebook: the batch's counts are observed under it.
    as_events : bool
        Whether the rows are for a query of the notebook's: they have the events' own columns, and Spark's watermark
        follows ``event_time``. None of them may be late.
    expected : sequence of str
        Conditions, in Spark SQL, of which the accepted events that violate them are counted.
    """
    from pyspark.sql import functions as F

    counts = (ACCEPTED, LATE, BAD, AHEAD, FURTHER)
    counted = (F.coalesce(F.sum(f"n_{count}"), F.lit(0)).alias(count) for count in counts)
    refused = [name for name in messages.columns if name.startswith(REFUSED)]
    verdicts = ("low", *(f"n_{count}" for count in counts), "ahead_ms", "arrived_ms", *refused)
    rows = (
        # Spark's watermark follows the slowest partition, by the column `low`; state is kept by the event's own time.
        messages.withWatermark("low", f"{milliseconds(watermark)} milliseconds")
        .observe(
            f"{OBSERVED_INTAKE}_{reader}",
            *counted,
            F.max("ahead_ms").alias("ahead_ms"),
            F.min("arrived_ms").alias("arrived_ms"),
            *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in refused),
        )
        .where("late IS NOT NULL")
        .drop(*verdicts)
    )
    if "dedup_key" in rows.columns:
        rows = rows.withColumn("clock", event_time("clock", "clock", horizon))
        rows = rows.dropDuplicatesWithinWatermark(["dedup_key"]).drop("dedup_key", "clock")
    if expected:
        violated = [~F.col("late") & ~F.expr(condition) for condition in expected]
        failed = [F.count_if(one).alias(f"failed_{number}") for number, one in enumerate(violated)]
        example = [F.min(F.when(one, F.col("event_id"))).alias(f"example_{n}") for n, one in enumerate(violated)]
        rows = rows.observe(f"{OBSERVED_EXPECTED}_{reader}", *failed, *example)
    accepted = F.count_if(~F.col("late"))
    if as_events:
        # Before the counts are observed: what stands behind them is the meaning of the notebook's query (`analysis`).
        # Spark closes a window, a session and a side of a join by the time of this column.
        times = {"event_time": event_time("event_time", "event_time", watermark)}
        rows = rows.select(*(times.get(name, name) for name in rows.columns if name != "late"))
        accepted = F.count(F.lit(1))
    return rows.observe(f"{OBSERVED_UNIQUE}_{reader}", accepted.alias(ACCEPTED))
