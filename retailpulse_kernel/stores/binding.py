"""Bound parameters: ``:name`` in a statement, and values that no store mistakes for text of it.

Cassandra and Spark bind values themselves. HiveServer2 can't: there a value becomes a literal in which every
character that could mean anything is written as its number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set, ValuesView
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from retailpulse_kernel.ground.errors import UsageError, did_you_mean

__all__ = ["Dialect", "bound", "hive_literal", "names_in", "one_statement", "places_of", "plain_value", "with_literals"]

#: Whose quotes and comments a statement has.
Dialect = Literal["cql", "hive", "spark"]

_BACKSLASHED = r"'(?:[^'\\]|\\.)*' | \"(?:[^\"\\]|\\.)*\" | `[^`]*`"
_QUOTED = {
    # In CQL a backslash is a character like any other, and $$ quotes too.
    "cql": r"'[^']*' | \"[^\"]*\" | \$\$.*?\$\$",
    "hive": _BACKSLASHED,
    # A raw string's backslash is a character like any other.
    "spark": rf"(?<!\w)[rR](?:'[^']*' | \"[^\"]*\") | {_BACKSLASHED}",
}
_LINE = r"--[^\n]*"
_COMMENT = rf"{_LINE} | /\*.*?\*/"
# Spark's comments nest; a pattern can follow them to a fixed depth only.
_NESTED = r"/\*(?:(?!/\*|\*/).)*\*/"
for _ in range(3):
    _NESTED = rf"/\*(?:(?!/\*|\*/).|{_NESTED})*\*/"
_COMMENTS = {"cql": rf"{_COMMENT} | //[^\n]*", "hive": _COMMENT, "spark": rf"{_LINE} | {_NESTED}"}
# Not `a::int`, nor `{'a':true}`, nor `[1:n]`.
_PARAMETER = r"(?<![\w:'\"`\])}]):(?P<name>[^\W\d]\w*)"
_PATTERNS = {
    dialect: re.compile(f"{_QUOTED[dialect]} | {_COMMENTS[dialect]} | {_PARAMETER}", re.DOTALL | re.VERBOSE)
    for dialect in _QUOTED
}
#: A statement's parts: what is quoted, what is not read, and any other character.
_PARTS = {
    dialect: re.compile(rf"{quoted} | (?P<nothing>\s+ | {_COMMENTS[dialect]} | ;) | .", re.DOTALL | re.VERBOSE)
    for dialect, quoted in _QUOTED.items()
}
_IN = re.compile(r"\bin\s*(\(?)\s*$", re.IGNORECASE)
#: What a list's values can be, as `plain_value` gives them.
_KINDS = (bool, int, float, Decimal, str, bytes, datetime, date, UUID, list)
_LIST = "Bind a list, set, array or series of values of one type."
#: Infinities as Hive spells them.
_HIVE_FLOATS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
_HIVE_DIGITS = 38
#: What stands for itself in a literal of Hive's. Of the rest, `${` is replaced by Hive even within quotes.
_LETTERS = re.compile(r"[^A-Za-z0-9 _.,-]")


def names_in(statement: str, dialect: Dialect) -> list[str]:
    """The parameters of a statement, each once, in order; what is quoted or commented out is none.

    >>> names_in("select ':no' from t where a = :yes and b = :also -- :nor", "cql")
    ['yes', 'also']

    Parameters
    ----------
    statement : str
        With ``:name`` for each parameter.
    dialect : Dialect
        Says what is quoted and what is a comment.
    """
    found = (match["name"] for match in _PATTERNS[dialect].finditer(statement))
    return list(dict.fromkeys(name for name in found if name))


def places_of(statement: str, dialect: Dialect) -> list[str]:
    """The parameters of a statement as they come, as often as they come.

    Parameters
    ----------
    statement : str
        One statement.
    dialect : str
        Its language.
    """
    return [name for match in _PATTERNS[dialect].finditer(statement) if (name := match["name"])]


def one_statement(text: str, dialect: Dialect) -> str:
    r"""A statement without the semicolon and the comments at its end, which servers refuse and shells ask for.

    Parameters
    ----------
    text : str
        As it was typed.
    dialect : str
        Its language.

    >>> one_statement("select ';' -- why\n; -- done", "hive")
    "select ';'"
    """
    end = 0
    for part in _PARTS[dialect].finditer(text):
        if part["nothing"] is None:
            end = part.end()
    return text[:end].strip()


def only_reads(statement: str, dialect: Dialect) -> bool:
    """Whether a statement can't change anything: it begins with ``select``, or with ``with`` and inserts nothing.

    >>> only_reads("select 'insert' from t", "hive"), only_reads("with a as (select 1) insert into t ...", "hive")
    (True, False)

    Parameters
    ----------
    statement : str
        One statement.
    dialect : str
        Its language.
    """
    parts = _PARTS[dialect].finditer(statement)
    bare = "".join(" " if part["nothing"] or len(part[0]) > 1 else part[0] for part in parts)
    words = re.findall(r"\w+", bare.lower())
    return words[:1] == ["select"] or (words[:1] == ["with"] and not {"insert", "merge", "update", "delete"} & {*words})


def bound(statement: str, parameters: Mapping[str, Any] | None, dialect: Dialect) -> dict[str, Any]:
    """The values of a statement's parameters, as plain Python objects.

    Parameters
    ----------
    statement : str
        With ``:name`` for each parameter.
    parameters : mapping of str to object or None
        The values by name, which may be more than the statement's; None is no values.
    dialect : Dialect
        Says what is quoted and what is a comment.

    Raises
    ------
    UsageError
        A parameter has no value, or one of a kind that can't be bound.
    """
    given = parameters or {}
    values = {}
    for name in names_in(statement, dialect):
        if name not in given:
            raise UsageError(
                f"The parameter :{name} of the statement has no value.",
                remedy=f"{did_you_mean(name, given)}Give it with the statement: {{{name!r}: ...}}.",
            )
        values[name] = plain_value(name, given[name])
    for match in _PATTERNS[dialect].finditer(statement):
        if name := match["name"]:
            values[name] = _list_in(statement, match, values[name], dialect)
    return values


def _list_in(statement: str, match: re.Match[str], value: Any, dialect: Dialect) -> Any:
    """A parameter's value, if a list can be one there and the stores would agree on what is in it."""
    name = match["name"]
    place = _IN.search(statement[: match.start()])
    if place and not place[1] and not isinstance(value, list):
        raise UsageError(f"`in :{name}` takes a list, but {name!r} has the type {type(value).__name__}.", remedy=_LIST)
    if not isinstance(value, list):
        return value
    if not value and (place or dialect != "cql"):
        raise UsageError(
            f"The list :{name} is empty.", remedy="Leave the condition away, or ask whether there is a value first."
        )
    if place and place[1]:
        raise UsageError(f"The list :{name} stands in parentheses.", remedy=f"Write `in :{name}`, without them.")
    if any(part is None for part in value) and (place or dialect == "cql"):
        why = "`in` finds no null, and `not in` finds nothing" if place else "no collection of Cassandra's holds one"
        raise UsageError(f"The list :{name} has a null: {why}.", remedy="Leave it out, as `.dropna()` does.")
    return _of_one_kind(name, value) if place else value


