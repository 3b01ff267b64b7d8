"""What events add to figures, for whole Arrow tables of them: a figure's definition, evaluated on columns."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import EVENT_TYPES
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import PLACES
from retailpulse_kernel.shop.measuring.expressions import decimal_of

__all__ = ["sums"]

_OPERATORS = {
    ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Eq: pc.equal, ast.NotEq: pc.not_equal,
    ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater, ast.GtE: pc.greater_equal,
    ast.And: pc.and_, ast.Or: pc.or_,
}  # fmt: skip

#: The digits of a sum.
_DIGITS: Final = 38


def column_of(figure: Figure, events: pa.Table) -> pa.ChunkedArray:
    """What each event adds to a figure that counts or sums.

    Parameters
    ----------
    figure : Figure
        One that counts or sums.
    events : pyarrow.Table
        Columns as `Event` has its fields; prices are decimals.

    Raises
    ------
    UsageError
        The figure is of another kind.
    """
    rules = figure.rules
    if not rules.is_added:
        raise UsageError(f"{figure.title} can't be added up.", remedy="Take a figure that counts or sums.")
    weight = None if not figure.where else _evaluate(figure.where, events)
    if rules.counts:
        counted = pa.chunked_array([pa.array([1] * len(events), pa.int64())])
        if rules.needs_value:
            counted = pc.is_valid(_evaluate(figure.measure.of, events)).cast(pa.int64())
        return counted if weight is None else pc.multiply(counted, _number(weight).cast(pa.int64()))
    value = pc.fill_null(_evaluate(figure.measure.of, events), rules.combine([]))
    value = value if weight is None else pc.multiply(value, _number(weight))
    if pa.types.is_decimal(value.type) and value.type.scale > PLACES:  # as Spark rounds what an event adds
        value = pc.round(value, PLACES, "half_towards_infinity").cast(pa.decimal128(_DIGITS, PLACES))
    return value


def sums(events: pa.Table, by: Sequence[str], figures: Sequence[Figure]) -> pa.Table:
    """Figures by some columns of events, exact.

    Parameters
    ----------
    events : pyarrow.Table
        Columns as `Event` has its fields.
    by : sequence of str
        Columns of `events` to group by.
    figures : sequence of Figure
        Which ones; each must count or sum.
    """
    table = pa.table(
        {**{name: events[name] for name in by}, **{figure.name: column_of(figure, events) for figure in figures}}
    )
    names = [figure.name for figure in figures]
    found = table.group_by(list(by)).aggregate([(name, "sum") for name in names])
    return found.select([*by, *(f"{name}_sum" for name in names)]).rename_columns([*by, *names])


def _evaluate(text: str, events: pa.Table) -> Any:
    return _value(ast.parse(text, mode="eval").body, events)


def _value(node: ast.expr, events: pa.Table) -> Any:
    match node:
        case ast.Name(id=name) if name in EVENT_TYPES:
            return pc.equal(_plain(events["event_type"]), name)
        case ast.Name(id=name):
            return _plain(events[name])
        case ast.Constant(value=float() as value):
            exact = pa.scalar(decimal_of(value))
            return exact.cast(pa.decimal256(exact.type.precision, exact.type.scale))  # products have more digits
        case ast.Constant(value=value):
            return pa.scalar(value)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](*(_number(_value(side, events)) for side in (left, right)))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            # A missing value compares as false, as it does in Spark and in Python.
            return pc.fill_null(_OPERATORS[type(op)](_value(left, events), _value(right, events)), False)
        case ast.BoolOp(op=op, values=values):
            first, *others = (_value(value, events) for value in values)
            for other in others:
                first = _OPERATORS[type(op)](first, other)
            return first
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_value(operand, events))
    raise UsageError(f"Columns can't be used for {ast.unparse(node)!r}.")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _number(value: Any) -> Any:
    # The smallest integer: a product of decimals grows by the other factor's digits.
    return value.cast(pa.int8()) if pa.types.is_boolean(value.type) else value
