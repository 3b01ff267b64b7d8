"""The figures: each defined once, here, and nowhere else.

Spark's columns, the stores' tables, the plain-Python fold, the read side, views and dashboards
are all derived from these definitions. What is stored are additive parts only (counts, sums,
minima, maxima, sketches); ratios are divided when they are read.

To add a figure, define it here and name it in a job's notebook.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.kinds import RULES, Kind, Rules, Value
from retailpulse_kernel.shop.measuring.expressions import compile_expression, names_in, to_sql
from retailpulse_kernel.shop.measuring.measures import (
    Measure,
    count,
    distinct_of,
    first,
    greatest_of,
    last,
    least_of,
    median_of,
    quantile_of,
    sum_of,
    users_of,
    values_of,
)
from retailpulse_kernel.shop.measuring.results import WEIGHABLE, Columns, is_weighable, require_columns

__all__ = [
    "ACTIVE_USERS",
    "AVERAGE_ORDER_VALUE",
    "EVENTS",
    "FIGURES",
    "FIRST_EVENT",
    "LAST_EVENT",
    "ORDERS",
    "PURCHASES",
    "REVENUE",
    "UNITS",
    "VIEWS",
    "Figure",
    "Kind",
    "Measure",
    "Ratio",
    "average_of",
    "count",
    "distinct_of",
    "first",
    "greatest_of",
    "last",
    "least_of",
    "median_of",
    "parts_of",
    "quantile_of",
    "sum_of",
    "users_of",
    "values_of",
]


@dataclass(frozen=True)
class Figure:
    """One additive figure.

    Parameters
    ----------
    name : str
        Its name in columns, tables and JSON.
    title : str
        Its name for people.
    measure : Measure
        What an event adds.
    where : str
        A condition (``purchase and order_line == 1``), or for sums a weight
        (``purchase - refund``). All events when empty.
    unit : str
        ``events``, ``orders``, ``currency`` ...; money is in the key's currency.
    """

    name: str
    title: str
    measure: Measure
    where: str = ""
    unit: str = ""

    @property
    def names(self) -> set[str]:
        """The columns and event types on which what an event adds depends."""
        return names_in(self.measure.of) | (names_in(self.where) if self.where else set())

    def typed(self, columns: Columns) -> Figure:
        """The figure of events with some columns: what it keeps depends on their types.

        Parameters
        ----------
        columns : mapping
            The types of the columns: `Contract.types`.

        Raises
        ------
        UnknownName
            There is no such column.
        UsageError
            The figure can't be computed exactly of such columns.
        """
        try:
            typed = replace(self, measure=self.measure.typed(columns))
            require_columns(self.where or "1", columns)
            return typed
        except UnknownName:
            raise
        except UsageError as error:
            what = error.message.removesuffix(".")
            raise UsageError(f"The figure {self.name!r} can't be computed: {what}.", remedy=error.remedy) from error

    @cached_property
    def rules(self) -> Rules:
        """What goes for every figure of its kind.

        Raises
        ------
        UsageError
            The kind depends on the types of a contract's own fields, and `typed` has not got them yet.
        """
        if self.measure.kinds:
            raise UsageError(
                f"What the figure {self.name!r} keeps depends on the types of the shop's own fields.",
                remedy="Take the figure from the job's table, or give it the types: figure.typed(contract.types).",
            )
        return RULES[self.measure.kind].showing(self.measure.q)

    @property
    def sql(self) -> str:
        """Spark SQL for what one event adds; NULL or 0 where it adds nothing."""
        if self.rules.weighed_as:
            return f"CAST({self._weighted_sql} AS {self.rules.weighed_as})"
        value, nothing = self.rules.taken_as.format(to_sql(self.measure.of)), "0L" if self.rules.counts else "NULL"
        return f"IF({to_sql(self.where, condition=True)}, {value}, {nothing})" if self.where else value

    @property
    def _weighted_sql(self) -> str:
        value = f"coalesce({to_sql(self.measure.of)}, 0)"
        if self.rules.value is Value.DECIMAL and not is_weighable(self.measure.of):
            value = f"CAST({value} AS {WEIGHABLE})"
        return f"({value} * {to_sql(self.where)})" if self.where else value

    @property
    def aggregate_sql(self) -> str:
        """Spark SQL that combines the column of this figure's name over many events."""
        return self.rules.aggregate.format(f"`{self.name}`")

    @cached_property
    def _of(self) -> Any:
        return compile_expression(self.measure.of)

    @cached_property
    def _where(self) -> Any:
        return compile_expression(self.where) if self.where else None

    def of_event(self, event: Event) -> Any:
        """What one event adds, in plain Python; None where it adds nothing.

        Parameters
        ----------
        event : Event
            Any event; the figure's own filter is applied.
        """
        weight = 1 if self._where is None else self._where(event)
        if not weight:
            return None
        rules = self.rules
        if rules.counts and not rules.needs_value:
            return 1
        value = self._found(event)
        if rules.weighed_as:
            # An event without a price (a view) adds nothing, as coalesce does in Spark.
            return rules.taken((0 if value is None else value) * weight)
        if value is None:
            return None
        return 1 if rules.counts else rules.taken(value)

    def _found(self, event: Event) -> Any:
        """The measure's value; None where a part of it is missing, as in Spark."""
        try:
            return self._of(event)
        except TypeError:
            return None

    def combine(self, parts: Iterable[Any]) -> Any:
        """Combine stored parts, or what single events add; None or 0 for no parts.

        Parameters
        ----------
        parts : iterable of object
            Values of one figure, each of other events.

        Notes
        -----
        Sketches combine as they are stored; of single values a sketch is made first, with ``rules.sketching.of``.
        """
        return self.rules.combine([part for part in parts if part is not None])


