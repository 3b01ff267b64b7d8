"""Values of a contract: whether one is of a field's type, and the form in which the contract keeps it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

from retailpulse_kernel.shop.contract.model import Value
from retailpulse_kernel.shop.contract.types import decimal_digits

__all__ = ["BOUNDS", "exact", "typed_value", "value_of"]

#: The least and the greatest whole number of a type.
BOUNDS: Final = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_WIDE: Final = Context(prec=80)


def exact(number: Decimal, digits: tuple[int, int]) -> Decimal | None:
    """A number with the places of a decimal type; None where the type can't hold it exactly.

    >>> exact(Decimal("1.5"), (9, 2)), exact(Decimal("1.555"), (9, 2))
    (Decimal('1.50'), None)

    Parameters
    ----------
    number : Decimal
        Any number.
    digits : tuple of (int, int)
        The type's digits, and how many of them stand behind the point.
    """
    precision, scale = digits
    try:
        found = _WIDE.quantize(number, Decimal(1).scaleb(-scale))
    except InvalidOperation:
        return None
    if found != number or abs(found) >= Decimal(10) ** (precision - scale):
        return None
    return found or abs(found)  # there is no zero below zero


def value_of(type: str, given: Any) -> Value:
    """A value in the form in which a contract keeps it.

    Parameters
    ----------
    type : str
        The field's type, or that of a list's elements.
    given : object
        As the TOML parser gives it, its numbers with a point as `Decimal`.

    Raises
    ------
    ValueError
        The value is not one of the type. The error says what it should be.
    """
    plain = None if isinstance(given, bool) and type != "bool" else given
    match type:
        case "string" if isinstance(plain, str):
            return plain
        case "bool" if isinstance(plain, bool):
            return plain
        case "int" | "long" if isinstance(plain, int) and BOUNDS[type][0] <= plain <= BOUNDS[type][1]:
            return plain
        case "double" if isinstance(plain, int | float | Decimal):
            return float(plain)
        case "date" if isinstance(plain, date) and not isinstance(plain, datetime):
            return plain.isoformat()
        case "date" if isinstance(plain, str):
            return date.fromisoformat(plain).isoformat()
        case "timestamp":
            moment = datetime.fromisoformat(plain) if isinstance(plain, str) else plain
            if isinstance(moment, datetime) and moment.tzinfo is not None:
                return moment.astimezone(UTC).isoformat()
    digits = decimal_digits(type)
    if digits and isinstance(plain, int | Decimal | str):
        try:
            number = exact(Decimal(plain), digits)
        except InvalidOperation:
            number = None
        if number is not None:
            return format(number, "f")
    raise ValueError(f"{_said(given)} is not a value of the type {type}")


def typed_value(type: str, value: Value) -> Any:
    """A value as an event has it: a decimal, a date, a time, or itself.

    Parameters
    ----------
    type : str
        The field's type, or that of a list's elements.
    value : Value
        What `value_of` gave, or None.
    """
    if value is None or not isinstance(value, str):
        return value
    if decimal_digits(type):
        return Decimal(value)
    if type == "date":
        return date.fromisoformat(value)
    return datetime.fromisoformat(value) if type == "timestamp" else value


def _said(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
