"""Start Spark's Java without a fork of Python's.

PySpark starts Java by a fork that runs Python code in the child. In a process with many libraries and threads, such as
a notebook with clients of all servers, the child may die before it is Java: CPython says that this is not safe.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkConf

__all__ = ["launched"]


def launched(conf: SparkConf) -> JavaGateway:
    """A Java for the sessions of this process, and the connection to it.

    Java ends with this process, whose pipe it reads. A Ctrl-C in the terminal does not reach Java, which is in a
    session of its own: a job finishes its micro-batch first.

    Parameters
    ----------
    conf : SparkConf
        What the driver is started with.

    Raises
    ------
    pyspark.errors.PySparkRuntimeError
        Java ended before it said where it listens; its own words stand above.
    """
    from pyspark.errors import PySparkRuntimeError
    from pyspark.find_spark_home import _find_spark_home
    from pyspark.java_gateway import launch_gateway
    from pyspark.serializers import UTF8Deserializer, read_int

    command = [str(Path(_find_spark_home(), "bin", "spark-submit"))]
    for key, value in conf.getAll():
        command += ["--conf", f"{key}={value}"]
    command += shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell"))
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "connection")
        environment = os.environ | {"SPARK_CONNECT_MODE": "0", "_PYSPARK_DRIVER_CONN_INFO_PATH": str(told)}
        java = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
        while java.poll() is None and not told.is_file():
            time.sleep(0.05)
        if not told.is_file():
            raise PySparkRuntimeError(errorClass="JAVA_GATEWAY_EXITED", messageParameters={})
        with told.open("rb") as said:
            port, secret = read_int(said), UTF8Deserializer().loads(said)
    # PySpark connects to a Java that runs already where these say so.
    with _environment({"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}):
        gateway = launch_gateway(conf)
    gateway.proc = java
    return gateway


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
