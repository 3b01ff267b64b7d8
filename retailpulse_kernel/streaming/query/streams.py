"""What a job reads and computes, as a notebook writes it down: events, and figures of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.reading import grouped_frame
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.tables import FigureTable, Grain, grain_of
from retailpulse_kernel.stores.frames import Form, limited, shaped
from retailpulse_kernel.streaming.intake.given import given_events
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.query.expectations import Expectation, Otherwise
from retailpulse_kernel.streaming.state.aggregation import aggregate, rows_by_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame

    from retailpulse_kernel.streaming.run.job import Job

__all__ = ["Events", "FigureStream", "stored_form"]


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

    def preview(self, limit: int | None = 20, *, every: str | None = None, as_: Form = "pandas") -> Any:
        """What the table will hold, made from the topic's newest events, as a frame; nothing is written.

        Parameters
        ----------
        limit : int, optional
            At most this many rows, the newest windows first; None for all. Where others are left out, a note says so.
        every : str, optional
            The windows, where the table has several: ``"1 hour"``; the finest when absent.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            The window's start, the dimensions and the figures, in the table's own names. Users are counted;
            the table itself keeps a sketch of them.

        Raises
        ------
        UnknownName
            The table has no such windows.
        """
        grain = self.table.finest if every is None else self._kept(every)
        table = replace(self.table, every=(grain,))
        return shaped(stored_form(aggregate(self.events.sample(), [table]).toArrow(), table, limit), as_)

    def of(self, given: Iterable[Event | Mapping[str, Any]], *, every: str | None = None) -> list[dict[str, Any]]:
        """The rows that given events make, computed as the job computes them; nothing is read or written.

        Parameters
        ----------
        given : iterable of Event or mapping
            Events by hand; see `retailpulse_kernel.streaming.intake.given.given_events`.
        every : str, optional
            The windows; the widest of the table's when absent.

        Returns
        -------
        list of dict
            The window's start, the dimensions and the figures of each row. Users are counted.

        Raises
        ------
        UnknownName
            An event has no such field, or the table has no such windows.
        EventError
            A field can't have this value.
        """
        grain = self.table.widest if every is None else self._kept(every)
        result = aggregate(self.events.given(given_events(given, self.events.contract)), [self.table]).toArrow()
        found = rows_by_table(result, [self.table]).get((self.table, grain))
        rows = [] if found is None else found.to_pylist()
        return [row | {f.name: f.rules.shown(row[f.name]) for f in self.table.figures} for row in rows]

    def _kept(self, every: str) -> Grain:
        """One of the table's windows."""
        grain = grain_of(every, self.events.job.shop.shop.calendar)
        if grain not in self.table.every:
            kept = [one.title for one in self.table.every]
            raise UnknownName("window", grain.title, kept, of=f"the table {self.table.name!r}")
        return grain


