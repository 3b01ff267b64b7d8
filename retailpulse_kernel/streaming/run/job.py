"""A streaming job, as a notebook writes it.

>>> job = rp.job("sales", run=run, run_for=run_for)
>>> events = job.events(watermark=watermark)
>>> by_category = events.figures(EVENTS, REVENUE, by=["currency", "category"], every=["1 minute"], table="category")
>>> job.write(by_category, to=rp.cassandra)
>>> job.run()
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import uuid4

from retailpulse_kernel.ground.calendars import UTC_CALENDAR
from retailpulse_kernel.ground.errors import JobError, UnknownName, UsageError
from retailpulse_kernel.ground.names import is_job_name
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import range_of, span_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.base import EventArchive, FigureStore, RowStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch_remedy
from retailpulse_kernel.streaming.intake.shapes import column_types
from retailpulse_kernel.streaming.query.models import Model, model_of
from retailpulse_kernel.streaming.query.references import JobReferences
from retailpulse_kernel.streaming.query.streams import Events, FigureStream
from retailpulse_kernel.streaming.query.topics import Topics
from retailpulse_kernel.streaming.query.trying import try_udf
from retailpulse_kernel.streaming.query.writes import Writes
from retailpulse_kernel.streaming.run.context import RunContext, current_context
from retailpulse_kernel.streaming.sinks.figures import FigureSink
from retailpulse_kernel.streaming.state.aggregation import columns_needed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from retailpulse_kernel.streaming.query.outputs import OutputMode
    from retailpulse_kernel.streaming.run.runner import Report

__all__ = ["Job", "RunMode"]

RunMode = Literal["continuous", "available_now", "backfill"]
OnDataLoss = Literal["stop", "account"]

#: Columns of a standard event that may tell one from another.
_UNIQUE_BY = ("event_id", "order_id", "session_id", "user_id")


def _unique_by(contract: Contract) -> Sequence[str]:
    """Columns that may tell one event of a topic from another."""
    if contract.holds_events:
        return _UNIQUE_BY
    return [name for name, type_ in contract.types.items() if type_ == "string"]


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
        The range of a backfill, the shop's time unless it has a zone, on whole minutes; only windows that lie
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
        calendar = self.shop.shop.calendar if run == "backfill" else UTC_CALENDAR
        self.since, self.until = range_of(None, since, until, calendar=calendar)
        self.source, self.late = source, late
        self.on_data_loss: OnDataLoss = on_data_loss
        self.context = current_context() if context is None else context
        self._read: Events | None = None
        #: What it reads, and what it has been told to write.
        self.reading = Topics(self)
        self.references = JobReferences(self)
        self.models: list[Model] = []
        self.writes = Writes()
        #: How many tests have run, and the folder of their epochs, which is there while one runs.
        self.tests = 0
        self.test_epochs = f"{tempfile.gettempdir()}/retailpulse-test-{uuid4().hex}"

    @property
    def topic_name(self) -> str:
        """The topic that it reads first, by its name within the namespace."""
        return self._first_events.topic if self._read or self.writes else "retail.events"

    @property
    def unique_by(self) -> str:
        """By which column an event of that topic is taken once."""
        return self._first_events.unique_by if self._read or self.writes else "event_id"

    @property
    def topic(self) -> str:
        """The full name of the topic that it reads first."""
        return self.source_namespace.topic(self.topic_name)

    @property
    def topics(self) -> list[str]:
        """The full names of all topics that it reads."""
        names = [self.topic_name, *(reader.topic for output in self.writes.rows for reader in output.readers)]
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
    def shop(self) -> Contract:
        """The shop's contract.

        Raises
        ------
        ContractError
            The contract has faults.
        """
        return contract_of(self.settings)

    @property
    def contract(self) -> Contract:
        """What the messages hold of the topic that it reads first.

        Raises
        ------
        ContractError
            The shop's contract has faults.
        """
        return self.shop.of_topic(self.topic_name)

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
            The topic's name within the namespace. Where the contract gives the topic fields of its own, the events have
            these in place of the standard event's.
        unique_by : str
            By which column an event is taken once: ``event_id``, as all other jobs and reconciliation
            do it, or ``order_id``, ``session_id``, ``user_id``; of a topic with fields of its own any text among them.
            Events without it go by their ``event_id``.
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
        keys = _unique_by(self.shop.of_topic(topic))
        if unique_by not in keys:
            raise UnknownName("key of deduplication", unique_by, keys)
        if "pyspark.sql.functions" in sys.modules:
            _ = self.spark  # a notebook that has Spark's functions may make a UDF next, which fails before Spark runs
        horizon = span_of(watermark if dedup_horizon is None else dedup_horizon)
        events = Events(self, span_of(watermark), horizon, rejects == "publish", topic=topic, unique_by=unique_by)
        self._read = self._read or events
        return events

    def reference(self, name: str) -> DataFrame:
        """A reference table of the contract, as a bounded DataFrame to join events with.

        While the job runs, the table is read again as often as the contract says. Each micro-batch is joined with one
        version of the table, which is recorded: a micro-batch that is done again has the same. Don't `cache` it.

        Parameters
        ----------
        name : str
            The table's name in the contract, such as ``"products"``.

        Raises
        ------
        UnknownName
            The contract has no such table.
        """
        return self.references.frame(name)

    def model(self, name: str, *, load: Callable[[str], Any]) -> Model:
        """A file beside the notebook, such as a trained model, for the job's Python functions.

        A promoted version has a copy of the file. Another content of the file is another meaning of the job.

        Parameters
        ----------
        name : str
            The file's name, such as ``"score.joblib"``.
        load : callable
            Makes the model of the file's path, such as ``joblib.load``; called once in each worker.

        Returns
        -------
        Model
            Call it within a function to have what was loaded: ``model().predict(...)``.

        Raises
        ------
        UnknownName
            There is no such file beside the notebook.
        UsageError
            The name has a path.
        """
        model = model_of(self, name, load)
        self.models = [*(other for other in self.models if other.name != name), model]
        return model

    def try_udf(self, returns: str, *, pandas: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Make a Python function a function of Spark whose failures are values: a row that fails stops nothing.

        >>> @job.try_udf("double")  # doctest: +SKIP
        ... def share(part, whole):
        ...     return part / whole
        >>> tried = events.df.withColumn("share", share("price", "quantity"))  # doctest: +SKIP

        What the function gives are two fields: ``share.value``, and ``share.failed``, the last line of the traceback
        where the function failed, else null. A column ``_failed`` of what is written rejects the rows that have a text.

        Parameters
        ----------
        returns : str
            The type of the values, as Spark writes it: ``"double"``, ``"decimal(9,2)"``.
        pandas : bool
            Whether the function takes and gives series, as with ``F.pandas_udf``. Where it fails, it is asked once more
            for each row.

        Raises
        ------
        UsageError
            There is no such type.
        """
        return lambda function: try_udf(self, function, returns, pandas=pandas)

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
        self.writes.add(
            what, to, table=table or topic, key=key, mode=mode, name=name,
            readers=self.reading.readers, references=self.references.tables, batch=bool(self.context.batch),
        )  # fmt: skip

    def test(
        self,
        name: str,
        *,
        given: Any,
        expected: Any,
        references: Mapping[str, Any] | None = None,
        at: datetime | str | None = None,
        late: int | None = None,
    ) -> None:
        """Compare what the job's queries make of given events with what is expected; nothing is written.

        A table is a text table, a DataFrame or a list of dictionaries. A text table has a line of names and a line for
        each row, with cells separated by spaces. A cell that has spaces stands in double quotes, and ``null`` is no
        value. Call it behind `write`, in a cell tagged ``test``.

        Parameters
        ----------
        name : str
            What is tested, in words.
        given : table, or mapping of str to table
            The events; of a job that reads several topics, by topic. A field that is left out and required is filled
            in: see `retailpulse_kernel.streaming.intake.given.given_events`.
        expected : table, or mapping of str to table
            The rows; where the job writes several tables, by the table's name. The columns that are named are compared,
            and rows may have any order.
        references : mapping of str to table, optional
            The rows of each reference table that is joined, in place of the real ones.
        at : datetime or str, optional
            The present, which is the broker's time of the events: windows and sessions that have ended by then, less
            the watermark, are closed. A time of day such as ``10:00`` in a table is one of its day. The time of the
            newest event when absent.
        late : int, optional
            How many of the events are late by the watermark. They come in the order in which they are given, as in a
            continuous run. When absent, no order makes an event late.

        Raises
        ------
        TestFailed
            The rows are others, or other events are late: the error has a table of what differs.
        UsageError
            The test names a table, a topic or a column that the job does not have.
        """
        from retailpulse_kernel.streaming.run.testing import test_job

        passed = test_job(self, name, given=given, expected=expected, references=references or {}, at=at, late=late)
        if self.context.on_test is not None:
            self.context.on_test(passed)
        print(passed, flush=True)

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
        from retailpulse_kernel.streaming.run.assembly import sinks_of
        from retailpulse_kernel.streaming.run.backfill import backfill
        from retailpulse_kernel.streaming.run.batch import do_again
        from retailpulse_kernel.streaming.run.runner import Runner

        if self.context.run_job is not None:
            return self.context.run_job(self)
        if self.context.batch:
            return do_again(self)
        require_own(self.settings, f"Running the job {self.name!r}")
        if self.mode != "backfill":
            return Runner(self).run()
        (sink, *_) = sinks_of(self)
        if not isinstance(sink, FigureSink):
            what = "The archive is" if self.writes.archive else "Tables of rows are"
            raise UsageError(
                f"{what} not backfilled: all is in it once the job has taken it.",
                remedy=f"To read the topic again: {self.new_epoch_remedy}",
            )
        return backfill(self, sink)

    # -- for the runner ---------------------------------------------------------------------

    @property
    def watermark(self) -> timedelta:
        """How far event time may run ahead of an event before it is late."""
        return self._first_events.watermark

    @property
    def dedup_horizon(self) -> timedelta:
        """How long an event's id is remembered after the watermark has passed its time."""
        return self._first_events.dedup_horizon

    @property
    def conditions(self) -> tuple[str, ...]:
        """Which events the figures count; the query of a DataFrame has its own."""
        return () if self.writes.events is None else self.writes.events.conditions

    @property
    def new_epoch_remedy(self) -> str:
        """What to do where the job can't go on from its checkpoint."""
        return new_epoch_remedy(self.name, self.settings.namespace.option)

    @property
    def publishes_rejects(self) -> bool:
        """Whether it sends bad and late messages to their topics."""
        return self._first_events.publish_rejects

    def require_output(self) -> None:
        """Make sure that the job writes something.

        Raises
        ------
        JobError
            The job writes nothing.
        """
        if not self.writes:
            raise JobError(f"The job {self.name!r} writes nothing.", remedy="Call job.write(...) before job.run().")

    @property
    def _first_events(self) -> Events:
        """Those of the figures or the archive; of a job that has only tables of rows, those that it named first."""
        events = self.writes.events or self._read
        if events is None:
            raise JobError(f"The job {self.name!r} reads nothing.", remedy="Call job.events(...) first.")
        return events

    def columns(self, tables: Sequence[FigureTable]) -> list[str]:
        """The event's columns that the job's figures, conditions and expectations need.

        Parameters
        ----------
        tables : sequence of FigureTable
            Those that the job writes.
        """
        events = self._first_events
        whole = events.conditions or self.reading.expectations.of(events.topic)
        return list(column_types(self.contract)) if whole else sorted(columns_needed(tables))

    def filtered(self, rows: DataFrame) -> DataFrame:
        """Those rows that meet the conditions of the job's events.

        Parameters
        ----------
        rows : DataFrame
            With the columns that the conditions name.
        """
        return self._first_events.of(rows)
