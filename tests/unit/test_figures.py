from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from retailpulse_kernel.answers.ranges import Extent, minutes_of, plan
from retailpulse_kernel.answers.reading import (
    chosen_figures,
    grouped,
    grouped_frame,
    money,
    over_time,
    read_rows,
    summarise,
)
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable, Grain, Row
from retailpulse_kernel.stores.figure_rows import arrow_rows
from retailpulse_kernel.streaming.query.streams import stored_form
from tests.memory import MemoryStore

START = datetime(2026, 3, 1, 22, 58, tzinfo=UTC)
CATEGORIES = ("books", "shoes.sport", "unknown")


@cache
def shop(minutes: int) -> list[Event]:
    """A view and a purchase of i cents each minute."""
    events = []
    for i in range(minutes):
        at, category = START + timedelta(minutes=i, seconds=i % 60), CATEGORIES[i % 3]
        currency = "EUR" if i % 5 == 0 else "USD"
        common = {"event_time": at, "user_id": f"u{i % 7}", "session_id": "s", "product_id": "p", "category": category}
        events.append(Event(event_id=f"v{i}", event_type="view", **common))
        order = {"order_id": f"o{i}", "order_line": 1, "price": Decimal(i) / 100, "currency": currency}
        events.append(Event(event_id=f"p{i}", event_type="purchase", **common, **order))
    return events


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    events, filled = shop(3000), MemoryStore()
    filled.create(CATEGORY)
    for grain in CATEGORY.every:
        filled.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    return filled


def expected(since: datetime, until: datetime) -> dict[str, Decimal]:
    totals = {"EUR": Decimal(0), "USD": Decimal(0)}
    for event in shop(3000):
        if event.price is not None and since <= event.event_time < until:
            totals[event.currency] += event.price
    return totals


@pytest.mark.parametrize("grain", ["minute", "hour", "day"])
@pytest.mark.parametrize(
    ("since", "until"),
    [
        (START, START + timedelta(minutes=1)),
        (START + timedelta(minutes=1), START + timedelta(minutes=3)),
        (START + timedelta(minutes=30), START + timedelta(hours=30, minutes=17)),
        (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)),
        (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)),
    ],
)
def test_any_range_is_exact_at_any_grain(store: MemoryStore, since: datetime, until: datetime, grain: str) -> None:
    summary = summarise(store, since=since, until=until, grain=grain)
    totals = expected(since, until)
    for currency, figures in summary.currencies.items():
        assert figures.revenue == totals[currency]
        assert sum(figures.revenue_by_category.values()) == totals[currency]
        assert figures.revenue_over_time[-1].running_total == totals[currency]


def test_all_there_is(store: MemoryStore) -> None:
    summary = summarise(store)
    assert summary.events_by_type == {"view": 3000, "purchase": 3000}
    assert summary.active_users == 7
    assert {c: f.revenue for c, f in summary.currencies.items()} == expected(START, START + timedelta(days=9))
    assert summary.currencies["EUR"].orders == 600


def test_a_range_may_have_one_end(store: MemoryStore) -> None:
    middle = datetime(2026, 3, 2, tzinfo=UTC)
    before, after = summarise(store, until=middle), summarise(store, since=middle)
    for currency, total in expected(START, START + timedelta(days=9)).items():
        assert before.currencies[currency].revenue + after.currencies[currency].revenue == total
    assert summarise(store, since=START + timedelta(days=99)).events_by_type == {}
    assert summarise(store, until=START - timedelta(days=99)).events_by_type == {}


def test_json_has_money_as_decimal_strings(store: MemoryStore) -> None:
    usd = summarise(store).to_json()["currencies"]["USD"]
    assert usd["revenue"] == money(expected(START, START + timedelta(days=9))["USD"])
    assert usd["revenue_over_time"][0]["bucket"] == "2026-03-01T22:00:00Z"


def test_an_empty_store_has_empty_figures() -> None:
    store = MemoryStore()
    store.create(CATEGORY)
    assert summarise(store).to_json() == {
        "since": None, "until": None, "grain": "minute", "currencies": {}, "events_by_type": {}, "active_users": 0,
    }  # fmt: skip


def test_grouping_keeps_currencies_apart(store: MemoryStore) -> None:
    rows = grouped(read_rows(store, CATEGORY, since=None, until=None, grain=GRAINS["day"]), ["event_type"])
    assert [(r["event_type"], r["currency"]) for r in rows] == [
        ("purchase", "EUR"), ("purchase", "USD"), ("view", "USD"),
    ]  # fmt: skip
    assert rows[0]["average_order_value"] == rows[0]["revenue"] / 600
    assert rows[2]["average_order_value"] is None


