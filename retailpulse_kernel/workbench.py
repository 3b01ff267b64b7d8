"""One line to everything: what ``import retailpulse_kernel as rp`` offers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from retailpulse_kernel.live.explorer import Explorer
    from retailpulse_kernel.live.view import LiveView
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
        """The Spark session of this process, with Hive's tables in its catalog; starts on first use."""
        from retailpulse_kernel.streaming.session import spark_session

        return spark_session(self.settings, f"retailpulse {self.settings.namespace.name}", hive=True)

    def job(self, name: str, **options: Any) -> Job:
        """A streaming job; see `retailpulse_kernel.streaming.job.Job`."""
        from retailpulse_kernel.streaming.job import Job

        return Job(name, self.settings, **options)

    def figures(
        self,
        by: str | Sequence[str] = "category",
        *,
        last: str | timedelta | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        grain: str | None = None,
    ) -> pd.DataFrame:
        """The stored figures as a frame, exact, with the average order value divided at the end.

        Parameters
        ----------
        by : str or sequence of str
            ``category``, ``event_type``, ``currency``, or ``bucket`` for a series over time.
        last : str or timedelta, optional
            The newest span (``"1h"``), up to the present minute; instead of `since` and `until`.
        since, until : datetime, optional
            The range, UTC, on whole minutes; all there is when absent.
        grain : str, optional
            The windows behind ``bucket``: ``"minute"``, ``"hour"``, ``"day"``.
        """
        from retailpulse_kernel.figures import grouped_frame, read_rows
        from retailpulse_kernel.spans import span_of
        from retailpulse_kernel.tables import CATEGORY, GRAINS, grain_of

        minute = GRAINS["minute"]
        if last is not None:
            until = minute.start(datetime.now(UTC)) + minute.width
            since = minute.start(until - span_of(last))
        dimensions = [by] if isinstance(by, str) else list(by)
        chosen = grain_of(grain) if grain else GRAINS["minute" if last is not None else "day"]
        rows = read_rows(self.cassandra, CATEGORY, since=since, until=until, grain=chosen)
        return grouped_frame(rows, dimensions)

    def live(self, **options: Any) -> LiveView:
        """The canonical figures, live, in one widget; see `retailpulse_kernel.live.view.live`."""
        from retailpulse_kernel.live.view import live

        return live(self.settings, **options)

    def explore(self, categories: str | Sequence[str] = (), **options: Any) -> Explorer:
        """The category explorer; see `retailpulse_kernel.live.explorer.explore`."""
        from retailpulse_kernel.live.explorer import explore

        return explore(self, categories, **options)

    def status(self) -> pd.DataFrame:
        """The servers: state, health, address, memory."""
        from dataclasses import asdict

        import pandas as pd

        from retailpulse_kernel.stack import supervision

        return pd.DataFrame([asdict(service) for service in supervision.status(self.settings)])
