"""What a job means: its topic, filters, keys, figures, windows and tables, as data.

Every run leaves its plan beside the checkpoint, so the state tells what it is the state of. Spark compares
no more than types and numbers of columns: it would take the sums of one filter for those of another. A promoted
version has its plan in the manifest. Whoever asks which job writes what reads plans (`finding`), and names no job.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Final

import msgspec

from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.shop.contract.model import Field, ReferenceTable
from retailpulse_kernel.shop.contract.paths import path_text
from retailpulse_kernel.shop.figures import FIGURES, Figure, Measure, Ratio
from retailpulse_kernel.shop.kinds import Kind
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import DIMENSIONS, FigureTable, Grain, grain_of
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.state.window_state import is_summable

__all__ = [
    "VERSION",
    "ExpectationPlan",
    "FieldPlan",
    "FigurePlan",
    "Plan",
    "RatioPlan",
    "ReferencePlan",
    "RowsPlan",
    "TablePlan",
    "read_plan",
    "write_plan",
]

#: The version in which plans are written. Plans without one are older; what they lack has its default.
VERSION: Final = 4
#: Those of plans whose windows are all of UTC, and also without tables of rows: programs of before read these as well.
_OF_UTC, _WITHOUT_ROWS = 3, 2

_NAME = "plan.json"
_BOUNDS: Final = ("min", "max", "min_length", "max_length")


@dataclass(frozen=True)
class FigurePlan:
    """A figure's definition: what an event adds, how that combines, which events count, and which quantile is shown."""

    name: str
    kind: str
    of: str
    where: str
    q: float | None = None

    @classmethod
    def describing(cls, figure: Figure) -> FigurePlan:
        """A figure's plan. The same expression in other spaces and brackets is the same figure.

        Parameters
        ----------
        figure : Figure
            As the job's notebook defines it.
        """
        of, where = (
            ast.unparse(ast.parse(text, mode="eval")) if text else "" for text in (figure.measure.of, figure.where)
        )
        return cls(figure.name, str(figure.measure.kind), of, where, figure.measure.q)

    @property
    def label(self) -> str:
        """The kind for people, with the quantile of one that has it."""
        return self.kind if self.q is None else f"{self.kind} {self.q:g}"

    @property
    def figure(self) -> Figure:
        """The figure: the shop's own where it is defined the same, with its title and unit.

        Raises
        ------
        ValueError
            There is no such kind of figure.
        """
        known = FIGURES.get(self.name)
        if isinstance(known, Figure) and FigurePlan.describing(known) == self:
            return known
        return Figure(self.name, self.name, Measure(Kind(self.kind), self.of, q=self.q), self.where)


@dataclass(frozen=True)
class ExpectationPlan:
    """What a job expects of the events of a topic, and what becomes of those that are otherwise."""

    topic: str
    name: str
    condition: str
    otherwise: str


@dataclass(frozen=True)
class FieldPlan:
    """What a field of the contract means to a job that reads it.

    Attributes
    ----------
    name, path, type : str
        As in the contract; the path is never empty.
    default : str
        What an event has in place of nothing, as JSON; empty for null.
    rules : tuple of str
        What makes a message bad, each in words.
    topic : str
        The topic whose own field it is; empty for a field of the events.
    """

    name: str
    path: str
    type: str
    default: str = ""
    rules: tuple[str, ...] = ()
    topic: str = ""

    @classmethod
    def describing(cls, field: Field, topic: str = "") -> FieldPlan:
        """A field's plan.

        Parameters
        ----------
        field : Field
            Of the contract.
        topic : str
            The topic whose own field it is.
        """
        rules = [f"{name} {bound}" for name in _BOUNDS if (bound := getattr(field, name)) is not None]
        rules += ["required"] if field.required else []
        rules += [f"one of {', '.join(map(str, field.allowed))}"] if field.allowed else []
        default = "" if field.default is None else msgspec.json.encode(field.default).decode()
        return cls(field.name, path_text(field.steps), field.type, default, tuple(rules), topic)

    @property
    def label(self) -> str:
        """What a reader of a report calls it."""
        return f"{self.name} of {self.topic}" if self.topic else self.name


