"""The figures: each defined once, here, and nowhere else.

Spark's columns, the stores' tables, the plain-Python fold, the read side, views and dashboards
are all derived from these definitions. What is stored are additive parts only (counts, sums,
minima, maxima, sketches of users); ratios are divided when they are read.

To add a figure, define it here and name it in a job's notebook.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.expressions import compile_expression, names_in, to_sql
from retailpulse_kernel.shop.kinds import RULES, Kind, Rules

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
    "count",
    "first",
    "last",
    "parts_of",
    "sum_of",
    "users_of",
]


@dataclass(frozen=True)
class Measure:
    """What one event adds to a figure, before the figure's filter.

    Parameters
    ----------
    kind : Kind
        How the values of several events combine.
    of : str
        An expression over an event's columns; see `retailpulse_kernel.shop.expressions`.
    """

    kind: Kind
    of: str


def count() -> Measure:
    """The number of events."""
    return Measure(Kind.COUNT, "1")


def sum_of(expression: str, *, money: bool = False) -> Measure:
    """The sum of an expression: of one with a price four exact decimal places, else a whole number.

    `money` says of an expression without a price that it is money, too.

    Parameters
    ----------
    expression : str
        Of columns of an event, such as ``"price * quantity"``.
    money : bool
        The sum is money although the expression has no price.
    """
    return Measure(Kind.MONEY if money or "price" in names_in(expression) else Kind.SUM, expression)


def first(column: str) -> Measure:
    """The smallest value of a column.

    Parameters
    ----------
    column : str
        A field of `Event`.
    """
    return Measure(Kind.FIRST, column)


def last(column: str) -> Measure:
    """The largest value of a column.

    Parameters
    ----------
    column : str
        A field of `Event`.
    """
    return Measure(Kind.LAST, column)


def users_of(column: str) -> Measure:
    """The number of different values, as a HyperLogLog sketch.

    Parameters
    ----------
    column : str
        A field of `Event` whose values are counted, such as ``"user_id"``.
    """
    return Measure(Kind.USERS, column)


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

    @cached_property
    def rules(self) -> Rules:
        """What goes for every figure of its kind."""
        return RULES[self.measure.kind]

    @property
    def sql(self) -> str:
        """Spark SQL for what one event adds; NULL or 0 where it adds nothing."""
        if self.rules.weighed_as:
            return f"CAST({self._weighted_sql} AS {self.rules.weighed_as})"
        value, nothing = ("1L", "0L") if self.rules.counts else (to_sql(self.measure.of), "NULL")
        return f"IF({to_sql(self.where, condition=True)}, {value}, {nothing})" if self.where else value

    @property
    def _weighted_sql(self) -> str:
        value = f"coalesce({to_sql(self.measure.of)}, 0)"
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
        if rules.counts:
            return 1
        return self._amount(event) * weight if rules.weighed_as else self._of(event)

    def _amount(self, event: Event) -> Any:
        # An event without a price (a view) adds nothing, as coalesce does in Spark.
        try:
            value = self._of(event)
        except TypeError:
            return 0
        return 0 if value is None else value

    def combine(self, parts: Iterable[Any]) -> Any:
        """Combine stored parts, or what single events add; None or 0 for no parts.

        Parameters
        ----------
        parts : iterable of object
            Values of one figure, each of other events.

        Notes
        -----
        Users combine as stored sketches; of single users a sketch is made first, with `sketches.of`.
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
