"""When the tail is folded, and when only stored figures are followed."""

from __future__ import annotations

from typing import Any

import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.feed import Feed
from retailpulse_kernel.live.stream.stored import Batches
from retailpulse_kernel.streaming.checkpoint.accounts import Account


class Topic:
    """Stands where it is told to."""

    def __init__(self) -> None:
        self.rate, self.following, self.at = 0.0, False, dict[int, int]()

    def follow(self, offsets: dict[int, int]) -> None:
        self.following, self.at = True, dict(offsets)

    def rest(self) -> None:
        self.following = False


class Stored:
    """Has figures, or none."""

    def __init__(self, newest: int | None) -> None:
        self._newest = newest

    def newest_hour(self) -> int | None:
        return self._newest

    def hour_of(self, moment: int) -> int:
        return moment // 3_600 * 3_600


class Followed:
    def __init__(self, batches: Batches) -> None:
        self.batches = batches


def feed(*, end: int, taken: int | None, rate: float = 0.0, stored: int | None = 0, start_ms: int = 1_000) -> Any:
    batches = Batches("t")
    if taken is not None:
        offsets = {"t": {"0": taken}}
        batches.add(Account("metrics", 1, 0, offsets, 1, 1, 0, 0, 0, 1, 0, 0, 0, delay_ms=60_000), start_ms)
    made: Any = Feed(Settings())
    made.topic, made.stored, made.followed = Topic(), Stored(stored), Followed(batches)
    made.topic.rate = rate
    made._begin, made._end = {0: 0}, {0: end}
    made._decide()
    return made


def test_the_tail_begins_a_little_before_what_is_stored() -> None:
    made = feed(end=90_000, taken=80_000)
    assert made.state.folding and made.topic.following and not made.state.note
    assert 70_000 < made.topic.at[0] < 80_000
    assert made.state.lag == 10_000


@pytest.mark.parametrize(
    "given, why",
    [
        ({"end": 90_000, "taken": 80_000, "rate": 50_000.0}, "50,000 events/s are more"),
        ({"end": 900_000, "taken": 80_000}, "820,000 messages behind"),
        ({"end": 900_000, "taken": None, "stored": None}, "has never run"),
        ({"end": 10, "taken": None, "stored": 3_600}, "not known which messages"),
        ({"end": 90_000, "taken": 80_000, "start_ms": 0}, "not known which messages"),
    ],
)
def test_stored_figures_only_and_it_says_why(given: dict[str, Any], why: str) -> None:
    made = feed(**given)
    assert not made.state.folding and not made.topic.following
    assert why in made.state.note and "stored figures only" in made.state.note


def test_without_a_job_a_small_topic_is_folded_from_its_beginning() -> None:
    made = feed(end=10_000, taken=None, stored=None)
    assert made.topic.following and made.topic.at == {0: 0}


def test_it_goes_on_only_when_there_is_clearly_less_to_do() -> None:
    made = feed(end=90_000, taken=80_000, rate=50_000.0)
    made.topic.rate = 9_000.0
    made._decide()
    assert not made.topic.following
    made.topic.rate = 2_000.0
    made._decide()
    assert made.topic.following and made.state.folding
    made.topic.rate = 9_000.0
    made._decide()
    assert made.topic.following, "nor does it stop at once"