@dataclass(frozen=True)
class ReferencePlan:
    """What a reference table means to a query that joins it. What its rows are, and where, means nothing.

    Attributes
    ----------
    name : str
        As in the contract.
    key : tuple of str
        The columns that tell a row from another.
    columns : tuple of (str, str)
        The columns with their types.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]

    @classmethod
    def describing(cls, table: ReferenceTable) -> ReferencePlan:
        """A reference table's plan.

        Parameters
        ----------
        table : ReferenceTable
            Of the contract.
        """
        return cls(table.name, table.key, table.columns)


@dataclass(frozen=True)
class RowsPlan:
    """What a table of rows holds, and the query that writes it.

    Attributes
    ----------
    output : str
        The output's name: that of its checkpoint.
    columns : tuple of (str, str)
        The columns' names and types.
    key : tuple of str
        The columns that tell a row from another; empty where rows are only appended.
    mode : str
        Spark's output mode.
    query : str
        A text that changes with the meaning of the query.
    reads : tuple of (str, str)
        The topics that the query reads, and by which column an event of each is taken once.
    references : tuple of ReferencePlan
        The reference tables that the query joins.
    steps : tuple of (str, str)
        What the query does, for people: topics and their watermarks, filters, joins, columns. Two plans that differ
        only here are the same.
    uncertain : tuple of str
        What may be another value when a micro-batch is done again, in rare cases, and what helps, for people.
    endless : tuple of str
        What of the query's state is never forgotten, for people.
    """

    output: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    mode: str
    query: str
    reads: tuple[tuple[str, str], ...]
    references: tuple[ReferencePlan, ...] = ()
    steps: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    uncertain: tuple[str, ...] = field(default=(), compare=False)
    endless: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class RatioPlan:
    """What is divided of two of a table's figures when the table is read. The state knows nothing of it."""

    name: str
    over: str
    under: str


@dataclass(frozen=True)
class TablePlan:
    """A table: the store it is in, its windows, its keys and figures in order, or what it holds as rows.

    One of single events has only a name. The calendar is that by which its windows are counted, with zone and first
    weekday; there is none where the windows are those of UTC.
    """

    name: str
    store: str
    every: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    figures: tuple[FigurePlan, ...] = ()
    rows: RowsPlan | None = None
    ratios: tuple[RatioPlan, ...] = ()
    calendar: Calendar | None = None

    @classmethod
    def describing(cls, table: FigureTable, store: str) -> TablePlan:
        """A figure table's plan.

        Parameters
        ----------
        table : FigureTable
            As the job's notebook defines it.
        store : str
            The store's name.
        """
        grains = tuple(grain.name for grain in table.every)
        figures = tuple(map(FigurePlan.describing, table.figures))
        ratios = tuple(RatioPlan(ratio.name, ratio.over.name, ratio.under.name) for ratio in table.ratios)
        return cls(table.name, store, grains, table.by, figures, ratios=ratios, calendar=_calendar(table))

    @property
    def row_table(self) -> RowTable:
        """The table of rows that this describes.

        Raises
        ------
        ValueError
            It describes another kind of table.
        UsageError
            This program does not know such types.
        """
        if self.rows is None:
            raise ValueError(f"{self.name} is not a table of rows")
        return RowTable(self.name, tuple(Column(*column) for column in self.rows.columns), self.rows.key)

    @property
    def physical(self) -> tuple[str, ...]:
        """The stored tables."""
        suffixes = (grain if (known := _known(grain)) is None else known.suffix for grain in self.every)
        return tuple(f"{self.name}_{suffix}" for suffix in suffixes) or (self.name,)

    @property
    def widths(self) -> tuple[str, ...]:
        """Its windows, for people."""
        return tuple(grain if (known := _known(grain)) is None else known.title for grain in self.every)

    @property
    def table(self) -> FigureTable:
        """The figure table that this describes.

        Raises
        ------
        ValueError, KeyError, UsageError
            This program does not know such figures, windows or keys.
        """
        figures = {figure.name: figure.figure for figure in self.figures}
        ratios = tuple(Ratio(one.name, one.name, figures[one.over], figures[one.under]) for one in self.ratios)
        grains = tuple(grain_of(grain, self.calendar or UTC_CALENDAR) for grain in self.every)
        # Which dimensions there are is the contract's matter: the job that wrote the table had these.
        known = tuple(sorted({*DIMENSIONS, *self.by}))
        return FigureTable(self.name, tuple(figures.values()), self.by, grains, ratios, dimensions=known)


def _calendar(table: FigureTable) -> Calendar | None:
    """The calendar by which a table's windows are counted: that of weeks, if it has any, also says where they begin."""
    others = {grain.calendar for grain in table.every} - {UTC_CALENDAR}
    return max(others, key=lambda one: one.week_start != UTC_CALENDAR.week_start, default=None)


def _known(name: str) -> Grain | None:
    """A grain by its name; None where only a newer program knows it."""
    try:
        return grain_of(name)
    except UsageError:
        return None


