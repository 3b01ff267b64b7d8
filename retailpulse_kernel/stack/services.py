"""The local servers: what each needs, listens on, and is started with.

To add a server, add one `Service` here, its templates beside, a project in `env/servers/`, and a
health check in `health.py`. What is not a Java program comes with the Python environment and has no project.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.settings import Settings

__all__ = ["SERVICES", "Service", "address", "ports", "select"]


@dataclass(frozen=True)
class Service:
    """One server process.

    Attributes
    ----------
    name : str
        As the command line and supervisor know it.
    artifacts : str
        Group of jars in the lock; empty for a program of the Python environment.
    main : tuple of str
        Main class and its arguments, or those of the Python interpreter; templates.
    heap_mb : int
        The JVM's ``-Xmx``; 0 for a program that is none.
    memory_mb : int
        What the process was seen to need in all, rounded up.
    ports : dict
        Port numbers by role, before the offset; those that a profile gives are filled in from there.
    flags : tuple of str
        More JVM flags, templates.
    flag_file : str
        A template with yet more of them, one a line.
    files : dict
        Rendered configuration: file name -> template.
    needs : tuple of str
        Services that must be healthy first.
    folder : str
        Name of its folder under the home; services that share a configuration share it.
    group : str
        A name by which it is started together with others.
    beside : bool
        It is started only by name, and on this machine wherever the profile's servers are.
    runs_jobs : bool
        It is stopped before the servers, which its jobs need to end their last micro-batch.
    start_seconds : int
        How long a start may take before it counts as failed: on two cores that much else kept busy, Cassandra was seen
        to need more than two minutes. A server that ends is told at once.
    stop_seconds : int
        How long a server may take to stop after SIGTERM before it is killed.
    """

    name: str
    artifacts: str
    main: tuple[str, ...]
    heap_mb: int
    memory_mb: int
    ports: dict[str, int]
    flags: tuple[str, ...] = ()
    flag_file: str = ""
    files: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    folder: str = ""
    group: str = ""
    beside: bool = False
    runs_jobs: bool = False
    start_seconds: int = 600
    stop_seconds: int = 20

    def home(self, settings: Settings) -> Path:
        """The server's own folder.

        Parameters
        ----------
        settings : Settings
            Says where the home is.
        """
        return settings.home / (self.folder or self.name)

    def data(self, settings: Settings) -> Path:
        """The folder of its data.

        Parameters
        ----------
        settings : Settings
            Says where the home is.
        """
        return self.home(settings) / "data"


def address(settings: Settings, service: Service) -> str:
    """``host:port`` for clients, from the profile; HBase's master is in none, clients go to its Thrift server.

    Empty for a service that has no clients.

    Parameters
    ----------
    settings : Settings
        Ports and profile.
    service : Service
        The one to reach.
    """
    if not listens(service):
        return ""
    profile = settings.profile
    addresses = {
        "kafka": profile.kafka.bootstrap,
        "cassandra": f"{profile.cassandra.hosts[0]}:{profile.cassandra.port}",
        "hbase-thrift": f"{profile.hbase.host}:{profile.hbase.port}",
        "hive-metastore": profile.hive.metastore.rpartition("/")[2],
        "hiveserver2": f"{profile.hive.host}:{profile.hive.port}",
        "spark-connect": (profile.spark.remote or "").removeprefix("sc://").partition("/")[0],
    }
    return addresses.get(service.name) or f"127.0.0.1:{service.ports['port'] + settings.port_offset}"


def listens(service: Service) -> bool:
    """Whether a service has clients that connect to it; three of Airflow's processes have none.

    Parameters
    ----------
    service : Service
        Any.
    """
    return not service.beside or "port" in service.ports


def ports(settings: Settings, service: Service) -> dict[str, int]:
    """The ports that a local service listens on, by role; ``port`` is the one that clients use.

    Parameters
    ----------
    settings : Settings
        Has the ports' offset and the profile.
    service : Service
        The one to start.
    """
    moved = {role: number + settings.port_offset for role, number in service.ports.items()}
    return {**moved, "port": int(address(settings, service).rpartition(":")[2])} if listens(service) else moved


def select(names: Iterable[str] | None = None) -> list[Service]:
    """The named services and all that they need, in the order of start; all servers when none is named.

    Parameters
    ----------
    names : iterable of str, optional
        Services, or groups of them such as ``airflow``.

    Raises
    ------
    UnknownName
        There is no such service.
    """
    wanted: dict[str, Service] = {}
    groups = {service.group for service in SERVICES.values()} - {""}

    def add(name: str) -> None:
        if name in groups:
            for service in SERVICES.values():
                if service.group == name:
                    add(service.name)
            return
        if name not in SERVICES:
            raise UnknownName("service", name, [*SERVICES, *groups])
        for need in SERVICES[name].needs:
            add(need)
        wanted.setdefault(name, SERVICES[name])

    for name in list(names or (service.name for service in SERVICES.values() if not service.beside)):
        add(name)
    return list(wanted.values())


#: Where a server's JVM tells Prometheus what it measures of itself; a service that has it has the role `<name>_jmx`.
_JMX = "-javaagent:${jmx_agent}=127.0.0.1:${%s_jmx}:${conf}/jmx.yaml"
#: One thread collects, which takes the least memory; pauses of a small heap are short.
_LITTLE = ("-XX:+UseSerialGC", "-XX:MinHeapFreeRatio=15", "-XX:MaxHeapFreeRatio=30")
#: For what hands on requests and computes little: the second compiler would not pay.
_BRIEF = (*_LITTLE, "-XX:TieredStopAtLevel=1")
# Hadoop 3 and what stands on it reflect into the JDK; Java 17 must be told to allow it.
_OPEN = (
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("io", "lang", "math", "net", "nio")),
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("text", "time", "util", "lang.reflect")),
    *(f"--add-opens=java.base/java.util.{package}=ALL-UNNAMED" for package in ("concurrent", "regex")),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
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
_HBASE_FILES = {
    "hbase-site.xml": "hbase-site.xml",
    "log4j.properties": "hbase-log4j.properties",
    "jmx.yaml": "jmx-hbase.yaml",
}
_HIVE_FLAGS = (
    *_OPEN,
    "-Dderby.stream.error.file=${data}/derby.log",
)
_HIVE_FILES = {
    "hive-site.xml": "hive-site.xml",
    "core-site.xml": "hive-core-site.xml",
    "tez-site.xml": "hive-tez-site.xml",
    # By these names: both configure their logging themselves, from the classpath, whatever a system property says.
    "hive-log4j2.properties": "hive-log4j2.properties",
    "metastore-log4j2.properties": "hive-log4j2.properties",
    "schema.properties": "hive-schema.properties",
}


def _airflow(role: str, *main: str, memory_mb: int, **more: Any) -> Service:
    """One of Airflow's four processes; they share a folder, and the API server makes the database first."""
    return Service(
        name=f"airflow-{role}",
        artifacts="",
        main=("-m", *main),
        heap_mb=0,
        memory_mb=memory_mb,
        files={"airflow.cfg": "airflow.cfg"},
        folder="airflow",
        group="airflow",
        beside=True,
        **{"ports": {}, "needs": ("airflow-api-server",), **more},
    )


SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service(
            name="kafka",
            artifacts="kafka",
            main=("kafka.Kafka", "${conf}/server.properties"),
            heap_mb=512,
            memory_mb=700,
            ports={"controller": 9095, "kafka_jmx": 7071},
            flags=(
                "-Xms64m",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-Dlog4j2.configurationFile=${conf}/log4j2.yaml",
                _JMX % "kafka",
            ),
            files={
                "server.properties": "kafka-server.properties",
                "log4j2.yaml": "kafka-log4j2.yaml",
                "jmx.yaml": "jmx-kafka.yaml",
            },
        ),
        Service(
            name="cassandra",
            artifacts="cassandra",
            main=("org.apache.cassandra.service.CassandraDaemon",),
            heap_mb=512,
            memory_mb=1000,
            ports={"storage": 7000, "ssl_storage": 7001, "cassandra_jmx": 7072},
            flags=(
                "-Xms128m",
                "-XX:MaxDirectMemorySize=256m",
                "-javaagent:${jamm}",
                "-Dcassandra.config=file://${conf}/cassandra.yaml",
                "-Dcassandra.storagedir=${data}",
                "-Dcassandra-foreground=yes",
                "-Dlogback.configurationFile=${conf}/logback.xml",
                _JMX % "cassandra",
            ),
            flag_file="cassandra-jvm.options",
            files={
                "cassandra.yaml": "cassandra.yaml",
                "logback.xml": "cassandra-logback.xml",
                "jmx.yaml": "jmx-cassandra.yaml",
            },
        ),
        Service(
            name="hbase",
            artifacts="hbase",
            main=("org.apache.hadoop.hbase.master.HMaster", "start"),
            heap_mb=768,
            memory_mb=800,
            ports={"port": 12600, "regionserver": 12620, "zookeeper": 12181, "hbase_jmx": 7073},
            flags=(*_HBASE_FLAGS, *_LITTLE, _JMX % "hbase"),
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
            flags=(*_HBASE_FLAGS, *_BRIEF),
            files=_HBASE_FILES,
            needs=("hbase",),
            folder="hbase",
        ),
        Service(
            name="hive-metastore",
            artifacts="hive",
            main=("org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", "${hive_metastore}"),
            heap_mb=384,
            memory_mb=500,
            ports={},
            flags=(*_HIVE_FLAGS, *_BRIEF),
            files=_HIVE_FILES,
            folder="hive",
        ),
        Service(
            name="hiveserver2",
            artifacts="hive",
            main=("org.apache.hive.service.server.HiveServer2",),
            heap_mb=1024,
            memory_mb=1200,
            ports={},
            flags=(*_HIVE_FLAGS, *_LITTLE),
            files=_HIVE_FILES,
            needs=("hive-metastore",),
            folder="hive",
        ),
        Service(
            name="spark-connect",
            artifacts="",
            main=("-m", "retailpulse_kernel.stack.connect_server"),
            heap_mb=768,
            memory_mb=1350,
            ports={"port": 12002, "spark_driver": 12003, "spark_blocks": 12004},
            needs=("hive-metastore",),
            folder="spark",
        ),
        Service(
            name="registry",
            artifacts="registry",
            main=("io.quarkus.runner.GeneratedMain",),
            heap_mb=256,
            memory_mb=400,
            ports={"port": 8081},
            flags=(
                *_BRIEF,
                "-Dquarkus.http.host=127.0.0.1",
                "-Dquarkus.http.port=${registry}",
                # Its store in memory is an H2 database. With a file it survives a restart, and without a delay a kill.
                "-Dregistry.storage.kind=mem",
                "-Dquarkus.datasource.jdbc.url=jdbc:h2:file:${data}/registry;WRITE_DELAY=0",
                "-Dquarkus.datasource.jdbc.initial-size=1",
                "-Dquarkus.datasource.jdbc.min-size=1",
                "-Dquarkus.datasource.jdbc.max-size=8",
                # Its transaction manager would take a port, only to have a number of its own.
                "-DCoreEnvironmentBean.processImplementationClassName=com.arjuna.ats.internal.arjuna.utils.UuidProcessId",
            ),
            beside=True,
        ),
        _airflow("api-server", "airflow", "api-server", memory_mb=450, ports={"port": 8080}, needs=()),
        _airflow("dag-processor", "retailpulse_kernel.stack.airflow_main", "dag-processor", memory_mb=400),
        _airflow("triggerer", "airflow", "triggerer", "--skip-serve-logs", memory_mb=400),
        _airflow(
            "scheduler",
            "retailpulse_kernel.stack.airflow_main",
            "scheduler",
            "--skip-serve-logs",
            memory_mb=600,
            needs=("airflow-api-server", "kafka", "cassandra", "hbase-thrift", "hiveserver2"),
            runs_jobs=True,
            stop_seconds=100,
        ),
    )
}
