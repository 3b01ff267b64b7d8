"""The types of fields: what they are called in a contract, and what Arrow and Spark call them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TYPES", "arrow_type", "decimal_digits", "element_of", "is_numeric", "is_type", "sql_type"]

#: The simple types, and how Spark and Hive write them.
_SQL: Final = {
    "string": "string",
    "bool": "boolean",
    "int": "int",
    "long": "bigint",
    "double": "double",
    "date": "date",
    "timestamp": "timestamp",
}
#: Every type, as an error lists them.
TYPES: Final = (*_SQL, "decimal(p,s)", "list<...>")

_DECIMAL: Final = re.compile(r"decimal\(([1-9]|[12]\d|3[0-8]),(\d|[12]\d|3[0-8])\)")
_LIST: Final = re.compile(r"list<(.+)>")


def is_type(text: str) -> bool:
    """Whether a text is a type of a field.

    >>> is_type("decimal(9,2)"), is_type("list<int>"), is_type("list<list<int>>"), is_type("text")
    (True, True, False, False)

    Parameters
    ----------
    text : str
        As a contract has it.
    """
    inner = element_of(text) or text
    if digits := decimal_digits(inner):
        return digits[1] <= digits[0]
    return inner in _SQL


def element_of(text: str) -> str | None:
    """The type of a list's elements; None for a type that is not a list.

    Parameters
    ----------
    text : str
        A type.
    """
    found = _LIST.fullmatch(text)
    return found[1] if found else None


def decimal_digits(text: str) -> tuple[int, int] | None:
    """The digits of a decimal, and how many of them stand behind the point; None for another type.

    Parameters
    ----------
    text : str
        A type.
    """
    found = _DECIMAL.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def is_numeric(text: str) -> bool:
    """Whether values of a type can be added up.

    Parameters
    ----------
    text : str
        A type.
    """
    return text in ("int", "long", "double") or decimal_digits(text) is not None


def arrow_type(text: str) -> pa.DataType:
    """A type as Arrow has it: times are microseconds in UTC.

    Parameters
    ----------
    text : str
        A type.
    """
    import pyarrow as pa

    if inner := element_of(text):
        return pa.list_(arrow_type(inner))
    if digits := decimal_digits(text):
        return pa.decimal128(*digits)
    simple = {
        "string": pa.string(), "bool": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "double": pa.float64(),
        "date": pa.date32(), "timestamp": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    return simple[text]


def sql_type(text: str) -> str:
    """A type as Spark and Hive write it.

    >>> sql_type("list<long>"), sql_type("decimal(9,2)")
    ('array<bigint>', 'decimal(9,2)')

    Parameters
    ----------
    text : str
        A type.
    """
    if inner := element_of(text):
        return f"array<{sql_type(inner)}>"
    return text if decimal_digits(text) else _SQL[text]
