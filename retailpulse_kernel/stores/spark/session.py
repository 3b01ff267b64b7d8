"""The Spark session that jobs and notebooks share."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.confinement import require_own_statement
from retailpulse_kernel.stores.spark.gateway import launched
from retailpulse_kernel.stores.spark.java import JAVA, JAVA_BRIEF, ROCKSDB, java_options, use_this_environment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "ON_LOOPBACK",
    "java_has_ended",
    "quieten",
    "scratch_folder",
    "session_conf",
    "spark_session",
    "use_functions_of",
]

#: Where a driver of this machine listens.
ON_LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
_PLAIN_FILES = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
_SAID_TWICE = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
_LOGGING = Path(__file__).with_name("log4j2.properties")


def use_functions_of(*, connect: bool) -> None:
    """Let `pyspark.sql.functions` make columns of a Connect session, or of the session of this process.

    Spark looks for this variable at each call. A notebook may have both sessions, one for its questions and one for its
    job: the functions belong to the one that was asked for last.

    Parameters
    ----------
    connect : bool
        Whether those of a Connect session are wanted.
    """
    if connect:
        os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    else:
        os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)


def java_has_ended(wait: float = 0) -> bool:
    """Whether the Java process of this process's session has ended, while the session is still there.

    Parameters
    ----------
    wait : float
        How many seconds a process that is about to end may take.
    """
    from pyspark import SparkContext

    process = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return False
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        return False
    return True


def quieten() -> None:
    """Keep PySpark from logging the plan and Java's trace of a bad query: the error that follows says what is wrong."""
    for name in _SAID_TWICE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


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
    use_functions_of(connect=False)
    quieten()
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return asking_first(settings, active)

    use_this_environment()
    address = settings.profile.spark
    conf = session_conf(settings, JAVA_BRIEF if brief else JAVA, hive=hive)
    conf["spark.driver.memory"] = address.driver_memory
    if address.master.startswith("local"):
        conf |= ON_LOOPBACK
    of_all = SparkConf().setMaster(address.master).setAppName(name)
    of_all.setAll([*conf.items(), *address.resolved_conf().items()])
    if SparkContext._gateway is None:  # Java lives on when a session is stopped
        SparkContext._ensure_initialized(gateway=launched(of_all), conf=of_all)
    return asking_first(settings, SparkSession.builder.config(conf=of_all).getOrCreate())


def asking_first(settings: Settings, session: SparkSession) -> SparkSession:
    """The session; while a notebook is tried, its `sql` refuses what would write outside of the trial's namespace.

    What Spark writes by other calls, such as ``DataFrame.write.saveAsTable``, is not seen here.

    Parameters
    ----------
    settings : Settings
        `Settings.confined_to` names the trial's namespace; where it is empty, all is allowed.
    session : SparkSession
        Changed in place, once.
    """
    kind = type(session)
    if settings.confined_to and not hasattr(kind, "asks_first"):

        class Asking(kind):  # type: ignore[misc, valid-type]
            asks_first = True

            def sql(self, sqlQuery: str, args: Any = None, **kwargs: Any) -> DataFrame:  # noqa: N803
                # A statement that names no database means the present one, whoever chose it.
                present = settings.within(self.catalog.currentDatabase())
                require_own_statement(present, sqlQuery, "spark")
                return super().sql(sqlQuery, args, **kwargs)

        session.__class__ = Asking
    return session


def scratch_folder(settings: Settings) -> Path:
    """Where Spark keeps files that nobody needs when it has ended; made where it is absent.

    Parameters
    ----------
    settings : Settings
        While a notebook is tried, the home's own folder is read-only.
    """
    scratch = Path(tempfile.gettempdir()) / "spark" if settings.confined_to else settings.home / "spark"
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def session_conf(settings: Settings, java: str, *, hive: bool) -> dict[str, str]:
    """What every session of ours is configured with: a job's, a notebook's, the Connect server's.

    Parameters
    ----------
    settings : Settings
        Where folders and jars are.
    java : str
        Flags of the driver's Java, beside those that all have.
    hive : bool
        Whether the catalog is Hive's Metastore.
    """
    from retailpulse_kernel.machine import artifacts

    scratch = scratch_folder(settings)
    # A Java that is killed leaves its files, and these are found by who looks into the home.
    (scratch / "tmp").mkdir(exist_ok=True)
    java += " " + shlex.quote(f"-Djava.io.tmpdir={scratch / 'tmp'}")
    conf = {
        "spark.jars": ",".join(map(str, artifacts.jars(settings, "spark-kafka"))),
        "spark.local.dir": str(scratch / "local"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        # By default Hive's client leaves a folder for each session.
        "spark.hadoop.hive.downloaded.resources.dir": str(scratch / "resources"),
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
        "spark.python.daemon.module": "retailpulse_kernel.streaming.intake.worker_daemon",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.extraJavaOptions": f"{java} {java_options()} -Dlog4j2.configurationFile={_LOGGING.as_uri()}",
        "spark.sql.streaming.stopTimeout": "60s",
        # Hadoop's other local file system has a checksum beside each file and starts `chmod` for both.
        # A query with a state of Spark's own needs the other one, and asks for it: then it must not be kept.
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "spark.hadoop.fs.file.impl.disable.cache": "true",
    }
    if not urlparse(settings.checkpoints).scheme:
        # By default Hadoop starts `readlink` four times for each file of a checkpoint that it moves into place.
        conf["spark.sql.streaming.checkpointFileManagerClass"] = _PLAIN_FILES
    if hive:
        conf |= {
            "spark.sql.catalogImplementation": "hive",
            "spark.hadoop.hive.metastore.uris": settings.profile.hive.metastore,
            # Spark's own client speaks Hive 2.3, which a Metastore of version 4 does not answer.
            "spark.sql.hive.metastore.version": "4.0.1",
            "spark.sql.hive.metastore.jars": "path",
            "spark.sql.hive.metastore.jars.path": f"{artifacts.lib_folder(settings, 'hive').as_uri()}/*.jar",
        }
    return conf
