"""The local servers: what each needs, how it is configured, and how its JVM is started.

To add a server, add one `Service` here, its templates beside, a project in `env/servers/`, and a
health check in `health.py`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from retailpulse_kernel.errors import ServiceError, UnknownName
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stack import artifacts
from retailpulse_kernel.stack.java import find_java

__all__ = ["SERVICES", "Service", "address", "command", "ports", "select"]


@dataclass(frozen=True)
class Service:
    """One server process.

    Attributes
    ----------
    name : str
        As the command line and supervisor know it.
    artifacts : str
        Group of jars in the lock.
    main : tuple of str
        Main class and its arguments, templates.
    heap_mb : int
        The JVM's ``-Xmx``.
    memory_mb : int
        What the process was seen to need in all, rounded up.
    ports : dict
        Port numbers by role, before the offset; those that a profile gives are filled in from there.
    flags : tuple of str
        More JVM flags, templates.
    files : dict
        Rendered configuration: file name -> template.
    needs : tuple of str
        Services that must be healthy first.
    folder : str
        Name of its folder under the home; services that share a configuration share it.
    start_seconds : int
        How long a start may take on a slow machine before it counts as failed.
    """

    name: str
    artifacts: str
    main: tuple[str, ...]
    heap_mb: int
    memory_mb: int
    ports: dict[str, int]
    flags: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    folder: str = ""
    start_seconds: int = 120
    stop_seconds: int = 20
    prepare: Callable[[Settings, Service], None] | None = None

    def home(self, settings: Settings) -> Path:
        """The server's own folder."""
        return settings.home / (self.folder or self.name)

    def data(self, settings: Settings) -> Path:
        """The folder of its data."""
        return self.home(settings) / "data"


def ports(settings: Settings, service: Service) -> dict[str, int]:
    """The ports that a service listens on, by role; ``port`` is the one that clients use."""
    profile = settings.profile
    from_profile = {
        "kafka": int(profile.kafka.bootstrap.rpartition(":")[2]),
        "cassandra": profile.cassandra.port,
        "hbase-thrift": profile.hbase.port,
        "hive-metastore": int(profile.hive.metastore.rpartition(":")[2]),
        "hiveserver2": profile.hive.port,
    }
    moved = {role: number + settings.port_offset for role, number in service.ports.items()}
    if service.name in from_profile:
        moved["port"] = from_profile[service.name]
    return moved


def address(settings: Settings, service: Service) -> str:
    """``host:port`` for clients."""
    return f"127.0.0.1:{ports(settings, service)['port']}"


def select(names: Iterable[str] | None = None) -> list[Service]:
    """The named services and all that they need, in the order of start; all when none is named.

    Raises
    ------
    UnknownName
        There is no such service.
    """
    wanted: dict[str, Service] = {}

    def add(name: str) -> None:
        if name not in SERVICES:
            raise UnknownName("service", name, SERVICES)
        for need in SERVICES[name].needs:
            add(need)
        wanted.setdefault(name, SERVICES[name])

    for name in list(names or SERVICES):
        add(name)
    return list(wanted.values())


def command(settings: Settings, service: Service) -> list[str]:
    """Render the configuration of a service and return the command that runs it."""
    conf = service.home(settings) / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    service.data(settings).mkdir(parents=True, exist_ok=True)
    values = _values(settings, service)
    for name, template in service.files.items():
        _write(conf / name, _template(template).substitute(values))
    flags = [f"-Xmx{service.heap_mb}m", *_COMMON_FLAGS, *service.flags]
    classpath = [conf, *artifacts.jars(settings, service.artifacts)]
    lines = [Template(flag).substitute(values) for flag in flags]
    lines += ["-cp", os.pathsep.join(map(str, classpath))]
    lines += [Template(part).substitute(values) for part in service.main]
    # An argument file: a classpath of 300 jars is too long for a command line that people read in `ps`.
    argfile = conf / f"{service.name}.args"
    _write(argfile, "".join(f'"{_quoted(line)}"\n' for line in lines))
    return [str(find_java().executable), f"@{argfile}"]


def fingerprint(settings: Settings, service: Service) -> str:
    """Changes when anything in the rendered configuration changes, so that `up` restarts the service."""
    conf = service.home(settings) / "conf"
    names = sorted([*service.files, f"{service.name}.args"])
    return hashlib.sha256(b"".join((conf / name).read_bytes() for name in names)).hexdigest()[:16]


def _values(settings: Settings, service: Service) -> dict[str, str]:
    shared = {role: str(port) for role, port in ports(settings, service).items()}
    for other, role in (("hive-metastore", "metastore"), ("hiveserver2", "port"), ("hbase-thrift", "thrift")):
        if SERVICES[other].folder == service.folder:
            shared[role] = str(ports(settings, SERVICES[other])["port"])
    if service.folder == "hbase":
        hbase = ports(settings, SERVICES["hbase"])
        shared |= {role: str(hbase[role]) for role in ("zookeeper", "regionserver")} | {"master": str(hbase["port"])}
    return shared | {
        "conf": str(service.home(settings) / "conf"),
        "data": str(service.data(settings)),
        "jamm": str(_jamm(settings)) if service.name == "cassandra" else "",
        "warehouse": settings.warehouse,
    }


def _jamm(settings: Settings) -> Path:
    return next(jar for jar in artifacts.jars(settings, "cassandra") if jar.name.startswith("jamm-"))


