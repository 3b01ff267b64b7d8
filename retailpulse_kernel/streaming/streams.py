"""What a job reads and computes, as a notebook writes it down: events, and figures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.metrics import Figure
from retailpulse_kernel.streaming.aggregation import aggregate
from retailpulse_kernel.streaming.intake import EVENT_COLUMNS
from retailpulse_kernel.tables import FigureTable, grain_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.job import Job

__all__ = ["Events", "FigureStream"]


@dataclass(frozen=True)
class FigureStream:
    """Figures of a job's events, to be written to a store.

    Attributes
    ----------
    events : Events
        The events they are figures of.
    table : FigureTable
        The figures, their dimensions and windows.
    """

    events: Events
    table: FigureTable

    @property
    def df(self) -> DataFrame:
        """The figures as a streaming DataFrame: slot, end of the window, dimensions, figures."""
        return aggregate(self.events.df, [self.table], watermark=self.events.watermark)

    def preview(self, limit: int = 20) -> Any:
        """The figures of the topic's newest events as a pandas frame; nothing is written."""
        sample = self.events.sample()
        frame = aggregate(sample, [self.table])
        return frame.orderBy("end", ascending=False).limit(limit).toPandas()


@dataclass(frozen=True, eq=False)
class Events:
    """A topic's events, parsed, validated and deduplicated.

    Attributes
    ----------
    job : Job
        The job that reads them.
    watermark : timedelta
        How far event time may run ahead of an event before it is late.
    dedup_horizon : timedelta
        How long an event's id is remembered after the watermark has passed its time.
    publish_rejects : bool
        Whether bad and late messages go to their topics.
    conditions : tuple of str
        Which events count, in Spark SQL.
    """

    job: Job
    watermark: timedelta
    dedup_horizon: timedelta
    publish_rejects: bool
    conditions: tuple[str, ...] = ()

    def where(self, condition: str) -> Events:
        """Only events that meet a condition, in Spark SQL; the others still count as accepted.

        Parameters
        ----------
        condition : str
            Such as ``"category LIKE 'electronics.%' AND currency = 'USD'"``.
        """
        return replace(self, conditions=(*self.conditions, condition))

    def figures(self, *figures: Figure, by: Sequence[str], every: Sequence[str], table: str) -> FigureStream:
        """Figures by dimensions, in time windows.

        Parameters
        ----------
        *figures : Figure
            From `retailpulse_kernel.metrics`, or your own.
        by : sequence of str
            Dimensions: ``category``, ``event_type``, ``currency``, ``user_id`` ...
        every : sequence of str
            Windows: ``"1 minute"``, ``"1 hour"``, ``"1 day"``.
        table : str
            The name of the table that keeps them.
        """
        return FigureStream(self, FigureTable(table, figures, tuple(by), tuple(grain_of(text) for text in every)))

    def of(self, rows: DataFrame) -> DataFrame:
        """Those rows that meet the conditions."""
        for condition in self.conditions:
            rows = rows.where(condition)
        return rows

    @property
    def df(self) -> DataFrame:
        """Every accepted event as a streaming DataFrame, for anything that Spark can do."""
        return self.job.rows(self, EVENT_COLUMNS, keep_late=False)

    def sample(self, limit: int = 10_000) -> DataFrame:
        """Some of the topic's events as a bounded DataFrame; rejects are not sent anywhere."""
        return self.job.sample(self, limit)
