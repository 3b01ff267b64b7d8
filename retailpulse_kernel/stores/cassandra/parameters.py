"""Which values fit a parameter's type in CQL: the driver writes others as it likes, some of them as another value.

Seen with the driver alone: the number 7 in a blob is seven zero bytes, a datetime in a date loses its time, and a
number of 60 bits in a double loses its last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from retailpulse_kernel.ground.errors import UsageError

__all__ = ["require_fitting"]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_double(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int | Decimal) and _as_float(value) == value)


def _as_float(value: Decimal | int) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except OverflowError:
        return None


def _is_decimal(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, Decimal)


def _is_time(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, date)


def _is_day(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, date) and not isinstance(value, datetime))


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


#: What fits each type; a type that is not here is left to the driver.
_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "varint", "counter"), _is_whole),
    **dict.fromkeys(("float", "double"), _is_double),
    **dict.fromkeys(("ascii", "text", "varchar"), _is(str)),
    **dict.fromkeys(("uuid", "timeuuid"), _is(UUID)),
    "boolean": _is(bool),
    "decimal": _is_decimal,
    "blob": _is(bytes),
    "timestamp": _is_time,
    "date": _is_day,
}


def require_fitting(name: str, kind: Any, value: Any) -> None:
    """Refuse a value that the driver would write as another one.

    Parameters
    ----------
    name : str
        The parameter's, for the error.
    kind : type
        The driver's class of the parameter's type in the statement.
    value : object
        What `plain_value` gives.

    Raises
    ------
    UsageError
        The value does not fit.
    """
    if kind.typename in ("frozen", "list", "set"):
        parts = value if kind.typename != "frozen" and isinstance(value, list) else [value]
        for part in parts:
            require_fitting(name, kind.subtypes[0], part)
        return
    fits = _FITS.get(kind.typename)
    if value is not None and fits is not None and not fits(value):
        raise UsageError(
            f"The parameters do not fit the statement: :{name} has the type {type(value).__name__}, and the column is "
            f"a {kind.typename}.",
            remedy="A column of dates takes a date, one of decimals a decimal.Decimal, one of text a str. A number "
            "that a double can't hold exactly is made one by `float(...)`.",
        )
