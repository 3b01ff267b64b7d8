"""The topic as a Spark stream, judged and deduplicated."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from retailpulse_kernel.settings import KafkaAddress, Settings
from retailpulse_kernel.streaming.intake import ACCEPTED, BAD, LATE, Intake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["OBSERVED_INTAKE", "OBSERVED_UNIQUE", "deduplicated", "kafka_options", "read_topic"]

#: Names under which a batch's counts are observed, before and after deduplication.
OBSERVED_INTAKE, OBSERVED_UNIQUE = "intake", "unique"

#: Most messages in one micro-batch of a continuous run, so that a job that has fallen behind
#: catches up in steps that fit its memory.
MAX_OFFSETS_PER_TRIGGER = 500_000


def kafka_options(address: KafkaAddress) -> dict[str, str]:
    """Spark's options for the brokers of a profile."""
    options = {"kafka.bootstrap.servers": address.bootstrap, "kafka.security.protocol": address.security_protocol}
    if address.sasl_mechanism:
        module = "scram.ScramLoginModule" if "SCRAM" in address.sasl_mechanism else "plain.PlainLoginModule"
        options |= {
            "kafka.sasl.mechanism": address.sasl_mechanism,
            "kafka.sasl.jaas.config": f"org.apache.kafka.common.security.{module} required "
            f'username="{address.username}" password="{address.secret()}";',
        }
    if address.ca_location:
        options |= {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": address.ca_location}
    return options


def read_topic(spark: SparkSession, settings: Settings, topic: str, *, bounded: bool) -> DataFrame:
    """A topic as a stream that fails rather than skips when offsets are gone.

    Parameters
    ----------
    bounded : bool
        Whether all that there is makes one micro-batch: no watermark moves before it is read, so
        no order of its events makes any of them late.
    """
    options = {
        **kafka_options(settings.profile.kafka),
        "subscribe": topic,
        "startingOffsets": "earliest",
        "failOnDataLoss": "true",
    }
    if not bounded:
        options["maxOffsetsPerTrigger"] = str(MAX_OFFSETS_PER_TRIGGER)
    return (
        spark.readStream.format("kafka").options(**options).load().select("value", "partition", "offset", "timestamp")
    )


def deduplicated(messages: DataFrame, intake: Intake, *, watermark: timedelta) -> DataFrame:
    """Accepted events, each once, and with `Intake.keep_late` the late ones.

    Parameters
    ----------
    messages : DataFrame
        Streaming, as `read_topic` gives it.
    watermark : timedelta
        How far event time may run ahead before an event is late, and how long an event's id is
        remembered at least.
    """
    from pyspark.sql import functions as F

    def counted(status: str) -> F.Column:
        return F.coalesce(F.sum(F.expr(f"IF(status = '{status}', n, 0)")), F.lit(0)).alias(status)

    judged = messages.mapInArrow(intake, intake.ddl).observe(
        OBSERVED_INTAKE, counted(ACCEPTED), counted(LATE), counted(BAD)
    )
    return (
        judged.where("dedup_key IS NOT NULL")
        .withWatermark("clock", f"{int(watermark.total_seconds() * 1000)} milliseconds")
        .dropDuplicatesWithinWatermark(["dedup_key"])
        .observe(OBSERVED_UNIQUE, F.count_if(F.col("status") == ACCEPTED).alias(ACCEPTED))
    )