def stored_form(result: pa.Table, table: FigureTable, limit: int | None = None) -> pd.DataFrame:
    """An aggregation's result as the rows that a table of one grain will hold, the newest windows first.

    Parameters
    ----------
    result : pyarrow.Table
        What the aggregation of this one table gave.
    table : FigureTable
        Has one grain.
    limit : int, optional
        At most this many rows; None is all.

    Raises
    ------
    UsageError
        The limit is not a number of rows.
    """
    (grain,) = table.every
    found = rows_by_table(result, [table])
    rows = [{**row, "bucket": row[grain.name]} for part in found.values() for row in part.to_pylist()]
    frame = grouped_frame(rows, ["bucket", *table.by], table, table.figures).rename(columns={"bucket": grain.name})
    return limited(frame.sort_values(grain.name, ascending=False, kind="stable", ignore_index=True), limit)


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
    topic : str
        The topic's name within the namespace.
    unique_by : str
        By which column an event is taken once.
    """

    job: Job
    watermark: timedelta
    dedup_horizon: timedelta
    publish_rejects: bool
    conditions: tuple[str, ...] = ()
    topic: str = "retail.events"
    unique_by: str = "event_id"

    @property
    def contract(self) -> Contract:
        """What the topic's messages hold."""
        return self.job.shop.of_topic(self.topic)

    def where(self, condition: str) -> Events:
        """Only events that meet a condition, in Spark SQL; the others still count as accepted.

        Parameters
        ----------
        condition : str
            Such as ``"category LIKE 'electronics.%' AND currency = 'USD'"``.
        """
        return replace(self, conditions=(*self.conditions, condition))

    def expect(self, name: str, condition: str, *, otherwise: Otherwise = "count") -> Events:
        """Expect something of every event of the topic, in all that this job makes of it.

        It takes effect whether or not the result is used. Call it before `df`.

        Parameters
        ----------
        name : str
            What is expected, in words: ``"price is positive"``.
        condition : str
            In Spark SQL, such as ``"price > 0"``. An event for which it is NULL meets it, as in SQL's CHECK.
        otherwise : {"count", "reject", "stop"}
            What becomes of an event that violates it: it is counted and goes on; it goes to the dead-letter topic; or
            the job ends before it writes the micro-batch.

        Returns
        -------
        Events
            These events.

        Raises
        ------
        UsageError
            The condition can't be evaluated, the name is taken, or the topic has been read.
        """
        self.job.reading.expectations.add(self.topic, Expectation(name, condition, otherwise))
        return self

    def figures(self, *figures: Figure | Ratio, by: Sequence[str], every: Sequence[str], table: str) -> FigureStream:
        """Figures by dimensions, in time windows.

        Parameters
        ----------
        *figures : Figure or Ratio
            From `retailpulse_kernel.shop.figures`, or your own. Of a ratio, such as an average, the table keeps both
            parts, and the ratio is divided when the table is read.
        by : sequence of str
            Dimensions: ``category``, ``event_type``, ``currency``, ``user_id`` ... and those of the contract; of a
            topic with fields of its own those of its fields.
        every : sequence of str
            Windows of any width: ``"5 minutes"``, ``"1 hour"``, ``"1 day"``, ``"1 week"``, ``"1 month"``. Days, weeks
            and months are those of the shop's zone, which the contract names.
        table : str
            The name of the table that keeps them.

        Raises
        ------
        UnknownName
            The contract has no such dimension or field.
        UsageError
            A figure can't be computed exactly of its fields, or no table can have this name.
        """
        if not is_name(table):
            raise UsageError(f"{table!r} can't be the name of a table.", remedy=NAME_RULE)
        contract = self.contract
        known = [figure.typed(contract.types) for figure in figures]
        calendar, texts = self.job.shop.shop.calendar, [every] if isinstance(every, str) else every
        grains = tuple(dict.fromkeys(grain_of(text, calendar) for text in texts))
        ratios = tuple(figure for figure in known if isinstance(figure, Ratio))
        parts = tuple(parts_of(known))
        kept = FigureTable(table, parts, tuple(by), grains, ratios, dimensions=contract.dimensions)
        return FigureStream(self, kept)

    def of(self, rows: DataFrame) -> DataFrame:
        """Those rows that meet the conditions.

        Parameters
        ----------
        rows : DataFrame
            With the columns that the conditions name.
        """
        for condition in self.conditions:
            rows = rows.where(condition)
        return rows

    def given(self, events: Sequence[Event]) -> DataFrame:
        """Events that were made by hand, as a bounded DataFrame: each once, and those that meet the conditions.

        Parameters
        ----------
        events : sequence of Event
            Of several with one id the first counts.
        """
        import pyarrow as pa

        unique: dict[str, Event] = {}
        for event in events:
            unique.setdefault(getattr(event, self.unique_by) or event.event_id, event)
        types = column_types(self.contract)
        schema = pa.schema(types.items())
        rows = [{name: getattr(event, name, None) for name in types} for event in unique.values()]
        frame = self.job.spark.createDataFrame(pa.Table.from_pylist(rows, schema))
        return self.of(self.job.reading.expectations.kept(self.topic, frame))

    @property
    def df(self) -> DataFrame:
        """Every accepted event as a streaming DataFrame, for anything that Spark can do; written with `Job.write`.

        Spark's watermark follows the column ``event_time``. Each use is a stream of its own: ask for it once for each
        side of a join.
        """
        return self.job.reading.frame(self)

    def sample(self, limit: int | None = 10_000) -> DataFrame:
        """The topic's newest events as a bounded DataFrame; rejects are not sent anywhere.

        Parameters
        ----------
        limit : int, optional
            Of about so many messages, the same number from each partition; None for all. Where others are left out,
            a note says so.
        """
        return self.job.reading.sample(self, limit)
