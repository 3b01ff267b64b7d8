"""Quantiles by buckets: within 1 % of the exact ones, and the same bytes however the values are split and ordered."""

from __future__ import annotations

import random
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retailpulse_kernel.answers.base_figures import all_in_base
from retailpulse_kernel.catalogue.tables import TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.figures import Figure, Measure, median_of, quantile_of
from retailpulse_kernel.shop.sketching import buckets
from retailpulse_kernel.shop.sketching.sketches import is_sketch
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, TablePlan
from retailpulse_kernel.streaming.run.changes import Effect, compare

WHOLE = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)
DECIMALS = (st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-(10**5), 10**7)).map(lambda n: Decimal(n).scaleb(-4))
QUANTILES = st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.95, 0.999, 1.0])


def sketch(values: list[int | Decimal | None], places: int) -> bytes:
    return buckets.of(buckets.numbered(values, places).to_pylist(), places)


def exact(values: list[Decimal], q: float) -> Decimal:
    return sorted(values)[int(Decimal(str(q)) * (len(values) - 1))]


@given(st.lists(DECIMALS, min_size=1, max_size=60), QUANTILES)
@settings(deadline=None)
def test_a_quantile_of_decimals_is_within_one_percent(values: list[Decimal], q: float) -> None:
    found, expected = buckets.estimate(sketch(list(values), 4), q), exact(values, q)
    assert found is not None
    assert abs(found - expected) <= abs(expected) / 100 + Decimal("0.00005")


@given(st.lists(WHOLE, min_size=1, max_size=60), QUANTILES)
@settings(deadline=None)
def test_a_quantile_of_whole_numbers_is_within_one_percent(values: list[int], q: float) -> None:
    found, expected = buckets.estimate(sketch(list(values), 0), q), exact([Decimal(v) for v in values], q)
    assert found is not None
    assert abs(found - expected) <= abs(expected) / 100 + Decimal("0.00005")
    if abs(expected) < 50:
        assert found == expected, "a small number is alone in its bucket"


def test_quantiles_are_those_of_numpy() -> None:
    prices = np.round(np.random.default_rng(7).lognormal(3, 1.5, 20_000), 2)
    found = sketch([Decimal(str(price)) for price in prices], 4)
    for q in (0.01, 0.25, 0.5, 0.95, 0.999):
        assert float(buckets.estimate(found, q) or 0) == pytest.approx(
            np.quantile(prices, q, method="lower"), rel=0.0101
        )
    assert len(found) < 3_000


@given(st.lists(st.lists(st.none() | DECIMALS, max_size=20), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_parts_in_any_order_are_the_same_bytes(parts: list[list[Decimal | None]], order: random.Random) -> None:
    every = [value for part in parts for value in part]
    order.shuffle(every)
    sketches = [sketch(list(part), 4) for part in parts]
    order.shuffle(sketches)
    assert buckets.union([b"", *sketches]) == buckets.union([buckets.union(sketches)]) == sketch(list(every), 4)


def test_the_bytes_are_what_they_were() -> None:
    """Stored windows have them: other bytes are another version."""
    values: list[int | Decimal | None] = [-1, 0, 0, 1, 1, 1000, None, -(2**63)]
    assert sketch(values, 0).hex() == "010093220188110101020102da0201"
    assert buckets.numbered([Decimal("1.99"), Decimal("-0.0001"), Decimal(0), None], 4).to_pylist() == [
        496,
        -1,
        0,
        None,
    ]
    assert not is_sketch(sketch(values, 0) + bytes(10))


def test_a_part_of_a_column_is_numbered_as_the_whole() -> None:
    for places, type_ in ((0, pa.int64()), (4, pa.decimal128(18, 4))):
        column = pa.array([1, None, 300, -5, 7_000], pa.int64()).cast(pa.decimal128(38, 0)).cast(type_)
        whole = buckets.numbered(column, places).to_pylist()
        assert buckets.numbered(column.slice(1, 3), places).to_pylist() == whole[1:4]
        assert buckets.numbered(pa.chunked_array([column.slice(2), column[:0]]), places).to_pylist() == whole[2:]
    assert buckets.numbered(pa.chunked_array([], pa.int64()), 0).to_pylist() == []


def test_no_values_have_no_quantile() -> None:
    for nothing in (None, b"", sketch([None], 4), buckets.union([])):
        assert buckets.estimate(nothing, 0.5) is None


def test_other_buckets_are_not_added() -> None:
    with pytest.raises(ValueError, match="0 decimal places can't be added to those of 4"):
        buckets.union([sketch([Decimal(1)], 4), sketch([1], 0)])
    with pytest.raises(ValueError, match="version 9"):
        buckets.union([b"\x09\x00"])


@pytest.mark.parametrize("q", [-0.1, 1.01, 95, float("nan"), float("inf"), True, "0.5", None])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(UsageError, match="no quantile"):
        quantile_of("price", q)


def test_a_plan_keeps_the_quantile() -> None:
    p95, median = (Figure("f", "F", measure) for measure in (quantile_of("price", 0.95), median_of("price")))
    plan = FigurePlan.describing(p95)
    assert (plan.label, plan.figure.measure) == ("quantile_decimal 0.95", p95.measure)
    assert plan != FigurePlan.describing(median)
    values = sketch([Decimal(n) for n in range(1, 22)], 4)
    assert [figure.rules.shown(values) for figure in (p95, median)] == [
        pytest.approx(Decimal(n), rel=Decimal("0.01")) for n in (20, 11)
    ]


def test_another_quantile_under_the_same_name_is_another_epoch() -> None:
    old, new = (
        Plan("job", "t", "event_id", 0, (), "change", "count", (TablePlan("x", "hbase", ("hour",), (), (figure,)),))
        for figure in (
            FigurePlan("f", "quantile", "quantity", "", 0.5),
            FigurePlan("f", "quantile", "quantity", "", 0.9),
        )
    )
    (difference,) = compare(old, new)
    assert difference.effect is Effect.EPOCH
    assert "quantile 0.5 of quantity" in difference.reason and "quantile 0.9 of quantity" in difference.reason


def test_the_quantile_of_a_price_goes_by_currency_and_is_not_converted() -> None:
    p95 = Figure("p95", "P95", quantile_of("price", 0.95), unit="currency")
    entry = TableEntry(TablePlan.describing(FigureTable("t", (p95,), ("currency",), (grain_of("hour"),)), "memory"))
    assert entry.is_estimated(p95) and entry.may_be_money(p95)
    assert all_in_base([p95], ("currency",)) == []


def test_the_quantile_of_an_own_field_waits_for_its_type() -> None:
    waiting = quantile_of("weight", 0.25)
    assert waiting.typed({"weight": "decimal(9,3)"}) == Measure(quantile_of("price", 0.25).kind, "weight", q=0.25)
