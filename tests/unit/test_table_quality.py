"""The quality of tables, judged from rows and counts, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from retailpulse_kernel.shop.contract.model import Field
from retailpulse_kernel.upkeep.table_quality import keeps_rules, keeps_up, nulls_of

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("behind", "minutes", "ok"), [(0, 600, True), (5, 10, True), (5, 16, False), (5, None, False), (0, None, True)]
)
def test_a_table_is_old_only_where_messages_wait(behind: int, minutes: int | None, ok: bool) -> None:
    written = None if minutes is None else NOW - timedelta(minutes=minutes)
    found = keeps_up("carts", behind, written, timedelta(minutes=15), now=NOW)
    assert (found.name, found.ok) == ("carts keeps up", ok)


def rows(nulls: int, of: int, also: int = 0) -> pa.Table:
    """Rows whose columns have so many nulls."""
    device = [None] * nulls + ["phone"] * (of - nulls)
    campaign = [None] * also + ["spring"] * (of - also)
    return pa.table({"device": pa.array(device, pa.string()), "campaign": pa.array(campaign, pa.string())})


def test_nulls_are_compared_with_what_is_usual() -> None:
    usual = rows(600, 2_000)
    assert nulls_of("carts", rows(700, 2_000), usual, 0.1).ok, "35 % where 30 % are usual"
    worse = nulls_of("carts", rows(900, 2_000, also=20), usual, 0.1)
    assert not worse.ok and worse.found == "device 45.00%, 900 of 2,000"
    other = nulls_of("carts", rows(600, 2_000, also=500), usual, 0.1)
    assert not other.ok and other.found.startswith("campaign 25.00%")
    few = nulls_of("carts", rows(9, 10), usual, 0.1)
    assert few.ok and few.expected.startswith("not judged")


def test_values_against_the_contract_are_counted() -> None:
    fields = {
        "price": Field("price", "decimal(9,2)", min="0", max="99.50"),
        "device": Field("device", allowed=("phone", "desk")),
        "code": Field("code", min_length=2, max_length=3),
    }
    table = pa.table({
        "price": pa.array([Decimal("1.00"), Decimal("-1.00"), Decimal("99.51"), None], pa.decimal128(9, 2)),
        "device": ["phone", "desk", "watch", None], "code": ["ab", "abc", "a", "abcd"],
    })  # fmt: skip
    found = keeps_rules("carts", table, fields)
    assert not found.ok and found.found == "2 of code, 1 of device, 2 of price"
    kept = keeps_rules("carts", table.slice(0, 1), fields)
    assert kept.ok and kept.found == "none of 1 rows"
