"""The Spark session that jobs and notebooks share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack.java import find_java
from retailpulse_kernel.streaming.class_archive import java_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["JAVA_BRIEF", "ROCKSDB", "spark_session", "use_this_environment"]

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
# Measured on 2 cores. Three bounded runs of 8,000 events at once: 73 s by default, 47 s with the first compiler
# only; of 600,000 events a batch takes 17 s and 18 s.
JAVA_BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A long run: 15 s with this collector. By default the second compiler takes 22 s of a core in a job's first minute,
# much of it for code that hardly runs; waiting for what is called more often takes 9 s, and nothing gets slower.
_JAVA = (
    "-XX:+UseParallelGC -XX:Tier4InvocationThreshold=20000 -XX:Tier4MinInvocationThreshold=5000 "
    "-XX:Tier4CompileThreshold=50000 -XX:Tier4BackEdgeThreshold=200000"
)
_PLAIN_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
_LOGGING = Path(__file__).with_name("log4j2.properties")


def use_this_environment() -> None:
    """Let Spark's workers run this environment's Python, and Spark a Java that it knows, on loopback."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["JAVA_HOME"] = str(find_java().path)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def spark_session(settings: Settings, name: str, *, hive: bool = False, brief: bool = False) -> SparkSession:
    """Start Spark, or return the session that runs in this process.

    Parameters
    ----------
    settings : Settings
        Its profile has the master, the driver's memory and extra configuration.
    name : str
        The application's name.
    hive : bool
        Whether Spark's catalog is Hive's Metastore, for SQL over the archive. Jobs go without: it
        costs seconds at the start.
    brief : bool
        Whether the session lives for one bounded run: Java then spends less on making itself fast.
    """
    from pyspark.sql import SparkSession

    from retailpulse_kernel.stack import artifacts

    active = SparkSession.getActiveSession()
    if active is not None:
        return active

    use_this_environment()
    scratch = settings.home / "spark"
    scratch.mkdir(parents=True, exist_ok=True)

    java = JAVA_BRIEF if brief else _JAVA
    address = settings.profile.spark
    conf = {
        "spark.driver.memory": address.driver_memory,
        "spark.jars": ",".join(map(str, artifacts.jars(settings, "spark-kafka"))),
        "spark.local.dir": str(scratch / "local"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        # State partitions are frozen at a checkpoint's first batch: near the number of cores.
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.streaming.minBatchesToRetain": "50",
        # State beyond Java's heap: an hour of event ids does not fit into it. As fast as state in the heap, measured.
        "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.stateStore.rocksdb.trackTotalNumberOfRows": "false",
        # Sketches are aggregated by hashing too, which by default gives up at 128 keys.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "100000",
        # The archive's files of several hours at once, without sorting a batch by hour first.
        "spark.sql.maxConcurrentOutputFileWriters": "64",
        "spark.python.daemon.module": "retailpulse_kernel.streaming.worker_daemon",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.extraJavaOptions": f"{java} {java_options()} -Dlog4j2.configurationFile={_LOGGING.as_uri()}",
        "spark.sql.streaming.stopTimeout": "60s",
        # Hadoop's other local file system has a checksum beside each file and starts `chmod` for both.
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    }
    if not urlparse(settings.checkpoints).scheme:
        # By default Hadoop starts `readlink` four times for each file of a checkpoint that it moves into place.
        conf["spark.sql.streaming.checkpointFileManagerClass"] = _PLAIN_FILES
    if address.master.startswith("local"):
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if hive:
        conf |= {
            "spark.sql.catalogImplementation": "hive",
            "spark.hadoop.hive.metastore.uris": settings.profile.hive.metastore,
            # Spark's own client speaks Hive 2.3, which a Metastore of version 4 does not answer.
            "spark.sql.hive.metastore.version": "4.0.1",
            "spark.sql.hive.metastore.jars": "path",
            "spark.sql.hive.metastore.jars.path": f"{artifacts.lib_folder(settings, 'hive').as_uri()}/*.jar",
        }
    builder = SparkSession.builder.master(address.master).appName(name)
    for key, value in {**conf, **address.resolved_conf()}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
