"""Frames as pandas, polars and Arrow, and what is said of rows that were cut off."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.stores.frames import cut, shaped, to_frame

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FRAME = to_frame(
    ["n", "at", "money", "kind", "gaps"],
    [(1, NOON, Decimal("0.1000"), "a", None), (2, NOON, Decimal("99999999999999.9999"), "b", 2**60 + 1)],
    {0: "integer", 1: "time", 3: "category", 4: "integer"},
)


def test_pandas_is_what_it_was() -> None:
    assert shaped(FRAME) is FRAME


def test_arrow_keeps_money_exact_and_times_in_utc() -> None:
    table = shaped(FRAME, "arrow")
    assert isinstance(table, pa.Table)
    assert table["money"].to_pylist() == [Decimal("0.1000"), Decimal("99999999999999.9999")]
    assert pa.types.is_decimal(table.schema.field("money").type)
    assert table.schema.field("at").type == pa.timestamp("ns", tz="UTC")
    assert table["gaps"].to_pylist() == [None, 2**60 + 1], "float64 would round it"


def test_polars_keeps_money_exact_and_times_in_utc() -> None:
    frame = shaped(FRAME, "polars")
    assert isinstance(frame, pl.DataFrame)
    assert frame["money"].sum() == Decimal("100000000000000.0999")
    assert frame["at"].dtype == pl.Datetime("ns", "UTC")
    assert frame["kind"].dtype == pl.Categorical or frame["kind"].dtype == pl.Enum(["a", "b"])
    assert frame["gaps"].to_list() == [None, 2**60 + 1]


def test_floats_are_what_pandas_counts_with() -> None:
    frame = shaped(
        to_frame(["money", "n"], [(Decimal("0.1"), 1), (None, 2), (Decimal("30"), 3)], {1: "integer"}), "float"
    )
    assert list(map(str, frame.dtypes)) == ["float64", "int64"]
    assert list(frame.nlargest(1, "money")["n"]) == [3]
    assert frame["money"].describe()["max"] == 30.0
    assert np.polyfit(frame["n"][[0, 2]], frame["money"][[0, 2]], 1)[0] == pytest.approx(14.95)
    assert (frame["money"] * frame["n"]).sum() == pytest.approx(90.1)
    assert str(shaped(to_frame(["money"], [], {}), "float")["money"].dtype) == "float64", "without rows, too"
    raw = shaped(to_frame(["raw"], [(b"x",), (None,)], {}), "float")
    assert raw["raw"][0] == b"x"


def test_exact_money_stays_exact_in_sums_of_groups() -> None:
    frame = to_frame(["key", "money"], [("a", Decimal("0.1")), ("a", Decimal("0.2")), ("b", None)], {0: "text"})
    assert frame.groupby("key")["money"].sum()["a"] == Decimal("0.3")
    assert (frame["money"] * 3)[1] == Decimal("0.6")


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [
        (2**70, "arrow", "whole numbers of more than 64 bits, which Arrow"),
        (2**70, "polars", "whole numbers of more than 64 bits, which Arrow"),
        (Decimal(10) ** 40, "polars", "decimals of more than 38 digits, which polars"),
        (Decimal(10) ** 80, "arrow", "decimals of more than 76 digits, which Arrow"),
    ],
)
def test_numbers_that_a_library_can_not_hold_are_named(value: object, form: str, said: str) -> None:
    frame = to_frame(["wide"], [(value,)], {})
    assert shaped(frame)["wide"][0] == value
    with pytest.raises(UsageError, match=f"The column 'wide' has {said} can't hold.*as_=\"pandas\""):
        shaped(frame, form)  # type: ignore[arg-type]


def test_a_cut_is_said_once_with_how_to_get_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    frame = to_frame(["n"], [(1,)], {}, more=True, total=1_234)
    assert frame.attrs == {"more": True, "total": 1_234, "note": "1 of 1,234 rows"}
    shaped(frame, "arrow")
    assert capsys.readouterr().err == "1 of 1,234 rows: `limit=None` gives all.\n"
    with unsaid():
        shaped(frame)
    shaped(to_frame(["n"], [(1,)], {}))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("limit", [-1, "5", 2.0, True])
def test_a_limit_is_a_number_of_rows_or_none(limit: object) -> None:
    with pytest.raises(UsageError, match=r"is not a number of rows\. Give a whole number, or None for all rows"):
        cut([], limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["arrow", "polars"])
def test_odd_frames_too(form: str) -> None:
    twice = to_frame(["id", "id"], [(1, 2)], {})
    mixed = to_frame(["raw"], [(b"x",), ({"a": 1},), (None,)], {})
    empty = to_frame(["a", "b"], [], {0: "integer"})
    assert list(_names(shaped(twice, form))) == ["id", "id_2"]  # type: ignore[arg-type]
    assert len(shaped(mixed, form)) == 3  # type: ignore[arg-type]
    assert list(_names(shaped(empty, form))) == ["a", "b"]  # type: ignore[arg-type]
    assert len(shaped(pd.DataFrame(), form)) == 0  # type: ignore[arg-type]


def _names(frame: pa.Table | pl.DataFrame) -> list[str]:
    return frame.column_names if isinstance(frame, pa.Table) else frame.columns


def test_another_kind_of_frame_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'polars'"):
        shaped(FRAME, "polar")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "limit", "kept", "more", "total"),
    [(5, None, 5, False, 5), (5, 5, 5, False, 5), (5, 3, 3, True, 5), (0, 3, 0, False, 0), (5, 0, 0, True, 5)],
)
def test_a_cut_is_told(rows: int, limit: int | None, kept: int, more: bool, total: int) -> None:
    found, attributes = cut(range(rows), limit, count_for=60)
    assert (len(found), attributes) == (kept, {"more": more, "total": total})


def test_counting_ends_and_then_says_only_that_there_are_more() -> None:
    found, attributes = cut(count(), 3, count_for=0.01)
    assert (found, attributes) == ([0, 1, 2], {"more": True, "total": None})
