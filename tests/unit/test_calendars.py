"""The shop's time: where windows begin when the clock is put forward or back, in every form of the arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.ground import spans
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar, clock_of
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop import fold as plain
from retailpulse_kernel.shop.contract.comparing import changes
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Shop
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import GRAINS, FigureTable
from retailpulse_kernel.shop.windows import Grain, common, grain_of
from retailpulse_kernel.stores.cassandra.rows import from_cql, to_cql
from retailpulse_kernel.stores.hbase.rows import stamp, unpacker
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan
from retailpulse_kernel.streaming.run.changes import Effect, compare
from retailpulse_kernel.streaming.run.planning import under

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
WIDTHS = ("30s", "15m", "1h", "2h", "3h", "5h", "6h", "1d", "2d", "1w", "2w", "1mo", "3mo")
#: Each with the moments around which its clock does what is worth a test.
ZONES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Asia/Kolkata": ("2026-03-29T00:00",),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00"),
    "Pacific/Apia": ("2011-12-30T10:00",),
    "America/St_Johns": ("2010-11-07T02:31", "2010-03-14T03:31"),  # at one minute past midnight
    "America/Havana": ("2026-03-08T05:00", "2026-11-01T05:00"),  # at midnight
    "America/Sao_Paulo": ("2018-02-18T02:00", "2018-11-04T03:00"),  # back to the evening before
    "Africa/Casablanca": ("2026-02-15T02:00", "2026-03-22T02:00"),
}


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def near(zone: str) -> list[datetime]:
    """Moments within days of those at which a zone's clock is put forward or back."""
    steps = [timedelta(minutes=17 * number) for number in range(-300, 300)]
    exact = [timedelta(0), -MICROSECOND, MICROSECOND, timedelta(seconds=30), timedelta(seconds=-30)]
    return [moment_of(text) + step for text in ZONES[zone] for step in [*steps, *exact]]


def microseconds(moments: list[datetime]) -> np.ndarray:
    return np.array([(moment - EPOCH) // MICROSECOND for moment in moments], dtype=np.int64)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("width", WIDTHS)
def test_one_by_one_in_arrays_and_by_the_plain_fold_windows_are_the_same(zone: str, width: str) -> None:
    grain, moments = grain_of(width, Calendar(zone, "sunday")), near(zone)
    starts, ends = (find(microseconds(moments)).tolist() for find in (grain.starts, grain.ends))
    for moment, start, end in zip(moments, starts, ends, strict=True):
        assert grain.start(moment) == EPOCH + start * MICROSECOND == plain._start(moment, grain), moment
        assert grain.end(moment) == EPOCH + end * MICROSECOND
        assert plain._start(grain.end(moment), grain) == grain.end(moment)


_grains = st.sampled_from([grain_of(width, Calendar(zone)) for zone in ZONES for width in WIDTHS])
_moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(_grains, _moments)
def test_windows_lie_side_by_side_and_each_moment_is_in_one(grain: Grain, moment: datetime) -> None:
    start, end = grain.start(moment), grain.end(moment)
    assert start <= moment < end
    assert grain.start(start) == start == plain._start(moment, grain)
    assert grain.start(end - MICROSECOND) == start and grain.end(start) == end == grain.start(end)


@given(_grains, _grains, _moments)
def test_windows_are_made_of_those_that_divide_them(one: Grain, two: Grain, moment: datetime) -> None:
    shared = common([one, two])
    for grain in (one, two):
        assert shared.divides(grain)
        start, end = grain.start(moment), grain.end(moment)
        assert (shared.start(start), shared.start(end)) == (start, end)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-28T23:00", [1] * 23),
        ("Europe/Berlin", "2026-10-24T22:00", [1] * 25),
        ("America/New_York", "2026-03-08T05:00", [1] * 23),
        ("Asia/Kolkata", "2026-03-28T18:30", [1] * 24),
        ("Australia/Lord_Howe", "2026-10-03T13:30", [1, 1, 0.5, *[1] * 21]),
        ("Australia/Lord_Howe", "2026-04-04T13:00", [1, 1, 0.5, *[1] * 22]),
        ("America/St_Johns", "2010-11-06T02:30", [*[1] * 24, 1 / 60, 59 / 60]),
    ],
)
def test_a_day_has_the_hours_that_its_clock_shows(zone: str, day: str, hours: list[float]) -> None:
    calendar, start = Calendar(zone), moment_of(day)
    whole, hour = grain_of("day", calendar), grain_of("hour", calendar)
    assert whole.start(start) == start
    assert whole.end(start) - start == timedelta(hours=sum(hours))
    found = []
    while start < whole.end(moment_of(day)):
        found.append((hour.end(start) - start) / timedelta(hours=1))
        start = hour.end(start)
    assert found == pytest.approx(hours)


