"""Conditions in plain Python. That Spark means the same is in ``tests/integration/test_other_jobs.py``."""

from __future__ import annotations

import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.measuring.conditions import compiled
from retailpulse_kernel.streaming.intake.given import given_events
from tests.conditions import CONDITIONS, EVENTS


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_holds_for_its_events(condition: str) -> None:
    meets = compiled([condition])
    assert [number for number, event in enumerate(EVENTS) if meets(event)] == CONDITIONS[condition]


def test_of_several_all_are_to_hold() -> None:
    meets = compiled(["quantity > 1", "brand LIKE '%cme%'", "price < 10"])
    assert [number for number, event in enumerate(EVENTS) if meets(event)] == [0]
    assert all(map(compiled([]), EVENTS))


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("brand RLIKE '^a'", "RLIKE"),
        ("hour(event_time) = 3", "hour"),
        ("event_time > '2026-01-01'", "time beside text"),
        ("brand = 3", "text beside number"),
        ("quantity IN (1, 'two')", "number beside text"),
        ("price / 2 > 1", "/"),
        ("raw LIKE '%x%'", "raw"),
        ("price > 1e3", "1e3"),
        ("brand = 'it''s'", "'s'"),
        (r"brand = 'a\'b'", r"'a\'b'"),
        (r"brand LIKE 'a\%b'", r"'a\%b'"),
        ("brand LIKE 'a!%b' ESCAPE '!'", "LIKE"),
        ("brand LIKE upper('a%')", "upper"),
        ("quantity > 1 -- and more", "--"),
        ("1 < quantity < 5", "<"),
        ("brand", "brand"),
        ("quantity AND TRUE", "quantity"),
        ("brand = 'a' AND", "its end too early"),
        ("(brand = 'a'", "its end too early"),
        ("CASE WHEN brand = 'a' THEN TRUE END", "CASE"),
        ("coalesce(brand, 1) = 'a'", "coalesce"),
        ("brand NOT = 'a'", "NOT"),
        ("brand IS TRUE", "TRUE"),
        ("", "its end too early"),
    ],
)
def test_any_other_is_refused_by_what_is_not_understood(condition: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled([condition])
    assert named in caught.value.message


def test_own_fields_of_a_contract_are_columns() -> None:
    contract = read_contract(
        "[fields.device]\n[fields.points]\ntype='int'\n[fields.cost]\ntype='decimal(9,2)'\n[fields.fresh]\ntype='bool'\n"
        "[fields.score]\ntype='double'\n",
        name="shop.toml",
        base=shipped(),
    )
    events = given_events([{"device": "tv", "points": 3, "cost": "1.50", "fresh": True}, {}], contract)
    for condition in ("device = 'tv' AND points > 2", "cost * 2 = 3", "fresh", "Points IS NOT NULL"):
        assert [*map(compiled([condition], contract), events)] == [True, False], condition
    for condition in ("score > 1", "shelf = 1"):
        with pytest.raises(UsageError):
            compiled([condition], contract)
