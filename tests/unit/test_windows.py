"""Widths of windows: how they are written, where windows begin and end, what adds up to what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.figures import EVENTS, Figure, count
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.shop.windows import Grain, common, grain_of, grain_with

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
WIDTHS = (
    "1s", "7s", "30s", "90s", "1m", "5m", "7m", "15m", "50m", "1h", "90m", "2h", "5h", "6h", "1d", "36h", "2d", "1w",
    "2w", "1mo", "2mo", "3mo", "5mo", "12mo",
)  # fmt: skip
_grains = st.sampled_from([grain_of(width) for width in WIDTHS])
_moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("text", "name", "suffix", "title"),
    [
        ("minute", "minute", "minute", "minute"),
        ("1 hour", "hour", "hour", "hour"),
        ("60 minutes", "hour", "hour", "hour"),
        ("24h", "day", "day", "day"),
        ("5 minutes", "minutes_5", "5m", "5 minutes"),
        ("15m", "minutes_15", "15m", "15 minutes"),
        ("90 min", "minutes_90", "90m", "90 minutes"),
        ("10 S", "seconds_10", "10s", "10 seconds"),
        ("2 hours", "hours_2", "2h", "2 hours"),
        ("3 d", "days_3", "3d", "3 days"),
        ("1 week", "week", "week", "week"),
        ("7 days", "week", "week", "week"),
        ("14d", "weeks_2", "2w", "2 weeks"),
        ("month", "month", "month", "month"),
        ("3 months", "months_3", "3mo", "3 months"),
    ],
)
def test_a_width_has_one_name_however_it_is_written(text: str, name: str, suffix: str, title: str) -> None:
    grain = grain_of(text)
    assert (grain.name, grain.suffix, grain.title) == (name, suffix, title)
    assert grain_of(name) == grain_of(suffix) == grain_of(title) == grain_with(suffix) == grain


def test_the_widths_of_before_are_the_same_objects() -> None:
    assert [grain_of(name) for name in ("1m", "60s", "1h", "1d")] == [
        GRAINS[n] for n in ("minute", "minute", "hour", "day")
    ]
    assert [grain.bucket.name for grain in GRAINS.values()] == ["hour", "day", "day"]


@pytest.mark.parametrize("text", ["0m", "400 days", "13 months", "100000s", "1000000000000 weeks"])
def test_a_width_that_no_store_could_keep_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=text):
        grain_of(text)


@pytest.mark.parametrize("text", ["fortnight", "1.5 hours", "-5m", "", "5", "m5", "weeek"])
def test_what_is_no_width_is_unknown(text: str) -> None:
    with pytest.raises(UnknownName):
        grain_of(text)
    assert grain_with(text) is None


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    moment = datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)  # a Tuesday
    assert grain_of("week").start(moment) == datetime(2028, 2, 28, tzinfo=UTC)
    assert grain_of("week").end(moment) == datetime(2028, 3, 6, tzinfo=UTC)
    assert (grain_of("month").start(moment), grain_of("month").end(moment)) == (
        datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    assert grain_of("3 months").start(moment) == datetime(2028, 1, 1, tzinfo=UTC)
    assert grain_of("12 months").end(moment) == datetime(2029, 1, 1, tzinfo=UTC)


def test_windows_that_do_not_divide_a_day_go_on_over_midnight() -> None:
    seven, midnight = grain_of("7 minutes"), datetime(2026, 3, 1, tzinfo=UTC)
    assert (seven.start(midnight) - EPOCH) % timedelta(minutes=7) == timedelta(0)
    assert seven.start(midnight) < midnight < seven.end(midnight)


@given(_grains, _moments)
def test_windows_lie_side_by_side_and_each_moment_is_in_one(grain: Grain, moment: datetime) -> None:
    start, end = grain.start(moment), grain.end(moment)
    assert start <= moment < end
    assert grain.start(start) == start and grain.end(start) == end
    assert grain.start(end) == end and grain.start(end - MICROSECOND) == start
    assert grain.start_from(start) == start and grain.start_from(start + MICROSECOND) == end
    assert grain.start(moment.astimezone(timezone(timedelta(hours=5, minutes=45)))) == start
    assert grain.bucket.start(start) <= start < grain.bucket.end(start)


@given(_grains, st.lists(_moments, max_size=20), st.sampled_from([1, 1_000, 1_000_000]))
def test_arrays_of_times_are_treated_as_each_of_them(grain: Grain, moments: list[datetime], per_second: int) -> None:
    part = timedelta(seconds=1) / per_second
    times = np.array([(moment - EPOCH) // part for moment in moments], dtype=np.int64)
    assert [EPOCH + n * part for n in grain.starts(times, per_second=per_second).tolist()] == [
        *map(grain.start, moments)
    ]
    assert [EPOCH + n * part for n in grain.ends(times, per_second=per_second).tolist()] == [*map(grain.end, moments)]


@given(_grains, _grains, _moments)
def test_windows_are_made_of_those_that_divide_them(one: Grain, two: Grain, moment: datetime) -> None:
    shared = common((one, two))
    for grain in (one, two):
        assert shared.divides(grain) and shared.seconds <= grain.seconds
        assert shared.start(grain.start(moment)) == grain.start(moment)
    if one.divides(two):
        assert one.start(two.start(moment)) == two.start(moment)
        assert two.start(one.start(moment)) == two.start(moment)


@pytest.mark.parametrize(
    ("widths", "shared"),
    [
        ("5m 1w 1mo", "5m"),
        ("1w 1mo", "1d"),
        ("1w", "1w"),
        ("2w 3w", "1w"),
        ("2mo 3mo", "1mo"),
        ("4h 6h", "2h"),
        ("7m 1d", "1m"),
    ],
)
def test_what_several_widths_are_made_of(widths: str, shared: str) -> None:
    assert common(map(grain_of, widths.split())) == grain_of(shared)


def kept(*widths: str) -> FigureTable:
    return FigureTable("t", (EVENTS,), ("brand",), tuple(map(grain_of, widths)))


@pytest.mark.parametrize(
    ("table", "wanted", "parts"),
    [
        (CATEGORY, "day", "day hour minute"),
        (CATEGORY, "5m", "minute"),
        (CATEGORY, "6h", "hour minute"),
        (CATEGORY, "month", "day hour minute"),
        (kept("5m", "week", "month"), "month", "month 5m"),
        (kept("5m", "week", "month"), "2 weeks", "week 5m"),
        (kept("5m", "week", "month"), "hour", "5m"),
        (kept("2m", "3m"), "6m", "3m"),
    ],
)
def test_the_widest_windows_that_add_up_answer(table: FigureTable, wanted: str, parts: str) -> None:
    assert table.parts(grain_of(wanted)) == tuple(map(grain_of, parts.split()))


@pytest.mark.parametrize("wanted", ["minute", "7m", "30s"])
def test_a_width_that_nothing_adds_up_to_is_refused_with_what_there_is(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"keeps windows of 5 minutes, week, month") as raised:
        kept("month", "5m", "week").parts(grain_of(wanted))
    assert grain_of(wanted).title in raised.value.message


@pytest.mark.parametrize(
    ("name", "column"), [("events", "events"), ("minutes_5", "minutes_5"), ("day", "day"), ("brand", "brand")]
)
def test_a_table_with_two_columns_of_one_name_is_refused(name: str, column: str) -> None:
    with pytest.raises(UsageError, match=f"two columns '{column}'"):
        FigureTable("t", (EVENTS, Figure(name, "Other", count(), where="view")), ("brand",), (grain_of("5m"),))


def test_a_stored_table_has_the_width_in_its_name_and_its_column() -> None:
    table, grain = kept("5m"), grain_of("5m")
    assert table.physical(grain) == "t_5m" and table.key_columns(grain) == ("minutes_5", "brand")
    longest = max(
        (grain_of(f"{count}{unit}").suffix for count, unit in ((86_399, "s"), (52, "w"), (12, "mo"))), key=len
    )
    assert len("a" * 40 + "_" + longest) <= 48, "what Cassandra takes for the name of a table"