def _template(name: str) -> Template:
    return Template((resources.files(__package__) / "templates" / name).read_text())


def _write(path: Path, text: str) -> None:
    """Write only what changed, so that times tell when a configuration changed."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _quoted(argument: str) -> str:
    """For a java argument file, where a backslash escapes."""
    return argument.replace("\\", "\\\\").replace('"', '\\"')


def _format_kafka(settings: Settings, service: Service) -> None:
    """Kafka wants its log folder formatted once."""
    data = service.data(settings)
    if (data / "meta.properties").is_file():
        return
    conf = service.home(settings) / "conf"
    classpath = os.pathsep.join(map(str, [conf, *artifacts.jars(settings, service.artifacts)]))
    done = subprocess.run(
        [find_java().executable, "-cp", classpath, f"-Dlog4j2.configurationFile={conf}/log4j2.yaml",
         "kafka.tools.StorageTool", "format", "--cluster-id", "UmV0YWlsUHVsc2VMb2NhbA", "--ignore-formatted",
         "--config", conf / "server.properties"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode:
        raise ServiceError(f"Kafka's data folder {data} could not be formatted: {(done.stderr or done.stdout).strip()}")


_COMMON_FLAGS = (
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Duser.timezone=UTC",
    "-XX:+ExitOnOutOfMemoryError",
)

# Hadoop 3 and what stands on it reflect into the JDK; Java 17 must be told to allow it.
_OPEN = (
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            "java.lang", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
            "java.util.concurrent.atomic", "java.util.regex", "java.time", "java.text", "java.math", "sun.nio.ch",
        )  # fmt: skip
    ),
    "--add-opens=java.sql/java.sql=ALL-UNNAMED",
)
_HBASE_FLAGS = (
    *_OPEN,
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    "-Dorg.apache.hbase.thirdparty.io.netty.tryReflectionSetAccessible=true",
    "-Dlog4j.configuration=file:${conf}/log4j.properties",
)
_HBASE_FILES = {"hbase-site.xml": "hbase-site.xml", "log4j.properties": "hbase-log4j.properties"}
_HIVE_FLAGS = (
    *_OPEN,
    "-Dderby.stream.error.file=${data}/derby.log",
)
_HIVE_FILES = {
    "hive-site.xml": "hive-site.xml",
    "core-site.xml": "hive-core-site.xml",
    "tez-site.xml": "hive-tez-site.xml",
    # By this name: Hive configures its logging itself, from the classpath, whatever a system property says.
    "hive-log4j2.properties": "hive-log4j2.properties",
}

SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service(
            name="kafka",
            artifacts="kafka",
            main=("kafka.Kafka", "${conf}/server.properties"),
            heap_mb=512,
            memory_mb=500,
            ports={"controller": 9095},
            flags=("-Xms256m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Dlog4j2.configurationFile=${conf}/log4j2.yaml"),
            files={"server.properties": "kafka-server.properties", "log4j2.yaml": "kafka-log4j2.yaml"},
            prepare=_format_kafka,
        ),
        Service(
            name="cassandra",
            artifacts="cassandra",
            main=("org.apache.cassandra.service.CassandraDaemon",),
            heap_mb=512,
            memory_mb=1000,
            ports={"storage": 7000, "ssl_storage": 7001},
            flags=(
                "-Xms512m",
                "-XX:MaxDirectMemorySize=512m",
                "-javaagent:${jamm}",
                "-Dcassandra.config=file://${conf}/cassandra.yaml",
                "-Dcassandra.storagedir=${data}",
                "-Dcassandra-foreground=yes",
                "-Dlogback.configurationFile=${conf}/logback.xml",
                *(line for line in _template("cassandra-jvm.options").template.splitlines() if line.startswith("-")),
            ),
            files={"cassandra.yaml": "cassandra.yaml", "logback.xml": "cassandra-logback.xml"},
        ),
        Service(
            name="hbase",
            artifacts="hbase",
            main=("org.apache.hadoop.hbase.master.HMaster", "start"),
            heap_mb=768,
            memory_mb=800,
            ports={"port": 12600, "regionserver": 12620, "zookeeper": 12181},
            flags=_HBASE_FLAGS,
            files=_HBASE_FILES,
            folder="hbase",
            stop_seconds=30,
        ),
        Service(
            name="hbase-thrift",
            artifacts="hbase",
            main=("org.apache.hadoop.hbase.thrift.ThriftServer", "start"),
            heap_mb=256,
            memory_mb=400,
            ports={},
            flags=_HBASE_FLAGS,
            files=_HBASE_FILES,
            needs=("hbase",),
            folder="hbase",
        ),
        Service(
            name="hive-metastore",
            artifacts="hive",
            main=("org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", "${metastore}"),
            heap_mb=384,
            memory_mb=550,
            ports={},
            flags=_HIVE_FLAGS,
            files=_HIVE_FILES,
            folder="hive",
        ),
        Service(
            name="hiveserver2",
            artifacts="hive",
            main=("org.apache.hive.service.server.HiveServer2",),
            heap_mb=1024,
            memory_mb=1300,
            ports={},
            flags=_HIVE_FLAGS,
            files=_HIVE_FILES,
            needs=("hive-metastore",),
            folder="hive",
        ),
    )
}