def test_a_day_that_the_clock_skips_has_no_window() -> None:
    day = grain_of("day", Calendar("Pacific/Apia"))
    before = moment_of("2011-12-30T09:59")
    assert day.start(before) == moment_of("2011-12-29T10:00")
    assert day.end(before) == moment_of("2011-12-30T10:00") == day.start(moment_of("2011-12-31T09:00"))
    assert day.end(day.end(before)) == moment_of("2011-12-31T10:00")


def test_windows_of_several_hours_begin_when_the_clock_shows_multiples() -> None:
    grain, moment, found = grain_of("6h", Calendar("Europe/Berlin")), moment_of("2026-10-24T22:00"), []
    while moment <= moment_of("2026-10-25T23:00"):
        found.append(f"{moment:%d %H:%M}")
        moment = grain.end(moment)
    assert found == ["24 22:00", "25 05:00", "25 11:00", "25 17:00", "25 23:00"]


@pytest.mark.parametrize(
    ("width", "zone", "stays"),
    [
        ("15m", "Asia/Kolkata", True),
        ("1h", "Europe/Berlin", True),
        ("1h", "Asia/Kolkata", False),
        ("2h", "Europe/Berlin", False),
        ("1d", "Europe/Berlin", False),
        ("1d", "UTC", True),
    ],
)
def test_windows_that_are_those_of_utc_are_the_same_grain(width: str, zone: str, stays: bool) -> None:
    assert (grain_of(width, Calendar(zone)) == grain_of(width)) is stays


def test_only_weeks_go_by_the_first_weekday() -> None:
    sunday = Calendar(week_start="sunday")
    assert grain_of("day", sunday) is GRAINS["day"] and grain_of("month", sunday) == grain_of("month")
    assert grain_of("week", sunday).start(moment_of("2026-02-14T12:00")) == moment_of("2026-02-08T00:00")
    assert grain_of("week").start(moment_of("2026-02-14T12:00")) == moment_of("2026-02-09T00:00")


@pytest.mark.parametrize(
    ("one", "two", "shared"),
    [
        ((("10m", "Asia/Kolkata")), ("1d", "Asia/Kolkata"), ("10m", "UTC")),
        ((("20m", "Asia/Kolkata")), ("1d", "Asia/Kolkata"), ("10m", "UTC")),
        ((("1h", "Asia/Kolkata")), ("1d", "Asia/Kolkata"), ("1h", "Asia/Kolkata")),
        ((("1h", "UTC")), ("1d", "Asia/Kolkata"), ("30m", "UTC")),
        ((("1d", "UTC")), ("1d", "Europe/Berlin"), ("1h", "UTC")),
        ((("1d", "America/New_York")), ("1d", "Europe/Berlin"), ("1h", "UTC")),
        ((("4h", "Europe/Berlin")), ("6h", "Europe/Berlin"), ("2h", "Europe/Berlin")),
        ((("1w", "Europe/Berlin")), ("1mo", "Europe/Berlin"), ("1d", "Europe/Berlin")),
        ((("2w", "Europe/Berlin")), ("3w", "Europe/Berlin"), ("1w", "Europe/Berlin")),
    ],
)
def test_what_windows_of_zones_are_made_of(one: tuple[str, str], two: tuple[str, str], shared: tuple[str, str]) -> None:
    found = common([grain_of(width, Calendar(zone)) for width, zone in (one, two)])
    assert found == grain_of(shared[0], Calendar(shared[1]))


def test_a_clock_knows_every_change_of_its_zone() -> None:
    assert clock_of("UTC").starts == clock_of("UTC").starts[:1]
    assert clock_of("Asia/Kolkata").step == 1800 and clock_of("Europe/Berlin").step == 3600
    years = {(EPOCH + timedelta(seconds=start)).year for start in clock_of("Europe/Berlin").starts[1:]}
    assert years == set(range(1980, 2101))
    assert Calendar("UTC", "monday") == UTC_CALENDAR


@pytest.mark.parametrize("zone", ["UTC", *ZONES])
@pytest.mark.parametrize("width", ["15m", "1h", "6h", "1d", "1w", "1mo"])
def test_the_keys_of_stored_rows_are_in_order_and_give_the_window_back(zone: str, width: str) -> None:
    grain = grain_of(width, Calendar(zone))
    starts = sorted({grain.start(moment) for at in ZONES for moment in near(at)})
    keys = [stamp(start, grain) for start in starts]
    assert keys == sorted(set(keys))
    table = FigureTable("sales", (EVENTS,), ("category",), (grain,))
    cell = b'{"category":"tea","events":1}'
    unpack = unpacker(table, grain)
    assert [unpack(f"{key}#tea".encode(), cell)[grain.name] for key in keys] == starts
    bucket = grain.bucket
    partitions = [to_cql(bucket.name, bucket.start(start), bucket.calendar) for start in starts]
    assert [from_cql(key, bucket.calendar) for key in partitions] == [bucket.start(start) for start in starts]
    assert all(bucket.start(start) <= start < bucket.end(start) for start in starts)


