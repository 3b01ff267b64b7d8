"""Where things are: the home folder, the profile's servers, the namespace's names.

A *profile* says where Kafka, Cassandra, HBase, Hive and Spark are and how to log in; a
*namespace* is one isolated set of topics, keyspace, HBase tables, Hive database and
checkpoints on those servers. Both come from the environment (``RETAILPULSE_PROFILE``,
``RETAILPULSE_NAMESPACE``, ...) unless they are given.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.errors import ProfileError, UsageError

__all__ = [
    "CassandraAddress",
    "HBaseAddress",
    "HiveAddress",
    "KafkaAddress",
    "Namespace",
    "Profile",
    "Settings",
    "SparkAddress",
    "project_root",
    "resolve_secret",
]

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def project_root() -> Path | None:
    """The checkout that this package runs from, or None for an installed wheel."""
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else None


def resolve_secret(reference: str) -> SecretStr:
    """The value behind a credential's reference.

    Parameters
    ----------
    reference : str
        ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``.

    Raises
    ------
    ProfileError
        The reference has another form, or nothing stands behind it.
    """
    kind, _, target = reference.partition(":")
    if kind == "env":
        value = os.environ.get(target)
    elif kind == "file":
        path = Path(target).expanduser()
        value = path.read_text().strip() if path.is_file() else None
    elif kind == "keyring":
        import keyring

        service, _, user = target.partition("/")
        value = keyring.get_password(service, user)
    else:
        raise ProfileError(
            "A credential in a profile is a value, not a reference.",
            remedy="Write env:NAME, file:PATH or keyring:SERVICE/USER instead.",
        )
    if value is None:
        raise ProfileError(
            f"The credential reference {kind}:{target} leads to nothing.",
            remedy="Set the variable, write the file, or store the password in the keyring.",
        )
    return SecretStr(value)


class _Address(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Login(_Address):
    username: str | None = None
    password: str | None = Field(None, description="A reference: env:NAME, file:PATH, keyring:SERVICE/USER")

    @field_validator("password")
    @classmethod
    def _is_reference(cls, value: str | None) -> str | None:
        if value is not None and value.partition(":")[0] not in ("env", "file", "keyring"):
            raise ValueError("a password must be a reference: env:NAME, file:PATH or keyring:SERVICE/USER")
        return value

    def secret(self) -> str | None:
        """The password itself; ask for it only where a connection is opened."""
        return resolve_secret(self.password).get_secret_value() if self.password else None


class KafkaAddress(_Login):
    """Kafka's bootstrap servers and, where they ask for it, the SASL/TLS settings."""

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    ca_location: str | None = None


class CassandraAddress(_Login):
    """Cassandra's contact points."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    datacenter: str = "datacenter1"
    replication_factor: int = 1
    ca_location: str | None = None


class HBaseAddress(_Address):
    """HBase's Thrift server."""

    host: str = "127.0.0.1"
    port: int = 9090


class HiveAddress(_Login):
    """HiveServer2, the Metastore behind it, and the folder of its external tables."""

    host: str = "127.0.0.1"
    port: int = 10000
    auth: str = "NOSASL"
    metastore: str = "thrift://127.0.0.1:9083"
    warehouse: str | None = Field(None, description="URI; the local stack's own folder when absent")


class SparkAddress(_Address):
    """Spark's master and extra configuration."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    checkpoints: str | None = Field(None, description="URI; a folder under the home when absent")
    conf: dict[str, str] = {}


class Profile(_Address):
    """Where the servers are. Read from ``env/profiles/NAME.toml``."""

    name: str = "local"
    kafka: KafkaAddress = KafkaAddress()
    cassandra: CassandraAddress = CassandraAddress()
    hbase: HBaseAddress = HBaseAddress()
    hive: HiveAddress = HiveAddress()
    spark: SparkAddress = SparkAddress()


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
    def topics(self) -> tuple[str, ...]:
        """Every topic of the namespace, the events' own first."""
        return (self.events_topic, self.dlq_topic, self.late_topic, self.progress_topic)

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
    port_offset : int
        Added to every port of the local servers, so that two stacks fit on one machine.
    """

    model_config = SettingsConfigDict(env_prefix="RETAILPULSE_", extra="ignore", frozen=False)

    home: Path = Field(default_factory=_default_home)
    cache: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("retailpulse")))
    pipelines: Path = Field(default_factory=_default_pipelines)
    profile_name: str = Field("local", validation_alias="RETAILPULSE_PROFILE")
    namespace_name: str = Field(Namespace.DEFAULT, validation_alias="RETAILPULSE_NAMESPACE")
    port_offset: int = Field(0, ge=0, le=50_000)

    @field_validator("home", "cache", "pipelines")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @cached_property
    def namespace(self) -> Namespace:
        """The namespace's names."""
        return Namespace(self.namespace_name)

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
        raise ProfileError(f"The profile {name!r} is not valid at {where}: {first['msg']}.") from error
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
