"""Where things are: the home folder, the profile's servers, the namespace's names.

A *profile* says where Kafka, Cassandra, HBase, Hive and Spark are and how to log in; a
*namespace* is one isolated set of topics, keyspace, HBase tables, Hive database and
checkpoints on those servers. Both come from the environment (``RETAILPULSE_PROFILE``,
``RETAILPULSE_NAMESPACE``, ...) unless they are given.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.credentials import Reference, Secret, is_reference, names_a_secret, resolve_secret
from retailpulse_kernel.errors import ProfileError, UsageError

__all__ = [
    "AirflowAddress",
    "CassandraAddress",
    "HBaseAddress",
    "HiveAddress",
    "KafkaAddress",
    "Namespace",
    "Profile",
    "Settings",
    "SparkAddress",
    "project_root",
]

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def project_root() -> Path | None:
    """The checkout that this package runs from, or None for an installed wheel."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


class _Address(BaseModel):
    # An error does not repeat what was written: it may be a password in the wrong place.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _TLS(_Address):
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
    auth: Literal["NOSASL", "NONE", "LDAP", "CUSTOM", "KERBEROS"] = "NOSASL"
    kerberos_service_name: str | None = None
    metastore: str = "thrift://127.0.0.1:9083"
    warehouse: str | None = Field(None, description="URI; the local stack's own folder when absent")


class SparkAddress(_Address):
    """Spark's master and extra configuration, in which secrets are references too."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    checkpoints: str | None = Field(None, description="URI; a folder under the home when absent")
    conf: dict[str, str] = {}

    @field_validator("conf")
    @classmethod
    def _secrets_are_references(cls, conf: dict[str, str]) -> dict[str, str]:
        for name, value in conf.items():
            if names_a_secret(name) and not is_reference(value):
                raise ValueError(f"{name} must be a reference: env:NAME, file:PATH or keyring:SERVICE/USER")
        return conf

    def resolved_conf(self) -> dict[str, str]:
        """The configuration with what its references lead to; ask for it only where Spark is started."""
        return {name: resolve_secret(v) if names_a_secret(name) else v for name, v in self.conf.items()}


class AirflowAddress(_Address):
    """The database of an Airflow that is started here; SQLite under the home when absent."""

    database: Reference | None = Field(
        None, description="A reference to SQLAlchemy's address, such as postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
    )


class Profile(_Address):
    """Where the servers are. Read from ``env/profiles/NAME.toml``."""

    name: str = "local"
    kafka: KafkaAddress = KafkaAddress()
    cassandra: CassandraAddress = CassandraAddress()
    hbase: HBaseAddress = HBaseAddress()
    hive: HiveAddress = HiveAddress()
    spark: SparkAddress = SparkAddress()
    airflow: AirflowAddress = AirflowAddress()


class Namespace:
    """The names of one isolated set of topics, tables and checkpoints.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and ``_``, starting with a letter, at most 40 long. The
        default namespace ``retailpulse`` has the topics' plain names, any other one prefixes them.
    """

    DEFAULT = "retailpulse"

    def __init__(self, name: str = DEFAULT) -> None:
        if not _NAMESPACE.fullmatch(name):
            raise UsageError(
                f"{name!r} can't be a namespace.",
                remedy="Use lower-case letters, digits and '_', starting with a letter, at most 40.",
            )
        self.name = name
        self.events_topic = self.topic("retail.events")
        self.dlq_topic = self.topic("retail.events.dlq")
        self.late_topic = self.topic("retail.events.late")
        self.progress_topic = self.topic("retail.progress")
        self.keyspace = name
        self.hbase_prefix = name
        self.database = name

    def topic(self, name: str) -> str:
        """The full name of a topic that goes by a short one in every namespace."""
        return name if self.name == self.DEFAULT else f"{self.name}.{name}"

    @property
    def beside(self) -> str:
        """The namespace in which new epochs of this one's jobs are made, and replaced ones are kept."""
        name = f"beside_{self.name}"
        fits = _NAMESPACE.fullmatch(name)
        return name if fits else f"beside_{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the namespace, the events' own first."""
        return (self.events_topic, self.dlq_topic, self.late_topic, self.progress_topic)

    def owns(self, topic: str) -> bool:
        """Whether a topic, by its full name, is one of this namespace: in any but the default all with its prefix."""
        return topic in self.topics or (self.name != self.DEFAULT and topic.startswith(self.topic("")))

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"


