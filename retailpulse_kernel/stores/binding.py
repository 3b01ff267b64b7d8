"""Bound parameters: ``:name`` in a statement, and values that no store mistakes for text of it.

Cassandra and Spark bind values themselves. HiveServer2 can't: there a value becomes a literal in which every
character that could mean anything is written as its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from retailpulse_kernel.errors import UnknownName, UsageError

__all__ = ["Dialect", "bound", "hive_literal", "names_in", "plain_value", "with_literals"]

#: Whose quotes and comments a statement has.
Dialect = Literal["cql", "hive", "spark"]

_QUOTED = r"'(?:[^'\\]|\\.)*' | \"(?:[^\"\\]|\\.)*\" | `[^`]*`"
_SKIPPED = {
    # In CQL a backslash is a character like any other, and $$ quotes too.
    "cql": r"'[^']*' | \"[^\"]*\" | \$\$.*?\$\$ | --[^\n]* | //[^\n]* | /\*.*?\*/",
    "hive": rf"{_QUOTED} | --[^\n]* | /\*.*?\*/",
    "spark": rf"{_QUOTED} | --[^\n]* | /\*.*?\*/",
}
# Not `a::int`, nor `{'a':true}`, nor `[1:n]`.
_PARAMETER = r"(?<![\w:'\"`\])}]):(?P<name>[A-Za-z_]\w*)"
_PATTERNS = {
    dialect: re.compile(f"{skipped} | {_PARAMETER}", re.DOTALL | re.VERBOSE) for dialect, skipped in _SKIPPED.items()
}
#: What stands for itself in a literal of Hive's. Of the rest, `${` is replaced by Hive even within quotes.
_LETTERS = re.compile(r"[^A-Za-z0-9 _.,-]")


def names_in(statement: str, dialect: Dialect) -> list[str]:
    """The parameters of a statement, each once, in order; what is quoted or commented out is none.

    >>> names_in("select ':no' from t where a = :yes and b = :also -- :nor", "cql")
    ['yes', 'also']
    """
    found = (match["name"] for match in _PATTERNS[dialect].finditer(statement))
    return list(dict.fromkeys(name for name in found if name))


def bound(statement: str, parameters: Mapping[str, Any] | None, dialect: Dialect) -> dict[str, Any]:
    """The values of a statement's parameters, as plain Python objects.

    Raises
    ------
    UnknownName
        A parameter has no value.
    UsageError
        A value is of a kind that can't be bound.
    """
    given = parameters or {}
    values = {}
    for name in names_in(statement, dialect):
        if name not in given:
            raise UnknownName("value for the parameter", name, given)
        values[name] = plain_value(name, given[name])
    return values


def plain_value(name: str, value: Any) -> Any:
    """A variable's value as a plain Python object: pandas' and numpy's become what they stand for.

    Raises
    ------
    UsageError
        It is no value that a store knows.
    """
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, pandas' series and indexes
        return plain_value(name, value.tolist())
    if value is None or isinstance(value, (bool, int, float, str, bytes, Decimal, UUID)):
        return value
    if hasattr(value, "to_pydatetime") and not hasattr(value, "__len__"):  # pandas.Timestamp and NaT
        return None if value != value else value.to_pydatetime(warn=False)
    if isinstance(value, (datetime, date)):
        return value
    if type(value).__name__ == "NAType":
        return None
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [plain_value(name, part) for part in value]
    raise UsageError(
        f"The variable {name!r} is a {type(value).__name__}, which can't be bound to :{name}.",
        remedy="Text, numbers, decimals, dates, times, and lists of them can.",
    )


def with_literals(statement: str, values: Mapping[str, Any], dialect: Dialect, literal: Callable[[Any], str]) -> str:
    """The statement with a literal in place of each parameter."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return literal(values[name]) if name else match[0]

    return _PATTERNS[dialect].sub(replaced, statement)


def hive_literal(value: Any) -> str:
    r"""A value as HiveQL has it, typed, and unable to end its own quotes.

    >>> hive_literal("it's ${env:HOME}")
    "'it\\u0027s \\u0024\\u007benv\\u003aHOME\\u007d'"
    >>> hive_literal(Decimal("0.10")), hive_literal(date(2026, 1, 31))
    ('0.10BD', "date '2026-01-31'")
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return f"{int(value)}L" if abs(value) >= 2**31 else str(int(value))
        case float():
            return f"cast('{'NaN' if value != value else repr(float(value))}' as double)"
        case Decimal():
            if not value.is_finite():
                raise UsageError(f"Hive has no decimal {value}.")
            return f"{value:f}BD"
        case str() | UUID():
            return f"'{_LETTERS.sub(_number, str(value))}'"
        case bytes():
            return f"unhex('{value.hex()}')"
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            return f"timestamp '{moment:%Y-%m-%d %H:%M:%S.%f}'"
        case date():
            return f"date '{value.isoformat()}'"
        case list():
            return _list(value)
    raise UsageError(f"Hive has no literal for a {type(value).__name__}.")


def _list(values: Iterable[Any]) -> str:
    parts = [hive_literal(value) for value in values]
    if not parts:
        raise UsageError("An empty list can't be bound in Hive.", remedy="Leave the condition away.")
    return f"({', '.join(parts)})"


def _number(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
