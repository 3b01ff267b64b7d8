"""The explorer's questions: each answer is what a plain fold of the same events says, and its code gives it again."""

from __future__ import annotations

import json
from dataclasses import replace as replace_scope
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

from retailpulse_kernel.answers.questions import QUESTIONS
from retailpulse_kernel.answers.scope import Scope, archived
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.drawing import note
from retailpulse_kernel.live.explorer import Chart, explore
from retailpulse_kernel.shop.columns import sums
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.figures import (
    ACTIVE_USERS,
    AVERAGE_ORDER_VALUE,
    EVENTS,
    ORDERS,
    PURCHASES,
    REVENUE,
    UNITS,
    VIEWS,
)
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.workbench.workbench import Workbench
from tests.archived import archive_events
from tests.memory import MemoryStore

START = datetime(2026, 3, 1, 9, 58, tzinfo=UTC)
UNTIL = START + timedelta(minutes=12)
SCOPE = Scope(("electronics",), since=START, until=UNTIL)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    generator = Generator(rate=15, seconds=600, seed=5, start=START, currencies={"USD": 0.8, "EUR": 0.2})
    return [parse_event(message.value) for message in generator.messages()]


@pytest.fixture(scope="module")
def rp(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workbench whose stores are in memory and in a folder."""
    store = MemoryStore()
    store.create(CATEGORY)
    for grain in CATEGORY.every:
        store.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    archive = Archive(Path(tmp_path_factory.mktemp("archive")) / "events")
    archive_events(archive, events)
    archive_events(archive, [events[0]], batch=1, late=True)  # late ones are in no figure
    return workbench(store, archive, tmp_path_factory.mktemp("home"))


def workbench(store: MemoryStore, archive: Archive | None, home: Path, contract: Path | None = None) -> Workbench:
    """A workbench whose stores are others."""
    made = Workbench()
    made.settings = Settings.load(home=home, pipelines=home / "pipelines", namespace="t_explore", contract=contract)
    made._stores |= {"cassandra": store, "hive": archive}
    return made


def within(event: Event, scope: Scope) -> bool:
    return any(event.category == path or event.category.startswith(f"{path}.") for path in scope.categories)


def wanted(events: list[Event], scope: Scope = SCOPE) -> list[Event]:
    return [e for e in events if e.currency == scope.currency and within(e, scope)]


def revenue_by(events: list[Event], column: str) -> dict[Any, Decimal]:
    table = FigureTable("t", (REVENUE, ORDERS), tuple(dict.fromkeys(("currency", column))), (GRAINS["day"],))
    return {row[column]: row["revenue"] for row in fold(events, table, GRAINS["day"])}


def test_figures_of_columns_are_those_of_events(rp: Any, events: list[Event]) -> None:
    figures = (EVENTS, VIEWS, PURCHASES, UNITS, REVENUE, ORDERS)
    table = FigureTable("t", figures, ("currency", "category", "event_type"), (GRAINS["day"],))
    found = sums(archived(rp, Scope()), table.by, figures).to_pylist()
    expected = [{k: v for k, v in row.items() if k != "day"} for row in fold(events, table, GRAINS["day"])]
    key = str
    assert sorted(found, key=key) == sorted(expected, key=key)


def test_users_are_not_added_up(rp: Any) -> None:
    with pytest.raises(Exception, match="can't be added up"):
        sums(archived(rp, Scope()), ["currency"], [ACTIVE_USERS])


def test_categories_are_a_step_below_the_chosen_one(rp: Any, events: list[Event]) -> None:
    frame = QUESTIONS["categories"](rp, SCOPE)
    assert all(name.count(".") == 1 and name.startswith("electronics.") for name in frame["category"])
    assert frame["revenue"].sum() == sum((REVENUE.of_event(e) or 0 for e in wanted(events)), Decimal(0))
    top = QUESTIONS["categories"](rp, Scope(since=START, until=UNTIL))
    assert "electronics" in set(top["category"]) and not any("." in name for name in top["category"])
    both = QUESTIONS["categories"](rp, Scope(("electronics.smartphone", "computers"), since=START, until=UNTIL))
    assert set(both["category"]) == {"electronics.smartphone", "computers"}


@pytest.mark.parametrize(("question", "key"), [("brands", "brand"), ("products", "product_id")])
def test_top_lists_are_exact(rp: Any, events: list[Event], question: str, key: str) -> None:
    frame = QUESTIONS[question](rp, SCOPE)
    expected = revenue_by(wanted(events), key)
    for name, revenue, orders, average in frame[[key, "revenue", "orders", AVERAGE_ORDER_VALUE.name]].itertuples(
        index=False
    ):
        assert revenue == expected[None if name == "(none)" else name]
        assert average == AVERAGE_ORDER_VALUE.divide(revenue, orders)
    assert list(frame["revenue"]) == sorted(expected.values(), reverse=True)[: len(frame)]


@pytest.mark.parametrize("question", ["brands", "products"])
def test_a_top_list_that_is_cut_says_so(rp: Any, question: str) -> None:
    scope = Scope()
    everything = QUESTIONS[question](rp, scope, limit=None)  # type: ignore[call-arg]
    assert note(everything) == "" and len(everything) > 1
    first = QUESTIONS[question](rp, scope, limit=1)  # type: ignore[call-arg]
    pd.testing.assert_frame_equal(first, everything.head(1))
    assert note(first).startswith(f"1 of {len(everything):,} rows, those with the highest revenue")


class TestAnyDimension:
    def test_a_table_answers_where_one_keeps_the_figure(self, rp: Any, events: list[Event]) -> None:
        scope = replace_scope(SCOPE, figure="orders", by="category")
        frame = QUESTIONS["by_dimension"](rp, scope)
        assert dict(frame[["category", "orders"]].itertuples(index=False, name=None)) == {
            name: len({e.order_id for e in wanted(events) if e.category == name and e.event_type == "purchase"})
            for name in {e.category for e in wanted(events)}
        }
        code = Chart("by_dimension", scope, frame).code
        assert "frame = rp.figures('orders', by='category', since='2026-03-01T09:58'" in code
        assert "'top': 20" not in code and "top=20" in code

    @pytest.mark.parametrize("limit", [None, 2])
    def test_events_answer_where_no_table_does(self, rp: Any, events: list[Event], limit: int | None) -> None:
        scope = replace_scope(SCOPE, by="brand")
        frame = QUESTIONS["by_dimension"](rp, scope, limit=limit)  # type: ignore[call-arg]
        expected = {name or "(none)": value for name, value in revenue_by(wanted(events), "brand").items()}
        ranked = sorted(expected.values(), reverse=True)
        assert frame["revenue"].sum() == sum(ranked) > 0
        if limit is None:
            assert dict(frame[["brand", "revenue"]].itertuples(index=False, name=None)) == expected
        else:
            assert list(frame["revenue"])[:2] == ranked[:2] and list(frame["brand"])[2] == "other"
            assert note(frame).startswith(f"`other` is {len(ranked) - 2} groups")

    def test_a_column_of_a_reference_table_is_a_dimension(self, rp: Any, events: list[Event], tmp_path: Path) -> None:
        products = sorted({event.product_id for event in events})
        lines = [f"{product},{'odd' if place % 2 else 'even'}" for place, product in enumerate(products)]
        (tmp_path / "products.csv").write_text("\n".join(["product_id,title", *lines]))
        contract = tmp_path / "shop.toml"
        contract.write_text(
            '[tables.products]\nfile = "products.csv"\nkey = "product_id"\n'
            'columns = {product_id = "string", title = "string"}\n'
        )
        named = workbench(rp.serving, rp.hive, tmp_path, contract)
        explorer = explore(named, "electronics", since=START, until=UNTIL, question="by_dimension", by="products.title")
        explorer._answer({"figure": "units"})
        assert "products.title" in explorer.dimensions and "device" not in explorer.dimensions
        assert {"revenue", "average_order_value", "active_users"} <= set(explorer.figures)
        assert "first_event" not in explorer.figures, "a time is no bar"
        titles = {product: "odd" if place % 2 else "even" for place, product in enumerate(products)}
        expected = {"odd": 0, "even": 0}
        for event in wanted(events):
            expected[titles[event.product_id]] += UNITS.of_event(event) or 0
        assert explorer.frame is not None
        assert dict(explorer.frame[["products.title", "units"]].itertuples(index=False, name=None)) == expected
        assert list(named.reference("products")["title"]) == [titles[product] for product in products]

    def test_what_nothing_tells_is_said(self, rp: Any) -> None:
        with pytest.raises(UsageError, match="user_id"):
            QUESTIONS["by_dimension"](rp, replace_scope(SCOPE, figure="active_users", by="user_id"))
        explorer = explore(rp, since=START, until=UNTIL, question="by_dimension", by="weather")
        explorer._answer({})
        assert "weather" in explorer.answer["note"]


def test_the_funnel_counts_sessions(rp: Any, events: list[Event]) -> None:
    frame = QUESTIONS["funnel"](rp, SCOPE)
    inside = [e for e in events if within(e, SCOPE)]
    steps = [len({e.session_id for e in inside if e.event_type == step}) for step in frame["step"]]
    assert list(frame["sessions"]) == steps
    assert frame["of_step_before"].iloc[1] == pytest.approx(steps[1] / steps[0])


def test_engagement_counts_every_session_once(rp: Any, events: list[Event]) -> None:
    frame = QUESTIONS["engagement"](rp, SCOPE)
    inside = [e for e in events if within(e, SCOPE)]
    assert frame["sessions"].sum() == len({e.session_id for e in inside})
    assert frame["buyers"].sum() == len({e.session_id for e in inside if e.event_type == "purchase"})
    lengths = [sum(e.session_id == s for e in inside) for s in {e.session_id for e in inside}]
    assert frame.set_index("events")["sessions"]["1"] == lengths.count(1)


def test_hours_of_the_day(rp: Any, events: list[Event]) -> None:
    frame = QUESTIONS["hours"](rp, SCOPE).set_index("hour")
    assert set(frame.index) == {9, 10}
    early = [e for e in wanted(events) if e.event_time.hour == 9]
    assert frame["revenue"][9] == sum((REVENUE.of_event(e) or 0 for e in early), Decimal(0))


def test_every_order_is_in_a_bin(rp: Any, events: list[Event]) -> None:
    frame = QUESTIONS["order_values"](rp, Scope(since=START, until=UNTIL))
    orders = {e.order_id for e in events if e.event_type == "purchase" and e.currency == "USD"}
    assert frame["orders"].sum() == len(orders) > 0


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("scope", [SCOPE, Scope(), Scope(("apparel",), currency="EUR"), Scope(("no.such",), last="1h")])
def test_the_code_of_an_answer_gives_it_again(rp: Any, question: str, scope: Scope) -> None:
    chart = Chart(question, scope, QUESTIONS[question](rp, scope))
    names: dict[str, Any] = {"rp": rp}
    exec(chart.code, names)
    pd.testing.assert_frame_equal(names["frame"], chart.frame)
    assert chart.figure.layout.title.text


def test_what_is_asked_for_is_checked(rp: Any) -> None:
    with pytest.raises(UnknownName, match="question"):
        explore(rp, question="why")
    explorer = explore(rp, "electronics", since=START, until=UNTIL)
    chart = explorer.ask("brands", currency="EUR")
    assert chart.scope == Scope(("electronics",), since=START, until=UNTIL, currency="EUR")
    with pytest.raises(UnknownName, match="question"):
        explorer.ask("why")


def test_a_currency_and_a_past_range_can_be_chosen(rp: Any, events: list[Event]) -> None:
    explorer = explore(rp, last="1d")
    until = START + timedelta(minutes=5)
    explorer._answer({"currency": "EUR", "since": "2026-03-01T09:58", "until": "2026-03-01T10:03", "live": True})
    assert explorer.chart is not None and explorer.frame is not None
    assert explorer.chart.scope == Scope((), since=START, until=until, currency="EUR")
    assert (explorer.asked["since"], explorer.asked["last"]) == ("2026-03-01T09:58", None)
    assert not explorer.asked["live"], "what is over does not change"
    assert explorer.currencies == ["EUR", "USD"]
    sold = [REVENUE.of_event(e) or 0 for e in events if e.currency == "EUR" and e.event_time < until]
    assert explorer.frame["revenue"].sum() == sum(sold, Decimal(0)) > 0
    shown = explorer.chart
    explorer._answer({"since": "2026-03-01T10:00", "until": "2026-03-01T09:00"})
    assert explorer.answer["note"].startswith("The range is empty") and explorer.chart is shown
    explorer._answer({"last": "1h"})
    assert explorer.chart.scope == Scope((), last="1h", currency="EUR")


def test_times_are_those_of_the_shop(rp: Any, tmp_path: Path) -> None:
    contract = tmp_path / "shop.toml"
    contract.write_text('[shop]\nzone = "Asia/Kolkata"\n')
    here = workbench(rp._stores["cassandra"], rp._stores["hive"], tmp_path, contract)
    explorer = explore(here, since="2026-03-01T15:28", until="2026-03-01T15:40")
    explorer._answer({"question": "over_time"})
    assert explorer.zone == "Asia/Kolkata" and explorer.chart is not None
    assert (explorer.chart.scope.since, explorer.chart.scope.until) == (START, UNTIL)
    assert (explorer.asked["since"], explorer.asked["until"]) == ("2026-03-01T15:28", "2026-03-01T15:40")
    assert explorer.chart.frame["bucket"].min().isoformat() == "2026-03-01T15:28:00+05:30"
    assert json.loads(explorer.answer["figure"])["data"][0]["x"][0].startswith("2026-03-01T15:28")
    assert "datetime(2026, 3, 1, 9, 58, tzinfo=UTC)" in explorer.chart.code
    explorer._answer({"since": "2026-03-01T15:30", "until": "2026-03-01T15:40"})
    assert explorer.chart.scope.since == START + timedelta(minutes=2)


@pytest.mark.parametrize("last", ["1d", "7d", "30d", None])
def test_young_data_is_shown_by_the_minute_whatever_the_range(
    events: list[Event], last: str | None, tmp_path: Path
) -> None:
    """Ten minutes of a day are ten points, not one."""
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
    moved = [replace(event, event_time=event.event_time - START + start) for event in events]
    store = MemoryStore()
    store.create(CATEGORY)
    for grain in CATEGORY.every:
        store.write(CATEGORY, grain, fold(moved, CATEGORY, grain), version=1)
    frame = QUESTIONS["over_time"](workbench(store, None, tmp_path), Scope(last=last))
    assert frame["bucket"].nunique() == len({event.event_time.minute for event in moved}) > 5
    assert frame["revenue"].sum() == revenue_by(moved, "currency")["USD"]
