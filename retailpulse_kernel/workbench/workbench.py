"""One line to everything: what ``import retailpulse_kernel as rp`` offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retailpulse_kernel.catalogue.overview import Tables
    from retailpulse_kernel.insight.against import Against
    from retailpulse_kernel.insight.explanation import Explanation
    from retailpulse_kernel.live.browsing import Browser
    from retailpulse_kernel.live.canvas import Canvas
    from retailpulse_kernel.live.explorer import Explorer
    from retailpulse_kernel.live.tables.opening import Dialect
    from retailpulse_kernel.live.tables.view import TableView
    from retailpulse_kernel.live.view import LiveView
    from retailpulse_kernel.promotion.widgets.board import Jobs
    from retailpulse_kernel.promotion.widgets.panels import Gate
    from retailpulse_kernel.scaffold.jobs import NewJob
    from retailpulse_kernel.shop.figures import Figure, Ratio
    from retailpulse_kernel.stores.base import FigureStore, Store
    from retailpulse_kernel.stores.cassandra.store import CassandraStore
    from retailpulse_kernel.stores.frames import Form
    from retailpulse_kernel.stores.hbase.store import HBaseStore
    from retailpulse_kernel.stores.hive.store import HiveStore
    from retailpulse_kernel.stores.kafka.store import KafkaStore
    from retailpulse_kernel.stores.spark.store import SparkStore
    from retailpulse_kernel.streaming.run.job import Job, OnDataLoss, RunMode
    from retailpulse_kernel.workbench.overview import Status

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
        self._stores: dict[str, Store] = {}

    def __repr__(self) -> str:
        """Where everything is, and where each password comes from; never a password."""
        from retailpulse_kernel.ground.profiles import described_profile

        head = f"Workbench(profile={self.settings.profile_name!r}, namespace={self.settings.namespace_name!r})"
        return "\n".join([head, *described_profile(self.settings.profile)])

    @property
    def kafka(self) -> KafkaStore:
        """The topics."""
        return cast("KafkaStore", self.store("kafka"))

    def store(self, name: str) -> Store:
        """A store by its name: a shipped one, or a further one of the profile.

        Parameters
        ----------
        name : str
            As the store is registered.

        Raises
        ------
        UnknownName
            There is no such store.
        ProfileError
            The profile does not use it.
        """
        from retailpulse_kernel.stores.registry import open_store

        if name not in self._stores:
            self._stores[name] = open_store(name, self.settings)
        return self._stores[name]

    @property
    def serving(self) -> FigureStore:
        """The store that serves the figures, which the profile names; Cassandra where it names none."""
        return cast("FigureStore", self.store(self.settings.profile.serving.store))

    @property
    def cassandra(self) -> CassandraStore:
        """The figures by category."""
        return cast("CassandraStore", self.store("cassandra"))

    @property
    def hbase(self) -> HBaseStore:
        """Sessions and users."""
        return cast("HBaseStore", self.store("hbase"))

    @property
    def hive(self) -> HiveStore:
        """The archive of every event."""
        return cast("HiveStore", self.store("hive"))

    @cached_property
    def _spark(self) -> SparkStore:
        from retailpulse_kernel.stores.spark.store import SparkStore

        return SparkStore(self.settings)

    @property
    def spark(self) -> SparkSession:
        """The notebook's Spark session, with Hive's tables in its catalog.

        It is one on the profile's Spark Connect server, or where there is none, one of this process, which starts on
        first use. The functions of `pyspark.sql` belong to the session that was asked for last: this one, or a job's.
        """
        return self._spark.session

    def sql(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """Spark SQL over Hive's tables and this notebook's views, as a frame.

        Parameters
        ----------
        statement : str
            One statement; parameters are written ``:name``.
        parameters : mapping, optional
            Their values, bound by Spark and never part of the text.
        limit : int, optional
            At most this many rows; all when absent. Where rows are cut off, a note says so.
        as_ : str
            ``"pandas"``, ``"float"`` (exact decimals become ``float64``), ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            See `retailpulse_kernel.stores.frames` for the columns' types.

        Raises
        ------
        UsageError
            Spark does not accept the statement.
        StoreUnavailable
            Spark, or Hive's Metastore, does not answer.
        """
        return self._spark.query(statement, parameters, limit=limit, as_=as_)

    def job(
        self,
        name: str,
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
    ) -> Job:
        """A streaming job, whose events and figures the following cells define.

        Parameters
        ----------
        name : str
            Its name in checkpoints, accounts and reports.
        run : {"available_now", "continuous", "backfill"}
            Take all that there is and end; follow the topic; or write a range of windows again beside the live job.
        run_for : timedelta or str, optional
            How long a continuous run lasts, such as ``"30m"``; until it is stopped when absent.
        trigger : timedelta or str
            How often a continuous run starts a micro-batch.
        since, until : datetime or str, optional
            The range of a backfill, the shop's time unless it has a zone, on whole minutes; all there is when absent.
        source : {"kafka", "archive"}
            Where a backfill reads.
        late : {"exclude", "include"}
            Whether a backfill counts late events.
        output : {"change"}
            A window is written whenever it has changed. Notebooks of before may say so.
        on_data_loss : {"stop", "account"}
            Stop when the topic has deleted messages that the job has not taken yet, or go on and account for
            them as lost.

        Returns
        -------
        Job
            Its ``events(...)``, ``write(...)`` and ``run()`` do the rest.

        Raises
        ------
        UsageError
            The job can't run like this.
        """
        from retailpulse_kernel.streaming.run.job import Job

        return Job(
            name,
            self.settings,
            run=run,
            run_for=run_for,
            trigger=trigger,
            since=since,
            until=until,
            source=source,
            late=late,
            output=output,
            on_data_loss=on_data_loss,
        )

    def new_job(self, name: str, folder: str | Path | None = None) -> NewJob:
        """Make the notebook of a new job; see `retailpulse_kernel.scaffold.jobs.new_job`.

        Parameters
        ----------
        name : str
            Of lower-case letters, digits and underscores.
        folder : str or Path, optional
            Where the notebook goes; the checkout's ``notebooks/jobs`` when absent.
        """
        from retailpulse_kernel.scaffold.jobs import new_job

        return new_job(self.settings, name, None if folder is None else Path(folder))

    def tables(self) -> Tables:
        """The tables that the jobs of the namespace write, promoted or not; see `catalogue.overview.Tables`."""
        from retailpulse_kernel.catalogue.overview import tables_of

        return tables_of(self.settings)

    def table(
        self,
        name: str,
        *,
        where: Mapping[str, Any] | None = None,
        last: str | timedelta | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        time: str | None = None,
        every: str | None = None,
        columns: Sequence[str] | None = None,
        order: str | Sequence[str] | None = None,
        limit: int | None = None,
        store: str | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """The rows of a table that a job writes, as they are stored, exact.

        Parameters
        ----------
        name : str
            One of `tables`, or a stored table of figures such as ``prices_5m``.
        where : mapping, optional
            A value, or a list of values, by column: ``{"category": ["books", "toys"]}``.
        last : str or timedelta, optional
            The newest span (``"1h"``), up to `until` or now; instead of `since`.
        since, until : datetime or str, optional
            The range ``[since, until)`` of the table's column of times, the shop's time unless it has a zone.
        time : str, optional
            That column; when absent, the first timestamp of the key, or else the only timestamp.
        every : str, optional
            The windows of stored figures; the finest when absent.
        columns : sequence of str, optional
            The columns to give; all when absent.
        order : str or sequence of str, optional
            Columns to sort by, with ``-`` in front for descending. Without it, rows come in no order.
        limit : int, optional
            At most this many rows. Where others are left out, a note says so.
        store : str, optional
            The store, where several have a table of the name.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            Decimals are exact, times are UTC. ``.attrs["rows_read"]`` says how many rows the store gave, and of figures
            ``.attrs["complete_until"]`` until when windows are complete, in ISO 8601.

        Raises
        ------
        UnknownName
            There is no such table or column.
        NoSuchTable
            The table's job has not run yet.
        UsageError
            A value is none of the column's type, or no column tells the time.
        """
        from retailpulse_kernel.catalogue.completeness import complete_until
        from retailpulse_kernel.catalogue.conditions import wanted_of
        from retailpulse_kernel.catalogue.contents import Contents
        from retailpulse_kernel.catalogue.tables import catalogue_of
        from retailpulse_kernel.ground.spans import range_of
        from retailpulse_kernel.shop.tables import grain_of

        catalogue = catalogue_of(self.settings)
        found, calendar = catalogue.find(name, store), catalogue.contract.shop.calendar
        opened = self.store(found.entry.store)
        contents = Contents(found, catalogue.contract, opened, grain_of(every, calendar) if every else None)
        begin, end = range_of(last, since, until, calendar=calendar)
        wanted = wanted_of(
            contents.table, where=where, since=begin, until=end, time=time, columns=columns, order=order, limit=limit
        )
        frame = contents.read(wanted).framed(as_)
        if found.entry.kind == "figures" and as_ in ("pandas", "float"):
            frame.attrs["complete_until"] = complete_until(catalogue, [found.entry]).isoformat()
        return frame

    def figures(
        self,
        *figures: str | Figure | Ratio,
        by: str | Sequence[str] = "category",
        where: Mapping[str, str | Sequence[str]] | None = None,
        last: str | timedelta | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        grain: str | None = None,
        every: str | None = None,
        table: str | None = None,
        currency: str | None = None,
        late: Literal["include", "exclude"] = "include",
        top: int | None = None,
        compare: str | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """The stored figures as a frame, exact, with averages and other ratios divided at the end.

        Any table of any job answers that keeps the figures by the dimensions, the one with the fewest rows first. A
        note says which, where it is not the table ``category``.

        Parameters
        ----------
        *figures : str or Figure
            Which ones, such as ``"revenue"`` or `metrics.REVENUE`; all of one table when none is named. Money in the
            shop's base currency is ``"revenue_base"``, where the contract names rates (docs/figures.md).
        by : str or sequence of str
            Dimensions of the table, or ``bucket`` for a series over time. A column of a reference table of the
            contract is one, too, where a table goes by its key: ``"products.supplier"``.
        where : mapping, optional
            A value, or a list of values, by dimension: ``{"event_type": "purchase"}``.
        last : str or timedelta, optional
            The newest span (``"1h"``), up to `until` or the present minute; or ``"today"``, ``"yesterday"``, ``"this
            week"``, ``"last week"``, ``"this month"`` or ``"last month"`` of the shop. Instead of `since`.
        since, until : datetime or str, optional
            The range, the shop's time unless it has a zone, where windows of the table begin: of `CATEGORY` on whole
            minutes. ``"today"``, ``"yesterday"`` and ``"monday"`` are the beginning of the last such day. All there is
            when absent.
        grain : str, optional
            The same as `every`.
        every : str, optional
            The windows behind ``bucket``: ``"5 minutes"``, ``"hour"``, ``"1 week"``. The table's widest windows that
            add up to these answer, and its finer ones at the ends of the range.
        table : str, optional
            The table that answers. When absent, the cheapest that can; ``category`` where no figure is named.
        currency : str, optional
            Only this one, such as ``"USD"``; the same as in `where`.
        late : {"include", "exclude"}
            Whether late events count. Figures without them are those that the jobs wrote.
        top : int, optional
            Only so many groups, those with most of the first figure in the whole range, the largest first. All other
            groups together are the group ``other``. Each currency has its own.
        compare : str, optional
            ``"previous"`` (the range of the same length before), ``"yesterday"`` or ``"last week"``: the earlier value
            of each figure, from the same part of that range. The range then ends with the last window that is over.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            The keys as categories, ``bucket`` as time in the shop's zone, money exact, each a `decimal.Decimal`. With
            ``as_="float"`` money is ``float64``, for plots, ``nlargest``, ``describe`` and the like. By ``bucket``
            there is also ``complete``: false for a window whose end the clock or the table's job has not passed, or of
            which the range holds only a part. ``.attrs["since"]`` and ``.attrs["until"]`` keep the range that was read,
            in ISO 8601, and ``.attrs["table"]`` the table. Where late events were added, ``.attrs["late"]`` says how
            many, when and how much, and by ``bucket`` there is ``corrected``: true for a window that holds some. A
            comparison has a column ``NAME_before`` for each figure, and ``change`` and ``change_percent``; of several
            figures ``NAME_change`` and ``NAME_change_percent``. With money in the base currency,
            ``.attrs["rate_dates"]`` and ``.attrs["missing"]`` tell the rates that were used, and what has none.

        Raises
        ------
        UnknownName
            There is no such figure, dimension, table or comparison.
        UsageError
            No table keeps the figures by the dimensions; the range is empty, or begins or ends within the table's
            finest windows; the table's windows do not add up to those that are wanted; or nothing says what money is
            worth in the base currency.
        """
        from retailpulse_kernel.catalogue.answering import Asking, answer
        from retailpulse_kernel.catalogue.conditions import require_currency, texts_of
        from retailpulse_kernel.catalogue.tables import catalogue_of
        from retailpulse_kernel.stores.frames import shaped

        if grain is not None and every is not None:
            raise UsageError("`grain` and `every` are both given.", remedy="Use `every`.")
        require_currency(currency)
        only = texts_of(where)
        if currency is not None:
            only["currency"] = [currency]
        dimensions = [by] if isinstance(by, str) else list(by)
        asking = Asking(figures, tuple(dimensions), only, last, since, until, every or grain, table, late, top, compare)
        rows_of = partial(self.reference, as_="arrow")
        return shaped(answer(catalogue_of(self.settings), asking, self.store, rows_of), as_)

    def why(
        self,
        figure: str | Figure | Ratio,
        *,
        by: str | Sequence[str] = (),
        where: Mapping[str, str | Sequence[str]] | None = None,
        last: str | timedelta | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        against: Against = "previous",
        currency: str | None = None,
        table: str | None = None,
        scale: bool = False,
        top: int | None = 10,
    ) -> Explanation:
        """Why a figure moved: what each value of a dimension contributes, adding up to the change exactly.

        Parameters
        ----------
        figure : str or Figure or Ratio
            What adds up, such as ``"revenue"``, ``"revenue_base"`` or ``"orders"``, or a ratio of two such.
        by : str or sequence of str
            The dimensions that are tried. When absent, all with few values that a table has for the figure. The one
            that explains best stands first (docs/why.md).
        where : mapping, optional
            A value, or a list of values, by dimension.
        last : str or timedelta, optional
            The newest span, or ``"today"`` and the like, as in `figures`.
        since, until : datetime or str, optional
            The range, as in `figures`. It ends with the last window that is over.
        against : str or tuple
            ``"previous"``, ``"yesterday"`` or ``"last week"``; or another range, as ``(start, end)`` or
            ``"START/END"``.
        currency : str, optional
            Whose money. When absent, the shop's currency, or the only one that there is.
        table : str, optional
            The table that answers.
        scale : bool
            Whether ranges of different lengths are compared: the earlier amounts are then multiplied by the ratio of
            the lengths.
        top : int, optional
            So many values stand by themselves, those that moved most; all when None.

        Returns
        -------
        Explanation
            Shows a sentence and a waterfall. Its ``.frame`` is exact, ``.by(...)`` asks the next question, and
            ``.drill()`` asks by a click.

        Raises
        ------
        UnknownName
            There is no such figure, dimension, table or comparison.
        UsageError
            The figure does not add up, or the ranges can't be compared.
        """
        from retailpulse_kernel.catalogue.conditions import require_currency, texts_of
        from retailpulse_kernel.catalogue.tables import catalogue_of
        from retailpulse_kernel.insight.explaining import Asked, explain

        require_currency(currency)
        only = texts_of(where)
        dimensions = (by,) if isinstance(by, str) else tuple(by)
        asked = Asked(figure, dimensions, only, last, since, until, against, currency, table, scale, top)
        return explain(catalogue_of(self.settings), asked, self.store, partial(self.reference, as_="arrow"))

    def reference(self, name: str, *, as_: Form = "pandas") -> Any:
        """The rows of a reference table of the contract, as a job would read them now.

        Parameters
        ----------
        name : str
            As the contract calls the table, such as ``"products"``.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            The contract's columns, in the order of the keys.

        Raises
        ------
        UnknownName
            The contract has no such table.
        UsageError
            The rows are not there, or are not as the contract says.
        """
        from retailpulse_kernel.shop.contract.loading import contract_of
        from retailpulse_kernel.stores.frames import from_arrow, one_of, shaped
        from retailpulse_kernel.stores.reference_tables import read_table

        tables = {table.name: table for table in contract_of(self.settings).tables}
        rows = read_table(self.settings, one_of(tables, name, "reference table")[name])
        return rows if as_ == "arrow" else shaped(from_arrow(rows.to_batches(), rows.schema), as_)

    def canvas(self) -> Canvas:
        """A place in a notebook for a chart that moves; see `retailpulse_kernel.live.canvas.Canvas`."""
        from retailpulse_kernel.live.canvas import Canvas

        return Canvas()

    def live(
        self,
        table: str | None = None,
        *,
        figure: str | Figure | Ratio | Sequence[str | Figure | Ratio] | None = None,
        cql: str | None = None,
        hive: str | None = None,
        spark: str | None = None,
        by: str | Sequence[str] = (),
        where: Mapping[str, Any] | None = None,
        last: str | timedelta | None = "auto",
        every: str | None = None,
        columns: str | Sequence[str] | None = None,
        chart: str = "auto",
        store: str | None = None,
        time: str | None = None,
        currency: str | None = None,
        refresh: str | timedelta = "2s",
        categories: str | Sequence[str] = (),
        window: str | timedelta = "1h",
        hz: float = 2.0,
        fold_up_to: float | None = None,
    ) -> LiveView | TableView:
        """A live view in one widget: of a table, of figures, of a statement, or of the whole shop.

        Without a table, a figure and a statement it shows the canonical figures, with the newest messages before they
        are stored. Otherwise it shows what is stored, and reads it again and again.

        Parameters
        ----------
        table : str, optional
            One of `tables`, promoted or not, or a stored table of figures such as ``prices_5m``.
        figure : str or Figure or sequence, optional
            Figures of whichever table answers, as `figures` chooses it; of `table` where that is given.
        cql, hive, spark : str, optional
            A statement that only reads, in CQL, HiveQL or Spark SQL.
        by : str or sequence of str
            The dimensions of figures, or the column by which rows are drawn.
        where : mapping, optional
            A value, or a list of values, by dimension or column.
        last : str or timedelta, optional
            How much is shown: ``"15m"``, ``"1d"``; all there is when None. ``"auto"`` is an hour of figures, a quarter
            of an hour of events, and all rows.
        every : str, optional
            The windows of figures; chosen by the range when absent.
        columns : str or sequence of str, optional
            The columns, or the figures of `table`, that are shown; all when absent.
        chart : str
            ``"line"``, ``"bar"``, ``"number"`` or ``"table"``, which draws nothing; ``"auto"`` chooses.
        store : str, optional
            The store, where several have a table of the name.
        time : str, optional
            The rows' column of times, where there are several.
        currency : str, optional
            Only this one. When absent, the first that there is is drawn, and another can be chosen. Of the whole shop,
            ``"base"`` is all money in the shop's base currency, where the contract names rates.
        refresh : str or timedelta
            How often stored rows are read, ``"0.5s"`` to ``"1h"``; a table that is slow to read is read less often.
        categories : str or sequence of str
            Of the whole shop: dot paths, such as ``"electronics"``; each also means what is below it. All when empty.
        window : str or timedelta
            Of the whole shop: what is shown at first, ``"5m"``, ``"15m"``, ``"1h"``, ``"3h"``, ``"6h"`` or ``"1d"``.
        hz : float
            Of the whole shop: pictures a second, 0.5 to 4.
        fold_up_to : float, optional
            Of the whole shop: events a second above which the view follows the stored figures alone, and says so;
            10,000 when absent.

        Returns
        -------
        LiveView or TableView
            A widget; its ``.frame`` holds what it shows, exact.

        Raises
        ------
        UnknownName
            There is no such table, figure, dimension, column or chart.
        UsageError
            The view can't be shown like this, or the statement may change something.
        """
        given: dict[Dialect, str | None] = {"cql": cql, "hive": hive, "spark": spark}
        statements = {name: text for name, text in given.items() if text is not None}
        if table is None and figure is None and not statements:
            from retailpulse_kernel.live.view import live

            return live(
                self.settings, window=window, currency=currency, categories=categories, hz=hz, fold_up_to=fold_up_to
            )
        from retailpulse_kernel.live.tables.opening import Asked, open_view

        asked = Asked(
            table, figure, statements, by, where or {}, last, every, columns, chart, store, time, currency, refresh
        )  # fmt: skip
        return open_view(self.settings, asked, self.store, self._ask)

    def _ask(self, language: Dialect, statement: str, most: int) -> Any:
        """The rows of a statement, for a live view."""
        stores = {"cql": lambda: self.cassandra, "hive": lambda: self.hive, "spark": lambda: self._spark}
        return stores[language]().query(statement, limit=most)

    def explore(
        self,
        categories: str | Sequence[str] = (),
        *,
        question: str = "categories",
        last: str | timedelta | None = "1d",
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        currency: str = "USD",
        figure: str = "revenue",
        by: str = "category",
    ) -> Explorer:
        """The category explorer, a widget.

        Parameters
        ----------
        categories : str or sequence of str
            Dot paths to begin with; several are compared. The whole tree when empty.
        question : str
            What is shown first: ``"categories"``, ``"over_time"``, ``"brands"``, ``"products"``, ``"by_dimension"``,
            ``"funnel"``, ``"engagement"``, ``"hours"`` or ``"order_values"``.
        last : str or timedelta, optional
            The newest span: ``"1h"``, ``"7d"``; all there is when None.
        since, until : datetime or str, optional
            A past range instead, UTC unless it has a zone, on whole minutes.
        currency : str
            Whose money is looked at.
        figure, by : str
            Of the question ``"by_dimension"``: any figure, and any dimension of the contract or of a table, or a column
            of a reference table such as ``"products.supplier"``.

        Returns
        -------
        Explorer
            A widget; its ``.frame`` holds the data of what it shows, its ``.code`` the code for it.

        Raises
        ------
        UnknownName
            There is no such question.
        """
        from retailpulse_kernel.live.explorer import explore

        return explore(
            self, categories, question=question, last=last, since=since, until=until, currency=currency, figure=figure,
            by=by,
        )  # fmt: skip

    def browse(self) -> Browser:
        """The topics and tables to look through, as a widget with buttons that put code into the notebook.

        In JupyterLab the same list stands at the left side.
        """
        from retailpulse_kernel.live.browsing import Browser

        return Browser(self.settings)

    def promote(self, notebook: str | Path | None = None, **parameters: Any) -> Gate:
        """The gate to production for a notebook, as a widget.

        Parameters
        ----------
        notebook : str or Path, optional
            The notebook to promote; this one when absent.
        **parameters
            Values of the notebook's own parameters, which the form begins with; the defaults of its cell
            tagged ``parameters`` for those that are not given.

        Returns
        -------
        Gate
            A widget with the parameters, the schedule, what changes, and the steps of the gate.

        Raises
        ------
        UnknownName
            The notebook has no such parameter.
        """
        from retailpulse_kernel.promotion.widgets.panels import Gate

        return Gate(self.settings, notebook, parameters)

    def jobs(self) -> Jobs:
        """The promoted jobs, as a widget; see `retailpulse_kernel.promotion.widgets.board.Jobs`."""
        from retailpulse_kernel.promotion.widgets.board import Jobs

        return Jobs(self.settings)

    def status(self) -> Status:
        """The servers with their versions, and the jobs with their lag."""
        from retailpulse_kernel.workbench.overview import status_of

        return status_of(self)
