"""The kinds of figures: what a figure of each kind holds, and how its parts combine.

The rules of a kind are one entry of `RULES`, and every module asks there. A store says of a `Value` which type its
column has, not of a kind: a new kind is an entry here, and its fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.shop.sketching import buckets, sketches
from retailpulse_kernel.shop.sketching.sketches import Sketch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DIGITS", "PLACES", "RULES", "WHOLE_DIGITS", "Combination", "Kind", "Rules", "Value", "arrow_type"]

#: The digits of a stored decimal, and how many of them are behind the point.
DIGITS, PLACES = 28, 4
_PLACE: Final = Decimal(1).scaleb(-PLACES)
#: The digits of what one event adds, and how many of them are before the point.
_EVENT_DIGITS: Final = 18
WHOLE_DIGITS: Final = _EVENT_DIGITS - PLACES


class Kind(StrEnum):
    """How parts of a figure combine, and so how they are stored. Plans keep these names."""

    COUNT = "count"
    SUM = "sum"
    MONEY = "money"
    FIRST = "first"
    LAST = "last"
    USERS = "users"
    VALUES = "values"
    LEAST = "least"
    GREATEST = "greatest"
    LEAST_DECIMAL = "least_decimal"
    GREATEST_DECIMAL = "greatest_decimal"
    DISTINCT = "distinct"
    QUANTILE = "quantile"
    QUANTILE_DECIMAL = "quantile_decimal"


class Value(StrEnum):
    """What a stored figure is. A store has a type of column for each."""

    #: An integer of 64 bits.
    WHOLE = "whole"
    #: A `Decimal` of `DIGITS` digits, `PLACES` of them behind the point.
    DECIMAL = "decimal"
    #: A time with a zone, to the microsecond.
    TIME = "time"
    #: The bytes of a sketch, of which a figure is estimated.
    SKETCH = "sketch"


class Combination(StrEnum):
    """How two parts become one. All but the last are called as in SQL and Arrow."""

    SUM = "sum"
    LEAST = "min"
    GREATEST = "max"
    UNION = "union"


def _itself(value: Any) -> Any:
    return value


def _rounded(value: Any) -> Decimal:
    """A number with `PLACES` decimal places, half up, as Spark's CAST rounds; one that has no more stays as it is."""
    exact = Decimal(value)
    places = exact.as_tuple().exponent
    return exact.quantize(_PLACE, ROUND_HALF_UP) if isinstance(places, int) and places < -PLACES else exact


def _number_text(value: Any) -> str:
    """A number as the text by which it is told from others: always with `PLACES` decimal places."""
    return f"{Decimal(value).quantize(_PLACE, ROUND_HALF_UP):f}"


def _in_ms(moment: datetime | None) -> datetime | None:
    """A time to the millisecond, which is what every store keeps of it."""
    return moment and moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Rules:
    """What goes for every figure of a kind.

    Attributes
    ----------
    value : Value
        What is stored.
    combination : Combination
        How two parts become one.
    combine : callable
        Makes one part of several, none of them None; of no parts what a window without events has.
    aggregate : str
        Spark SQL that does the same with a column, which stands for ``{}``.
    counts : bool
        Whether each event adds 1; otherwise the measure's expression says what it adds.
    needs_value : bool
        Of a kind that counts: whether only events count of which the expression has a value.
    taken_as : str
        Spark SQL for what an event adds, of kinds without a weight; the expression stands for ``{}``.
    taken : callable
        Makes the same of the expression's value, or of its product with the weight, in plain Python.
    weighed_as : str
        Spark's type of what an event adds, for kinds whose figures have a weight in `where`. A weight may be negative,
        and a missing value weighs nothing. Figures of the other kinds have a condition there.
    shown : callable
        Makes what people see of a stored value.
    compared : callable
        Makes of a stored value what is equal for equal values, whatever the bytes they are stored as.
    sketch : Sketch or None
        Of kinds that store sketches: how sketches are made and merged.
    estimates : Value or None
        Of kinds that store sketches: what people see.
    at : callable or None
        Of kinds that have a quantile: makes what people see of a stored value and the quantile.
    """

    value: Value
    combination: Combination
    combine: Callable[[Sequence[Any]], Any]
    aggregate: str
    counts: bool = False
    needs_value: bool = False
    taken_as: str = "{}"
    taken: Callable[[Any], Any] = _itself
    weighed_as: str = ""
    shown: Callable[[Any], Any] = _itself
    compared: Callable[[Any], Any] = _itself
    sketch: Sketch | None = None
    estimates: Value | None = None
    at: Callable[..., Any] | None = None

    @property
    def shows(self) -> Value:
        """What people see: of a sketch what it estimates, otherwise what is stored."""
        return self.estimates or self.value

    @property
    def sketching(self) -> Sketch:
        """How sketches are made and merged, of a kind that stores them."""
        assert self.sketch is not None, "only sketches are asked for"
        return self.sketch

    def showing(self, q: float | None) -> Rules:
        """The rules of a figure with a quantile; of kinds without quantiles the same.

        Parameters
        ----------
        q : float or None
            The quantile.
        """
        return self if self.at is None else replace(self, shown=partial(self.at, q=q))

    @property
    def is_added(self) -> bool:
        """Whether parts are added up."""
        return self.combination is Combination.SUM


