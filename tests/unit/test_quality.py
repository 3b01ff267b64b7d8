"""What is expected of a stream, judged from accounts and figures of the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retailpulse_kernel.errors import JobError
from retailpulse_kernel.streaming.accounts import Account
from retailpulse_kernel.upkeep.quality import Limits, judge, require

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Limits(bad=0.05, late=0.02, unknown=0.25, silence=timedelta(minutes=15))


def account(minutes_ago: float, *, job: str = "metrics", consumed: int = 100, bad: int = 0, late: int = 0) -> Account:
    at = int((NOON - timedelta(minutes=minutes_ago)).timestamp() * 1000)
    return Account(job, 1, 0, {}, consumed, consumed - bad - late, 0, late, bad, 0, 0, at, at)


def row(minutes_ago: int, kind: str = "view", category: str = "a.b", events: int = 1) -> dict[str, Any]:
    return {"bucket": NOON - timedelta(minutes=minutes_ago), "event_type": kind, "category": category, "events": events}


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
        ([account(10, job="archive", bad=60)], [row(1)], []),
        ([], [row(2, category="unknown"), row(1, events=3)], []),
        ([], [row(2, category="unknown", events=2), row(1, events=3)], ["events of no category"]),
        ([], [row(90, category="unknown", events=9), row(1)], []),
        # Silent for 15 minutes; for 16; and where 10 minutes of silence were usual, for 20 and 21.
        ([], [row(16)], []),
        ([], [row(17)], ["silence of view"]),
        ([], [row(32), row(21)], []),
        ([], [row(33), row(22)], ["silence of view"]),
        ([], [row(1), row(900, "refund"), row(400, "refund")], []),
        ([], [row(1), row(900, "refund"), row(899, "refund")], ["silence of refund"]),
    ],
)
def test_what_is_not_as_expected(accounts: list[Account], rows: list[dict[str, Any]], expected: list[str]) -> None:
    assert failed(accounts, rows) == expected


def test_the_run_fails_with_all_that_is_wrong() -> None:
    found = judge([account(10, bad=6, late=3)], [row(1)], LIMITS, until=NOON, last=timedelta(hours=1))
    with pytest.raises(JobError, match=r"2 of .*bad messages: 6.00%, 6 of 100, expected at most 5.00%; late events: 3"):
        require(found)
    require(one for one in found if one.ok)