def test_a_plan_says_by_which_clock_windows_are_counted_where_it_is_not_utc() -> None:
    def planned(*grains: Grain) -> TablePlan:
        return TablePlan.describing(FigureTable("sales", (EVENTS,), ("category",), grains), "cassandra")

    berlin = Calendar("Europe/Berlin", "sunday")
    assert planned(grain_of("15m", berlin), grain_of("1h", berlin)).calendar is None
    days = planned(grain_of("15m", berlin), grain_of("1d", berlin))
    assert days.calendar == Calendar("Europe/Berlin") and days.table.every[1].calendar == days.calendar
    weeks = planned(grain_of("1d", berlin), grain_of("1w", berlin))
    assert weeks.calendar == berlin and weeks.table.every == (grain_of("1d", berlin), grain_of("1w", berlin))


def plan_with(*widths: str) -> Plan:
    table = FigureTable("sales", (EVENTS,), ("category",), tuple(map(grain_of, widths)))
    plan = Plan("sales", "retail.events", "event_id", 600_000, (), "change", "publish", ())
    return replace(plan, tables=(TablePlan.describing(table, "cassandra"),))


@pytest.mark.parametrize(
    ("widths", "shop", "said"),
    [
        (("1d",), Shop(zone="Europe/Berlin"), "in UTC with weeks from Monday, and now are in Europe/Berlin"),
        (
            ("1w",),
            Shop(week_start="sunday"),
            "in UTC with weeks from Monday, and now are in UTC with weeks from Sunday",
        ),
        (("1d",), Shop(week_start="sunday"), ""),
        (("15m", "1h"), Shop(zone="Europe/Berlin"), ""),
        (("1h",), Shop(zone="Asia/Kolkata"), "and now are in Asia/Kolkata"),
    ],
)
def test_a_change_of_the_shops_time_needs_a_new_epoch_where_windows_change(
    widths: tuple[str, ...], shop: Shop, said: str
) -> None:
    plan = plan_with(*widths)
    other = under(plan, replace(shipped(), shop=shop))
    assert under(other, shipped()) == under(plan, shipped())
    found = compare(plan, other)
    assert [one.effect for one in found] == [Effect.EPOCH] * bool(said)
    assert all(said in one.reason for one in found)
    written = msgspec.json.encode(other)
    assert msgspec.json.decode(written, type=Plan) == other
    assert other.version == (4 if said else 2)


def test_the_diff_of_contracts_says_what_another_zone_means() -> None:
    found = changes(shipped(), replace(shipped(), shop=Shop(zone="Europe/Berlin", week_start="sunday")))
    assert [one.what for one in found] == ["shop", "shop"]
    assert found[0].said.startswith("zone is Europe/Berlin instead of UTC: windows of hours, days")
    assert found[1].said.startswith("week_start is sunday instead of monday: weeks begin on another day")


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00"),
        ("2026-10-25T12:00", "Europe/Berlin", "2026-10-25T11:00"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30"),  # the first of both
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00"),  # is skipped
        ("2026-10-25T12:00Z", "Europe/Berlin", "2026-10-25T12:00"),
        ("2026-10-25", "UTC", "2026-10-25T00:00"),
    ],
)
def test_a_time_without_a_zone_is_the_shops(text: str, zone: str, moment: str) -> None:
    assert spans.moment_of(text, Calendar(zone)) == moment_of(moment)


def test_the_shops_days_weeks_and_months_are_ranges() -> None:
    calendar = Calendar("Pacific/Apia", "sunday")
    day, week, month = (grain_of(width, calendar) for width in ("day", "week", "month"))
    now = datetime.now(UTC)
    for grain, unit in ((week, "week"), (month, "month")):
        start = grain.start(now)
        assert spans.range_of(f"this {unit}", None, None, calendar=calendar) == (start, None)
        assert spans.range_of(f"last {unit}", None, None, calendar=calendar) == (
            grain.start(start - MICROSECOND),
            start,
        )
    start = day.start(now)
    assert spans.range_of("today", None, None, calendar=calendar) == (start, None)
    assert spans.range_of("yesterday", None, None, calendar=calendar) == (day.start(start - MICROSECOND), start)
    assert spans.moment_of("today", calendar) == day.start(now)
    sunday = spans.moment_of("Sunday", calendar)
    assert sunday is not None and sunday == week.start(now)
    with pytest.raises(UsageError, match="are both given"):
        spans.range_of("today", None, "2026-01-01", calendar=calendar)


def test_a_shift_of_days_keeps_the_time_that_the_clock_shows() -> None:
    berlin, noon = Calendar("Europe/Berlin"), moment_of("2026-10-26T11:00")
    assert berlin.shifted(noon, -timedelta(days=7)) == moment_of("2026-10-19T10:00")
    assert berlin.shifted(noon, -timedelta(hours=3)) == moment_of("2026-10-26T08:00")
    assert (berlin.text(noon), UTC_CALENDAR.text(noon)) == ("2026-10-26T12:00:00+01:00", "2026-10-26T11:00:00Z")
