"""Where things are: the home folder, the profile's servers, the namespace's names.

A *profile* says where Kafka, Cassandra, HBase, Hive and Spark are and how to log in; a
*namespace* is one isolated set of topics, keyspace, HBase tables, Hive database and
checkpoints on those servers. Both come from the environment (``RETAILPULSE_PROFILE``,
``RETAILPULSE_NAMESPACE``, ...) unless they are given.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.ground.credentials import Reference, Secret, is_reference, names_a_secret, resolve_secret
from retailpulse_kernel.ground.errors import ProfileError, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, RESERVED, is_name

__all__ = [
    "CassandraAddress",
    "HBaseAddress",
    "HiveAddress",
    "KafkaAddress",
    "Namespace",
    "Profile",
    "Settings",
    "environment",
    "project_root",
]

#: `localhost`, not its address: Spark's client sends a token without TLS to this name alone.
_LOCAL_CONNECT = "sc://localhost:12002"
#: How the topics of the default namespace begin, which have no other prefix.
_TOPICS = "retail"


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


class SparkAddress(_Address):
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


class AirflowAddress(_Address):
    """The database of an Airflow that is started here; SQLite under the home when absent."""

    database: Reference | None = Field(
        None, description="A reference to SQLAlchemy's address, such as postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
    )


class Serving(_Address):
    """The stores that answer: the one that serves the figures, and the one that keeps the single events."""

    store: str = "cassandra"
    archive: str = "hive"


class Profile(_Address):
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


class Namespace:
    """The names of one isolated set of topics, tables and checkpoints.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and ``_``, starting with a letter, at most 40 long, and no name that a store
        keeps for itself. The default namespace ``retailpulse`` has the topics' plain names, any other one prefixes
        them. A prefix ends in ``.``, which no name has: of two namespaces one may begin as the other does.

    Raises
    ------
    UsageError
        It can't be one.
    """

    DEFAULT = "retailpulse"
    #: The short name of the events' topic.
    EVENTS = "retail.events"

    def __init__(self, name: str = DEFAULT) -> None:
        if not is_name(name):
            raise UsageError(f"{name!r} can't be a namespace.", remedy=NAME_RULE)
        if name in RESERVED or name.startswith("system_"):
            raise UsageError(
                f"{name!r} can't be a namespace: a store keeps it for itself, or has it as a word of its language.",
                remedy=f"Take another name, such as 'my_{name}'.",
            )
        if name == _TOPICS:
            raise UsageError(
                f"{name!r} can't be a namespace: the topics of {self.DEFAULT!r} begin with it.",
                remedy="Take another name, such as 'my_shop'.",
            )
        self.name = name
        self.events_topic = self.topic(self.EVENTS)
        self.dlq_topic = self.topic("retail.events.dlq")
        self.late_topic = self.topic("retail.events.late")
        self.progress_topic = self.topic("retail.progress")
        self.keyspace = name
        self.hbase_prefix = name
        self.database = name

    def topic(self, name: str) -> str:
        """The full name of a topic that goes by a short one in every namespace.

        Parameters
        ----------
        name : str
            ``"events"``, ``"progress"`` and the like.
        """
        return name if self.name == self.DEFAULT else f"{self.name}.{name}"

    @property
    def staging(self) -> str:
        """The namespace for staged epochs of this namespace's jobs, and for the tables of replaced epochs."""
        name = f"beside_{self.name}"
        return name if is_name(name) else f"beside_{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}"

    @property
    def option(self) -> str:
        """What a command that an error names needs, so that it means this namespace; empty for the default one."""
        return "" if self.name == self.DEFAULT else f" --namespace {self.name}"

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the namespace, the events' own first."""
        return (self.events_topic, self.dlq_topic, self.late_topic, self.progress_topic)

    def owns(self, topic: str) -> bool:
        """Whether a topic, by its full name, is one of this namespace: in any but the default all with its prefix.

        Parameters
        ----------
        topic : str
            A full name, as Kafka lists it.
        """
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
    confined_to : str
        The only namespace that may be written, while a notebook is tried; see `stores.confinement`. Empty otherwise.
    port_offset : int
        Added to every port of the local servers, so that two stacks fit on one machine.
    contract_file : Path, optional
        The file of the shop's contract, in place of the profile's.
    """

    model_config = SettingsConfigDict(env_prefix="RETAILPULSE_", extra="ignore", frozen=False)

    home: Path = Field(default_factory=_default_home)
    cache: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("retailpulse")))
    pipelines: Path = Field(default_factory=_default_pipelines)
    profile_name: str = Field("local", validation_alias="RETAILPULSE_PROFILE")
    namespace_name: str = Field(Namespace.DEFAULT, validation_alias="RETAILPULSE_NAMESPACE")
    confined_to: str = ""
    port_offset: int = Field(0, ge=0, le=50_000)
    contract_file: Path | None = Field(None, validation_alias="RETAILPULSE_CONTRACT")

    @field_validator("contract_file", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return Path(value).expanduser().absolute() if value else None

    @field_validator("home", "cache", "pipelines")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @cached_property
    def namespace(self) -> Namespace:
        """The namespace's names."""
        return Namespace(self.namespace_name)

    def within(self, namespace: str) -> Settings:
        """The same servers in another namespace.

        Parameters
        ----------
        namespace : str
            Its tables, checkpoints and topics are used.
        """
        other = self.model_copy(update={"namespace_name": namespace})
        other.__dict__.pop("namespace", None)
        return other

    def confined(self) -> Settings:
        """The same for a notebook that is tried: nothing that it does writes outside of this namespace."""
        return self.model_copy(update={"confined_to": self.namespace_name})

    @cached_property
    def profile(self) -> Profile:
        """The profile's servers; the local one's ports are moved by `port_offset`."""
        profile = load_profile(self.profile_name, port_offset=self.port_offset)
        if profile.name != "local" or not profile.spark.remote or profile.spark.token:
            return profile
        token = f"file:{self.home / 'secrets' / 'spark-connect'}"
        return profile.model_copy(update={"spark": profile.spark.model_copy(update={"token": token})})

    @cached_property
    def contract(self) -> Path | None:
        """The file of the shop's contract; None for the shipped one."""
        if self.contract_file is not None or self.profile.contract is None:
            return self.contract_file
        return Path(self.profile.contract)

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
        """Settings from the environment, with what was given on top (None means not given).

        Parameters
        ----------
        **given : object
            Fields of `Settings`; ``profile``, ``namespace`` and ``contract`` are taken by name.

        Raises
        ------
        UsageError
            A setting can't be used, or the namespace can't be one.
        """
        aliases = {
            "profile": "RETAILPULSE_PROFILE",
            "namespace": "RETAILPULSE_NAMESPACE",
            "contract": "RETAILPULSE_CONTRACT",
        }
        values = {aliases.get(k, k): v for k, v in given.items() if v is not None}
        try:
            settings = cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(
                f"The setting {'.'.join(map(str, first['loc']))} can't be used: {first['msg']}.",
                remedy="Check the RETAILPULSE_* environment variables.",
            ) from error
        settings.namespace  # noqa: B018  # a name that can't be one is told before it is used
        return settings


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process that should have the same.

    Parameters
    ----------
    settings : Settings
        Those of this process, or others.
    """
    return {
        "RETAILPULSE_HOME": str(settings.home),
        "RETAILPULSE_CACHE": str(settings.cache),
        "RETAILPULSE_PIPELINES": str(settings.pipelines),
        "RETAILPULSE_PROFILE": settings.profile_name,
        "RETAILPULSE_NAMESPACE": settings.namespace_name,
        "RETAILPULSE_CONFINED_TO": settings.confined_to,
        "RETAILPULSE_PORT_OFFSET": str(settings.port_offset),
        "RETAILPULSE_CONTRACT": str(settings.contract_file or ""),
    }


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
        content = {"spark": {"remote": _LOCAL_CONNECT}}
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
