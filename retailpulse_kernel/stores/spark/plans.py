"""Spark's plans, which are objects of Scala: what their nodes have, and what a node does in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["id_of", "items", "steps_of"]


def items(sequence: Any) -> Iterator[Any]:
    """The items of one of Scala's sequences.

    Parameters
    ----------
    sequence : object
        The sequence, as Spark gives it.
    """
    iterator = sequence.iterator()
    while iterator.hasNext():
        yield iterator.next()


def id_of(column: Any) -> int:
    """The number that Spark gives to a column of a plan.

    Parameters
    ----------
    column : object
        A named expression.
    """
    return int(column.exprId().id())


def steps_of(node: Any) -> Iterator[tuple[str, str]]:
    """What a node of a logical plan does: the kind of each step, and its content as SQL.

    Parameters
    ----------
    node : object
        The node. Those below it are not looked at.
    """
    match node.nodeName():
        case "Filter":
            yield "filter", node.condition().sql()
        case "EventTimeWatermark":
            yield f"watermark of {node.eventTime().sql()}", node.delay().toString()
        case "Join":
            yield "kind of join", node.joinType().sql().lower()
            if node.condition().isDefined():
                yield "condition of the join", node.condition().get().sql()
        case "Aggregate":
            yield "grouping", ", ".join(one.sql() for one in items(node.groupingExpressions()))
            yield from _columns(node.aggregateExpressions())
        case "Project":
            yield from _columns(node.projectList())


def _columns(chosen: Any) -> Iterator[tuple[str, str]]:
    """The columns that are computed; one that is only passed on is no step."""
    for one in items(chosen):
        if one.getClass().getSimpleName() == "Alias":
            yield f"column {one.name()}", one.child().sql()