def _of_one_kind(name: str, values: list[Any]) -> list[Any]:
    """A list's values, all of one kind: stores convert others as they like, some of them with a loss."""
    kinds = {next(kind for kind in _KINDS if isinstance(value, kind)) for value in values}
    if kinds == {int, float} and all(type(value) is float or float(value) == value for value in values):
        return [float(value) for value in values]
    if kinds == {int, Decimal}:
        return [Decimal(value) for value in values]
    if len(kinds) == 1 and kinds != {list}:
        return values
    said = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise UsageError(f"The list :{name} has values of the type {said}, which not all stores compare.", remedy=_LIST)


def plain_value(name: str, value: Any) -> Any:
    """A variable's value as a plain Python object: pandas' and numpy's become what they stand for.

    Parameters
    ----------
    name : str
        The variable's, for the error.
    value : object
        A list, tuple, set, series or array becomes a list, also one of polars or Arrow.

    Raises
    ------
    UsageError
        It is not a value that a store knows.
    """
    if hasattr(value, "dtype"):  # numpy's scalars and arrays, pandas' series and indexes
        return _of_array(name, value)
    if value is None or isinstance(value, bool | UUID):
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise UsageError(f"The variable {name!r} is the decimal {value}, which no store keeps.")
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):  # a member of an enumeration may be one, or a number
        return _whole_text(name, str.__str__(value))
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "to_pydatetime"):  # pandas.Timestamp and NaT
        return _of_timestamp(name, value)
    if isinstance(value, datetime | date):
        return value
    if type(value).__name__ == "NAType":
        return None
    if hasattr(value, "to_pylist"):  # Arrow
        return plain_value(name, value.to_pylist())
    if isinstance(value, list | tuple | Set | range | ValuesView):
        return [plain_value(name, part) for part in value]
    raise UsageError(
        f"The variable {name!r} is a {type(value).__name__}, which can't be bound to :{name}.",
        remedy="Text, numbers, decimals, dates, times, and lists of them can.",
    )


