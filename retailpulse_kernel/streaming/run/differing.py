"""How the rows that a test has made differ from those that it expects: in any order, by the columns that it names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import iso_text, moment_of

__all__ = ["differences"]

_Row = Mapping[str, Any]


def differences(expected: Sequence[_Row], found: Sequence[_Row], key: Sequence[str]) -> list[str]:
    """What differs, as the lines of a table; nothing where all is as expected.

    Parameters
    ----------
    expected : sequence of mapping
        The rows that should be there, each with the same columns. A text means a value of the column's type.
    found : sequence of mapping
        The rows that are there. Other columns are left out.
    key : sequence of str
        The columns that tell a row from another. Rows that are told apart by them are compared column by column.
    """
    names = list(expected[0]) if expected else list(found[0]) if found else []
    missing, left = [], list(found)
    for row in expected:
        place = next((at for at, other in enumerate(left) if _differing(row, other, names) == []), None)
        if place is None:
            missing.append(row)
        else:
            del left[place]
    keys = [name for name in key if name in names]
    lines: list[tuple[str, _Row, str, Any, Any]] = []
    for row in missing:
        place = next((at for at, other in enumerate(left) if keys and not _differing(row, other, keys)), None)
        if place is None:
            lines.append(("missing", row, "", None, None))
            continue
        other = left.pop(place)
        lines += [("other value", row, name, row[name], other[name]) for name in _differing(row, other, names)]
    lines += [("unexpected", row, "", None, None) for row in left]
    return _table(lines, names, keys)


def _differing(expected: _Row, found: _Row, names: Sequence[str]) -> list[str]:
    return [name for name in names if not _same(expected[name], found[name])]


def _same(expected: Any, found: Any) -> bool:
    """Whether a value is the expected one; numbers are compared exactly, without regard to zeros at their end."""
    if _is_nothing(expected) or found is None:
        return _is_nothing(expected) and found is None
    try:
        match found:
            case bool():
                return (expected.lower() if isinstance(expected, str) else str(expected).lower()) == str(found).lower()
            case float() if not isinstance(expected, Decimal):
                return float(expected) == found or (math.isnan(found) and math.isnan(float(expected)))
            case int() | float() | Decimal():
                return Decimal(str(expected)) == (found if isinstance(found, Decimal) else Decimal(str(found)))
            case datetime():
                there = found if found.tzinfo else found.replace(tzinfo=UTC)
                return moment_of(expected if isinstance(expected, datetime) else str(expected)) == there
            case date():
                return str(expected) == found.isoformat()
            case list():
                wanted = orjson.loads(expected) if isinstance(expected, str) else list(expected)
                return len(wanted) == len(found) and all(map(_same, wanted, found))
            case _:
                return bool(expected == found)
    except (ValueError, InvalidOperation, UsageError):
        return False


def _is_nothing(value: Any) -> bool:
    return value is None or value != value  # a frame has NaN or NaT in place of null


def _table(lines: Sequence[tuple[str, _Row, str, Any, Any]], names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The differences in columns: other values with the key, whole rows with all columns."""
    whole = [[what, *(_text(row[name]) for name in names)] for what, row, column, _, _ in lines if not column]
    other = [
        [" ".join(_text(row[name]) for name in keys), column, _text(wanted), _text(there)]
        for _, row, column, wanted, there in lines
        if column
    ]
    said = _aligned([[" ".join(keys), "column", "expected", "found"], *other]) if other else []
    return said + (_aligned([["row", *names], *whole]) if whole else [])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _text(value: Any) -> str:
    if _is_nothing(value):
        return "null"
    if isinstance(value, datetime):
        return iso_text(value if value.tzinfo else value.replace(tzinfo=UTC))
    return f'"{value}"' if value == "" or (isinstance(value, str) and " " in value) else str(value)
