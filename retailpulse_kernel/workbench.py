"""One line to everything: what ``import retailpulse_kernel as rp`` offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retailpulse_kernel.live.explorer import Explorer
    from retailpulse_kernel.live.view import LiveView
    from retailpulse_kernel.metrics import Figure, Ratio
    from retailpulse_kernel.overview import Status
    from retailpulse_kernel.promotion.board import Jobs
    from retailpulse_kernel.promotion.panels import Gate
    from retailpulse_kernel.stores.cassandra import CassandraStore
    from retailpulse_kernel.stores.frames import Form
    from retailpulse_kernel.stores.hbase import HBaseStore
    from retailpulse_kernel.stores.hive import HiveStore
    from retailpulse_kernel.stores.kafka import KafkaStore
    from retailpulse_kernel.stores.spark import SparkStore
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
        """Where everything is, and where each password comes from; never a password."""
        from retailpulse_kernel.profiles import described_profile

        head = f"Workbench(profile={self.settings.profile_name!r}, namespace={self.settings.namespace_name!r})"
        return "\n".join([head, *described_profile(self.settings.profile)])

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

    @cached_property
    def _spark(self) -> SparkStore:
        from retailpulse_kernel.stores.spark import SparkStore

        return SparkStore(self.settings)

    @property
    def spark(self) -> SparkSession:
        """The Spark session of this process, with Hive's tables in its catalog; starts on first use."""
        return self._spark.session

    def sql(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """Spark SQL as a frame, with ``:name`` bound by Spark; see `SparkStore.query`."""
        return self._spark.query(statement, parameters, limit=limit, as_=as_)

    def job(self, name: str, **options: Any) -> Job:
        """A streaming job; see `retailpulse_kernel.streaming.job.Job`."""
        from retailpulse_kernel.streaming.job import Job

        return Job(name, self.settings, **options)

    def figures(
        self,
        *figures: str | Figure | Ratio,
        by: str | Sequence[str] = "category",
        last: str | timedelta | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        grain: str | None = None,
        currency: str | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """The stored figures as a frame, exact, with the average order value divided at the end.

        Parameters
        ----------
        *figures : str or Figure
            Which ones, such as ``"revenue"`` or `metrics.REVENUE`; all when none is named.
        by : str or sequence of str
            ``category``, ``event_type``, ``currency``, or ``bucket`` for a series over time.
        last : str or timedelta, optional
            The newest span (``"1h"``), up to the present minute; instead of `since` and `until`.
        since, until : datetime or str, optional
            The range, UTC unless it has a zone, on whole minutes; all there is when absent.
        grain : str, optional
            The windows behind ``bucket``: ``"minute"``, ``"hour"``, ``"day"``.
        currency : str, optional
            Only this one, such as ``"USD"``.
        as_ : str
            ``"pandas"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            The keys as categories, ``bucket`` as UTC time, money as `decimal.Decimal`.

        Raises
        ------
        UnknownName
            There is no such figure or dimension.
        """
        from retailpulse_kernel.figures import chosen_figures, grouped_frame, parts_of, read_rows
        from retailpulse_kernel.spans import moment_of, span_of
        from retailpulse_kernel.stores.frames import shaped
        from retailpulse_kernel.tables import CATEGORY, GRAINS, grain_of

        minute = GRAINS["minute"]
        begin, end = moment_of(since), moment_of(until)
        if last is not None:
            end = minute.start(datetime.now(UTC)) + minute.width
            begin = minute.start(end - span_of(last))
        wanted = chosen_figures(figures)
        dimensions = [by] if isinstance(by, str) else list(by)
        grouped_frame((), dimensions)  # a wrong name is told before anything is read
        chosen = grain_of(grain) if grain else GRAINS["minute" if last is not None else "day"]
        rows = read_rows(self.cassandra, CATEGORY, since=begin, until=end, grain=chosen, figures=parts_of(wanted))
        kept = (row for row in rows if currency is None or row["currency"] == currency)
        return shaped(grouped_frame(kept, dimensions, CATEGORY, wanted), as_)

    def live(self, **options: Any) -> LiveView:
        """The canonical figures, live, in one widget; see `retailpulse_kernel.live.view.live`."""
        from retailpulse_kernel.live.view import live

        return live(self.settings, **options)

    def explore(self, categories: str | Sequence[str] = (), **options: Any) -> Explorer:
        """The category explorer; see `retailpulse_kernel.live.explorer.explore`."""
        from retailpulse_kernel.live.explorer import explore

        return explore(self, categories, **options)

    def promote(self, notebook: str | Path | None = None, **parameters: Any) -> Gate:
        """The gate to production for this notebook, as a widget; see `retailpulse_kernel.promotion.panels.Gate`."""
        from retailpulse_kernel.promotion.panels import Gate

        return Gate(self.settings, notebook, parameters)

    def jobs(self) -> Jobs:
        """The promoted jobs, as a widget; see `retailpulse_kernel.promotion.board.Jobs`."""
        from retailpulse_kernel.promotion.board import Jobs

        return Jobs(self.settings)

    def status(self) -> Status:
        """The servers with their versions, and the jobs with their lag."""
        from retailpulse_kernel.overview import status_of

        return status_of(self)
