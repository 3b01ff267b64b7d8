"""What Spark does without RetailPulse: the floor, and the job that a user would write first.

``python -m bench.floor floor|naive TOPIC`` runs one of them to the topic's end, in a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime
from typing import TYPE_CHECKING

from bench.feed import Feed
from bench.lab import Lab
from bench.results import Timeline
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["run"]

#: Spark's own default, which is what a user would have.
_DEFAULT_STATE = "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider"

_SCHEMA = """
    event_id STRING, event_type STRING, event_time TIMESTAMP, user_id STRING, session_id STRING, product_id STRING,
    category STRING, brand STRING, price DECIMAL(18,4), quantity INT, currency STRING, order_id STRING, order_line INT
"""


def run(lab: Lab, feed: Feed, name: str) -> Timeline:
    """Measure the floor or the naive job in a fresh process."""
    child = lab.python("bench.floor", name, feed.topic, settings=lab.settings)
    with lab.ended(child):
        marks = child.result(timeout=60 + feed.messages / 1_000)["marks"]
    return Timeline(child.started, [(count, moment) for count, moment in marks])


def _parsed(messages: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return messages.select(F.from_json(F.col("value").cast("string"), _SCHEMA).alias("event")).select("event.*")


def _naive(messages: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return (
        _parsed(messages)
        .where("event_id IS NOT NULL AND event_time IS NOT NULL")
        .withWatermark("event_time", "10 minutes")
        .dropDuplicatesWithinWatermark(["event_id"])
        .groupBy(F.window("event_time", "1 minute"), "category", "event_type", "currency")
        .agg(
            F.count("*").alias("events"),
            F.expr("sum(IF(event_type = 'purchase', quantity, 0))").alias("units"),
            F.expr("sum(IF(event_type = 'purchase', price * quantity, 0))").alias("revenue"),
            F.expr("count_if(event_type = 'purchase' AND order_line = 1)").alias("orders"),
        )
    )


def _measure(name: str, topic: str) -> list[tuple[int, float]]:
    """Run to the topic's end; so many messages were done at that time, batch by batch."""
    from retailpulse_kernel.stores.spark.session import spark_session
    from retailpulse_kernel.streaming.intake.source import MAX_BATCH_MESSAGES

    settings = Settings.load()
    kafka = settings.profile.kafka
    if kafka.sasl_mechanism or kafka.ca_location:
        raise UsageError(
            "The floor is measured on a Kafka without a login.", remedy="Use the profile local or compose."
        )
    options = {
        "kafka.bootstrap.servers": kafka.bootstrap,
        "subscribe": topic,
        "startingOffsets": "earliest",
        "maxOffsetsPerTrigger": str(MAX_BATCH_MESSAGES),
    }
    spark = spark_session(settings, f"bench {name}")
    if name == "naive":
        spark.conf.set("spark.sql.streaming.stateStore.providerClass", _DEFAULT_STATE)
    messages = spark.readStream.format("kafka").options(**options).load()
    result = {"floor": _parsed, "naive": _naive}[name](messages)
    with tempfile.TemporaryDirectory(prefix="retailpulse-bench-") as checkpoint:
        query = result.writeStream.format("noop").outputMode("update").option("checkpointLocation", checkpoint).start()
        try:
            query.processAllAvailable()
            progress = [p for p in query.recentProgress if p["numInputRows"]]
        finally:
            query.stop()
            spark.stop()
    marks, done = [], 0
    for batch in progress:
        begin = datetime.fromisoformat(batch["timestamp"]).timestamp()
        done += batch["numInputRows"]
        marks.append((done, begin + batch["durationMs"]["triggerExecution"] / 1000))
    return marks


if __name__ == "__main__":
    print(json.dumps({"marks": _measure(*sys.argv[1:])}))
