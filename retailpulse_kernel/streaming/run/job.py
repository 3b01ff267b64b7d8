"""A streaming job, as a notebook writes it.

>>> job = rp.job("sales", run=run, run_for=run_for)
>>> events = job.events(watermark=watermark)
>>> by_category = events.figures(EVENTS, REVENUE, by=["currency", "category"], every=["1 minute"], table="category")
>>> job.write(by_category, to=rp.cassandra)
>>> job.run()
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from retailpulse_kernel.ground.errors import JobError, UnknownName, UsageError
from retailpulse_kernel.ground.names import is_job_name
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import milliseconds, range_of, span_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.base import EventArchive, FigureStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.frames import checked_limit
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, new_epoch_remedy, open_local
from retailpulse_kernel.streaming.checkpoint.writer import drain_file
from retailpulse_kernel.streaming.intake.frames import deduplicated, read_range, read_topic
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.intake.rejects import RejectTopics
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.run.context import RunContext, current_context
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.streams import Events, FigureStream
from retailpulse_kernel.streaming.sinks.archive import ArchiveSink, archived_columns
from retailpulse_kernel.streaming.sinks.base import Sink, Target
from retailpulse_kernel.streaming.sinks.figures import FigureSink
from retailpulse_kernel.streaming.state.aggregation import aggregate, columns_needed, slots
from retailpulse_kernel.streaming.state.dedup_index import IDS
from retailpulse_kernel.streaming.state.window_state import SUMS, WindowState

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from retailpulse_kernel.streaming.run.runner import Report

__all__ = ["Job", "RunMode"]

RunMode = Literal["continuous", "available_now", "backfill"]
OnDataLoss = Literal["stop", "account"]

#: Columns of an event that may tell one from another.
_UNIQUE_BY = ("event_id", "order_id", "session_id", "user_id")


class Job:
    """A streaming job: one topic, one checkpoint, one or more tables.

    Parameters
    ----------
    name : str
        Its name in checkpoints, accounts and reports: letters, digits and ``_``.
    settings : Settings
        Which servers, which namespace.
    run : {"continuous", "available_now", "backfill"}
        Follow the topic; take all that there is as a bounded run, in which no event is late by the
        order of the topic, and end; or write a range of windows again beside the live job.
    run_for : timedelta or str, optional
        How long a continuous run lasts; until it is stopped when absent.
    trigger : timedelta or str
        How often a continuous run starts a micro-batch.
    since, until : datetime or str, optional
        The range of a backfill, UTC unless it has a zone, on whole minutes; only windows that lie
        wholly in it are written. All there is when absent.
    source : {"kafka", "archive"}
        Where a backfill reads.
    late : {"exclude", "include"}
        Whether a backfill counts late events: not, as the stream; or too, to close a day.
    output : {"change"}
        A window is written whenever it has changed. Notebooks of before may say so.
    on_data_loss : {"stop", "account"}
        What to do where the topic has deleted messages before the job took them: stop with an error that says which,
        or go on and account for them as lost.
    context : RunContext, optional
        What the run is told; that of this process when absent.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        run: RunMode = "available_now",
        run_for: timedelta | str | None = None,
        trigger: timedelta | str = "1s",
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        source: Literal["kafka", "archive"] = "kafka",
        late: Literal["exclude", "include"] = "exclude",
        output: Literal["change"] = "change",
        on_data_loss: OnDataLoss = "stop",
        context: RunContext | None = None,
    ) -> None:
        if not is_job_name(name):
            raise UsageError(
                f"{name!r} can't be the name of a job.",
                remedy="Use letters, digits and '_', starting with a letter, at most 40.",
            )
        if output != "change":
            raise UsageError(
                f"Windows can't be written at {output!r}: they are written whenever they change.",
                remedy="Leave `output` out: what a window holds when it closes is the same.",
            )
        if on_data_loss not in get_args(OnDataLoss):
            raise UsageError(f"on_data_loss can't be {on_data_loss!r}.", remedy="Use 'stop' or 'account'.")
        if run not in get_args(RunMode):
            raise UsageError(f"A job can't run as {run!r}.", remedy=f"Use one of {', '.join(get_args(RunMode))}.")
        if run != "backfill" and (since is not None or until is not None):
            raise UsageError("Only a backfill has a range.", remedy="Add run='backfill', or leave since and until out.")
        self.name = name
        self.settings = settings
        self.mode: RunMode = run
        self.run_for = None if run_for is None else span_of(run_for)
        self.trigger = span_of(trigger)
        self.since, self.until = range_of(None, since, until)
        self.source, self.late = source, late
        self.on_data_loss: OnDataLoss = on_data_loss
        self.topic_name, self.unique_by = "retail.events", "event_id"
        self.context = current_context() if context is None else context
        self._read: Events | None = None
        self._figures: list[tuple[FigureStream, FigureStore]] = []
        self._archive: tuple[Events, EventArchive] | None = None
        self._epoch: Epoch | None = None

    @property
    def topic(self) -> str:
        """The full name of the topic that it reads."""
        return self.source_namespace.topic(self.topic_name)

    @property
    def source_namespace(self) -> Namespace:
        """The namespace whose topics it reads."""
        return Namespace(self.context.topics_of) if self.context.topics_of else self.settings.namespace

    @property
    def checkpoints(self) -> str:
        """The folder of the job's epochs."""
        return f"{self.settings.checkpoints}/{self.name}"

    @cached_property
    def contract(self) -> Contract:
        """What the messages hold, as far as it says how they are read.

        Raises
        ------
        ContractError
            The shop's contract has faults.
        """
        return contract_of(self.settings).decoding

    @property
    def spark(self) -> SparkSession:
        """The Spark session; started when it is first used."""
        from retailpulse_kernel.stores.spark.session import spark_session

        name = f"retailpulse {self.settings.namespace.name} {self.name}"
        return spark_session(self.settings, name, brief=self.mode != "continuous")

    def events(
        self,
        *,
        watermark: timedelta | str = "10m",
        dedup_horizon: timedelta | str | None = None,
        rejects: Literal["publish", "count"] = "publish",
        topic: str = "retail.events",
        unique_by: str = "event_id",
    ) -> Events:
        """The topic's events: parsed, validated, deduplicated.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        unique_by : str
            By which column an event is taken once: ``event_id``, as all other jobs and reconciliation
            do it, or ``order_id``, ``session_id``, ``user_id``; events without it go by their ``event_id``.
        watermark : timedelta or str
            How far event time may run ahead of an event before it is late.
        dedup_horizon : timedelta or str, optional
            How long an event's id is remembered, at least, after the watermark has passed the event's time: as long
            as the watermark when absent. An event that is sent again as it was is late by then; one that is
            sent again with a new time after that counts again.
        rejects : {"publish", "count"}
            Whether bad and late messages go to their topics, or are only counted because
            another job publishes them.

        Raises
        ------
        JobError
            The job reads another topic already.
        """
        if unique_by not in _UNIQUE_BY:
            raise UnknownName("key of deduplication", unique_by, _UNIQUE_BY)
        if self._read is not None and (topic, unique_by) != (self.topic_name, self.unique_by):
            raise JobError(
                f"The job {self.name!r} has a second source: it reads {self.topic_name!r} already.",
                remedy="Read the other topic in a job of its own.",
            )
        self.topic_name, self.unique_by = topic, unique_by
        horizon = span_of(watermark if dedup_horizon is None else dedup_horizon)
        self._read = Events(self, span_of(watermark), horizon, publish_rejects=rejects == "publish")
        return self._read

    def write(self, what: FigureStream | Events, *, to: FigureStore | EventArchive) -> None:
        """Say where results go; several figure streams may go to several stores.

        Parameters
        ----------
        what : FigureStream or Events
            What `Events.figures` or `Job.events` made.
        to : FigureStore or EventArchive
            A store of figures for figures, an archive for single events.

        Raises
        ------
        JobError
            Figures and single events can't be written by one job.
        """
        if isinstance(what, FigureStream) and isinstance(to, FigureStore):
            if self._figures and self._figures[0][0].events is not what.events:
                raise JobError(
                    "The figures of one job come from different events.",
                    remedy="Call job.events(...).where(...) once, or write them in two jobs.",
                )
            self._figures.append((what, to))
        elif isinstance(what, Events) and isinstance(to, EventArchive):
            self._archive = (what, to)
        else:
            raise JobError(
                f"{type(what).__name__} can't be written to {to.name}.",
                remedy="Figures go to a store of figures, such as rp.cassandra or rp.hbase, events go to rp.hive.",
            )
        if self._figures and self._archive:
            raise JobError(
                "One job can't write both figures and single events.", remedy="Write the archive in a job of its own."
            )

    def run(self) -> Report:
        """Run until all is taken, `run_for` is over, or the job is stopped; shows a live report.

        Raises
        ------
        JobError
            The job writes nothing, or its run failed.
        UsageError
            The archive is to be backfilled, or the range of a backfill can't be.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        """
        from retailpulse_kernel.streaming.run.backfill import backfill
        from retailpulse_kernel.streaming.run.runner import Runner

        if self.context.run_job is not None:
            return self.context.run_job(self)
        require_own(self.settings, f"Running the job {self.name!r}")
        if self.mode != "backfill":
            return Runner(self).run()
        sink = self.sink()
        if not isinstance(sink, FigureSink):
            raise UsageError(
                "The archive is not backfilled: every event is in it once the job has taken it.",
                remedy=f"To read the topic again: {self.new_epoch_remedy}",
            )
        return backfill(self, sink)

    # -- for the runner ---------------------------------------------------------------------

    @property
    def watermark(self) -> timedelta:
        """How far event time may run ahead of an event before it is late."""
        return self._written.watermark

    @property
    def dedup_horizon(self) -> timedelta:
        """How long an event's id is remembered after the watermark has passed its time."""
        return self._written.dedup_horizon

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which events count."""
        return self._written.conditions

    @property
    def new_epoch_remedy(self) -> str:
        """What to do where the job can't go on from its checkpoint."""
        return new_epoch_remedy(self.name, self.settings.namespace.option)

    @property
    def publishes_rejects(self) -> bool:
        """Whether it sends bad and late messages to their topics."""
        return self._written.publish_rejects

    @property
    def _written(self) -> Events:
        return self._archive[0] if self._archive else self._figures[0][0].events

    def sink(self, epoch: Epoch | None = None, *, into: Target | None = None) -> Sink:
        """What the job's micro-batches are written with.

        Parameters
        ----------
        epoch : Epoch, optional
            Whose micro-batches; without an epoch the sink only says what they are written to.
        into : Target, optional
            Gets all that is written, in place of the stores.

        Raises
        ------
        JobError
            The job writes nothing.
        """
        if self._archive:
            return ArchiveSink(self._archive[1], into)
        if self._figures:
            writes = [(stream.table, store) for stream, store in self._figures]
            folder = None if epoch is None else self._state_folder(epoch)
            state = None if folder is None else WindowState(folder, slots(self._tables), remedy=self.new_epoch_remedy)
            return FigureSink(writes, state, into)
        raise JobError(f"The job {self.name!r} writes nothing.", remedy="Call job.write(...) before job.run().")

    def result(self, epoch: Epoch) -> DataFrame:
        """The streaming DataFrame that the sink gets, batch by batch.

        Parameters
        ----------
        epoch : Epoch
            The one that the run goes on with.
        """
        self._epoch = epoch
        if self._archive:
            return self.rows(self._archive[0], archived_columns(self.contract), keep_late=True)
        events = self._figures[0][0].events
        rows = self.rows(events, self.columns(self._tables), keep_late=False)
        if self._state_folder(epoch) is not None:
            return rows
        return aggregate(rows, self._tables, watermark=events.watermark)

    @property
    def _tables(self) -> list[FigureTable]:
        return [stream.table for stream, _ in self._figures]

    def _state_folder(self, epoch: Epoch) -> Path | None:
        """The folder of an epoch's window state; None where Spark keeps the state."""
        if not plan_of(self).uses_window_state:
            return None
        return self._open_local(epoch, SUMS)

    def _open_local(self, epoch: Epoch, name: str) -> Path | None:
        return open_local(epoch.path, name, master=self.settings.profile.spark.master, remedy=self.new_epoch_remedy)

    def columns(self, tables: Sequence[FigureTable]) -> list[str]:
        """The event's columns that the job's figures and conditions need.

        Parameters
        ----------
        tables : sequence of FigureTable
            Those that the job writes.
        """
        conditions = self._figures[0][0].events.conditions
        return list(column_types(self.contract)) if conditions else sorted(columns_needed(tables))

    def filtered(self, rows: DataFrame) -> DataFrame:
        """Those rows that meet the conditions of the job's events.

        Parameters
        ----------
        rows : DataFrame
            With the columns that the conditions name.
        """
        return self._figures[0][0].events.of(rows)

    def rows(self, events: Events, columns: Sequence[str], *, keep_late: bool) -> DataFrame:
        """The events that are to be counted, as a streaming DataFrame; with `keep_late` the late ones, too, flagged.

        Parameters
        ----------
        events : Events
            Their conditions, watermark and horizon are applied.
        columns : sequence of str
            Those of an event that are wanted.
        keep_late : bool
            Whether late events are among the rows.
        """
        bounded, epoch = self.mode == "available_now", self._epoch
        indexed = epoch is not None and self._open_local(epoch, IDS) is not None
        intake = Intake(
            tuple(columns),
            self.topic,
            # No order of the topic makes an event of a bounded run late.
            delay_ms=None if bounded else milliseconds(events.watermark),
            keep_late=keep_late,
            rejects=self._reject_topics() if events.publish_rejects else None,
            labels={"job": self.name, "epoch": epoch.number if epoch else 0},
            unique_by=self.unique_by,
            horizon_ms=milliseconds(events.dedup_horizon) if indexed else None,
            contract=self._told_contract,
        )
        messages = read_topic(
            self.spark,
            self.settings,
            intake,
            checkpoint=epoch.path if epoch else None,
            leader=self.context.leader,
            drain=drain_file(self.settings, self.name) if epoch else None,
        )
        unique = deduplicated(messages, watermark=events.watermark, horizon=events.dedup_horizon)
        return events.of(unique)

    @property
    def _told_contract(self) -> dict[str, Any] | None:
        """What Spark's workers are told of the contract; nothing of one that reads as the shipped one."""
        return None if self.contract.is_plain else self.contract.plain()

    def _reject_topics(self) -> RejectTopics:
        namespace = self.settings.namespace
        client = tuple(sorted(client_config(self.settings).items()))
        return RejectTopics(client, bad=namespace.dlq_topic, late=namespace.late_topic)

    def sample(self, events: Events, limit: int | None) -> DataFrame:
        """The newest events of the topic, as a bounded DataFrame of the Connect server, or where none is, the job.

        Parameters
        ----------
        events : Events
            Their conditions are applied.
        limit : int or None
            At most this many messages are read, as many of each partition; None is all.

        Raises
        ------
        UsageError
            There is no such topic, or the limit is not a number of rows.
        """
        offsets = KafkaStore(self.settings).offsets(self.topic)
        newest = offsets
        if (most := checked_limit(limit)) is not None:
            share = max(1, most // max(1, len(offsets)))
            newest = {partition: (max(begin, end - share), end) for partition, (begin, end) in offsets.items()}
        total, taken = (sum(end - begin for begin, end in spans.values()) for spans in (offsets, newest))
        if taken < total:
            say(f"Made from the newest {taken:,} of {total:,} messages in {self.topic}.")
        columns = tuple(column_types(self.contract))
        intake = Intake(columns, self.topic, unique_by=self.unique_by, contract=self._told_contract)
        from retailpulse_kernel.stores.spark.store import SparkStore

        rows = read_range(SparkStore(self.settings).shared() or self.spark, self.settings, intake, newest)
        return events.of(rows.where("dedup_key IS NOT NULL").dropDuplicates(["dedup_key"]))
