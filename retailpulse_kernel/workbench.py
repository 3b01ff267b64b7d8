"""One line to everything: what ``import retailpulse_kernel as rp`` offers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retailpulse_kernel.stores.cassandra import CassandraStore
    from retailpulse_kernel.stores.hbase import HBaseStore
    from retailpulse_kernel.stores.hive import HiveStore
    from retailpulse_kernel.stores.kafka import KafkaStore
    from retailpulse_kernel.streaming.job import Job

__all__ = ["Workbench"]


class Workbench:
    """The servers of one profile and the names of one namespace; nothing connects until used.

    Parameters
    ----------
    profile : str, optional
        ``local``, ``compose``, ``cluster`` or a ``.toml`` file; from ``RETAILPULSE_PROFILE`` when absent.
    namespace : str, optional
        From ``RETAILPULSE_NAMESPACE`` when absent.
    """

    def __init__(self, profile: str | None = None, namespace: str | None = None) -> None:
        self.settings = Settings.load(profile=profile, namespace=namespace)

    def __repr__(self) -> str:
        return f"Workbench(profile={self.settings.profile_name!r}, namespace={self.settings.namespace_name!r})"

    @cached_property
    def kafka(self) -> KafkaStore:
        """The topics."""
        from retailpulse_kernel.stores.kafka import KafkaStore

        return KafkaStore(self.settings)

    @cached_property
    def cassandra(self) -> CassandraStore:
        """The figures by category."""
        from retailpulse_kernel.stores.cassandra import CassandraStore

        return CassandraStore(self.settings)

    @cached_property
    def hbase(self) -> HBaseStore:
        """Sessions and users."""
        from retailpulse_kernel.stores.hbase import HBaseStore

        return HBaseStore(self.settings)

    @cached_property
    def hive(self) -> HiveStore:
        """The archive of every event."""
        from retailpulse_kernel.stores.hive import HiveStore

        return HiveStore(self.settings)

    @property
    def spark(self) -> SparkSession:
        """The Spark session of this process; starts on first use."""
        from retailpulse_kernel.streaming.session import spark_session

        return spark_session(self.settings, f"retailpulse {self.settings.namespace.name}")

    def job(self, name: str, **options: Any) -> Job:
        """A streaming job; see `retailpulse_kernel.streaming.Job`."""
        from retailpulse_kernel.streaming.job import Job

        return Job(name, self.settings, **options)