@dataclass(frozen=True)
class Plan:
    """The meaning of a job. Names are those within a namespace, so plans of two namespaces compare.

    Attributes
    ----------
    job : str
        The job's name.
    topic : str
        What it reads.
    unique_by : str
        By which column an event is taken once.
    watermark_ms : int
        When an event is late.
    conditions : tuple of str
        Which events count.
    output : str
        When a window is written: at each change, or when it is closed.
    rejects : str
        Whether bad and late messages are published.
    tables : tuple of TablePlan
        What it writes, in the order of the state's slots.
    dedup_horizon_ms : int, optional
        How long an id is remembered behind the watermark; as long as the watermark when absent.
    revision : str
        Tells plans apart that read the same and compute something else, as the gate has seen: a library was
        changed beneath the notebook.
    contract : int
        The version of the events' shape, their `schema_version`. Plans that don't say so are of the first.
    fields : tuple of FieldPlan
        Those of the shop's own fields that the job reads, and the standard ones that stand elsewhere in a message. Of a
        topic of another shape also where its events have their id and time from.
    words : tuple of (str, str)
        The shop's own words for events, with their roles.
    models : tuple of (str, str)
        The files beside the notebook that its functions load, with their SHA-256.
    formats : tuple of (str, str)
        How the messages of its topics are written, by the topics: those that are not JSON, with what the shop has
        chosen for the format.
    expectations : tuple of ExpectationPlan
        What it expects of events.
    version : int
        That of the plan's own form. Two plans that say the same are equal whichever version each was written in.

    Raises
    ------
    ValueError
        It was written in a version that this program does not know yet.
    """

    job: str
    topic: str
    unique_by: str
    watermark_ms: int
    conditions: tuple[str, ...]
    output: str
    rejects: str
    tables: tuple[TablePlan, ...]
    dedup_horizon_ms: int | None = None
    revision: str = ""
    contract: int = 1
    fields: tuple[FieldPlan, ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    models: tuple[tuple[str, str], ...] = ()
    formats: tuple[tuple[str, str], ...] = ()
    expectations: tuple[ExpectationPlan, ...] = ()
    version: int = field(default=VERSION, compare=False)

    def __post_init__(self) -> None:
        if self.version > VERSION:
            raise ValueError(f"the plan has version {self.version}, and this program knows {VERSION} at most")
        # What was read from an older form is of today's; and of what it reads, msgspec writes no mere defaults.
        form = VERSION if self.has_calendar else _OF_UTC if self.rows else _WITHOUT_ROWS
        object.__setattr__(self, "version", form)

    @property
    def has_calendar(self) -> bool:
        """Whether windows of a table are counted by another clock than that of UTC, or weeks from another day."""
        return any(table.calendar is not None for table in self.tables)

    @property
    def state(self) -> tuple[FigurePlan, ...]:
        """The figures in the order in which the state keeps them."""
        return tuple({figure.name: figure for table in self.tables for figure in table.figures}.values())

    @property
    def shown_ms(self) -> int:
        """How far the tables of figures are ahead of the watermark, which waits for late events."""
        return self.watermark_ms if self.output == "change" else 0

    @property
    def uses_window_state(self) -> bool:
        """Whether an epoch on one machine may keep its window state in own files, without the windows' keys."""
        summable = [is_summable(figure.kind, figure.of) for figure in self.state]
        return self.output == "change" and bool(summable) and all(summable)

    @property
    def keys(self) -> tuple[str, ...]:
        """The dimensions by which the state is kept."""
        return tuple(sorted({dimension for table in self.tables for dimension in table.by}))

    @property
    def slots(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """What the numbers stand for by which the state tells tables and windows apart."""
        return tuple((table.name, grain, table.by) for table in self.tables for grain in table.every)

    def refuses(self, topic: str) -> tuple[str, ...]:
        """The conditions by which events of a topic are refused.

        Parameters
        ----------
        topic : str
            The topic's name within the namespace.
        """
        return tuple(o.condition for o in self.expectations if (o.topic, o.otherwise) == (topic, "reject"))

    @property
    def references(self) -> tuple[ReferencePlan, ...]:
        """The reference tables that its tables of rows are joined with."""
        return tuple(
            dict.fromkeys(one for table in self.rows if table.rows is not None for one in table.rows.references)
        )

    @property
    def archive(self) -> TablePlan | None:
        """The table of single events, of a job that keeps them."""
        return next((table for table in self.tables if not table.figures and table.rows is None), None)

    @property
    def rows(self) -> tuple[TablePlan, ...]:
        """The tables of rows."""
        return tuple(table for table in self.tables if table.rows is not None)

    @property
    def outputs(self) -> dict[str, tuple[str, ...]]:
        """The topics that each output reads; the output without a name is that of figures and single events."""
        rows = {table.rows.output: table.rows.reads for table in self.rows if table.rows is not None}
        own = {"": (self.topic,)} if len(rows) < len(self.tables) else {}
        return own | {output: tuple(dict.fromkeys(topic for topic, _ in reads)) for output, reads in rows.items()}

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that it reads."""
        further = (topic for table in self.rows if table.rows is not None for topic, _ in table.rows.reads)
        return tuple(dict.fromkeys([self.topic, *further]))


def read_plan(checkpoint: str) -> Plan | None:
    """The plan of the last run on a checkpoint; None where none was left.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.

    Raises
    ------
    JobError
        It is damaged, or was written by a newer version of the package.
    """
    content = read_note(checkpoint, _NAME)
    try:
        return None if content is None else msgspec.json.decode(content, type=Plan)
    except msgspec.MsgspecError as error:
        raise JobError(
            f"The plan beside the checkpoint {checkpoint} can't be read: {error}.",
            remedy="Use the version of the package that wrote it, or begin a new epoch.",
        ) from error


def write_plan(checkpoint: str, plan: Plan) -> None:
    """Leave the plan beside a checkpoint.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    plan : Plan
        Replaces the one of the run before.
    """
    write_note(checkpoint, _NAME, msgspec.json.encode(plan))