def _whole_text(name: str, value: str) -> str:
    """The text; half of a surrogate pair is no character, and would reach a store as a question mark."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The text {name!r} has half of a character at {error.start}, which no store keeps.",
            remedy="Write it with `.encode(errors='replace').decode()`.",
        ) from None
    return value


def _of_array(name: str, value: Any) -> Any:
    """A scalar or an array of numpy or pandas: what it stands for, exactly, or an error."""
    import numpy as np
    import pandas as pd

    if hasattr(value, "columns"):
        raise UsageError(
            f"The variable {name!r} is a frame, which can't be bound to :{name}.",
            remedy=f"Bind one of its columns: `{name}[...]`.",
        )
    kind = getattr(value.dtype, "kind", "")
    if kind == "m":
        raise UsageError(
            f"The variable {name!r} is a time span, which no store keeps.", remedy="Bind a number, of seconds perhaps."
        )
    if getattr(value, "ndim", 0) > 1:
        raise UsageError(f"The variable {name!r} has {value.ndim} dimensions.", remedy=f"Bind `{name}.tolist()`.")
    if not kind and hasattr(value, "to_list"):  # polars
        return plain_value(name, value.to_arrow())
    if isinstance(value, pd.Series | pd.Index):
        # In a column of numbers NaN is what pandas has for nothing.
        return [None if one is None or one is pd.NA or one != one else plain_value(name, one) for one in value]
    if kind == "M" and str(value.dtype) == "datetime64[ns]":
        # Python's list of them would hold plain numbers.
        times = [_of_timestamp(name, pd.Timestamp(time)) for time in value.reshape(-1)]
        return times if value.ndim else times[0]
    if str(value.dtype) in ("datetime64[ps]", "datetime64[fs]", "datetime64[as]"):
        raise UsageError(f"The time {name!r} is finer than a microsecond, which no store keeps.")
    if str(value.dtype) in ("datetime64[Y]", "datetime64[M]", "datetime64[W]"):
        raise UsageError(
            f"The time {name!r} names no day, which every store would invent.",
            remedy='Use `.astype("datetime64[D]")`.',
        )
    plain = value.tolist()
    if kind == "M" and any(isinstance(one, int) for one in np.ravel(np.asarray(plain, dtype=object))):
        # What Python has no time for, numpy gives as a number, which a store would take for another time.
        raise UsageError(f"The time {name!r} is not within the years 1 to 9999, which no store keeps.")
    if hasattr(plain, "dtype"):  # numpy has no Python number for its longest floats
        raise UsageError(f"The variable {name!r} is a {value.dtype}, which no store keeps.", remedy="Use float(...).")
    return plain_value(name, plain)


def _of_timestamp(name: str, value: Any) -> datetime | None:
    if value != value:  # NaT
        return None
    if value.nanosecond:
        raise UsageError(
            f"The time {name!r} is finer than a microsecond, which no store keeps.", remedy='Use `.floor("us")`.'
        )
    time: datetime = value.to_pydatetime(warn=False)
    return time


def with_literals(statement: str, values: Mapping[str, Any], dialect: Dialect, literal: Callable[[Any], str]) -> str:
    """The statement with a literal in place of each parameter.

    Parameters
    ----------
    statement : str
        With ``:name`` for each parameter.
    values : mapping of str to object
        One for each of `names_in`.
    dialect : Dialect
        Says what is quoted and what is a comment.
    literal : callable
        Makes a value's literal, such as `hive_literal`.
    """

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

    Parameters
    ----------
    value : object
        What `plain_value` gives. A time with a zone is taken to UTC.

    Raises
    ------
    UsageError
        HiveQL has no literal for it.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return _hive_integer(int(value))
        case float():
            return f"cast('{_HIVE_FLOATS.get(repr(value)) or repr(value)}' as double)"
        case Decimal():
            return _hive_decimal(value)
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


def _hive_integer(value: int) -> str:
    if -(2**31) <= value < 2**31:
        return str(value)
    if -(2**63) < value < 2**63:
        return f"{value}L"
    # The least number of 64 bits is none with its sign taken off, as Hive's parser reads it.
    return "cast('-9223372036854775808' as bigint)" if value == -(2**63) else _hive_decimal(Decimal(value))


def _hive_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise UsageError(f"Hive has no decimal {value}.")
    text = f"{value:f}"
    if len(text.lstrip("-").replace(".", "").lstrip("0")) > _HIVE_DIGITS:
        raise UsageError(
            f"Hive's decimals have at most {_HIVE_DIGITS} digits: {text[:50]} has more.", remedy="Bind it as text."
        )
    return f"{text}BD"


def _list(values: Iterable[Any]) -> str:
    parts = [hive_literal(value) for value in values]
    if not parts:
        raise UsageError("An empty list can't be bound in Hive.", remedy="Leave the condition away.")
    return f"({', '.join(parts)})"


def _number(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
