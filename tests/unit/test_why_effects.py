"""Splits of any numbers add up, exactly and as shown: contributions to the change, effects to contributions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retailpulse_kernel.insight.breakdown import breakdown_of, change_between
from retailpulse_kernel.insight.divided import Divided
from retailpulse_kernel.insight.effects import Added, Decomposition, Groups, total_of
from retailpulse_kernel.insight.shown import shared
from retailpulse_kernel.insight.sold import Sold
from retailpulse_kernel.shop.figures import AVERAGE_ORDER_VALUE, EVENTS, ORDERS, REVENUE, UNITS

AMOUNTS = st.decimals(-(10**12), 10**12, places=4).map(Fraction)
COUNTS = st.integers(-20, 10**6).map(Fraction)
PARTS = st.fixed_dictionaries({"revenue": AMOUNTS, "units": COUNTS, "orders": COUNTS, "events": COUNTS})
GROUPS = st.dictionaries(st.sampled_from("abcdefg"), PARTS, max_size=7)
SPLITS: list[tuple[Decomposition, int]] = [
    (Added(EVENTS), 0), (Added(REVENUE), 4), (Sold(REVENUE, UNITS, ORDERS), 4), (Sold(REVENUE, UNITS, None), 4),
    (Sold(REVENUE, None, ORDERS), 4), (Divided(AVERAGE_ORDER_VALUE), 6),
]  # fmt: skip


@pytest.mark.parametrize(("split", "places"), SPLITS)
@given(before=GROUPS, after=GROUPS)
def test_any_change_adds_up(split: Decomposition, places: int, before: Groups, after: Groups) -> None:
    values = [split.value(total_of(groups)) for groups in (before, after)]
    assume(None not in values)
    old, new = values
    assert old is not None and new is not None
    changes = split.changes(before, after)
    assert sum((one.contribution for one in changes.values()), Fraction(0)) == new - old
    for one in changes.values():
        assert not split.effects or sum(one.effects.values(), Fraction(0)) == one.contribution
        assert tuple(one.effects) == split.effects

    found = breakdown_of("letter", split, before, after, places)
    shown = change_between(split, before, after, places)
    assert shown[0] is not None and shown[1] is not None
    for movers in (found.movers, found.largest(2)):
        assert sum(Fraction(one.contribution) for one in movers) == shown[1] - shown[0]
        for mover in movers:
            assert not split.effects or sum(mover.effects.values()) == mover.contribution
    exact = {str(value): one.contribution for value, one in changes.items()}
    for mover in found.movers:
        assert abs(Fraction(mover.contribution) - exact[mover.value]) < 2 * Fraction(1, 10**places)


@given(st.lists(st.fractions(-(10**6), 10**6), min_size=1), st.integers(0, 6))
def test_what_is_shown_adds_up_and_is_near(parts: list[Fraction], places: int) -> None:
    unit = Fraction(1, 10**places)
    total = round(sum(parts) / unit) * unit
    found = shared(parts, total, places=places)
    assert sum(map(Fraction, found)) == total
    assert all(abs(Fraction(shown) - part) <= unit for shown, part in zip(found, parts, strict=True))


def test_nothing_is_left_over_where_nothing_is_rounded() -> None:
    assert shared([Fraction(1, 2), Fraction(-3, 2)], Fraction(-1), places=1) == [Decimal("0.5"), Decimal("-1.5")]
    with pytest.raises(ValueError, match="more than 1 decimal places"):
        shared([Fraction(1, 4)], Fraction(1, 4), places=1)


def test_units_that_were_sold_without_an_order_of_their_own_are_split() -> None:
    """An order counts where its first line does: another category has units and no orders."""
    before = {"a": {"revenue": Fraction(10), "units": Fraction(2), "orders": Fraction(1)},
              "b": {"revenue": Fraction(6), "units": Fraction(2), "orders": Fraction(0)}}  # fmt: skip
    after = {"a": dict(before["a"]), "b": {"revenue": Fraction(9), "units": Fraction(3), "orders": Fraction(0)}}
    split = Sold(REVENUE, UNITS, ORDERS)
    change = split.changes(before, after)["b"]
    assert change.contribution == 3 and change.effects["price"] == change.effects["orders"] == 0
    assert change.effects["quantity"] + change.effects["mix"] == 3
    assert split.reason(before["b"], after["b"], change) == "more units"


def test_a_value_with_nothing_to_divide_by_counts_as_rate() -> None:
    before = {"a": {"revenue": Fraction(10), "orders": Fraction(1)}, "b": {"revenue": Fraction(2)}}
    after = {"a": {"revenue": Fraction(10), "orders": Fraction(1)}, "b": {"revenue": Fraction(5)}}
    change = Divided(AVERAGE_ORDER_VALUE).changes(before, after)["b"]
    assert (change.before, change.after, change.contribution, change.effects["mix"]) == (None, None, 3, 0)
