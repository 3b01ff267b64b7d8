"""Bound parameters: what is one in a statement, and literals that can't be anything else."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.errors import UnknownName, UsageError
from retailpulse_kernel.stores.binding import bound, hive_literal, names_in, plain_value, with_literals


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
    ],
)
def test_the_parameters_of_a_statement(statement: str, dialect: str, names: list[str]) -> None:
    assert names_in(statement, dialect) == names  # type: ignore[arg-type]


def test_a_parameter_without_a_value_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'tody'. Did you mean 'today'\?"):
        bound("select :tody", {"today": 1, "other": 2}, "cql")
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
