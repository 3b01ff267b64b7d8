"""What one event adds to a figure: measures of the expressions that figures are made of.

A measure of fields of a shop's own waits for the contract, which alone knows their types: `Measure.typed` chooses its
kind then, or refuses it.

>>> least_of("price").kind, least_of("discount").typed({"discount": "int"}).kind
(<Kind.LEAST_DECIMAL: 'least_decimal'>, <Kind.LEAST: 'least'>)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.kinds import Kind, Value
from retailpulse_kernel.shop.measuring.expressions import names_in
from retailpulse_kernel.shop.measuring.results import STANDARD, Columns, require_columns, require_exact, value_of
from retailpulse_kernel.shop.messages import EVENT_TYPES

__all__ = [
    "Measure",
    "count",
    "distinct_of",
    "first",
    "greatest_of",
    "last",
    "least_of",
    "median_of",
    "quantile_of",
    "sum_of",
    "users_of",
    "values_of",
]


@dataclass(frozen=True)
class Measure:
    """What one event adds to a figure, before the figure's filter.

    Parameters
    ----------
    kind : Kind
        How the values of several events combine.
    of : str
        An expression over an event's columns; see `retailpulse_kernel.shop.measuring.expressions`.
    kinds : mapping, optional
        Of an expression with fields of a shop's own, whose types only the contract knows: the kind by what the
        expression gives. Until `typed` has chosen, nothing can be computed of it.
    others : mapping, optional
        The same of an expression that was typed as that of standard events: `typed` chooses again for the columns of
        another shape.
    q : float, optional
        The quantile, of the kinds that have one.
    """

    kind: Kind
    of: str
    kinds: Mapping[Value | None, Kind] = field(default_factory=dict, compare=False, repr=False)
    others: Mapping[Value | None, Kind] = field(default_factory=dict, compare=False, repr=False)
    q: float | None = None

    def typed(self, columns: Columns) -> Measure:
        """The measure of events with some columns.

        Parameters
        ----------
        columns : mapping
            The types of the columns: `Contract.types`.

        Raises
        ------
        UnknownName
            There is no such column.
        UsageError
            The measure can't be of such values, or can't be calculated exactly.
        """
        require_columns(self.of, columns)
        kinds = self.kinds or self.others
        if not kinds:
            return self
        value = value_of(self.of, columns)
        if value not in kinds:
            raise UsageError(
                f"{self.of!r} is {_WORDS[value]}, and this measure is of {_listed(kinds)}.",
                remedy="Take another measure, or another expression.",
            )
        if value is Value.DECIMAL:
            require_exact(self.of, columns)
        return Measure(kinds[value], self.of, others=kinds, q=self.q)


_WORDS: Final = {
    Value.WHOLE: "a whole number", Value.DECIMAL: "a decimal", Value.TIME: "a time", None: "a text",
}  # fmt: skip


def _listed(values: Iterable[Value | None]) -> str:
    *others, last_one = (_WORDS[value] for value in values)
    return f"{', '.join(others)} or {last_one}" if others else last_one


def _measure(of: str, kinds: Mapping[Value | None, Kind], q: float | None = None) -> Measure:
    """A measure; one of fields that are not the standard event's waits for the contract."""
    measure = Measure(next(iter(kinds.values())), of, kinds, q=q)
    return measure.typed(STANDARD) if names_in(of) <= {*STANDARD, *EVENT_TYPES} else measure


def count() -> Measure:
    """The number of events."""
    return Measure(Kind.COUNT, "1")


def sum_of(expression: str, *, money: bool = False) -> Measure:
    """The sum of an expression: of one with a price or a decimal four exact decimal places, else a whole number.

    What one event adds is calculated exactly, and rounded half up to four decimal places if it has more. `money` says
    of an expression of whole numbers that it is money, too.

    Parameters
    ----------
    expression : str
        Of columns of an event, such as ``"price * quantity"`` or ``"price * quantity * (1 - 0.075)"``.
    money : bool
        The sum is money although the expression has no price.

    Raises
    ------
    UsageError
        The expression is not a number, or can't be calculated exactly.
    """
    whole = Kind.MONEY if money or "price" in names_in(expression) else Kind.SUM
    return _measure(expression, {Value.WHOLE: whole, Value.DECIMAL: Kind.MONEY})


