"""Render a server's configuration, prepare its data folder, and say how it is started."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template

from retailpulse_kernel.ground.errors import ServiceError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.settings import environment as settings_environment
from retailpulse_kernel.machine import artifacts
from retailpulse_kernel.machine.java import find_java
from retailpulse_kernel.stack import airflow
from retailpulse_kernel.stack.services import SERVICES, Service, ports

__all__ = ["command", "environment", "fingerprint", "prepare"]

_COMMON_FLAGS = (
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.io.tmpdir=${tmp}",
    "-Duser.timezone=UTC",
    "-XX:+ExitOnOutOfMemoryError",
)
_SPARK_VARIABLES = ("RETAILPULSE_HOME", "RETAILPULSE_CACHE", "RETAILPULSE_PROFILE", "RETAILPULSE_PORT_OFFSET")
_CLUSTER_ID = "UmV0YWlsUHVsc2VMb2NhbA"  # any 16 bytes in base64 will do


def command(settings: Settings, service: Service) -> list[str]:
    """Render the configuration of a service and return the command that runs it.

    The jars must be there: see `artifacts.ensure`.

    Parameters
    ----------
    settings : Settings
        Home, cache, ports and profile.
    service : Service
        Its templates are rendered into its folder.
    """
    conf = _conf(settings, service)
    values = _values(settings, service)
    for folder in (conf, service.data(settings), Path(values["tmp"])):
        folder.mkdir(parents=True, exist_ok=True)
    for name, template in service.files.items():
        _write(conf / name, _template(template).substitute(values))
    if not service.artifacts:
        return [sys.executable, *(Template(argument).substitute(values) for argument in service.main)]
    from_file = _template(service.flag_file).template.splitlines() if service.flag_file else []
    flags = [f"-Xmx{service.heap_mb}m", *_COMMON_FLAGS, *service.flags, *from_file]
    arguments = [*flags, "-cp", _classpath(settings, service), *service.main]
    # An argument file: a classpath of 300 jars is too long for a command line that people read in `ps`.
    argfile = _argfile(settings, service)
    _write(argfile, "".join(f'"{_escaped(Template(a).substitute(values))}"\n' for a in arguments))
    return [str(find_java().executable), f"@{argfile}"]


def environment(settings: Settings, service: Service) -> dict[str, str]:
    """Environment variables that a service is started with.

    Parameters
    ----------
    settings : Settings
        Home, cache, ports and profile.
    service : Service
        The one to start.
    """
    # Two arenas: a Java server has many threads that allocate little outside its heap.
    more = {"MALLOC_ARENA_MAX": "2"} if service.heap_mb else {}
    if service.group == "airflow":
        more = airflow.environment(settings, service.name)
    elif service.name == "spark-connect":
        # Not the namespace: it serves all of them.
        of_settings = settings_environment(settings)
        more |= {name: of_settings[name] for name in _SPARK_VARIABLES}
    return {"RETAILPULSE_CONFIGURATION": fingerprint(settings, service), **more}


def fingerprint(settings: Settings, service: Service) -> str:
    """Changes whenever the rendered configuration does, so that `up` knows when to restart a service.

    Parameters
    ----------
    settings : Settings
        Home, cache, ports and profile.
    service : Service
        The one to start.
    """
    from retailpulse_kernel.stack.connect_server import properties

    conf = _conf(settings, service)
    files = [conf / name for name in sorted(service.files)]
    if service.artifacts:
        files.append(_argfile(settings, service))
    said = b"".join(file.read_bytes() for file in files)
    if service.name == "spark-connect":  # it writes its own, with the token
        said += repr(sorted(properties(settings).items())).encode()
    return hashlib.sha256(said).hexdigest()[:16]


def prepare(settings: Settings, service: Service) -> None:
    """Do what must be done once, before the very first start on an empty data folder.

    Parameters
    ----------
    settings : Settings
        Home, cache, ports and profile.
    service : Service
        The one to start.

    Raises
    ------
    ServiceError
        It failed; the tool's own words are in the message.
    """
    if service.name in _PREPARATIONS:
        _PREPARATIONS[service.name](settings, service)


def _format_kafka(settings: Settings, service: Service) -> None:
    """Kafka wants its log folder formatted."""
    if (service.data(settings) / "meta.properties").is_file():
        return
    conf = _conf(settings, service)
    _run_tool(
        settings,
        service,
        [f"-Dlog4j2.configurationFile={conf}/log4j2.yaml", "kafka.tools.StorageTool", "format", "--ignore-formatted",
         "--cluster-id", _CLUSTER_ID, "--config", f"{conf}/server.properties"],
    )  # fmt: skip


def _make_metastore_tables(settings: Settings, service: Service) -> None:
    """The Metastore wants its tables; they are made aside, so that half a schema is never taken for a whole."""
    data = service.data(settings)
    if (data / "metastore_db").is_dir():
        return
    aside = data / "metastore_db.new"
    shutil.rmtree(aside, ignore_errors=True)
    mapping = _conf(settings, service) / "package.jdo"
    jar = _jar(settings, "hive", "hive-standalone-metastore-server-")
    with zipfile.ZipFile(jar) as archive:
        mapping.write_bytes(archive.read("package.jdo"))
    # Without an fsync a statement, 4 s instead of 15; what is not there yet can't be lost.
    _run_tool(
        settings,
        service,
        ["-Dderby.system.durability=test", f"-Dderby.stream.error.file={data}/derby.log",
         "org.datanucleus.store.schema.SchemaTool", "-create", "-api", "JDO",
         "-props", f"{_conf(settings, service)}/schema.properties", str(mapping)],
    )  # fmt: skip
    aside.rename(data / "metastore_db")


def _unpack(settings: Settings, service: Service) -> None:
    """What comes as an archive is unpacked."""
    artifacts.unpack(settings, service.artifacts)


_PREPARATIONS: dict[str, Callable[[Settings, Service], None]] = {
    "kafka": _format_kafka,
    "hive-metastore": _make_metastore_tables,
    "airflow-api-server": lambda settings, _: airflow.prepare(settings),
    "registry": _unpack,
}


def _run_tool(settings: Settings, service: Service, arguments: list[str]) -> None:
    java = [str(find_java().executable), "-XX:TieredStopAtLevel=1", "-cp", _classpath(settings, service)]
    try:
        done = subprocess.run([*java, *arguments], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        raise ServiceError(f"The data folder of {service.name} could not be prepared within 180 s.") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise ServiceError(f"The data folder {service.data(settings)} could not be prepared: {words}")


def _values(settings: Settings, service: Service) -> dict[str, str]:
    """What templates may name: ports by role, folders, and the like.

    Services of one folder share their configuration files, so they get the same values.
    """
    values = {"conf": _conf(settings, service), "data": service.data(settings), "warehouse": settings.warehouse}
    values["tmp"] = service.home(settings) / "tmp"
    for other in SERVICES.values():
        if other.home(settings) == service.home(settings):
            values |= {_role(other, role): number for role, number in ports(settings, other).items()}
    if service.group == "airflow":
        values |= airflow.values(settings)
    if service.artifacts == "cassandra":
        values["jamm"] = _jar(settings, "cassandra", "jamm-")
    if f"{service.name}_jmx" in service.ports:
        values["jmx_agent"] = _jar(settings, service.artifacts, "jmx_prometheus_javaagent-")
    return {name: str(value) for name, value in values.items()}


def _role(service: Service, role: str) -> str:
    """A port's name in the templates: ``hbase_thrift`` for a main port, otherwise the role itself."""
    return service.name.replace("-", "_") if role == "port" else role


def _conf(settings: Settings, service: Service) -> Path:
    return service.home(settings) / "conf"


def _argfile(settings: Settings, service: Service) -> Path:
    return _conf(settings, service) / f"{service.name}.args"


def _classpath(settings: Settings, service: Service) -> str:
    return os.pathsep.join(map(str, [_conf(settings, service), *artifacts.classpath(settings, service.artifacts)]))


def _jar(settings: Settings, group: str, prefix: str) -> Path:
    return next(jar for jar in artifacts.jars(settings, group) if jar.name.startswith(prefix))


def _template(name: str) -> Template:
    return Template((resources.files(__package__) / "templates" / name).read_text())


def _write(path: Path, text: str) -> None:
    """Write only what changed, and never half of it: a server may be reading."""
    if not path.is_file() or path.read_text() != text:
        write_whole(path, text)


def _escaped(argument: str) -> str:
    """For a java argument file, where a backslash escapes."""
    return argument.replace("\\", "\\\\").replace('"', '\\"')
