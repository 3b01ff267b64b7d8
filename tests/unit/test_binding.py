"""Bound parameters: what is one in a statement, and literals that can't be anything else."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.stores.binding import (
    bound,
    hive_literal,
    names_in,
    one_statement,
    places_of,
    plain_value,
    with_literals,
)


@pytest.mark.parametrize(
    ("statement", "dialect", "names"),
    [
        ("select * from t where a = :a and b in :b and c = :a", "cql", ["a", "b"]),
        ("select ':no', \":no\" from t where a=:yes", "hive", ["yes"]),
        ("select a -- :no\nfrom t /* :no\n:no */ where a = :yes", "spark", ["yes"]),
        ("select a // :no\nfrom t", "cql", []),
        ("select $$ :no $$, :yes", "cql", ["yes"]),
        (r"select 'it\'s :no', :yes", "hive", ["yes"]),
        ("select 'a\\', :yes", "cql", ["yes"]),  # CQL has no backslash escapes: the text ends before the comma
        ("select 'it''s :no', :yes", "cql", ["yes"]),
        ("select a::int, x:field, arr[1:n] from t", "spark", []),
        ("insert into t (m) values ({'k':true})", "cql", []),
        ("insert into t (m) values ({'k': :v})", "cql", ["v"]),
        ("select `:no`, (:yes)", "hive", ["yes"]),
        ("select timestamp '2026-01-01 10:00:00', :yes", "hive", ["yes"]),
        ("limit :n", "cql", ["n"]),
        ("select /* a /* b */ :no */ :yes", "spark", ["yes"]),  # Spark's comments nest
        ("select /* a /* b */ :yes", "hive", ["yes"]),
        ("select /* a /* b /* c */ */ :no */ :yes", "spark", ["yes"]),
        (r"select r'\', :yes, 'b'", "spark", ["yes"]),  # a raw string has no escapes
        (r"select bar'\', :no', :yes", "spark", ["yes"]),
        ("select :été, :größe", "hive", ["été", "größe"]),
        ("select 1 --:no\n, :yes", "hive", ["yes"]),
        ("select '%s ? {{:no}}', :yes", "cql", ["yes"]),
        ("select /* a /* :no */ :yes", "cql", ["yes"]),
        (r"select r'\', :yes, R'\d:no'", "spark", ["yes"]),
        (r"select pr'a', br, :yes", "spark", ["yes"]),
    ],
)
def test_the_parameters_of_a_statement(statement: str, dialect: str, names: list[str]) -> None:
    assert names_in(statement, dialect) == names  # type: ignore[arg-type]


def test_a_parameter_without_a_value_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        bound("select :tody", {"today": 1, "other": 2}, "cql")
    assert str(caught.value) == (
        "The parameter :tody of the statement has no value. Did you mean 'today'? "
        "Give it with the statement: {'tody': ...}."
    )
    with pytest.raises(UsageError, match=r"has no value\. Give it with the statement"):
        bound("select :tody", None, "cql")
    assert bound("select :a", {"a": 1, "unused": object()}, "cql") == {"a": 1}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(7), 7),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (pd.Timestamp("2026-01-01T10:00Z"), datetime(2026, 1, 1, 10, tzinfo=UTC)),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Series(["a", None]), ["a", None]),
        (np.array([1, 2]), [1, 2]),
        (pd.Index(["x"]), ["x"]),
        ((1, "a"), [1, "a"]),
        (range(3), [0, 1, 2]),
        (date(2026, 1, 1), date(2026, 1, 1)),
        (Decimal("1.10"), Decimal("1.10")),
    ],
)
def test_values_of_pandas_and_numpy_are_what_they_stand_for(value: object, plain: object) -> None:
    found = plain_value("x", value)
    assert found == plain and type(found) is type(plain)


@pytest.mark.parametrize("value", [object(), {"a": 1}, pd.DataFrame({"a": [1]}), len])
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"The variable 'x' is a .*, which can't be bound to :x"):
        plain_value("x", value)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (2**40, f"{2**40}L"),
        (0.5, "cast('0.5' as double)"),
        (float("nan"), "cast('NaN' as double)"),
        (Decimal("0.10"), "0.10BD"),
        (Decimal("1E+3"), "1000BD"),
        ("plain text", "'plain text'"),
        ("it's", r"'it\u0027s'"),
        ("\\", r"'\u005c'"),
        ("😀", r"'\ud83d\ude00'"),
        (b"\x00'", "unhex('0027')"),
        (UUID(int=1), f"'{UUID(int=1)}'"),
        (date(2026, 1, 31), "date '2026-01-31'"),
        (datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2))), "timestamp '2026-01-30 23:00:00.000000'"),
        (["a", 1], "('a', 1)"),
    ],
)
def test_literals_of_hive(value: object, literal: str) -> None:
    assert hive_literal(value) == literal


@pytest.mark.parametrize("value", [[], Decimal("NaN"), object()])
def test_what_hive_has_no_literal_for(value: object) -> None:
    with pytest.raises(UsageError):
        hive_literal(value)


@given(st.text())
def test_no_text_ends_its_quotes_or_is_replaced_by_hive(text: str) -> None:
    literal = hive_literal(text)
    inner = literal[1:-1]
    assert literal[0] == literal[-1] == "'"
    assert re.fullmatch(r"(?:[A-Za-z0-9 _.,-]|\\u[0-9a-f]{4})*", inner)
    units = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), inner)
    assert units.encode("utf-16-le", "surrogatepass") == text.encode("utf-16-le", "surrogatepass")


def test_only_parameters_are_replaced() -> None:
    text = "select ':a', :a -- :a"
    assert with_literals(text, {"a": "x"}, "hive", hive_literal) == "select ':a', 'x' -- :a"


# What was bound as something else, or in silence as nothing


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


TIME = datetime(2026, 3, 1, 10, 0, 0, 123456)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.datetime64("2026-03-01T10:00:00.123456", "ns"), TIME),
        (np.datetime64("2026-03-01T10:00:00.123456", "us"), TIME),
        (np.datetime64("2026-03-01", "D"), date(2026, 3, 1)),
        (np.datetime64("NaT", "ns"), None),
        (np.array(["2026-03-01T10:00:00.123456"], "datetime64[ns]"), [TIME]),
        (pd.Series([TIME]), [TIME]),
        (pd.Series([TIME]).dt.tz_localize("UTC"), [TIME.replace(tzinfo=UTC)]),
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), b"a"),
        (np.array(7), 7),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (bytearray(b"a"), b"a"),
        (memoryview(b"ab"), b"ab"),
    ],
)
def test_every_type_is_bound_exactly(value: object, plain: object) -> None:
    found = plain_value("x", value)
    assert found == plain and type(found) is type(plain)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.datetime64("2026-03-01T10:00:00.123456789", "ns"), "finer than a microsecond"),
        (pd.Timestamp("2026-03-01T10:00:00.123456789"), "finer than a microsecond"),
        (np.datetime64("2026-03-01T10:00:00", "ps"), "finer than a microsecond"),
        (np.datetime64("2026-03"), "names no day"),
        (np.array(["2026"], "datetime64[Y]"), "names no day"),
        (np.timedelta64(1, "s"), "is a time span"),
        (pd.Timedelta("1s"), "is a Timedelta"),
        (timedelta(seconds=1), "is a timedelta"),
        (np.longdouble(1) / 3, "which no store keeps"),
        (np.complex128(1), "is a complex"),
        (Decimal("NaN"), "which no store keeps"),
        (Decimal("-Infinity"), "which no store keeps"),
        (pd.DataFrame({"a": [1]}), "which can't be bound"),
    ],
)
def test_or_refused(value: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        plain_value("x", value)


@pytest.mark.parametrize(
    ("statement", "dialect", "alone"),
    [
        ("select 1; -- done", "spark", "select 1"),
        ("select 1 -- why\n ; /* done\n */ ;", "hive", "select 1"),
        ("select ';' -- a;b", "hive", "select ';'"),
        ("select 1 // done;", "cql", "select 1"),
        ("begin batch insert into t (a) values (1); apply batch;", "cql",
         "begin batch insert into t (a) values (1); apply batch"),
        (r"select 'it\'s;' ;", "spark", r"select 'it\'s;'"),
        ("-- nothing", "spark", ""),
        ("select 1; /* a /* b */ c */", "spark", "select 1"),
        (r"select r'\'; -- done", "spark", r"select r'\'"),
    ],
)  # fmt: skip
def test_a_statement_ends_before_its_semicolon_and_comments(statement: str, dialect: str, alone: str) -> None:
    assert one_statement(statement, dialect) == alone  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", ["cql", "hive", "spark"])
def test_an_empty_list_is_refused_where_it_would_find_nothing(dialect: str) -> None:
    for statement in ("select * from t where x in :names", "select * from t where x NOT IN (\n:names)"):
        with pytest.raises(UsageError, match="The list :names is empty"):
            bound(statement, {"names": []}, dialect)  # type: ignore[arg-type]
    if dialect == "cql":  # a collection may be empty
        assert bound("insert into t (tags) values (:names)", {"names": []}, "cql") == {"names": []}


def test_places_are_in_order_and_as_often_as_they_come() -> None:
    assert places_of("select :b, :a, ':no' where :b", "cql") == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (float("inf"), "cast('Infinity' as double)"),
        (float("-inf"), "cast('-Infinity' as double)"),
        (10**20, "100000000000000000000BD"),
        (-(2**63), "cast('-9223372036854775808' as bigint)"),
        (2**63 - 1, f"{2**63 - 1}L"),
        (-(2**31), str(-(2**31))),
    ],
)
def test_numbers_that_hive_would_read_as_others(value: object, literal: str) -> None:
    assert hive_literal(value) == literal


@pytest.mark.parametrize("value", [10**38, -(10**40), Decimal(10) ** 39, Decimal("0." + "1" * 39)])
def test_numbers_of_more_digits_than_hive_has_are_refused(value: object) -> None:
    with pytest.raises(UsageError, match="at most 38 digits"):
        hive_literal(value)


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("10000-01-01", "s"),
        np.datetime64("10000-01-01", "D"),
        np.array(["2026-01-01", "10000-01-01"], dtype="datetime64[us]"),
        np.datetime64(-(2**62), "ms"),
    ],
)
def test_a_time_that_python_lacks_is_never_bound_as_a_number(value: object) -> None:
    with pytest.raises(UsageError, match="years 1 to 9999"):
        plain_value("t", value)


@pytest.mark.parametrize("value", ["a\ud800", ["\udc00"], np.str_("\ud83d")])
def test_half_of_a_character_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="half of a character"):
        plain_value("t", value)
    assert plain_value("t", "\U0001f600") == "\U0001f600"
