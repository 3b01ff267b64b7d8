"""Where things are: the home folder, the profile's servers, the namespace's names.

A *profile* says where Kafka, Cassandra, HBase, Hive and Spark are and how to log in; a
*namespace* is one isolated set of topics, keyspace, HBase tables, Hive database and
checkpoints on those servers. Both come from the environment (``RETAILPULSE_PROFILE``,
``RETAILPULSE_NAMESPACE``, ...) unless they are given.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.ground.addresses import Profile, load_profile, project_root
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.names import NAME_RULE, RESERVED, is_name

__all__ = [
    "Namespace",
    "Settings",
    "environment",
]

#: How the topics of the default namespace begin, which have no other prefix.
_TOPICS = "retail"


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
