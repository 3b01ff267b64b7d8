"""Spark's plans, which are objects of Scala."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["id_of", "items"]


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
