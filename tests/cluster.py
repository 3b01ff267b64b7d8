"""A Spark standalone cluster of one worker, from the jars of the pyspark package, on this machine's loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark

from retailpulse_kernel.machine.java import find_java
from tests.jobs import wait_until

__all__ = ["Cluster", "spark_cluster"]

_HOME = Path(pyspark.__file__).parent


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes
    ----------
    master : str
        Its address, ``spark://…``.
    work : Path
        Has a folder for each application that had an executor.
    """

    master: str
    work: Path


@contextmanager
def spark_cluster(folder: Path, *, cores: int = 2, memory: str = "1g") -> Iterator[Cluster]:
    """Start a master and a worker, and end them with all that they started."""
    started: list[subprocess.Popen[bytes]] = []
    work = folder / "work"
    try:
        master = _start(started, folder / "master.log", "master.Master", "--port", "0", "--webui-port", "0")
        address = _said(started[0], master, r"Starting Spark master at (spark://\S+)")
        worker = _start(
            started, folder / "worker.log", "worker.Worker", "--webui-port", "0", "--work-dir", str(work),
            "--cores", str(cores), "--memory", memory, address,
        )  # fmt: skip
        _said(started[1], worker, r"(Successfully registered with master)")
        yield Cluster(address, work)
    finally:
        for process in started[::-1]:
            tree = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            for member in tree:
                member.terminate()
            process.wait(30)


def _start(started: list[subprocess.Popen[bytes]], log: Path, name: str, *arguments: str) -> Path:
    java = find_java().path / "bin" / "java"
    logging = log.with_suffix(".properties")
    logging.write_text(
        "rootLogger.level = info\nrootLogger.appenderRef.out.ref = out\n"
        "appender.out.type = Console\nappender.out.name = out\nappender.out.layout.type = PatternLayout\n"
        "appender.out.layout.pattern = %m%n\n"
    )
    command = [
        str(java), "-Xmx256m", "-cp", f"{_HOME / 'jars'}/*", f"-Dlog4j2.configurationFile={logging.as_uri()}",
        "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
        f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1", *arguments,
    ]  # fmt: skip
    env = {
        **os.environ, "SPARK_HOME": str(_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_HOME": str(find_java().path),
        "PYSPARK_PYTHON": sys.executable, "SPARK_SCALA_VERSION": "2.13",
    }  # fmt: skip
    with log.open("wb") as output:
        started.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env))
    return log


def _said(process: subprocess.Popen[bytes], log: Path, words: str) -> str:
    found: list[str] = []

    def said() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        match = re.search(words, log.read_text())
        found.extend(match.groups() if match else ())
        return match is not None

    wait_until(said, words, 120)
    return found[0]
