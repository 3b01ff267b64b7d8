"""What Spark's analysed plan of a streaming DataFrame says: what it reads and means, and whether it can be repeated.

The walk stops where the job's own source begins. So a text of the plan is that of the notebook's query alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.stores.spark.plans import id_of, items, steps_of
from retailpulse_kernel.streaming.intake.judging import OBSERVED_UNIQUE
from retailpulse_kernel.streaming.query.endless import kept_for_ever
from retailpulse_kernel.streaming.query.functions import digest
from retailpulse_kernel.streaming.query.order import Ordered, OrderRule
from retailpulse_kernel.streaming.reference.source import FORMAT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["AGGREGATES", "OWN_STATE", "READER", "Analysis", "analysed", "goes_by_clock", "is_outer", "is_timed"]

#: The name of a job's reader in a plan, with its number.
READER: Final = re.compile(rf"{OBSERVED_UNIQUE}_(\d+)")
#: Parts of a plan's text that differ from run to run, and mean nothing.
_INCIDENTAL: Final = (
    (re.compile(r"-T\d+ms\b"), ""),  # the delay of an event-time column: the plan has the watermark by itself
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "id"),
    (re.compile(r"@[0-9a-f]{5,}\b"), ""),
    (re.compile(r"\bfile:[^,\]\s]+"), "file"),
)
_EXPRESSION_ID: Final = re.compile(r"#(\d+)L?")
#: The clock: Spark calls it deterministic, as within one batch it is.
_CLOCK: Final = frozenset(
    {"CurrentTimestamp", "CurrentDate", "CurrentTime", "LocalTimestamp", "Now", "CurrentBatchTimestamp"}
)
#: Operators that keep a state by key and emit by an output mode.
AGGREGATES: Final = frozenset({"Aggregate"})
OWN_STATE: Final = frozenset(
    {
        "FlatMapGroupsWithState",
        "FlatMapGroupsInPandasWithState",
        "TransformWithState",
        "TransformWithStateInPySpark",
    }
)
#: Operators that leave the rows in the order of the messages; any other may change it.
_IN_ORDER: Final = frozenset(
    {
        "CollectMetrics",
        "EventTimeWatermark",
        "Filter",
        "Generate",
        "MapInArrow",
        "MapInPandas",
        "Project",
        "SubqueryAlias",
    }
)
#: Operators that compute columns, and what they call these.
_CHOOSING: Final = {"Project": "projectList", "Aggregate": "aggregateExpressions"}
#: Operators that pass on the columns of their children, and look at no others than they say.
_PASSING: Final = frozenset({"Filter", "Join", "SubqueryAlias", "EventTimeWatermark"})
#: How they say that they wait for no time.
_TIMELESS: Final = frozenset({"NoTime", "NoTimeout"})
#: How they say that they wait for the clock, and not for the times of events.
_BY_CLOCK: Final = frozenset({"ProcessingTime", "ProcessingTimeTimeout"})
_PYTHON: Final = frozenset({"PythonUDF", "PythonUDAF", "PythonUDTF"})
_FIELDS: Final = 100_000


@dataclass
class Analysis:
    """What was found in a plan.

    Attributes
    ----------
    readers : list of int
        The job's readers by their numbers in the notebook, in the order in which the query has them.
    foreign : list of str
        Streams that are not the job's own.
    changing : list of str
        Expressions that give something else when the same batch is done again.
    ordered : list of Ordered
        Parts that depend on the order of the job's events within Spark.
    uncertain : list of str
        What may be another value when a micro-batch is done again, in rare cases, and what helps.
    endless : list of str
        What of the query's state is never forgotten.
    aggregates : bool
        Whether the job's events are aggregated.
    own_mode : str
        The output mode that an operator with a state of its own was given; empty without one.
    sessions : bool
        Whether windows end by a gap: Spark writes them only when they are closed, or all.
    waits : bool
        Whether rows wait for Spark's watermark in every mode: those of an outer join without a partner, and what a
        state of its own gives at a time.
    references : list of str
        The reference tables that are joined, in the order in which the query has them.
    in_order : bool
        Whether rows come in the order of the messages, so that the last row of a key is the newest.
    steps : list of tuple of (str, str)
        What the query does, from the end to the beginning; see `steps_of`.
    columns : list of tuple of str
        Which columns of each reader are looked at; all, where that can't be told.
    """

    readers: list[int] = field(default_factory=list)
    columns: list[tuple[str, ...]] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    changing: list[str] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    ordered: list[Ordered] = field(default_factory=list)
    uncertain: list[str] = field(default_factory=list)
    endless: list[str] = field(default_factory=list)
    aggregates: bool = False
    own_mode: str = ""
    sessions: bool = False
    waits: bool = False
    references: list[str] = field(default_factory=list)
    in_order: bool = True
    _lines: list[str] = field(default_factory=list)
    _order: OrderRule = field(default_factory=OrderRule)

    @property
    def fingerprint(self) -> str:
        """A short text that changes with the meaning of the query."""
        text = "\n".join(self._lines)
        for pattern, instead in _INCIDENTAL:
            text = pattern.sub(instead, text)
        known: dict[str, int] = {}
        text = _EXPRESSION_ID.sub(lambda found: f"#{known.setdefault(found[1], len(known))}", text)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def take(self, node: Any, depth: int = 0, wanted: set[int] | None = None) -> None:
        """Walk through a logical plan.

        Parameters
        ----------
        node : object
            A node of Spark's analysed plan.
        depth : int
            How far below the top it is.
        wanted : set of int, optional
            Which of its columns are looked at above; all when absent.
        """
        name = node.nodeName()
        if name == "CollectMetrics" and (found := READER.fullmatch(node.name())):
            self.readers.append(int(found[1]))
            given = ((id_of(column), column.name()) for column in items(node.output()))
            self.columns.append(tuple(text for number, text in given if wanted is None or number in wanted))
            self._lines.append(f"{depth} reader {self.readers.index(int(found[1]))}")
            return
        if name == "DataSourceV2Relation" and node.table().name() == FORMAT:
            self.references.append(node.options().get("table"))
            self._lines.append(f"{depth} reference {self.references[-1]} {node.output().mkString()}")
            return
        children, before = list(items(node.children())), len(self.readers)
        if not children and node.isStreaming():
            self.foreign.append(node.simpleString(_FIELDS))
        if name in OWN_STATE:
            self.own_mode = str(node.outputMode()).lower()
            self.waits = self.waits or is_timed(node)
        # A user's own watermark may be made longer or shorter, as the job's: what it means is said of the job.
        arguments = "" if name == "EventTimeWatermark" else node.argString(_FIELDS)
        functions = [text for one in items(node.expressions()) for text in self._expression(one)]
        self.steps += [*steps_of(node), *(("Python function", text) for text in functions)]
        self._lines.append(f"{depth} {name} {arguments} {functions}")
        broken = self._order.broken_by(node, wanted)
        read, further = [], _wanted(node, name, wanted)
        for child in children:
            self.take(child, depth + 1, further)
            read.append(len(self.readers))
        for child in items(node.subqueries()):
            self.take(child, depth + 1)
        if name == "Join" and before < read[0] < read[1] and is_outer(node):
            self.waits = True
        if all(end > start for start, end in pairwise([before, *read])):
            self.endless += kept_for_ever(node)
        if len(self.readers) > before:
            self.ordered += [part for part in broken if not part.rarely]
            self.uncertain += [f"{part.what} {part.remedy}" for part in broken if part.rarely]
        # Of what it reads: a batch over the same events means the same, and is no stream.
        if name in AGGREGATES and len(self.readers) > before:
            self.aggregates = True
            self.sessions = self.sessions or "session_window#" in node.argString(_FIELDS)

    def _expression(self, expression: Any) -> Iterator[str]:
        """The Python functions in an expression; what can't be repeated is noted."""
        name, children = expression.getClass().getSimpleName(), list(items(expression.children()))
        if name in _CLOCK or (not expression.deterministic() and all(child.deterministic() for child in children)):
            self.changing.append(expression.sql() if name not in _PYTHON else f"the function {expression.name()}")
        if name in _PYTHON:
            yield f"{expression.name()}={_function(expression.func())}"
        for child in children:
            yield from self._expression(child)


