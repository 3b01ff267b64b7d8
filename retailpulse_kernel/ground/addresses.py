"""A profile's servers: where each is and how to log in, and how a profile is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retailpulse_kernel.ground.credentials import Reference, Secret, is_reference, names_a_secret, resolve_secret
from retailpulse_kernel.ground.errors import ProfileError

__all__ = [
    "CassandraAddress",
    "HBaseAddress",
    "HiveAddress",
    "KafkaAddress",
    "Profile",
    "load_profile",
    "project_root",
]

#: `localhost`, not its address: Spark's client sends a token without TLS to this name alone.
LOCAL_CONNECT = "sc://localhost:12002"


def project_root() -> Path | None:
    """The checkout that this package runs from, or None for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None


def _with_references(values: dict[str, Any]) -> dict[str, Any]:
    """Free settings, in which secrets are references."""
    for name, value in values.items():
        if names_a_secret(name) and not is_reference(str(value)):
            raise ValueError(f"{name} must be a reference: env:NAME, file:PATH or keyring:SERVICE/USER")
    return values


class Address(BaseModel):
    # An error does not repeat what was written: it may be a password in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _TLS(Address):
    tls: bool = False
    ca_location: str | None = Field(None, description="A file of certificates to trust; turns TLS on")
    certificate_location: str | None = Field(None, description="This client's own certificate, where the server asks")
    key_location: str | None = None

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self.tls or self.ca_location is not None


class _Login(_TLS):
    username: str | None = None
    password: Reference | None = Field(None, description="A reference: env:NAME, file:PATH, keyring:SERVICE/USER")

    def secret(self) -> Secret | None:
        """The password itself; ask for it only where a connection is opened."""
        return resolve_secret(self.password) if self.password else None


class KafkaAddress(_Login):
    """Kafka's bootstrap servers and, where they ask for it, the SASL/TLS settings."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None


class CassandraAddress(_Login):
    """Cassandra's contact points."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    datacenter: str = "datacenter1"
    replication_factor: int = 1
    check_hostname: bool = Field(True, description="False where certificates name no host: nodes are known by address")


class HBaseAddress(_TLS):
    """HBase's Thrift server. It knows no user and password; TLS, and how it frames messages, are its settings."""

    host: str = "127.0.0.1"
    port: int = 9090
    transport: Literal["buffered", "framed"] = "buffered"
    protocol: Literal["binary", "compact"] = "binary"


class HiveAddress(_Login):
    """HiveServer2, the Metastore behind it, and the folder of its external tables."""

    host: str = "127.0.0.1"
    port: int = 10000
    auth: Literal["NOSASL", "NONE", "LDAP", "CUSTOM"] = "NOSASL"
    metastore: str = "thrift://127.0.0.1:9083"
    warehouse: str | None = Field(None, description="URI; the local stack's own folder when absent")