def values_of(expression: str) -> Measure:
    """The number of events of which an expression has a value: a view may have no price.

    Parameters
    ----------
    expression : str
        Of columns of an event, of any type.
    """
    return Measure(Kind.VALUES, expression)


def least_of(expression: str) -> Measure:
    """The least value of an expression, of events of which it has one.

    Parameters
    ----------
    expression : str
        A number, such as ``"price"`` or ``"price * quantity"``, or a time, such as ``"event_time"``. A decimal is
        rounded half up to four places.

    Raises
    ------
    UsageError
        The expression is a text, or can't be calculated exactly.
    """
    return _measure(expression, {Value.WHOLE: Kind.LEAST, Value.DECIMAL: Kind.LEAST_DECIMAL, Value.TIME: Kind.FIRST})


def greatest_of(expression: str) -> Measure:
    """The greatest value of an expression, of events of which it has one.

    Parameters
    ----------
    expression : str
        As for `least_of`.

    Raises
    ------
    UsageError
        The expression is a text, or can't be calculated exactly.
    """
    return _measure(
        expression, {Value.WHOLE: Kind.GREATEST, Value.DECIMAL: Kind.GREATEST_DECIMAL, Value.TIME: Kind.LAST}
    )


def distinct_of(expression: str) -> Measure:
    """The number of different values, as a HyperLogLog sketch: exact up to some 3,000, then within about 1 %.

    Parameters
    ----------
    expression : str
        A column of text such as ``"product_id"``, or a number; numbers are told apart by four decimal places.

    Raises
    ------
    UsageError
        The expression is a time, or can't be calculated exactly.
    """
    return _measure(expression, {None: Kind.USERS, Value.WHOLE: Kind.DISTINCT, Value.DECIMAL: Kind.DISTINCT})


def quantile_of(expression: str, q: float) -> Measure:
    """A quantile of an expression, within 1 %, of events of which it has a value; empty without a value.

    Of n values in order it is the one with ``q * (n - 1)`` values below it, rounded down.

    Parameters
    ----------
    expression : str
        A number, such as ``"price"``. A decimal is rounded half up to four places.
    q : float
        From 0, the least value, to 1, the greatest one; 0.95 has 95 % of the values below it.

    Raises
    ------
    UsageError
        The quantile is not from 0 to 1, or the expression is not a number, or can't be calculated exactly.
    """
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
        raise UsageError(f"There is no quantile {q!r}.", remedy="Give a number from 0 to 1, such as 0.95.")
    return _measure(expression, {Value.WHOLE: Kind.QUANTILE, Value.DECIMAL: Kind.QUANTILE_DECIMAL}, float(q))


def median_of(expression: str) -> Measure:
    """The median of an expression, as `quantile_of` estimates it; of an even number of values the lower middle one.

    Parameters
    ----------
    expression : str
        As for `quantile_of`.

    Raises
    ------
    UsageError
        The expression is not a number, or can't be calculated exactly.
    """
    return quantile_of(expression, 0.5)


def first(column: str) -> Measure:
    """The earliest time in a column.

    Parameters
    ----------
    column : str
        A column of times, such as ``"event_time"``.

    Raises
    ------
    UsageError
        The column holds something else.
    """
    return _measure(column, {Value.TIME: Kind.FIRST})


def last(column: str) -> Measure:
    """The latest time in a column.

    Parameters
    ----------
    column : str
        A column of times, such as ``"event_time"``.

    Raises
    ------
    UsageError
        The column holds something else.
    """
    return _measure(column, {Value.TIME: Kind.LAST})


def users_of(column: str) -> Measure:
    """The number of different texts, as a HyperLogLog sketch.

    Parameters
    ----------
    column : str
        A column of texts, such as ``"user_id"``.

    Raises
    ------
    UsageError
        The column holds something else; `distinct_of` counts different numbers.
    """
    return _measure(column, {None: Kind.USERS})
