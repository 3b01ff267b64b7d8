"""The Java that Spark runs in: which one, how it is told to compile and collect, and which classes it need not load."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from retailpulse_kernel.machine.java import find_java

__all__ = ["JAVA", "JAVA_BRIEF", "QUIET", "ROCKSDB", "class_archive", "java_options", "use_this_environment"]

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
# Measured on 2 cores. Three bounded runs of 8,000 events at once: 73 s by default, 47 s with the first compiler
# only; of 600,000 events a batch takes 17 s and 18 s.
JAVA_BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A long run: 15 s with this collector. By default the second compiler takes 22 s of a core in a job's first minute,
# much of it for code that hardly runs; waiting for what is called more often takes 9 s, and nothing gets slower.
JAVA = (
    "-XX:+UseParallelGC -XX:Tier4InvocationThreshold=20000 -XX:Tier4MinInvocationThreshold=5000 "
    "-XX:Tier4CompileThreshold=50000 -XX:Tier4BackEdgeThreshold=200000"
)
#: Java says on every start why it could not use an archive; this is not news to the person that starts a job.
QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")


def use_this_environment() -> None:
    """Let Spark's workers run this environment's Python, and Spark a Java that it knows, on loopback."""
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["JAVA_HOME"] = str(find_java().path)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def class_archive() -> Path:
    """Where the archive of this environment and this Java is, or would be."""
    return Path(sys.prefix) / f"spark-java{find_java().version}.jsa"


def java_options() -> str:
    """What a driver's Java is told; nothing where there is no archive."""
    archive = class_archive()
    # Spark takes them apart as a shell does: there may be a space in the folder's name.
    return shlex.join([f"-XX:SharedArchiveFile={archive}", *QUIET]) if archive.is_file() else ""
