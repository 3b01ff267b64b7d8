"""The rule by which a message is late."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.shop.lateness import UNSTAMPED, PartitionClock, leads, running_clocks

MINUTE = 60_000
NOON = 1_767_268_800_000

TIME = st.integers(946_684_800_000, 4_133_980_799_999)
TIMES = st.lists(TIME, max_size=40)
#: Event times with the broker's time of each; some have none.
STAMPED = st.lists(st.tuples(TIME, st.just(UNSTAMPED) | TIME), max_size=40)


def judged(
    times: list[int], delay_ms: int, at_ms: int | None = None, *, arrivals: list[int] | None = None
) -> list[bool]:
    """Verdicts, of events that arrive at once when nothing else is said."""
    clock = PartitionClock(delay_ms, at_ms)
    verdicts = []
    for time, arrival in zip(times, arrivals or times, strict=True):
        verdicts.append(clock.is_late(time))
        clock.advance(time, arrival)
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


def test_a_fast_event_is_in_time_and_makes_no_other_late() -> None:
    times = [NOON + 5 * MINUTE, NOON, NOON - MINUTE + 1, NOON - MINUTE]
    assert judged(times, delay_ms=MINUTE, arrivals=[NOON] * 4) == [False, False, False, True]


def test_a_clock_nine_minutes_fast_leaves_the_whole_tolerance_of_ten() -> None:
    times = [NOON + 9 * MINUTE, NOON - 10 * MINUTE + 1, NOON - 10 * MINUTE]
    assert judged(times, delay_ms=10 * MINUTE, arrivals=[NOON] * 3) == [False, False, True]


def test_a_slow_event_moves_the_clock_by_its_own_time() -> None:
    """As in a replay of old events: the broker's time is years later."""
    assert judged([NOON, NOON - MINUTE], delay_ms=MINUTE, arrivals=[2 * NOON] * 2) == [False, True]


def test_an_event_of_yesterday_is_late_and_harms_no_other() -> None:
    day = 24 * 60 * MINUTE
    times = [NOON, NOON - day, NOON - 9 * MINUTE]
    assert judged(times, delay_ms=10 * MINUTE, arrivals=[NOON, NOON + 1, NOON + 2]) == [False, True, False]


def test_where_kafka_has_no_time_the_events_own_moves_the_clock() -> None:
    assert judged([NOON + 5 * MINUTE, NOON], delay_ms=MINUTE, arrivals=[UNSTAMPED] * 2) == [False, True]


@given(STAMPED, st.integers(0, 10**9))
def test_it_is_the_rule_as_it_is_written_down(events: list[tuple[int, int]], delay_ms: int) -> None:
    held = [time if arrival < 0 else min(time, arrival) for time, arrival in events]
    rule = [bool(held[:i]) and time <= max(held[:i]) - delay_ms for i, (time, _) in enumerate(events)]
    assert judged([time for time, _ in events], delay_ms, arrivals=[arrival for _, arrival in events]) == rule


@given(STAMPED, st.none() | TIME)
def test_a_column_of_events_moves_the_clock_as_one_after_another(
    events: list[tuple[int, int]], at_ms: int | None
) -> None:
    clock = PartitionClock(0, at_ms)
    stands = [at_ms]
    for time, arrival in events:
        clock.advance(time, arrival)
        stands.append(clock.at_ms)
    times, arrivals = (np.array([event[i] for event in events], dtype=np.int64) for i in (0, 1))
    found = running_clocks(times, arrivals, at_ms).tolist()
    assert [at for at, known in zip(found, stands, strict=True) if known is not None] == [
        at for at in stands if at is not None
    ]


def test_a_lead_is_over_the_brokers_time() -> None:
    times, arrivals = np.array([7, 5, 3, 9]), np.array([5, 5, 5, UNSTAMPED])
    assert leads(times, arrivals).tolist() == [2, 0, 0, 0]


@given(TIMES, st.integers(0, 40), st.integers(0, 10**9))
def test_a_replay_from_anywhere_judges_alike(times: list[int], start: int, delay_ms: int) -> None:
    before, after = times[:start], times[start:]
    assert judged(times, delay_ms)[start:] == judged(after, delay_ms, max(before, default=None))
