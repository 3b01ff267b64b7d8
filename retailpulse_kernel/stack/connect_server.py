"""The Spark Connect server, which ad hoc work shares: ``rp.spark``, ``%%sql``, previews.

``python -m retailpulse_kernel.stack.connect_server`` becomes it. Jobs have a driver each: one heavy question here
must not hold up a stream.
"""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from retailpulse_kernel.ground.credentials import made_secret, resolve_secret
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.stack.services import SERVICES, ports
from retailpulse_kernel.stores.spark.java import JAVA, use_this_environment
from retailpulse_kernel.stores.spark.session import ON_LOOPBACK, session_conf

__all__ = ["main", "properties"]

_MAIN = "org.apache.spark.sql.connect.service.SparkConnectServer"
# One thread collects: many small questions, seldom two at once. What the heap does not need goes back to the machine.
_JAVA = JAVA.replace("-XX:+UseParallelGC", "-XX:+UseSerialGC -XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=25")
_JAVA += " -Djava.net.preferIPv4Stack=true"
#: A session that nothing was asked in for so long is ended: its views and cached tables cost memory.
_IDLE = "30m"


def properties(settings: Settings, host: str = "127.0.0.1") -> dict[str, str]:
    """What the server is configured with, without the token that clients show.

    Parameters
    ----------
    settings : Settings
        Its profile says where clients find the server.
    host : str
        The address that it listens on.
    """
    address, service = settings.profile.spark, SERVICES["spark-connect"]
    listens = ports(settings, service)
    return {
        **session_conf(settings, _JAVA, hive=True),
        **(ON_LOOPBACK if address.master.startswith("local") else {}),
        "spark.master": address.master,
        "spark.app.name": "RetailPulse ad hoc",
        "spark.driver.memory": f"{service.heap_mb}m",
        "spark.driver.port": str(listens["spark_driver"]),
        "spark.driver.blockManager.port": str(listens["spark_blocks"]),
        "spark.authenticate": "true",
        "spark.connect.grpc.binding.address": host,
        "spark.connect.grpc.binding.port": str(listens["port"]),
        "spark.connect.session.manager.defaultSessionTimeout": _IDLE,
        # An error is told by its sentence; the server's log has the rest.
        "spark.sql.connect.serverStacktrace.enabled": "false",
        "spark.sql.pyspark.jvmStacktrace.enabled": "false",
        **address.resolved_conf(),
    }


def main() -> None:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="spark-connect")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    host = parser.parse_args().host
    settings = Settings.load()
    if settings.profile.name == "local":
        made_secret(settings.home / "secrets" / "spark-connect")
    artifacts.ensure(settings, ["spark-kafka", "hive"])  # where no `retailpulse up` has fetched them, as in compose
    conf = properties(settings, host)
    if token := settings.profile.spark.token:
        conf["spark.connect.authenticate.token"] = resolve_secret(token)
    file = settings.home / "spark" / "conf" / "connect.properties"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    # It holds the token: its owner's alone.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as lines:
        lines.writelines(f"{name} {value}\n" for name, value in conf.items())
    use_this_environment()
    spec = find_spec("pyspark")
    assert spec is not None and spec.origin is not None
    submit = Path(spec.origin).parent / "bin" / "spark-submit"
    os.execv(submit, [str(submit), "--properties-file", str(file), "--class", _MAIN, "spark-internal"])


if __name__ == "__main__":
    main()
