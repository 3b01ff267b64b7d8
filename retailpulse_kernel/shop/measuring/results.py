"""What an expression gives, by the types of the columns that it names: a whole number, a decimal, a time or a text.

The types are those of a contract; the standard event's when none are given.

>>> value_of("price * quantity"), value_of("purchase - refund"), value_of("discount", {"discount": "decimal(9,2)"})
(<Value.DECIMAL: 'decimal'>, <Value.WHOLE: 'whole'>, <Value.DECIMAL: 'decimal'>)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.types import decimal_digits
from retailpulse_kernel.shop.kinds import PLACES, WHOLE_DIGITS, Value
from retailpulse_kernel.shop.measuring.expressions import names_in, parsed, to_sql, written_decimal
from retailpulse_kernel.shop.messages import EVENT_TYPES

__all__ = ["STANDARD", "WEIGHABLE", "Columns", "is_weighable", "require_columns", "require_exact", "value_of"]

#: The columns of an event with their types, as a contract has them.
Columns = Mapping[str, str]

#: The columns of the standard event.
STANDARD: Final[Columns] = shipped().types

_FEWER: Final = "Calculate with fewer decimals, or multiply the constants by hand."
_VALUES: Final = {"int": Value.WHOLE, "long": Value.WHOLE, "timestamp": Value.TIME, "string": None}
#: What Spark's decimals hold at most, and the decimal places that it keeps in any case.
_MOST_DIGITS, _KEPT_PLACES = 38, 6
#: Spark's type of decimals whose product with a whole number keeps all their places.
_MOST_PLACES: Final = 13
WEIGHABLE: Final = f"DECIMAL(27,{_MOST_PLACES})"
#: The digits of whole numbers, as Spark counts them.
_WHOLE_DIGITS: Final = {"int": 10, "long": 20}


def require_columns(text: str, columns: Columns = STANDARD) -> None:
    """Refuse an expression that names something else than columns and, where there is their column, event types.

    Parameters
    ----------
    text : str
        An expression.
    columns : mapping
        The types of an event's columns.

    Raises
    ------
    UnknownName
        There is no such column or event type.
    """
    words = EVENT_TYPES if "event_type" in columns else ()
    for name in sorted(names_in(text)):
        if name not in columns and name not in words:
            raise UnknownName("column", name, [*columns, *words], of="an event")


def value_of(text: str, columns: Columns = STANDARD) -> Value | None:
    """What an expression gives: a whole number, a decimal, a time; None for a text.

    Parameters
    ----------
    text : str
        A column, or numbers that are calculated.
    columns : mapping
        The types of an event's columns.

    Raises
    ------
    UnknownName
        There is no such column or event type.
    UsageError
        It calculates with texts or times, or takes a column of a type that is not exact.
    """
    require_columns(text, columns)
    to_sql(text)
    return _value(parsed(text), text, columns)


def _value(node: ast.expr, text: str, columns: Columns) -> Value | None:
    match node:
        case ast.Name(id=name) if name not in EVENT_TYPES:
            return _value_of_type(name, columns[name])
        case ast.Constant(value=float()):
            return Value.DECIMAL
        case ast.Constant(value=str()):
            return None
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _number([operand], text, columns)
        case ast.BinOp(left=left, right=right):
            return _number([left, right], text, columns)
    return Value.WHOLE  # an event type, a whole number, or a test, which is 1 or 0


def _number(parts: list[ast.expr], text: str, columns: Columns) -> Value:
    found = {_value(part, text, columns) for part in parts}
    if not found <= {Value.WHOLE, Value.DECIMAL}:
        raise UsageError(
            f"The expression {text!r} calculates with a text or a time.", remedy="Calculate with numbers only."
        )
    return Value.DECIMAL if Value.DECIMAL in found else Value.WHOLE


def _value_of_type(name: str, type_: str) -> Value | None:
    digits = decimal_digits(type_)
    if digits is None and type_ in _VALUES:
        return _VALUES[type_]
    if digits is None:
        raise UsageError(
            f"{name} is a {type_}, which no figure measures exactly.",
            remedy="Measure fields of the types int, long, decimal(p,s), timestamp, string; or compare it in `where`.",
        )
    if digits[1] > PLACES:
        raise UsageError(
            f"{name} has {digits[1]} places behind the point, and figures keep {PLACES}.",
            remedy="Give the field a type with fewer places in the contract, or measure something else.",
        )
    if digits[0] - digits[1] > WHOLE_DIGITS:
        raise UsageError(
            f"{name} has {digits[0] - digits[1]} digits before the point, and what one event adds to a figure has "
            f"{WHOLE_DIGITS} at most.",
            remedy=f"Give the field a type of fewer digits in the contract, such as decimal({WHOLE_DIGITS + 2},2).",
        )
    return Value.DECIMAL


def require_exact(text: str, columns: Columns = STANDARD) -> None:
    """Refuse an expression of decimals of which Spark would drop decimal places before the result is rounded.

    Parameters
    ----------
    text : str
        An expression over numbers.
    columns : mapping
        The types of an event's columns.

    Raises
    ------
    UnknownName
        There is no such column or event type.
    UsageError
        Its result has more digits than Spark's decimals.
    """
    require_columns(text, columns)
    _, places = _digits(parsed(text), text, columns)
    if places > _MOST_PLACES:
        raise UsageError(
            f"The expression {text!r} has results with {places} digits behind the point: more than the {_MOST_PLACES} "
            "that are calculated exactly.",
            remedy=_FEWER,
        )


def is_weighable(text: str) -> bool:
    """Whether Spark keeps all decimal places when it multiplies an expression by a weight: some it always keeps.

    Parameters
    ----------
    text : str
        An expression over numbers. One of a shop's own fields counts as one of many places.
    """
    known = names_in(text) <= {*STANDARD, *EVENT_TYPES}
    return known and _digits(parsed(text), text, STANDARD)[1] <= _KEPT_PLACES


def _digits(node: ast.expr, text: str, columns: Columns) -> tuple[int, int]:
    """The digits of a result and those behind the point, as Spark counts them."""
    match node:
        case ast.Constant(value=float()):
            exact = written_decimal(node, text)
            places = max(0, -int(exact.as_tuple().exponent))
            return len(str(abs(int(exact)))) + places, places
        case ast.Constant(value=int() as value):
            return len(str(abs(value))), 0
        case ast.Name(id=name) if name in columns:
            return decimal_digits(columns[name]) or (_WHOLE_DIGITS.get(columns[name], _WHOLE_DIGITS["int"]), 0)
        case ast.UnaryOp(operand=operand):
            return _digits(operand, text, columns)
        case ast.BinOp(left=left, op=op, right=right):
            (one, one_places), (two, two_places) = _digits(left, text, columns), _digits(right, text, columns)
            if isinstance(op, ast.Mult):
                digits, places = one + two + 1, one_places + two_places
            else:
                places = max(one_places, two_places)
                digits = max(one - one_places, two - two_places) + places + 1
            if digits > _MOST_DIGITS and places > _KEPT_PLACES:
                raise UsageError(
                    f"The expression {text!r} has results of {digits} digits, {places} of them behind the point: more "
                    f"than the {_MOST_DIGITS} that are calculated exactly.",
                    remedy=_FEWER,
                )
            return digits, places
    return _WHOLE_DIGITS["int"], 0
