"""A streaming job, as a notebook writes it.

>>> job = rp.job("sales", run=run, run_for=run_for)
>>> events = job.events(watermark=watermark)
>>> by_category = events.figures(EVENTS, REVENUE, by=["currency", "category"], every=["1 minute"], table="category")
>>> job.write(by_category, to=rp.cassandra)
>>> job.run()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.frames import checked_limit
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, checkpoint_of, new_epoch_remedy, open_local
from retailpulse_kernel.streaming.checkpoint.writer import drain_file
from retailpulse_kernel.streaming.intake.frames import deduplicated, read_range, read_topic
from retailpulse_kernel.streaming.intake.judging import Intake
from retailpulse_kernel.streaming.intake.rejects import RefusedRows, RejectTopics
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.run.analysis import analysed
from retailpulse_kernel.streaming.run.context import RunContext, current_context
from retailpulse_kernel.streaming.run.outputs import (
    Output,
    Reader,
    RowOutput,
    as_of_output,
    require_repeatable,
    row_output,
)
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.streams import Events, FigureStream
from retailpulse_kernel.streaming.sinks.archive import ArchiveSink, archived_columns
from retailpulse_kernel.streaming.sinks.base import Sink, Target
from retailpulse_kernel.streaming.sinks.figures import FigureSink
from retailpulse_kernel.streaming.sinks.rows import RowSink
from retailpulse_kernel.streaming.state.aggregation import aggregate, columns_needed, slots
from retailpulse_kernel.streaming.state.dedup_index import IDS
from retailpulse_kernel.streaming.state.window_state import SUMS, WindowState

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from retailpulse_kernel.streaming.run.outputs import OutputMode
    from retailpulse_kernel.streaming.run.runner import Report

__all__ = ["Job", "RunMode"]

RunMode = Literal["continuous", "available_now", "backfill"]
OnDataLoss = Literal["stop", "account"]

#: Columns of an event that may tell one from another.
_UNIQUE_BY = ("event_id", "order_id", "session_id", "user_id")


class Job:
    """A streaming job: one or more topics, one checkpoint, one or more tables.

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
        self.context = current_context() if context is None else context
        self._read: Events | None = None
        self._readers: list[Reader] = []
        self._figures: list[tuple[FigureStream, FigureStore]] = []
        self._archive: tuple[Events, EventArchive] | None = None
        self._rows: list[RowOutput] = []
        self._epoch: Epoch | None = None

    @property
    def topic_name(self) -> str:
        """The topic that it reads first, by its name within the namespace."""
        return self._written.topic if self._reads else "retail.events"

    @property
    def unique_by(self) -> str:
        """By which column an event of that topic is taken once."""
        return self._written.unique_by if self._reads else "event_id"

    @property
    def topic(self) -> str:
        """The full name of the topic that it reads first."""
        return self.source_namespace.topic(self.topic_name)

    @property
    def topics(self) -> list[str]:
        """The full names of all topics that it reads."""
        names = [self.topic_name, *(reader.topic for output in self._rows for reader in output.readers)]
        return [self.source_namespace.topic(name) for name in dict.fromkeys(names)]

    @property
    def source_namespace(self) -> Namespace:
        """The namespace whose topics it reads."""
        return Namespace(self.context.topics_of) if self.context.topics_of else self.settings.namespace

    @property
    def checkpoints(self) -> str:
        """The folder of the job's epochs."""
        return self.context.checkpoints or f"{self.settings.checkpoints}/{self.name}"

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
        UnknownName
            There is no such column to tell events by.
        """
        if unique_by not in _UNIQUE_BY:
            raise UnknownName("key of deduplication", unique_by, _UNIQUE_BY)
        horizon = span_of(watermark if dedup_horizon is None else dedup_horizon)
        events = Events(self, span_of(watermark), horizon, rejects == "publish", topic=topic, unique_by=unique_by)
        self._read = self._read or events
        return events

    def write(
        self,
        what: FigureStream | Events | DataFrame,
        *,
        to: FigureStore | EventArchive | RowStore,
        table: str | None = None,
        topic: str | None = None,
        key: str | Sequence[str] | None = None,
        mode: OutputMode | None = None,
        name: str | None = None,
    ) -> None:
        """Say where results go: figures, single events, or the rows of any streaming DataFrame.

        Parameters
        ----------
        what : FigureStream, Events or DataFrame
            What `Events.figures` or `Job.events` made, or a DataFrame made of the `df` of one or more of the job's
            events.
        to : FigureStore, EventArchive or RowStore
            A store of figures for figures, an archive for single events, a store of rows for a DataFrame.
        table, topic : str, optional
            The name of the table, or of Kafka's topic, that gets a DataFrame's rows.
        key : str or sequence of str, optional
            The columns that tell a row from another: a later row of the same key takes its place. Rows in which the
            column ``_deleted`` is true are removed. Without a key, rows are only appended.
        mode : {"append", "update", "complete"}, optional
            Rows that are final; rows that are new or have changed; or all rows, each time. When absent: ``append``
            where nothing is aggregated, for Kafka, and for Hive without a key; else ``update``.
        name : str, optional
            The name of the output, in checkpoints and reports; the table's when absent.

        Raises
        ------
        JobError
            This can't be written there, or not by this job.
        UsageError
            A DataFrame can't be written: the error names the column or expression, and says what to do.
        """
        own = (table, topic, key, mode, name)
        if isinstance(what, FigureStream) and isinstance(to, FigureStore) and own == (None,) * 5:
            if self._figures and self._figures[0][0].events is not what.events:
                raise JobError(
                    "The figures of one job come from different events.",
                    remedy="Call job.events(...).where(...) once, or write them in two jobs.",
                )
            self._figures.append((what, to))
        elif isinstance(what, Events) and isinstance(to, EventArchive) and own == (None,) * 5:
            self._archive = (what, to)
        elif not isinstance(what, FigureStream | Events) and isinstance(to, RowStore):
            self._write_rows(what, to, table or topic, key, mode, name)
        else:
            raise JobError(
                f"{type(what).__name__} can't be written to {to.name}.",
                remedy="Figures go to a store of figures, such as rp.cassandra or rp.hbase, events go to rp.hive, "
                "a DataFrame goes to a store of rows, such as rp.cassandra, with table=... and key=[...].",
            )
        if self._figures and self._archive:
            raise JobError(
                "One job can't write both figures and single events.", remedy="Write the archive in a job of its own."
            )

    def _write_rows(
        self,
        frame: DataFrame,
        to: RowStore,
        table: str | None,
        key: str | Sequence[str] | None,
        mode: OutputMode | None,
        name: str | None,
    ) -> None:
        if table is None:
            raise UsageError("The rows have no table.", remedy="Add table='...', or topic='...' for Kafka.")
        if not getattr(frame, "isStreaming", False):
            raise UsageError(
                f"What is written to {table!r} is no stream.",
                remedy="Make it of job.events(...).df. A bounded DataFrame is written by a batch notebook.",
            )
        output = row_output(frame, to=to, table=table, key=key, mode=mode, name=name, readers=self._readers)
        for other in self._rows:
            if (other.table.name, other.store.name) == (table, to.name) or other.name == output.name:
                raise UsageError(
                    f"The job writes {other.name!r} twice.", remedy="Give the second one another table, or name=..."
                )
        if any(stream.table.name == table for stream, _ in self._figures):
            raise UsageError(f"{table!r} is a table of figures already.", remedy="Use another name.")
        self._rows.append(output)

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
        sink = self.sink() if self._figures else None
        if not isinstance(sink, FigureSink):
            what = "The archive is" if self._archive else "Tables of rows are"
            raise UsageError(
                f"{what} not backfilled: all is in it once the job has taken it.",
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
        """Which events the figures count; the query of a DataFrame has its own."""
        return self._written.conditions if self._figures or self._archive else ()

    @property
    def new_epoch_remedy(self) -> str:
        """What to do where the job can't go on from its checkpoint."""
        return new_epoch_remedy(self.name, self.settings.namespace.option)

    @property
    def publishes_rejects(self) -> bool:
        """Whether it sends bad and late messages to their topics."""
        return self._written.publish_rejects

    @property
    def rows(self) -> tuple[RowOutput, ...]:
        """The tables of rows that it writes."""
        return tuple(self._rows)

    @property
    def _written(self) -> Events:
        if self._archive:
            return self._archive[0]
        if self._figures:
            return self._figures[0][0].events
        if self._read is None:
            raise JobError(f"The job {self.name!r} reads nothing.", remedy="Call job.events(...) first.")
        return self._read

    @property
    def _reads(self) -> bool:
        return self._read is not None or bool(self._figures)

    def require_output(self) -> None:
        """Make sure that the job writes something.

        Raises
        ------
        JobError
            The job writes nothing.
        """
        if not (self._archive or self._figures or self._rows):
            raise JobError(f"The job {self.name!r} writes nothing.", remedy="Call job.write(...) before job.run().")

    def sink(self, epoch: Epoch | None = None, *, into: Target | None = None) -> Sink | None:
        """What figures or single events are written with; None for a job of neither.

        Parameters
        ----------
        epoch : Epoch, optional
            Whose micro-batches; without an epoch the sink only says what they are written to.
        into : Target, optional
            Gets all that is written, in place of the stores.
        """
        if self._archive:
            return ArchiveSink(self._archive[1], into)
        if self._figures:
            writes = [(stream.table, store) for stream, store in self._figures]
            folder = None if epoch is None else self._state_folder(epoch)
            state = None if folder is None else WindowState(folder, slots(self._tables), remedy=self.new_epoch_remedy)
            return FigureSink(writes, state, into)
        return None

    def sinks(self, *, into: Target | None = None) -> list[Sink]:
        """The sinks of all outputs, those of rows with what takes rows without a key.

        Parameters
        ----------
        into : Target, optional
            Gets all that is written, in place of the stores.
        """
        first = self.sink(into=into)
        return [*([] if first is None else [first]), *(self._row_sink(output, into) for output in self._rows)]

    def outputs(self, epoch: Epoch, *, into: Target | None = None) -> list[Output]:
        """The queries of the job, those of figures or single events first.

        Parameters
        ----------
        epoch : Epoch
            The one that the run goes on with.
        into : Target, optional
            Gets all that is written, in place of the stores.

        Raises
        ------
        JobError
            The job writes nothing.
        UsageError
            A condition is met by chance, or by the clock.
        """
        self.require_output()
        found: list[Output] = []
        sink = self.sink(epoch, into=into)
        published = set[str]()
        if sink is not None:
            reader, frame = self._result(epoch)
            require_repeatable(analysed(frame), "the figures")
            found.append(Output("", "update", frame, sink, (reader,)))
            published.add(reader.topic)
        for output in self._rows:
            readers = []
            for reader in output.readers:
                readers.append(as_of_output(reader, publishes=reader.topic not in published))
                published.add(reader.topic)
            self._open_local(replace(epoch, path=checkpoint_of(epoch.path, output.name)), IDS, begin=False)
            row_sink = self._row_sink(output, into)
            found.append(Output(output.name, output.mode, output.frame, row_sink, tuple(readers)))
        return found

    def _row_sink(self, output: RowOutput, into: Target | None) -> RowSink:
        refused = RefusedRows(self._reject_topics(), self.name, output.name) if into is None else None
        return RowSink(
            output.table, output.store, f"{self.name}/{output.name}",
            complete=output.mode == "complete", refused=refused, into=into,
        )  # fmt: skip

    def _result(self, epoch: Epoch) -> tuple[Reader, DataFrame]:
        """The streaming DataFrame of figures or single events, and its reader."""
        self._epoch = epoch
        indexed = self._open_local(epoch, IDS) is not None
        if self._archive:
            return self._read_topic(self._archive[0], archived_columns(self.contract), keep_late=True, indexed=indexed)
        events = self._figures[0][0].events
        reader, rows = self._read_topic(events, self.columns(self._tables), keep_late=False, indexed=indexed)
        if self._state_folder(epoch) is not None:
            return reader, rows
        return reader, aggregate(rows, self._tables, watermark=events.watermark)

    @property
    def _tables(self) -> list[FigureTable]:
        return [stream.table for stream, _ in self._figures]

    def _state_folder(self, epoch: Epoch) -> Path | None:
        """The folder of an epoch's window state; None where Spark keeps the state."""
        if not plan_of(self).uses_window_state:
            return None
        return self._open_local(epoch, SUMS)

    def _open_local(self, epoch: Epoch, name: str, *, begin: bool = True) -> Path | None:
        master = self.settings.profile.spark.master
        return open_local(epoch.path, name, master=master, remedy=self.new_epoch_remedy, begin=begin)

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

    def frame(self, events: Events) -> DataFrame:
        """Every accepted event as a streaming DataFrame, for a query of its own; see `Events.df`.

        Parameters
        ----------
        events : Events
            Their conditions, watermark and horizon are applied.
        """
        columns = tuple(column_types(self.contract))
        # A query of rows begins with its ids in the workers' index wherever that can be.
        local = self.settings.profile.spark.master.startswith("local") and "://" not in self.checkpoints
        _, rows = self._read_topic(events, columns, keep_late=False, indexed=local, as_events=True)
        return rows

    def _read_topic(
        self, events: Events, columns: Sequence[str], *, keep_late: bool, indexed: bool, as_events: bool = False
    ) -> tuple[Reader, DataFrame]:
        """A topic's events as a stream, each once; with `keep_late` the late ones, too, flagged."""
        reader = Reader(
            len(self._readers), events.topic, events.unique_by, events.publish_rejects, milliseconds(events.watermark)
        )
        self._readers.append(reader)
        intake = Intake(
            tuple(columns),
            self.source_namespace.topic(events.topic),
            delay_ms=milliseconds(events.watermark),
            keep_late=keep_late,
            rejects=self._reject_topics() if events.publish_rejects else None,
            labels={"job": self.name},
            unique_by=events.unique_by,
            horizon_ms=milliseconds(events.dedup_horizon) if indexed else None,
            contract=self.told_contract,
        )
        messages = read_topic(
            self.spark,
            self.settings,
            intake,
            epochs=self.checkpoints,
            reader=reader.number,
            bounded=self.mode == "available_now",
            leader=self.context.leader,
            drain=drain_file(self.settings, self.name),
        )
        unique = deduplicated(
            messages,
            watermark=events.watermark,
            horizon=events.dedup_horizon,
            reader=reader.number,
            as_events=as_events,
        )
        return reader, events.of(unique)

    @property
    def told_contract(self) -> dict[str, Any] | None:
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
        topic = self.source_namespace.topic(events.topic)
        offsets = KafkaStore(self.settings).offsets(topic)
        newest = offsets
        if (most := checked_limit(limit)) is not None:
            share = max(1, most // max(1, len(offsets)))
            newest = {partition: (max(begin, end - share), end) for partition, (begin, end) in offsets.items()}
        total, taken = (sum(end - begin for begin, end in spans.values()) for spans in (offsets, newest))
        if taken < total:
            say(f"Made from the newest {taken:,} of {total:,} messages in {topic}.")
        columns = tuple(column_types(self.contract))
        intake = Intake(columns, topic, unique_by=events.unique_by, contract=self.told_contract)
        from retailpulse_kernel.stores.spark.store import SparkStore

        rows = read_range(SparkStore(self.settings).shared() or self.spark, self.settings, intake, newest)
        return events.of(rows.where("dedup_key IS NOT NULL").dropDuplicates(["dedup_key"]))
