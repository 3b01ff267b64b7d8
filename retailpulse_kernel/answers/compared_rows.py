"""Flat rows of one figure beside those of an earlier range.

A row also has ``before`` and ``before_decimal``, the value of the earlier range, ``change`` and ``change_decimal``, and
``change_percent``. Each is null where it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from retailpulse_kernel.answers.comparing import Comparison, change_of, comparison_of, none_of
from retailpulse_kernel.answers.ranges import Extent
from retailpulse_kernel.answers.request import Asked
from retailpulse_kernel.answers.rows import valued
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.tables import FigureTable, Row

__all__ = ["compared_rows"]

_NOTHING = {"before": None, "before_decimal": None, "change": None, "change_decimal": None, "change_percent": None}


def compared_rows(
    read: Callable[[Asked], list[Row]],
    name: str,
    asked: Asked,
    figure: Figure | Ratio,
    table: FigureTable,
    *,
    now: datetime,
) -> tuple[list[Row], Comparison]:
    """The rows of a request beside those of an earlier range, and which range that is.

    Parameters
    ----------
    read : callable
        Gives the rows of a request, shown where its shift puts them.
    name : str
        One of `comparing.COMPARISONS`.
    asked : Asked
        The request, in windows of the table.
    figure : Figure or Ratio
        What the rows hold.
    table : FigureTable
        The table that answers.
    now : datetime
        The present, UTC.

    Raises
    ------
    UnknownName
        There is no such comparison.
    UsageError
        The ranges can't be compared, or the request is shifted already.
    """
    if asked.shift:
        raise UsageError("`shift` and `compare` are both given.", remedy="Use one of them.")
    finest = table.finest
    windows = asked.grain if "bucket" in asked.by else None
    comparison = comparison_of(
        name, asked.since, asked.until, finest=finest, windows=windows, now=now, calendar=asked.calendar
    )
    asked = replace(asked, since=comparison.since, until=comparison.until)
    rows = read(asked)
    before = read(replace(asked, shift=comparison.shift))
    return _joined(rows, before, asked, figure, Extent(asked.grain, asked.since, asked.until, now)), comparison


def _joined(
    rows: Sequence[Row], before: Sequence[Row], asked: Asked, figure: Figure | Ratio, extent: Extent
) -> list[Row]:
    """Rows with the earlier ones beside them; a group that has only an earlier row gets one."""
    keys = [*asked.by, *(["currency"] if any("currency" in row for row in (*rows, *before)) else [])]
    keys = list(dict.fromkeys(keys))

    def key_of(row: Row) -> tuple[Any, ...]:
        return tuple(row[key] for key in keys)

    def windows(found: Sequence[Row]) -> set[Any]:
        return {row.get("bucket") for row in found}

    nothing = none_of(figure)
    none = _UNKNOWN if nothing is None else valued(nothing, is_money=figure.unit == "currency")
    there, there_before = windows(rows), windows(before)
    earlier = {key_of(row): row for row in before}
    shape = dict.fromkeys(next(iter((*rows, *before)), {}))
    known = {key_of(row) for row in rows}
    result = [dict(row) for row in rows]
    for key, row in earlier.items():
        if key not in known:
            value = none if row.get("bucket") in there else _UNKNOWN
            result.append(shape | {name: row[name] for name in keys} | value | _window(row, value, extent))
    for row in result:
        other = earlier.get(key_of(row)) or (none if row.get("bucket") in there_before else _UNKNOWN)
        row |= _beside(row, other, figure)
    return sorted(result, key=lambda row: row["bucket"]) if "bucket" in keys else result


_UNKNOWN: Row = {"value": None, "decimal": None, "minor": None, "exponent": 0}


def _window(row: Row, value: Row, extent: Extent) -> Row:
    """What the row of a series says of its window."""
    if "bucket" not in row:
        return {}
    complete = extent.complete(datetime.fromisoformat(row["bucket"]))
    return {"complete": complete, "complete_value": value["value"] if complete else None, "unfinished_value": None}


def _beside(row: Row, other: Row, figure: Figure | Ratio) -> Row:
    said = _NOTHING | {"before": other["value"], "before_decimal": other["decimal"]}
    if isinstance(figure, Figure) and figure.rules.value is Value.TIME:
        return said
    change, percent = change_of(_exact(row), _exact(other))
    if change is None:
        return said
    shown = valued(change, is_money=figure.unit == "currency")
    return said | {
        "change": shown["value"], "change_decimal": shown["decimal"],
        "change_percent": None if percent is None else float(percent),
    }  # fmt: skip


def _exact(row: Row) -> Any:
    if row["minor"] is None:
        return None
    return Decimal(row["minor"]).scaleb(row["exponent"]) if row["exponent"] else row["minor"]
