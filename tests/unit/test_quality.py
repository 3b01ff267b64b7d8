"""What is expected of a stream, judged from accounts and figures of the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.upkeep.quality import Limits, judge, require

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(bad=0.05, late=0.02, unknown=0.1, silence=timedelta(minutes=15))


def account(minutes_ago: float, *, job: str = "metrics", consumed: int = 100, bad: int = 0, late: int = 0) -> Account:
    at = int((NOON - timedelta(minutes=minutes_ago)).timestamp() * 1000)
    return Account(job, 1, 0, {}, consumed, consumed - bad - late, 0, late, bad, 0, 0, at, at)


def row(minutes_ago: int, kind: str = "view", category: str = "a.b", events: int = 1) -> dict[str, Any]:
    return {"bucket": NOON - timedelta(minutes=minutes_ago), "event_type": kind, "category": category, "events": events}


def mixed(minutes_ago: int, *, unknown: int) -> list[dict[str, Any]]:
    """A thousand events, so many of them of no category."""
    no_category = row(minutes_ago, category="unknown", events=unknown)
    return [no_category, row(minutes_ago, events=1000 - unknown)]


def steady(kind: str, first: int, last: int) -> list[dict[str, Any]]:
    """An event of a type in each minute, from so many minutes ago to so many."""
    return [row(ago, kind) for ago in range(first, last - 1, -1)]


def failed(accounts: list[Account], rows: list[dict[str, Any]]) -> list[str]:
    return [one.name for one in judge(accounts, rows, LIMITS, until=NOON, last=timedelta(hours=1)) if not one.ok]


@pytest.mark.parametrize(
    ("accounts", "rows", "expected"),
    [
        ([], [], []),
        ([account(10, bad=5, late=2)], [row(1)], []),
        ([account(10, bad=6)], [row(1)], ["bad messages"]),
        ([account(10, late=3)], [row(1)], ["late events"]),
        ([account(70, bad=60), account(10)], [row(1)], []),
        # The share of events of no category is compared with the time before: a third is usual in many a shop.
        ([], [*mixed(90, unknown=323), *mixed(2, unknown=323)], []),
        ([], [*mixed(90, unknown=323), *mixed(2, unknown=460)], []),  # 10 points and what chance makes of it
        ([], [*mixed(90, unknown=323), *mixed(2, unknown=480)], ["events of no category"]),
        ([], [*mixed(90, unknown=20), *mixed(2, unknown=323)], ["events of no category"]),
        ([], [*mixed(90, unknown=980), *mixed(2, unknown=1000)], []),
        # Too few to judge: in the part itself, and in the time before, as in a stream's first hour.
        ([], [*mixed(90, unknown=20), row(1, events=500), row(1, category="unknown", events=499)], []),
        ([], [*mixed(2, unknown=900), *mixed(90, unknown=500)[1:]], []),
        # Silent for 15 minutes in which others came; for 16; and where 10 minutes were usual, for 20 and 21.
        ([], [*steady("search", 60, 1), *steady("view", 60, 16)], []),
        ([], [*steady("search", 60, 1), *steady("view", 60, 17)], ["silence of view"]),
        ([], [*steady("search", 60, 1), *steady("view", 60, 32), row(21)], []),
        ([], [*steady("search", 60, 1), *steady("view", 60, 33), row(22)], ["silence of view"]),
        ([], [*steady("search", 900, 1), *steady("refund", 900, 880), row(450, "refund")], []),
        ([], [*steady("search", 900, 1), *steady("refund", 900, 880)], ["silence of refund"]),
        # Too rare to say: 20 minutes with an event of a type tell how often it comes.
        ([], [*steady("search", 900, 1), *steady("refund", 900, 882)], []),
        # The stream stood still as a whole, as over a night without servers: no type fell silent.
        ([], [*steady("view", 900, 860), *steady("purchase", 900, 860), row(2)], []),
        ([], [*steady("view", 900, 860), *steady("purchase", 900, 860)], []),
    ],
)
def test_what_is_not_as_expected(accounts: list[Account], rows: list[dict[str, Any]], expected: list[str]) -> None:
    assert failed(accounts, rows) == expected


def test_the_run_fails_with_all_that_is_wrong() -> None:
    found = judge([account(10, bad=6, late=3)], [row(1)], LIMITS, until=NOON, last=timedelta(hours=1))
    with pytest.raises(
        CheckFailed, match=r"2 expectations .*bad messages: 6.00%, 6 of 100, expected at most 5.00%; late events: 3"
    ):
        require(found)
    require(one for one in found if one.ok)


def test_a_share_that_can_not_be_judged_says_so() -> None:
    found = judge([], mixed(2, unknown=900), LIMITS, until=NOON, last=timedelta(hours=1))[2]
    assert (found.found, found.ok) == ("90.00%, 900 of 1,000", True)
    assert found.expected == "not judged below 1,000, here and before"
