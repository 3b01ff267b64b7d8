"""The rows of a batch that a stream has written: of a window, a stream in append mode writes only what is closed.

Spark itself finds the time by which a group is closed in the columns that are grouped by: the one that carries the
mark of event time, a window by its end. A batch has the same marks, and waits for nothing. So the same groups are left
out here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.stores.spark.plans import items
from retailpulse_kernel.streaming.query.analysis import AGGREGATES, OWN_STATE, READER, is_outer, is_timed
from retailpulse_kernel.streaming.query.endless import MARK

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Batch", "as_written"]

#: Parts of a physical plan behind which rows do not have the order of the messages any more.
_DISORDER: Final = re.compile(r"\b(?:Exchange|Sort|SortMergeJoin|ShuffledHashJoin|\w*Aggregate|\w+WithState\w*)\b")


@dataclass(frozen=True)
class Batch:
    """A bounded DataFrame, and what its plan says of the rows that a stream would write.

    Attributes
    ----------
    frame : DataFrame
        The rows.
    told : bool
        Whether a stream has written all of them: where it waits with some, and which is not known, false.
    ordered : bool
        Whether they come in the order of the messages.
    own_state : bool
        Whether an operator has a state of its own.
    timers : bool
        Whether such an operator waits for times.
    """

    frame: DataFrame
    told: bool
    ordered: bool
    own_state: bool
    timers: bool


def as_written(frame: DataFrame, *, closed_ms: int, append: bool) -> Batch:
    """The rows of a batch that a stream with the same query has written.

    Parameters
    ----------
    frame : DataFrame
        A bounded one, made of the job's events.
    closed_ms : int
        The stream's watermark, in milliseconds since 1970: what ends at or before it is closed.
    append : bool
        Whether the stream writes rows only when they are final.
    """
    from pyspark.sql.classic.dataframe import DataFrame

    session = frame.sparkSession
    walk = _Walk(session, closed_ms if append else None)
    plan = walk.closed(frame._jdf.queryExecution().analyzed())
    again = DataFrame(walk.jvm.org.apache.spark.sql.classic.Dataset.ofRows(session._jsparkSession, plan), session)
    physical = again._jdf.queryExecution().executedPlan().toString()
    return Batch(again, not append or walk.told, not _DISORDER.search(physical), walk.own_state, walk.timers)


class _Walk:
    """A walk through an analysed plan that filters out groups of events that are not closed; None filters nothing."""

    def __init__(self, session: Any, closed_ms: int | None) -> None:
        self.jvm, self._closed_ms = session._jvm, closed_ms
        self._parser = session._jsparkSession.sessionState().sqlParser()
        self.told, self.own_state, self.timers = True, False, False

    def closed(self, node: Any) -> Any:
        """The plan with the filters."""
        name, before = node.nodeName(), list(items(node.children()))
        if name == "CollectMetrics" and READER.fullmatch(node.name()):
            return node
        children = [self.closed(child) for child in before]
        if any(one is not other for one, other in zip(children, before, strict=True)):
            node = node.withNewChildren(self.jvm.org.apache.spark.api.python.PythonUtils.toSeq(children))
        if name in OWN_STATE:
            self.own_state, self.timers = True, self.timers or is_timed(node)
        readers = [_readers(child) for child in before]
        if name == "Join" and all(readers) and is_outer(node):
            self.told = False  # a row without a partner is written when none can come any more
        if self._closed_ms is not None and name in AGGREGATES and any(readers):
            return self._grouped(node, two=max(readers) > 1)
        return node

    def _grouped(self, node: Any, *, two: bool) -> Any:
        """An aggregation, of which the groups are kept that are closed."""
        assert self._closed_ms is not None, "it is asked for"
        times = [column for column in items(node.output()) if column.metadata().contains(MARK)]
        # Behind a join of two streams, Spark closes groups by a watermark of its own.
        if two or not times:
            self.told = False
            return node
        catalyst = self.jvm.org.apache.spark.sql.catalyst
        end = times[0]
        if end.dataType().typeName() == "struct":
            end = catalyst.expressions.GetStructField(end, 1, self.jvm.scala.Option.empty())
        # Spark would ask this of each event before it is grouped, whose window may be closed when the session that it
        # belongs to is not. What depends on the partition is asked where it stands.
        micros = self._closed_ms * 1_000
        until = self._parser.parseExpression(f"if(spark_partition_id() >= 0, timestamp_micros({micros}), null)")
        return catalyst.plans.logical.Filter(catalyst.expressions.LessThanOrEqual(end, until), node)


def _readers(node: Any) -> int:
    """How many of the job's readers are below a node."""
    if node.nodeName() == "CollectMetrics" and READER.fullmatch(node.name()):
        return 1
    return sum(map(_readers, items(node.children())))
