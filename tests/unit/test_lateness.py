"""The rule by which a message is late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.lateness import PartitionClock

TIMES = st.lists(st.integers(946_684_800_000, 4_133_980_799_999), max_size=40)


def judged(times: list[int], delay_ms: int, at_ms: int | None = None) -> list[bool]:
    clock = PartitionClock(delay_ms, at_ms)
    verdicts = []
    for time in times:
        verdicts.append(clock.is_late(time))
        clock.advance(time)
    return verdicts


def test_the_first_event_is_never_late() -> None:
    assert judged([946_684_800_000], delay_ms=0) == [False]


def test_the_limit_itself_is_late() -> None:
    assert judged([2_000_000, 1_400_000, 1_400_001], delay_ms=600_000) == [False, True, False]


def test_a_late_event_does_not_turn_the_clock_back() -> None:
    assert judged([2_000_000, 100, 1_400_000], delay_ms=600_000) == [False, True, True]


def test_without_delay_only_newer_events_are_in_time() -> None:
    assert judged([5, 5, 6, 4], delay_ms=0) == [False, True, False, True]


def test_a_clock_goes_on_from_where_it_stood() -> None:
    assert judged([1_400_000, 1_400_001], delay_ms=600_000, at_ms=2_000_000) == [True, False]


@given(TIMES, st.integers(0, 10**9))
def test_it_is_the_rule_as_it_is_written_down(times: list[int], delay_ms: int) -> None:
    rule = [bool(times[:i]) and time <= max(times[:i]) - delay_ms for i, time in enumerate(times)]
    assert judged(times, delay_ms) == rule


@given(TIMES, st.integers(0, 40), st.integers(0, 10**9))
def test_a_replay_from_anywhere_judges_alike(times: list[int], start: int, delay_ms: int) -> None:
    before, after = times[:start], times[start:]
    assert judged(times, delay_ms)[start:] == judged(after, delay_ms, max(before, default=None))
