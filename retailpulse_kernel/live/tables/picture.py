"""A reading as a page gets it: rows of exact texts, big numbers, and charts as Plotly has them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from math import isnan
from numbers import Integral
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.spans import iso_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["exact", "kinds_of", "readable", "table"]


def kinds_of(frame: pd.DataFrame) -> dict[str, str]:
    """What each column holds: ``number``, ``time`` or ``text``.

    Parameters
    ----------
    frame : pandas.DataFrame
        Any frame of `stores.frames`.
    """
    from pandas.api import types

    def kind(values: pd.Series) -> str:
        if types.is_datetime64_any_dtype(values.dtype):
            return "time"
        if types.is_bool_dtype(values.dtype):
            return "text"
        if types.is_numeric_dtype(values.dtype):
            return "number"
        first = next((value for value in values if value is not None), None) if values.dtype == object else None
        return "number" if isinstance(first, Decimal) else "text"

    return {str(name): kind(frame[name]) for name in frame.columns}


def exact(value: Any) -> str | None:
    """A value as text with all its digits; None where there is none.

    >>> exact(Decimal("12.3400")), exact(True), exact(float("nan"))
    ('12.3400', 'true', None)

    Parameters
    ----------
    value : object
        A value of a frame.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def readable(value: Any, unit: str = "") -> str:
    """A number for reading: thousands apart, no digit lost, and its unit.

    >>> readable(Decimal("1234567.5000"), "USD"), readable(1234), readable(None)
    ('1,234,567.50 USD', '1,234', '-')

    Parameters
    ----------
    value : object
        A number, or None.
    unit : str
        Stands behind the number.
    """
    text = exact(value)
    if text is None:
        return "-"
    if isinstance(value, Decimal):
        whole, _, places = format(value, ",f").partition(".")
        places = places.rstrip("0").ljust(2 if unit else 0, "0")
        text = f"{whole}.{places}" if places else whole
    elif isinstance(value, Integral):
        text = f"{int(value):,}"
    return f"{text} {unit}" if unit else text


def table(frame: pd.DataFrame) -> dict[str, Any]:
    """A frame as columns with their kinds, and rows of texts.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows.
    """
    columns = [{"name": name, "kind": kind} for name, kind in kinds_of(frame).items()]
    values: Iterable[tuple[Any, ...]] = zip(*(map(exact, frame[name]) for name in frame.columns), strict=True)
    return {"columns": columns, "rows": [list(row) for row in values]}
