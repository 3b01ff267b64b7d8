"""Spark's classes, loaded and checked once for all sessions of an environment: an archive that Java maps at its start.

``python -m retailpulse_kernel.stores.spark.class_archive`` makes it, as the environment's last step. Without one, or
with that of another Java or of other jars, which Java itself notices, sessions start as they would without: seconds
later.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.files import put_in_place
from retailpulse_kernel.stores.spark.java import JAVA_BRIEF, QUIET, ROCKSDB, class_archive, use_this_environment

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

__all__: list[str] = []


def make() -> None:
    """Make the archive, in place of one that was there, from what a small stream loads.

    That is sources, state, sketches, Python workers and files.
    """
    from pyspark.sql import SparkSession

    archive = class_archive()
    aside = archive.with_suffix(f".{os.getpid()}.new")
    use_this_environment()
    archiving = shlex.join([f"-XX:ArchiveClassesAtExit={aside}", *QUIET])
    with tempfile.TemporaryDirectory() as folder:
        conf = {
            "spark.driver.extraJavaOptions": f"{JAVA_BRIEF} {archiving}",
            "spark.local.dir": folder,
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "ERROR",
        }
        builder = SparkSession.builder.master("local[2]").appName("class archive")
        for key, value in conf.items():
            builder = builder.config(key, value)
        spark = builder.getOrCreate()
        try:
            _load(spark, Path(folder))
        except BaseException:
            # Java writes it at any end, also when it has not seen all that it should.
            _end(spark)
            aside.unlink(missing_ok=True)
            raise
    _end(spark)
    put_in_place(aside, archive)


def _load(spark: SparkSession, folder: Path) -> None:
    """Run what jobs and notebooks run, small: Java keeps the classes that this takes."""
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as F

    def write(batch: DataFrame, number: int) -> None:
        batch.toArrow()
        batch.coalesce(1).write.mode("append").partitionBy("key").parquet(str(folder / "files"))

    events = spark.readStream.format("rate-micro-batch").option("rowsPerBatch", 100).load()
    keyed = events.withWatermark("timestamp", "1 minute").withColumn("key", (F.col("value") % 7).cast("string"))
    unique = keyed.observe("all", F.count("*").alias("n")).dropDuplicatesWithinWatermark(["value"])
    windows = F.explode(F.array(F.struct(F.lit(0).alias("slot"), F.window("timestamp", "1 minute").alias("w"))))
    figures = (
        unique.mapInArrow(_unchanged, unique.schema)
        .select("key", "value", windows.alias("s"))
        .groupBy("s.slot", "s.w.end", "key")
        .agg(
            F.sum("value"), F.min("value"), F.hll_sketch_agg("value", 15),
            F.expr("CAST(sum(CAST(value AS DECIMAL(18,4))) AS DECIMAL(28,4))"),
        )
    )  # fmt: skip
    stream = figures.writeStream.outputMode("update").option("checkpointLocation", str(folder / "checkpoint"))
    query = stream.foreachBatch(write).start()
    while query.isActive and (query.lastProgress is None or query.lastProgress.batchId < 2):
        time.sleep(0.1)
    query.stop()
    spark.read.parquet(str(folder / "files")).where("key = 1").orderBy("end").toPandas()


def _unchanged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return batches


def _end(spark: SparkSession) -> None:
    """End Java in order, and wait: it writes the archive when it ends."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(300)


if __name__ == "__main__":
    make()