class RegistryAddress(_Login):
    """A Schema Registry that speaks Confluent's API, for topics whose format needs one."""

    url: str = "http://127.0.0.1:8081/apis/ccompat/v7"

    @field_validator("url")
    @classmethod
    def _holds_no_login(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it must be the address of a Schema Registry, such as https://registry.example.com")
        if "@" in parts.netloc:
            raise ValueError("it must hold no login; give `username`, and `password` as a reference")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_encrypted_by_its_url(self) -> RegistryAddress:
        if self.encrypted and not self.url.startswith("https://"):
            raise ValueError("`tls` and `ca_location` need a `url` that begins with https://")
        return self


class SparkAddress(Address):
    """Spark's master and extra configuration, in which secrets are references too."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    remote: str | None = Field(
        None,
        description="sc://HOST:PORT, a Spark Connect server for ad hoc work; a session of the notebook when absent",
    )
    token: Reference | None = Field(None, description="A reference to what the Connect server asks its clients for")
    checkpoints: str | None = Field(None, description="URI; a folder under the home when absent")
    conf: dict[str, str] = {}

    @field_validator("conf")
    @classmethod
    def _secrets_are_references(cls, conf: dict[str, str]) -> dict[str, str]:
        return _with_references(conf)

    def resolved_conf(self) -> dict[str, str]:
        """The configuration with what its references lead to; ask for it only where Spark is started."""
        return {name: resolve_secret(v) if names_a_secret(name) else v for name, v in self.conf.items()}


class AirflowAddress(Address):
    """The database of an Airflow that is started here; SQLite under the home when absent."""

    database: Reference | None = Field(
        None, description="A reference to SQLAlchemy's address, such as postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
    )


class Serving(Address):
    """The stores that answer: the one that serves the figures, and the one that keeps the single events."""

    store: str = "cassandra"
    archive: str = "hive"


class Profile(Address):
    """Where the servers are. Read from ``env/profiles/NAME.toml``."""

    name: str = "local"
    kafka: KafkaAddress = KafkaAddress()
    cassandra: CassandraAddress = CassandraAddress()
    hbase: HBaseAddress = HBaseAddress()
    hive: HiveAddress = HiveAddress()
    spark: SparkAddress = SparkAddress()
    registry: RegistryAddress = RegistryAddress()
    airflow: AirflowAddress = AirflowAddress()
    serving: Serving = Serving()
    stores: dict[str, dict[str, Any]] = Field({}, description="Further stores by name, with settings of their own")
    contract: str | None = Field(
        None, description="The file of the shop's contract, relative to the profile's own; the shipped one when absent"
    )

    @field_validator("stores")
    @classmethod
    def _secrets_are_references(cls, stores: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for own in stores.values():
            _with_references(own)
        return stores


def profiles_folder() -> Path:
    """Where the named profiles lie."""
    root = project_root()
    return (root or Path(platformdirs.user_config_dir("retailpulse"))) / "env" / "profiles"


def load_profile(name: str, *, port_offset: int = 0) -> Profile:
    """Read a profile by name or by path.

    Parameters
    ----------
    name : str
        ``"local"``, ``"compose"``, ``"cluster"``, or the path of a ``.toml`` file.
    port_offset : int
        Added to the ports of servers on this machine.

    Raises
    ------
    ProfileError
        There is none of that name, or it is not valid.
    """
    path = Path(name).expanduser() if name.endswith(".toml") else profiles_folder() / f"{name}.toml"
    if path.is_file():
        try:
            content = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise ProfileError(f"The profile {path} is not valid TOML: {error}.") from error
        if isinstance(named := content.get("contract"), str):
            content["contract"] = str(path.absolute().parent / Path(named).expanduser())
    elif name == "local":
        content = {"spark": {"remote": LOCAL_CONNECT}}
    else:
        known = sorted(p.stem for p in profiles_folder().glob("*.toml"))
        raise ProfileError(
            f"There is no profile {name!r}.",
            remedy=f"Known: {', '.join(known) or 'local'}; or give the path of a .toml file.",
        )
    try:
        profile = Profile(**{"name": path.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        why, remedy = first["msg"], None
        if first["type"] == "extra_forbidden":
            why = "there is no such setting"
            if first["loc"][-1] in ("username", "password"):
                remedy = (
                    "Only Kafka, Cassandra, Hive and the registry have a login; env/profiles/cluster.toml shows how."
                )
        raise ProfileError(f"The profile {name!r} is not valid at {where}: {why}.", remedy=remedy) from None
    return _moved(profile, port_offset) if profile.name == "local" else profile


def _moved(profile: Profile, offset: int) -> Profile:
    """The local profile with every port moved by `offset`."""
    if not offset:
        return profile

    def port(address: str) -> str:
        host, _, number = address.rpartition(":")
        return f"{host}:{int(number) + offset}"

    return profile.model_copy(
        update={
            "kafka": profile.kafka.model_copy(update={"bootstrap": port(profile.kafka.bootstrap)}),
            "cassandra": profile.cassandra.model_copy(update={"port": profile.cassandra.port + offset}),
            "hbase": profile.hbase.model_copy(update={"port": profile.hbase.port + offset}),
            "hive": profile.hive.model_copy(
                update={"port": profile.hive.port + offset, "metastore": port(profile.hive.metastore)}
            ),
            "registry": profile.registry.model_copy(update={"url": _moved_url(profile.registry.url, offset)}),
            "spark": profile.spark.model_copy(
                update={"remote": port(profile.spark.remote) if profile.spark.remote else None}
            ),
        }
    )


def _moved_url(url: str, offset: int) -> str:
    """A URL with its port moved by `offset`; one without a port is no local server's."""
    parts = urlsplit(url)
    if parts.port is None:
        return url
    return parts._replace(netloc=f"{parts.hostname}:{parts.port + offset}").geturl()