def analysed(frame: DataFrame) -> Analysis:
    """What the plan of a DataFrame says.

    Parameters
    ----------
    frame : DataFrame
        Of a session of this process.
    """
    plan = frame._jdf.queryExecution().analyzed()
    analysis = Analysis(in_order=_is_in_order(plan))
    analysis.take(plan)
    return analysis


def is_timed(node: Any) -> bool:
    """Whether an operator with a state of its own (`OWN_STATE`) waits for times.

    Parameters
    ----------
    node : object
        A node of a logical plan.
    """
    return _waits_for(node) not in _TIMELESS


def _waits_for(node: Any) -> str:
    return str(node.timeMode() if node.nodeName().startswith("TransformWithState") else node.timeout())


def goes_by_clock(frame: DataFrame) -> bool:
    """Whether a query has a state of its own that waits for the clock.

    Parameters
    ----------
    frame : DataFrame
        Of a session of this process.
    """

    def found(node: Any) -> bool:
        return (node.nodeName() in OWN_STATE and _waits_for(node) in _BY_CLOCK) or any(
            map(found, items(node.children()))
        )

    return found(frame._jdf.queryExecution().analyzed())


def is_outer(join: Any) -> bool:
    """Whether a join of two streams gives a row without a partner once none can come any more.

    Parameters
    ----------
    join : object
        A node of a logical plan.
    """
    return str(join.joinType().sql()) != "INNER"


def _is_in_order(node: Any) -> bool:
    """Whether the rows of a node come in the order of the messages; a state of one's own gives those of a key so."""
    name = node.nodeName()
    if name in OWN_STATE or (name == "CollectMetrics" and READER.fullmatch(node.name())):
        return True
    return name in _IN_ORDER and all(map(_is_in_order, items(node.children())))


def _wanted(node: Any, name: str, wanted: set[int] | None) -> set[int] | None:
    """Which columns of its children a node looks at, or passes on to those who do; None for all."""
    if name in _CHOOSING:
        chosen = items(getattr(node, _CHOOSING[name])())
        looked_at = [one for one in chosen if wanted is None or id_of(one) in wanted]
        looked_at += items(node.groupingExpressions()) if name in AGGREGATES else ()
        return {id_of(column) for one in looked_at for column in items(one.references())}
    if name in _PASSING and wanted is not None:
        return wanted | {id_of(column) for column in items(node.references())}
    return None


def _function(function: Any) -> str:
    """The digest of a Python function that Spark has pickled."""
    from pyspark.serializers import CloudPickleSerializer

    command = bytes(byte & 0xFF for byte in items(function.command()))
    try:
        return digest(CloudPickleSerializer().loads(command)[0])
    except Exception:  # a large one is a broadcast, of which only the bytes can be had
        return hashlib.sha256(command).hexdigest()[:16]
