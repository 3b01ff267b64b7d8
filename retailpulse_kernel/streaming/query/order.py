"""What of a query depends on the order of its rows: Spark has another order when a micro-batch is done again.

Spark's own flag does not tell: of such functions it says that they are deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from retailpulse_kernel.stores.spark.plans import id_of, items

__all__ = ["OrderRule", "Ordered"]

#: Aggregates that give one of several values by the order of the rows.
_ANY_ONE: Final = frozenset({"First", "Last", "AnyValue"})
#: Aggregates that put the values into a list in the order of the rows.
_LISTS: Final = frozenset({"CollectList", "CollectSet"})
#: Functions of a list that give the same in any order of the list.
_OF_ANY_ORDER: Final = frozenset(
    {"ArraySort", "SortArray", "Size", "ArrayContains", "ArrayMax", "ArrayMin", "ArraysOverlap", "ArrayExists"}
)
#: Expressions that give the elements of a list, or some of them by their values.
_KEEPING: Final = frozenset({"Alias", "AggregateExpression", "ArrayDistinct", "ArrayTransform", "ArrayFilter", "Cast"})
#: Aggregates that give one of several values where rows share the greatest or the least.
_BY_ANOTHER: Final = frozenset({"MaxBy", "MinBy"})
#: Aggregates that come close, by an order of the rows.
_CLOSE: Final = frozenset({"ApproximatePercentile"})
#: The column of which no two events have the same.
_OWN: Final = "event_id"
_CUTS: Final = {"GlobalLimit": "limit", "Offset": "offset", "Tail": "tail", "Sample": "sample"}
_BY_TIME: Final = "Use F.min_by or F.max_by with F.struct('event_time', 'event_id') as its second argument."
_WITHIN: Final = "Give it an order: listagg(...) WITHIN GROUP (ORDER BY ...)."
_SORTED: Final = "Sort the list: F.array_sort({})."
_NEAR: Final = "depends a little on the order of the rows: a figure quantile_of(...) does not"
_WHOLE: Final = (
    "Leave it out and use where(...). Of an aggregation in the mode 'complete', limit is possible after an orderBy "
    "with all columns, so that no two rows have the same place."
)


class Ordered(NamedTuple):
    """A part of a query that depends on the order of rows.

    Attributes
    ----------
    what : str
        The part, as the notebook has it.
    remedy : str
        What to do.
    rarely : bool
        Whether rows give another value only in rare cases: then it is told, and not refused.
    """

    what: str
    remedy: str
    rarely: bool = False


@dataclass
class OrderRule:
    """The rule, asked of each node on a walk from the top of a plan.

    Attributes
    ----------
    as_they_are : set of int
        Columns that were looked at above otherwise than by functions to which the order of a list does not matter.
    """

    as_they_are: set[int] = field(default_factory=set)

    def broken_by(self, node: Any, wanted: set[int] | None) -> list[Ordered]:
        """The parts of a node that depend on the order of rows.

        Parameters
        ----------
        node : object
            A node of Spark's analysed plan; those above have been asked.
        wanted : set of int, optional
            Which of its columns are looked at above; all when absent.
        """
        name, found = node.nodeName(), list[Ordered]()
        if name in _CUTS and not _is_sorted(node, wanted):
            found.append(Ordered(f"{_CUTS[name]}()", _WHOLE))
        for one in items(node.expressions()):
            kind = one.getClass().getSimpleName()
            chosen = kind == "Alias" or (kind == "AttributeReference" and name == "Project")
            if chosen and wanted is not None and id_of(one) not in wanted:
                continue  # a column that nobody looks at
            is_list_sorted = chosen and wanted is not None and id_of(one) not in self.as_they_are
            found += self._of(one, sorted_above=is_list_sorted)
        return found

    def _of(self, expression: Any, *, sorted_above: bool) -> Iterator[Ordered]:
        """The parts of an expression; a list whose order does not matter above is none."""
        name = expression.getClass().getSimpleName()
        if name == "AttributeReference" and not sorted_above:
            self.as_they_are.add(id_of(expression))
        if name in _ANY_ONE:
            yield Ordered(expression.sql(), _BY_TIME)
        if name == "ListAgg" and not expression.orderingFilled():
            yield Ordered("listagg()", _WITHIN)
        if name in _LISTS and not sorted_above:
            yield Ordered(expression.sql(), _SORTED.format(expression.sql()))
        children = list(items(expression.children()))
        if name in _BY_ANOTHER and not _is_own(children[1]):
            by = children[1].sql()
            apart = f"may be of any of the rows that share {by}: F.struct({by}, {_OWN}) tells them apart"
            yield Ordered(expression.sql(), apart, rarely=True)
        if name in _CLOSE:
            yield Ordered(expression.sql(), _NEAR, rarely=True)
        keeps = name in _KEEPING and sorted_above
        for child in children:
            yield from self._of(child, sorted_above=keeps or name in _OF_ANY_ORDER)


def _is_own(expression: Any) -> bool:
    """Whether no two events have the same value."""
    return any(column.name() == _OWN for column in items(expression.references()))


def _is_sorted(node: Any, wanted: set[int] | None) -> bool:
    """Whether a limit cuts rows that are sorted by all of their columns, so that equal rows alone share a place."""
    child = next(items(node.children()))
    while child.nodeName() in ("LocalLimit", "GlobalLimit"):
        child = next(items(child.children()))
    if child.nodeName() != "Sort" or node.nodeName() == "Sample":
        return False
    orders = [order.child() for order in items(child.order())]
    known = {id_of(one) for one in orders if one.getClass().getSimpleName() == "AttributeReference"}
    looked_at = {id_of(column) for column in items(child.output())} if wanted is None else wanted
    return not looked_at - known
