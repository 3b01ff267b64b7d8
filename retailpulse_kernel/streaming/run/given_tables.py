"""The tables of a test, as a notebook writes them: text, a DataFrame, or a list of dictionaries.

A text table has a line with the columns' names and a line for each row. Cells are separated by spaces. A cell with
spaces stands in double quotes, and ``null`` is no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import orjson

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.types import element_of

__all__ = ["of_type", "rows_of", "with_day"]

_CELL: Final = re.compile(r'"([^"]*)"(?!\S)|(\S+)')
_NULL: Final = "null"
_TIME_OF_DAY: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table; the cells of a text table are texts, or None.

    >>> rows_of('''
    ...     product_id  price  title
    ...     p1          10.00  "a red towel"
    ... ''')
    [{'product_id': 'p1', 'price': '10.00', 'title': 'a red towel'}]

    Parameters
    ----------
    table : str or pandas.DataFrame or iterable of mapping
        The table.

    Raises
    ------
    UsageError
        It has none of these forms, or a line of the text has more or fewer cells than columns.
    """
    if isinstance(table, str):
        return _of_text(table)
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        whole = table.astype(object)
        return [dict(row) for row in whole.where(whole.notna(), None).to_dict("records")]
    rows = list(table) if isinstance(table, Iterable) else []
    if all(isinstance(row, Mapping) for row in rows) and isinstance(table, Iterable):
        return [dict(row) for row in rows]
    raise UsageError(
        f"{type(table).__name__} is not a table of a test.",
        remedy="Give a text table, a DataFrame or a list of dictionaries.",
    )


def _of_text(text: str) -> list[dict[str, Any]]:
    lines = [_cells(line) for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError("The text table of a test is empty.", remedy="Write at least the names of the columns.")
    names, *rows = lines
    for cells in rows:
        if len(cells) != len(names):
            raise UsageError(
                f"A line of a test's table has {len(cells)} cells, and there are {len(names)} columns: "
                f"{' '.join(map(str, cells))}",
                remedy="Put a cell that has spaces in double quotes, and write null for no value.",
            )
    return [dict(zip(map(str, names), cells, strict=True)) for cells in rows]


def _cells(line: str) -> list[str | None]:
    return [quoted if plain == "" else None if plain == _NULL else plain for quoted, plain in _CELL.findall(line)]


def of_type(kind: str, value: Any) -> Any:
    """A cell of a text table as a value of a type in a message; what is not text stays as it is.

    Parameters
    ----------
    kind : str
        A type of the contract's.
    value : object
        The cell.

    Raises
    ------
    UsageError
        The text is not a value of the type.
    """
    if not isinstance(value, str):
        return value
    try:
        if element_of(kind) is not None:
            return orjson.loads(value)
        if kind in ("int", "long"):
            return int(value)
        if kind == "double":
            return float(value)
        return {"true": True, "false": False}[value.lower()] if kind == "bool" else value
    except (ValueError, KeyError):
        raise UsageError(
            f"{value!r} is not a value of the type {kind}.", remedy="Correct the test's table; lists are JSON."
        ) from None


def with_day(value: Any, day: date | None) -> Any:
    """A time of day as a time of the test's day; anything else as it is.

    >>> with_day("9:30", date(2026, 1, 31)), with_day("2026-02-01T10:00Z", date(2026, 1, 31))
    ('2026-01-31T09:30:00Z', '2026-02-01T10:00Z')

    Parameters
    ----------
    value : object
        A cell.
    day : date, optional
        The day of the test's present.

    Raises
    ------
    UsageError
        There is a time of day, and the test has no day.
    """
    if not isinstance(value, str) or _TIME_OF_DAY.fullmatch(value) is None:
        return value
    if day is None:
        raise UsageError(f"{value!r} has no day.", remedy="Add the test's present: at='2026-01-31T10:30Z'.")
    hour, *rest = value.split(":")
    return f"{day.isoformat()}T{int(hour):02}:{':'.join(rest)}{'' if len(rest) > 1 else ':00'}Z"