@dataclass(frozen=True)
class Ratio:
    """A figure that is divided when it is read, never stored.

    Parameters
    ----------
    name, title, unit : str
        As in `Figure`.
    over, under : Figure
        Numerator and denominator.
    """

    name: str
    title: str
    over: Figure
    under: Figure
    unit: str = ""

    def typed(self, columns: Columns) -> Ratio:
        """The ratio of events with some columns; see `Figure.typed`.

        Parameters
        ----------
        columns : mapping
            The types of the columns: `Contract.types`.
        """
        return replace(self, over=self.over.typed(columns), under=self.under.typed(columns))

    def divide(self, over: Any, under: Any) -> Decimal | None:
        """The ratio as an exact decimal rounded half up to 4 places; None over nothing.

        Parameters
        ----------
        over : object
            The numerator's stored value; None counts as nothing.
        under : object
            The denominator's stored value.
        """
        from decimal import ROUND_HALF_UP

        if not under:
            return None
        return (Decimal(over) / Decimal(under)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def average_of(expression: str, *, name: str = "", title: str = "", where: str = "", unit: str = "") -> Ratio:
    """The average of an expression over the events of which it has a value: an exact sum, divided by their number.

    A table keeps both parts as ``NAME_sum`` and ``NAME_count``, so that averages of several windows are exact, too.

    Parameters
    ----------
    expression : str
        A number, such as ``"price"``.
    name : str
        The average's name; ``average_`` and the expression when empty, where that is a column.
    title : str
        Its name for people.
    where : str
        A condition, such as ``"purchase"``. All events when empty.
    unit : str
        As in `Figure`.

    Raises
    ------
    UsageError
        The expression has no name, is not a number, or can't be calculated exactly.
    """
    name = name or f"average_{expression}"
    if not name.isidentifier():
        raise UsageError(f"The average of {expression!r} has no name.", remedy="Give it one: name='average_value'.")
    title = title or f"Average {expression}"
    total = Figure(f"{name}_sum", f"{title}: sum", sum_of(expression), where, unit)
    return Ratio(name, title, total, Figure(f"{name}_count", f"{title}: values", values_of(expression), where), unit)


def parts_of(figures: Iterable[Figure | Ratio]) -> list[Figure]:
    """The stored figures that some figures are made of.

    Parameters
    ----------
    figures : iterable of Figure or Ratio
        Ratios give their two parts.
    """
    parts = [part for f in figures for part in ((f.over, f.under) if isinstance(f, Ratio) else (f,))]
    return list(dict.fromkeys(parts))


EVENTS = Figure("events", "Events", count(), unit="events")
VIEWS = Figure("views", "Views", count(), where="view", unit="events")
PURCHASES = Figure("purchases", "Purchase lines", count(), where="purchase", unit="events")
UNITS = Figure("units", "Units sold", sum_of("quantity"), where="purchase - refund", unit="units")
REVENUE = Figure("revenue", "Total revenue", sum_of("price * quantity"), "purchase - refund", "currency")
ORDERS = Figure("orders", "Orders", count(), where="purchase and order_line == 1", unit="orders")
ACTIVE_USERS = Figure("active_users", "Active users", users_of("user_id"), unit="users")
FIRST_EVENT = Figure("first_event", "First event", first("event_time"), unit="time")
LAST_EVENT = Figure("last_event", "Last event", last("event_time"), unit="time")

AVERAGE_ORDER_VALUE = Ratio("average_order_value", "Average order value", REVENUE, ORDERS, unit="currency")

#: Every figure by its name, ratios among them.
FIGURES: dict[str, Figure | Ratio] = {
    figure.name: figure for figure in list(globals().values()) if isinstance(figure, Figure | Ratio)
}