def test_a_peak_stands_out() -> None:
    store, events = MemoryStore(), shop(20)
    store.create(CATEGORY)
    sale = Event(
        event_id="x", event_type="purchase", event_time=START + timedelta(minutes=11), user_id="u", session_id="s",
        product_id="p", price=Decimal(500), order_id="x", order_line=1,
    )  # fmt: skip
    for grain in CATEGORY.every:
        store.write(CATEGORY, grain, fold([*events, sale], CATEGORY, grain), version=1)
    over_time = summarise(store, grain="minute").currencies["USD"].revenue_over_time
    assert [b.start for b in over_time if b.peak] == [START + timedelta(minutes=11)]


def test_what_can_not_be_read_is_said(store: MemoryStore) -> None:
    with pytest.raises(UsageError, match="empty"):
        summarise(store, since=START, until=START)
    with pytest.raises(UsageError, match="whole minute"):
        summarise(store, since=START + timedelta(seconds=1), until=START + timedelta(hours=1))
    with pytest.raises(UnknownName):
        grouped([], ["brand"])


@pytest.mark.parametrize(
    ("amount", "text"),
    [("27773.5200", "27773.52"), ("0.1250", "0.125"), ("0", "0.00"), ("-1.0001", "-1.0001"), ("5", "5.00")],
)
def test_money_as_text(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@pytest.mark.parametrize("seed", range(20))
def test_any_range_by_any_way_is_what_a_fold_says(store: MemoryStore, seed: int) -> None:
    """Ends of a range are added or subtracted, whichever is less to read: nobody can tell from the figures."""
    dice = random.Random(seed)
    since = START + timedelta(minutes=dice.randrange(-100, 2900))
    until = since + timedelta(minutes=dice.choice([1, 7, 59, 60, 61, 600, 1439, 1440, 1441, 2000]))
    grain = GRAINS[dice.choice(list(GRAINS))]
    summary = summarise(store, since=since, until=until, grain=grain.name)
    events = [event for event in shop(3000) if since <= event.event_time < until]
    rows = fold(events, CATEGORY, grain)
    assert summary.events_by_type == Counter(event.event_type for event in events)
    assert summary.active_users == len({event.user_id for event in events})
    assert set(summary.currencies) == {event.currency for event in events}
    for currency, figures in summary.currencies.items():
        of_currency = [row for row in rows if row["currency"] == currency]
        series: dict[datetime, Decimal] = {}
        categories: dict[str, Decimal] = {}
        for row in of_currency:
            series[row[grain.name]] = series.get(row[grain.name], Decimal(0)) + row["revenue"]
            if row["event_type"] == "purchase":
                categories[row["category"]] = categories.get(row["category"], Decimal(0)) + row["revenue"]
        assert {bucket.start: bucket.revenue for bucket in figures.revenue_over_time} == series
        assert figures.revenue_by_category == categories
        assert (figures.orders, figures.units) == (
            sum(row["orders"] for row in of_currency), sum(row["units"] for row in of_currency),
        )  # fmt: skip


def test_users_are_only_counted_where_they_are_asked_for(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = summarise(store)
    read, asked = store.read, set()

    def watched(table: FigureTable, grain: Grain, **more: Any) -> list[Row]:
        asked.update(figure.name for figure in more["figures"])
        return read(table, grain, **more)

    monkeypatch.setattr(store, "read", watched)
    without = summarise(store, users=False)
    assert without == replace(whole, active_users=None)
    assert "active_users" not in asked and without.to_json()["active_users"] is None


def test_of_today_few_rows_are_read() -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    late = midnight + timedelta(hours=23, minutes=11)
    (piece,) = plan(midnight, late, CATEGORY.parts(GRAINS["day"]), now=late)
    assert piece.added == [(GRAINS["day"], midnight, midnight + timedelta(days=1))]
    assert {span[0].name for span in piece.subtracted} == {"minute"}, "the rest of the day, which is empty"
    (piece,) = plan(midnight, midnight + timedelta(minutes=9), CATEGORY.parts(GRAINS["day"]), now=late)
    assert piece.added == [(GRAINS["minute"], midnight, midnight + timedelta(minutes=9))] and not piece.subtracted
    whole, end = plan(midnight, late, CATEGORY.parts(GRAINS["hour"]), now=late)
    assert whole.added == [(GRAINS["hour"], midnight, midnight + timedelta(hours=23))]
    assert end.added == [(GRAINS["hour"], midnight + timedelta(hours=23), midnight + timedelta(days=1))]


def test_the_newest_span_begins_on_a_whole_minute_and_says_when_that_is_not_what_was_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noon = "2026-03-01T12:00"
    assert minutes_of("90m", None, noon) == (
        datetime(2026, 3, 1, 10, 30, tzinfo=UTC),
        datetime(2026, 3, 1, 12, tzinfo=UTC),
    )
    assert minutes_of(None, noon, None) == (datetime(2026, 3, 1, 12, tzinfo=UTC), None)
    assert capsys.readouterr().err == ""
    assert minutes_of("90s", None, noon)[0] == datetime(2026, 3, 1, 11, 58, tzinfo=UTC)
    assert "Figures go by the minute: this is from 2026-03-01 11:58 (UTC) on." in capsys.readouterr().err
    begin, end = minutes_of(timedelta(hours=1), None, None)
    assert begin is not None and end is not None and end - begin == timedelta(hours=1) and end > datetime.now(UTC)
    begin, end = minutes_of("1h", None, None, GRAINS["hour"])
    assert begin is not None and end is not None and end - begin in (timedelta(hours=1), timedelta(hours=2))
    assert begin <= datetime.now(UTC) - timedelta(minutes=59) and end > datetime.now(UTC), (
        "not the three minutes of now"
    )
    for last, since in (("1h", noon), (3, None)):
        with pytest.raises(UsageError, match=r"both given|is not a time span"):
            minutes_of(last, since, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", [["category"], ["bucket", "event_type"], ["currency"]])
def test_a_frame_of_no_rows_has_its_columns(store: MemoryStore, by: list[str]) -> None:
    rows = read_rows(store, CATEGORY, since=None, until=None, grain=GRAINS["hour"])
    full, empty = grouped_frame(rows, by), grouped_frame([], by)
    assert len(full) > 0 and empty.empty
    assert (
        list(full.columns)
        == list(empty.columns)
        == [
            *dict.fromkeys([*by, "currency"]),
            *(figure.name for figure in chosen_figures(())),
        ]
    )
    assert list(map(str, full.dtypes)) == list(map(str, empty.dtypes))
    assert {str(full[name].dtype) for name in (*by, "currency") if name != "bucket"} == {"category"}
    assert full.to_dict("records") == grouped(rows, by)
    with pytest.raises(UnknownName):
        grouped_frame([], ["brand"])


def test_a_list_of_figures_is_not_a_figure() -> None:
    with pytest.raises(UsageError, match="several one after another"):
        chosen_figures([["revenue", "orders"]])  # type: ignore[list-item]


def test_a_preview_has_the_rows_of_the_table_that_will_be() -> None:
    """What Spark's aggregation gives has a slot, a window's end and sketches; a person sees none of them."""
    hour = GRAINS["hour"]
    table = replace(CATEGORY, every=(hour,))
    rows = arrow_rows(table, hour, fold(shop(150), table, hour))
    ends = pc.add(rows["hour"], pa.scalar(hour.width, pa.duration("us")))
    result = rows.append_column("slot", pa.array([0] * len(rows), pa.int32())).append_column("end", ends)
    frame = stored_form(result, table)
    assert list(frame.columns) == ["hour", *CATEGORY.by, *(figure.name for figure in CATEGORY.figures)]
    assert str(frame["hour"].dtype) == "datetime64[ns, UTC]" and set(frame["active_users"]) <= set(range(8))
    assert frame["revenue"].sum() == sum(Decimal(i) / 100 for i in range(150))
    newest = stored_form(result, table, 2)
    assert list(newest["hour"]) == [frame["hour"].max()] * 2
    assert newest.attrs["note"] == f"2 of {len(frame)} rows"


def test_windows_that_run_or_are_cut_are_not_complete(store: MemoryStore) -> None:
    since, until = START + timedelta(minutes=1), START + timedelta(minutes=122)  # 22:59 to 01:00
    now = START + timedelta(minutes=92)  # half past midnight
    extent = Extent(GRAINS["hour"], since, until, now)
    rows = read_rows(store, CATEGORY, since=since, until=until, grain=GRAINS["hour"])
    frame = grouped_frame(rows, ["bucket"], extent=extent)
    assert dict(zip(frame["bucket"].dt.hour, frame["complete"], strict=True)) == {22: False, 23: True, 0: False}
    assert str(frame["complete"].dtype) == str(grouped_frame([], ["bucket"], extent=extent)["complete"].dtype) == "bool"
    assert "complete" not in grouped_frame(rows, ["category"], extent=extent).columns
    summary = summarise(store, since=since, until=until, grain="hour", now=now)
    buckets = summary.currencies["USD"].revenue_over_time
    assert [bucket.complete for bucket in buckets] == [False, True, False]
    said = summary.to_json()["currencies"]["USD"]["revenue_over_time"]
    assert [bucket["complete"] for bucket in said] == [False, True, False]


def test_a_window_that_runs_is_no_peak_and_raises_no_bar() -> None:
    amounts = {START + timedelta(minutes=i): Decimal(amount) for i, amount in enumerate((1, 1, 9, 1, 1, 500))}
    last = max(amounts)
    assert [bucket.peak for bucket in over_time(amounts, lambda start: start < last)] == [i == 2 for i in range(6)]
    assert [bucket.peak for bucket in over_time(amounts, lambda _: True)] == [i == 5 for i in range(6)]