def _default_home() -> Path:
    root = project_root()
    return root / ".retailpulse" if root else Path(platformdirs.user_data_dir("retailpulse"))


def _default_pipelines() -> Path:
    return (project_root() or Path(platformdirs.user_data_dir("retailpulse"))) / "pipelines"


class Settings(BaseSettings):
    """What RetailPulse was told through its environment or command line.

    Attributes
    ----------
    home : Path
        One folder for all data: the servers', checkpoints, runs, logs.
    cache : Path
        Downloaded server artifacts, shared between checkouts.
    pipelines : Path
        The promoted versions of notebooks: what production runs.
    profile_name : str
        ``local``, ``compose``, ``cluster``, or the path of a TOML file.
    namespace_name : str
        See `Namespace`.
    topics_of : str
        The namespace whose topics jobs read, where that is another one: a shadow reads the live events and writes
        into tables of its own. Empty for the namespace itself.
    port_offset : int
        Added to every port of the local servers, so that two stacks fit on one machine.
    """

    model_config = SettingsConfigDict(env_prefix="RETAILPULSE_", extra="ignore", frozen=False)

    home: Path = Field(default_factory=_default_home)
    cache: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("retailpulse")))
    pipelines: Path = Field(default_factory=_default_pipelines)
    profile_name: str = Field("local", validation_alias="RETAILPULSE_PROFILE")
    namespace_name: str = Field(Namespace.DEFAULT, validation_alias="RETAILPULSE_NAMESPACE")
    topics_of: str = ""
    port_offset: int = Field(0, ge=0, le=50_000)

    @field_validator("home", "cache", "pipelines")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @cached_property
    def namespace(self) -> Namespace:
        """The namespace's names."""
        return Namespace(self.namespace_name)

    @property
    def sources(self) -> Namespace:
        """The namespace whose topics jobs read."""
        return Namespace(self.topics_of) if self.topics_of else self.namespace

    def within(self, namespace: str, *, topics_of: str = "") -> Settings:
        """The same servers in another namespace."""
        other = self.model_copy(update={"namespace_name": namespace, "topics_of": topics_of})
        other.__dict__.pop("namespace", None)
        return other

    @cached_property
    def profile(self) -> Profile:
        """The profile's servers; the local one's ports are moved by `port_offset`."""
        return load_profile(self.profile_name, port_offset=self.port_offset)

    @property
    def warehouse(self) -> str:
        """URI of the folder that holds Hive's external tables."""
        return self.profile.hive.warehouse or (self.home / "hive" / "warehouse").as_uri()

    @property
    def checkpoints(self) -> str:
        """Folder (path or URI) of this namespace's checkpoints."""
        base = self.profile.spark.checkpoints or str(self.home / "checkpoints")
        return f"{base.rstrip('/')}/{self.namespace.name}"

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Settings from the environment, with what was given on top (None means not given)."""
        aliases = {"profile": "RETAILPULSE_PROFILE", "namespace": "RETAILPULSE_NAMESPACE"}
        values = {aliases.get(k, k): v for k, v in given.items() if v is not None}
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(
                f"The setting {'.'.join(map(str, first['loc']))} can't be used: {first['msg']}.",
                remedy="Check the RETAILPULSE_* environment variables.",
            ) from error


def profiles_folder() -> Path:
    """Where the named profiles lie."""
    root = project_root()
    return (root or Path(platformdirs.user_config_dir("retailpulse"))) / "env" / "profiles"


def load_profile(name: str, *, port_offset: int = 0) -> Profile:
    """Read a profile by name or by path.

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
    elif name == "local":
        content = {}
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
                remedy = "Only Kafka, Cassandra and Hive have a login; env/profiles/cluster.toml shows how."
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
        }
    )