_EVENT_DECIMAL: Final = f"DECIMAL({_EVENT_DIGITS},{PLACES})"


def _extreme(combination: Combination, value: Value) -> Rules:
    """Rules of the least or the greatest of some numbers."""
    combine = partial(min if combination is Combination.LEAST else max, default=None)
    if value is Value.WHOLE:
        return Rules(value, combination, combine, f"{combination}({{}})", taken_as="CAST({} AS BIGINT)", taken=int)
    aggregate = f"CAST({combination}({{}}) AS DECIMAL({DIGITS},{PLACES}))"
    return Rules(value, combination, combine, aggregate, taken_as=f"CAST({{}} AS {_EVENT_DECIMAL})", taken=_rounded)


#: Of all different values, users or others.
_SKETCHED: Final = Rules(
    Value.SKETCH,
    Combination.UNION,
    sketches.union,
    f"hll_sketch_agg({{}}, {sketches.LG_K})",
    shown=sketches.estimate,
    compared=sketches.comparable,
    sketch=sketches.USERS,
    estimates=Value.WHOLE,
)


def _quantile(places: int, taken_as: str, taken: Callable[[Any], Any]) -> Rules:
    """Rules of a quantile of numbers with some decimal places."""
    return Rules(
        Value.SKETCH,
        Combination.UNION,
        buckets.union,
        "collect_list({})",
        taken_as=taken_as,
        taken=taken,
        sketch=Sketch(
            partial(buckets.of, places=places),
            buckets.Buckets,
            partial(buckets.numbered, places=places),
            is_counted=True,
            is_collected=True,
        ),
        estimates=Value.DECIMAL,
        at=buckets.estimate,
    )


RULES: Final = {
    Kind.COUNT: Rules(Value.WHOLE, Combination.SUM, sum, "sum({})", counts=True, taken_as="1L"),
    Kind.VALUES: Rules(
        Value.WHOLE,
        Combination.SUM,
        sum,
        "sum({})",
        counts=True,
        needs_value=True,
        taken_as="CAST({} IS NOT NULL AS BIGINT)",
    ),
    Kind.SUM: Rules(Value.WHOLE, Combination.SUM, sum, "sum({})", weighed_as="BIGINT"),
    Kind.MONEY: Rules(
        Value.DECIMAL,
        Combination.SUM,
        partial(sum, start=Decimal(0)),
        f"CAST(sum({{}}) AS DECIMAL({DIGITS},{PLACES}))",
        weighed_as=_EVENT_DECIMAL,
        taken=_rounded,
    ),
    Kind.FIRST: Rules(Value.TIME, Combination.LEAST, partial(min, default=None), "min({})", compared=_in_ms),
    Kind.LAST: Rules(Value.TIME, Combination.GREATEST, partial(max, default=None), "max({})", compared=_in_ms),
    Kind.LEAST: _extreme(Combination.LEAST, Value.WHOLE),
    Kind.GREATEST: _extreme(Combination.GREATEST, Value.WHOLE),
    Kind.LEAST_DECIMAL: _extreme(Combination.LEAST, Value.DECIMAL),
    Kind.GREATEST_DECIMAL: _extreme(Combination.GREATEST, Value.DECIMAL),
    Kind.USERS: _SKETCHED,
    Kind.DISTINCT: replace(_SKETCHED, taken_as=f"CAST(CAST({{}} AS {_EVENT_DECIMAL}) AS STRING)", taken=_number_text),
    Kind.QUANTILE: _quantile(0, "CAST({} AS BIGINT)", int),
    Kind.QUANTILE_DECIMAL: _quantile(PLACES, f"CAST({{}} AS {_EVENT_DECIMAL})", _rounded),
}


@cache
def arrow_type(value: Value) -> pa.DataType:
    """The type of an Arrow column of stored figures.

    Parameters
    ----------
    value : Value
        What the figures are.
    """
    import pyarrow as pa

    types = {
        Value.WHOLE: pa.int64(),
        Value.DECIMAL: pa.decimal128(DIGITS, PLACES),
        Value.TIME: pa.timestamp("us", tz="UTC"),
        Value.SKETCH: pa.binary(),
    }
    return types[value]
