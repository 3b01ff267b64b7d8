"""Why a figure moved: planted causes are found, and whatever the numbers are, contributions add up to the change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.insight.against import ranges_of
from retailpulse_kernel.insight.explaining import Asked, explain
from retailpulse_kernel.insight.explanation import Explanation
from retailpulse_kernel.shop.contract.loading import read_contract, shipped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import ORDERS, REVENUE, UNITS
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.rates.published import Entry, Rates
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.streaming.plan.data import TablePlan
from tests.memory import MemoryStore

#: Days that are over, so that no test depends on the time of day.
DAY = datetime(2026, 3, 9, tzinfo=UTC)
WEEK, HOURS = timedelta(days=7), timedelta(hours=1)
BRANDS = FigureTable("brands", (REVENUE, ORDERS, UNITS), ("currency", "brand"), (GRAINS["hour"],))

#: Orders by category and brand: how many, with how many units each, at which price.
Sales = dict[tuple[str, str], tuple[int, int, str]]
USUAL: Sales = {
    ("shoes", "acme"): (10, 2, "20"), ("shoes", "zeta"): (10, 2, "20"),
    ("cups", "acme"): (10, 1, "5"), ("cups", "zeta"): (10, 1, "5"),
    ("hats", "acme"): (10, 1, "12.50"), ("hats", "zeta"): (10, 1, "12.50"),
}  # fmt: skip
Ask = Callable[..., Explanation]


def events(sales: Sales, day: datetime, currency: str = "USD") -> list[Event]:
    made = []
    for (category, brand), (orders, units, price) in sales.items():
        for number in range(orders):
            name = f"{day:%d}-{category}-{brand}-{currency}-{number}"
            made.append(Event(f"e{name}", "purchase", day + HOURS * (number % 20), f"u{number % 3}", "s", "p", category,
                              brand, Decimal(price), units, currency, f"o{name}", 1))  # fmt: skip
    return made


def asking(sold: list[Event], *tables: FigureTable) -> Ask:
    """Asks of tables that hold some events, the table of the categories first."""
    store = MemoryStore()
    for table in (CATEGORY, *tables):
        store.create(table)
        for grain in table.every:
            store.write(table, grain, fold(sold, table, grain), version=1)
    entries = [TableEntry(TablePlan.describing(table, store.name), table.name, "v1", ran=True)
               for table in (CATEGORY, *tables)]  # fmt: skip
    catalogue = Catalogue("t", store.name, tuple(entries), shipped())

    def asked(figure: str = "revenue", **given: Any) -> Explanation:
        given = {"since": DAY, "until": DAY + timedelta(days=1), "against": "last week"} | given
        return explain(catalogue, Asked(figure, **given), lambda _: store)

    return asked


def both_days(sales: Sales) -> Ask:
    return asking(events(USUAL, DAY - WEEK) + events(USUAL | sales, DAY), BRANDS)


def contributions(found: Explanation, dimension: str) -> dict[str, Any]:
    frame = found.frame_of(dimension)
    return dict(zip(frame[dimension], frame["contribution"], strict=True))


class TestPlantedCauses:
    def test_fewer_orders_in_one_category(self) -> None:
        found = both_days({("shoes", "acme"): (4, 2, "20"), ("shoes", "zeta"): (4, 2, "20")})()
        assert (found.before, found.after, found.change) == (1150, 670, -480)
        assert found.dimension == "category"
        assert contributions(found, "category") == {"shoes": -480, "cups": 0, "hats": 0}
        assert found.frame["reason"][0] == "fewer orders"
        assert found.effects["price"] == 0
        assert found.sentence == (
            "Total revenue is 670.00 USD, 480.00 (-41.7 %) below the same time a week before: "
            "shoes -480.00 (fewer orders)."
        )

    def test_a_price_rise(self) -> None:
        found = both_days({("hats", "acme"): (10, 1, "15"), ("hats", "zeta"): (10, 1, "15")})()
        assert contributions(found, "category") == {"hats": 50, "cups": 0, "shoes": 0}
        assert found.frame["reason"][0] == "higher price"
        assert found.effects == {"orders": 0, "quantity": 0, "mix": 0, "price": 50}

    def test_a_mix_shift_between_two_categories(self) -> None:
        """As many units and orders as before, at the same prices: only other ones are sold."""
        found = both_days({("cups", "acme"): (15, 1, "5"), ("hats", "acme"): (5, 1, "12.50")})()
        assert found.effects == {"orders": 0, "quantity": 0, "mix": Decimal("-37.5"), "price": 0}
        assert contributions(found, "category") == {"hats": Decimal("-62.5"), "cups": 25, "shoes": 0}

    def test_more_units_in_each_order(self) -> None:
        found = both_days({place: (orders, 2 * units, price) for place, (orders, units, price) in USUAL.items()})()
        assert found.effects == {"orders": 0, "quantity": 1150, "mix": 0, "price": 0}
        assert found.frame["reason"][0] == "more units per order"

    def test_changes_that_cancel_out_are_told(self) -> None:
        found = both_days({("shoes", "acme"): (5, 2, "20"), ("hats", "acme"): (10, 1, "32.50")})()
        assert found.change == 0
        assert contributions(found, "category") == {"hats": 200, "shoes": -200, "cups": 0}
        assert "is unchanged from the same time a week before, 1,150.00 USD, but its parts moved: hats +200.00" in (
            found.sentence
        )

    def test_the_dimension_of_the_cause_stands_first(self) -> None:
        found = both_days(
            {(category, "acme"): (3, *USUAL[category, "acme"][1:]) for category in ("shoes", "cups", "hats")}
        )()
        assert list(found.dimensions["dimension"]) == ["brand", "category"]
        assert list(found.dimensions["apart"][1:]) == [0], "every category moved as the whole did"
        assert found.frame["brand"][0] == "acme" and found.frame["reason"][0] == "fewer orders"

    def test_a_dimension_in_the_figure_s_own_definition_is_tried_only_by_name(self) -> None:
        ask = both_days({("shoes", "acme"): (4, 2, "20")})
        for figure in ("revenue", "orders", "average_order_value"):
            assert "event_type" not in list(ask(figure).dimensions["dimension"]), figure
        assert "event_type" in list(ask("events").dimensions["dimension"])
        assert contributions(ask(by=("event_type",)), "event_type")["purchase"] == -240

    def test_a_value_that_is_new_or_gone_says_so(self) -> None:
        found = both_days(
            {("bags", "acme"): (1, 1, "7"), ("cups", "acme"): (0, 1, "5"), ("cups", "zeta"): (0, 1, "5")}
        )()
        reasons = dict(zip(found.frame["category"], found.frame["reason"], strict=True))
        assert (reasons["bags"], reasons["cups"]) == ("new", "gone")

    def test_an_average_splits_into_rate_and_mix(self) -> None:
        dearer = both_days({("hats", "acme"): (10, 1, "18.50"), ("hats", "zeta"): (10, 1, "18.50")})
        found = dearer("average_order_value")
        assert found.change == 2 and found.effects == {"rate": 2, "mix": 0}
        assert found.frame["reason"][0] == "higher average order value"
        sold: Sales = {("shoes", "acme"): (5, 2, "20"), ("cups", "acme"): (15, 1, "5")}
        fewer = both_days(sold)("average_order_value", by=("category",))
        assert fewer.effects["rate"] == 0 and fewer.effects["mix"] == fewer.change < 0

    def test_a_count_has_contributions_in_whole_numbers(self) -> None:
        found = both_days({("shoes", "acme"): (4, 2, "20")})("orders")
        assert contributions(found, "category") == {"shoes": -6, "cups": 0, "hats": 0}
        assert all(isinstance(number, int) for number in found.frame["contribution"])
        assert found.sentence == "Orders is 54, 6 (-10.0 %) below the same time a week before: shoes -6."


class TestDrilling:
    def test_the_next_question_is_asked_within_a_value(self) -> None:
        found = both_days({("shoes", "acme"): (4, 2, "20")})()
        brands = asking(events(USUAL, DAY - WEEK) + events(USUAL | {("shoes", "acme"): (4, 2, "20")}, DAY),
                        replace(BRANDS, by=("currency", "category", "brand")))()  # fmt: skip
        within = brands.by("brand", where={"category": "shoes"})
        assert (within.before, within.change) == (800, -240)
        assert contributions(within, "brand") == {"acme": -240, "zeta": 0}
        assert within.by("category").where == {"category": ["shoes"], "currency": ["USD"]}
        with pytest.raises(UsageError, match="No table keeps revenue by brand and category"):
            found.by("brand", where={"category": "shoes"})

    def test_all_dimensions_that_are_left_are_tried(self) -> None:
        within = both_days({("shoes", "acme"): (4, 2, "20")})("events").by(where={"category": "shoes"})
        assert [one.dimension for one in within.breakdowns] == ["currency", "event_type"]

    def test_a_click_asks_within_the_value_and_back_leads_up(self) -> None:
        cause = {("shoes", "acme"): (4, 2, "20")}
        table = replace(BRANDS, by=("currency", "category", "brand"))
        found = asking(events(USUAL, DAY - WEEK) + events(USUAL | cause, DAY), table)(by=("category", "event_type"))
        drill = found.drill()
        assert drill.dimension == "category"
        drill.into("shoes")
        assert drill.dimension == "brand" and drill.explanation.where["category"] == ["shoes"]
        assert contributions(drill.explanation, "brand") == {"acme": -240, "zeta": 0}
        drill.into("3 others")
        assert len(drill.path) == 2, "what stands together is not a value"
        drill.back()
        assert drill.explanation is found

    def test_a_column_of_a_reference_table_is_a_dimension(self) -> None:
        suppliers = read_contract(
            '[tables.brands]\nfile = "brands.csv"\nkey = "brand"\n'
            'columns = {brand = "string", supplier = "string"}\n', name="shop.toml", base=shipped()
        )  # fmt: skip
        rows = pa.table({"brand": ["acme", "zeta"], "supplier": ["north", "south"]})
        store = MemoryStore()
        store.create(BRANDS)
        sold = events(USUAL, DAY - WEEK) + events(USUAL | {("shoes", "acme"): (4, 2, "20")}, DAY)
        store.write(BRANDS, BRANDS.every[0], fold(sold, BRANDS, BRANDS.every[0]), version=1)
        entry = TableEntry(TablePlan.describing(BRANDS, "memory"), "job", "v1", ran=True)
        catalogue = Catalogue("t", "memory", (entry,), suppliers)
        asked = Asked("revenue", ("brands.supplier",), since=DAY, until=DAY + timedelta(days=1), against="last week")
        found = explain(catalogue, asked, lambda _: store, lambda _: rows)
        assert contributions(found, "brands.supplier") == {"north": -240, "south": 0}
        within = found.by("brand", where={"brands.supplier": "north"})
        assert contributions(within, "brand") == {"acme": -240}


class TestRangesAndMoney:
    def test_unequal_ranges_are_refused_or_scaled(self) -> None:
        ask = both_days({})
        earlier = (DAY - WEEK, DAY - WEEK + timedelta(days=2))
        with pytest.raises(UsageError, match="not as long as one another: 1d and 2d"):
            ask(against=earlier)
        found = ask(against=earlier, scale=True)
        assert (found.before, found.change) == (575, 575)
        assert "scaled by 1/2" in found.notes[-1]
        assert sum(found.frame["contribution"]) == found.change

    def test_a_day_of_23_hours_is_not_as_long_as_the_day_before(self) -> None:
        """In Berlin, 29 March 2026 has 23 hours."""
        berlin = Calendar("Europe/Berlin")
        day = [berlin.midnight(date(2026, 3, number)) for number in (28, 29, 30)]
        given: dict[str, Any] = {"finest": GRAINS["minute"], "reached": day[2] + HOURS, "calendar": berlin}
        with pytest.raises(UsageError, match="23h and 1d"):
            ranges_of("yesterday", day[1], day[2], **given)
        found = ranges_of("yesterday", day[1], day[2], scale=True, **given)
        assert (found.since_before, found.until_before, found.scale) == (day[0], day[1], Fraction(23, 24))

    def test_a_running_range_ends_with_the_last_window_that_is_over(self) -> None:
        reached = DAY + HOURS * 10 + timedelta(minutes=20, seconds=30)
        given: dict[str, Any] = {"finest": GRAINS["minute"], "reached": reached, "calendar": UTC_CALENDAR}
        found = ranges_of("yesterday", DAY, None, **given)
        assert found.until == reached.replace(second=0) and found.until_before == found.until - timedelta(days=1)

    def test_a_range_is_given_as_text(self) -> None:
        found = both_days({("shoes", "acme"): (4, 2, "20")})(against="2026-03-02/2026-03-03")
        assert found.change == -240
        assert "2026-03-02T00:00:00Z to 2026-03-03T00:00:00Z" in found.sentence

    def test_an_earlier_range_without_figures_is_told(self) -> None:
        found = both_days({})(against="yesterday")
        assert (found.before, found.change) == (0, 1150)
        assert found.notes[0].startswith("There are no figures from 2026-03-08T00:00:00Z")

    def test_currencies_stay_apart(self) -> None:
        sold = events(USUAL, DAY - WEEK) + events(USUAL, DAY) + events(USUAL, DAY, "EUR")
        ask = asking(sold)
        found = ask()
        assert (found.unit, found.change) == ("USD", 0)
        assert found.notes == ("This is USD. There is also money in EUR: name it with currency=...",)
        assert ask(currency="EUR").change == 1150
        counted = ask("orders", by=("currency",))
        assert contributions(counted, "currency") == {"EUR": 60, "USD": 0}
        with pytest.raises(UsageError, match="money in CHF, EUR, which does not add up"):
            asking(events(USUAL, DAY, "EUR") + events(USUAL, DAY, "CHF"))()

    def test_money_in_the_base_currency_adds_up_all_currencies(self) -> None:
        rates = Rates.of_entries(
            [Entry("line", (DAY - WEEK).date(), "USD", Decimal("1.2")), Entry("line", DAY.date(), "USD", Decimal("3"))],
            base="EUR", per="EUR", name="rates.csv",
        )  # fmt: skip
        sold = events(USUAL, DAY - WEEK) + events(USUAL, DAY) + events(USUAL, DAY, "EUR") + events(USUAL, DAY, "SEK")
        store, entry = MemoryStore(), TableEntry(TablePlan.describing(CATEGORY, "memory"), "metrics", "v1", ran=True)
        store.create(CATEGORY)
        for grain in CATEGORY.every:
            store.write(CATEGORY, grain, fold(sold, CATEGORY, grain), version=1)
        shop = shipped()
        contract = replace(shop, shop=replace(shop.shop, currency="EUR", rates="rates.csv"))
        catalogue = Catalogue("t", "memory", (entry,), contract, lambda: rates)
        asked = Asked("revenue_base", since=DAY, until=DAY + timedelta(days=1), against="last week")
        found = explain(catalogue, asked, lambda _: store)
        assert (found.unit, found.before, found.after) == ("EUR", Decimal("958.3333"), Decimal("1533.3333"))
        for one in found.breakdowns:
            assert sum(mover.contribution for mover in one.movers) == found.change == 575
        assert contributions(found, "currency") == {"EUR": 1150, "USD": -575}
        assert "There is no rate for SEK on 1 day (2026-03-09): revenue 1150.00 SEK is not converted." in found.notes[0]

    def test_what_does_not_add_up_is_refused(self) -> None:
        ask = both_days({})
        with pytest.raises(UsageError, match=r"'active_users' does not add up.*two groups may share some"):
            ask("active_users")
        with pytest.raises(UnknownName, match="previous"):
            ask(against="lastweek")
        with pytest.raises(UsageError, match=r"There is no average_order_value from 2026-03-08 00:00.*orders is 0"):
            ask("average_order_value", against="yesterday")
        with pytest.raises(UsageError, match="There is no revenue in either range"):
            ask(where={"category": ["shoe"]})
        with pytest.raises(UnknownName, match="colour"):
            ask(by=("colour",), table="category")

    def test_a_table_that_is_not_written_yet_stops_nothing(self) -> None:
        store = MemoryStore()
        store.create(CATEGORY)
        for grain in CATEGORY.every:
            store.write(CATEGORY, grain, fold(events(USUAL, DAY), CATEGORY, grain), version=1)
        entries = tuple(TableEntry(TablePlan.describing(one, "memory"), one.name, "v1", ran=one is CATEGORY)
                        for one in (CATEGORY, BRANDS))  # fmt: skip
        catalogue = Catalogue("t", "memory", entries, shipped())
        question = Asked("revenue", since=DAY, until=DAY + timedelta(days=1))
        assert explain(catalogue, question, lambda _: store).after == 1150
        with pytest.raises(NoSuchTable, match="has not written it"):
            explain(catalogue, replace(question, by=("brand",)), lambda _: store)

    def test_a_table_that_counts_something_else_explains_nothing(self) -> None:
        store_ask = asking(events(USUAL, DAY - WEEK) + events(USUAL, DAY))
        assert store_ask().dimension  # the table of categories alone
        store = MemoryStore()
        for table, sold in ((CATEGORY, USUAL), (BRANDS, {("shoes", "acme"): (1, 1, "1")})):
            store.create(table)
            for grain in table.every:
                store.write(table, grain, fold(events(sold, DAY), table, grain), version=1)
        entries = tuple(TableEntry(TablePlan.describing(one, "memory"), one.name, "v1", ran=True)
                        for one in (CATEGORY, BRANDS))  # fmt: skip
        question = Asked("revenue", since=DAY, until=DAY + timedelta(days=1))
        found = explain(Catalogue("t", "memory", entries, shipped()), question, lambda _: store)
        assert "brand" not in [one.dimension for one in found.breakdowns]
        assert any("'brands' has another total than 'category', so brand can't" in note for note in found.notes)


class TestShowing:
    def test_values_beyond_the_first_stand_together(self) -> None:
        sold: Sales = {(f"c{number:02}", "acme"): (1, 1, str(number)) for number in range(1, 21)}
        found = asking(events(sold, DAY))(by=("category",), top=5, against="yesterday")
        frame = found.frame
        assert list(frame["category"]) == ["c20", "c19", "c18", "c17", "c16", "15 others"]
        assert frame["contribution"].iloc[-1] == sum(range(1, 16))
        assert sum(frame["contribution"]) == found.change == 210
        assert len(found.frame_of("category", top=100)) == 20

    def test_json_has_exact_texts(self) -> None:
        found = both_days({("hats", "acme"): (10, 1, "15.005")})().to_json()
        assert (found["before"], found["after"], found["change"]) == ("1150.0000", "1175.0500", "25.0500")
        movers = next(one for one in found["dimensions"] if one["dimension"] == "category")["movers"]
        assert movers[0]["value"] == "hats" and movers[0]["contribution"] == "25.0500"
        assert sum(Fraction(text) for text in movers[0]["effects"].values()) == Fraction("25.05")

    def test_the_api_gives_the_same(self) -> None:
        store = MemoryStore()
        store.create(CATEGORY)
        sold = events(USUAL, DAY - WEEK) + events(USUAL | {("shoes", "acme"): (4, 2, "20")}, DAY)
        for grain in CATEGORY.every:
            store.write(CATEGORY, grain, fold(sold, CATEGORY, grain), version=1)
        client = TestClient(create_app(store))
        asked = {"from": "2026-03-09", "to": "2026-03-10", "compare": "last week", "by": "category"}
        found = client.get("/api/v1/why/revenue", params=asked).json()
        assert found["change"] == "-240.0000" and found["dimensions"][0]["movers"][0]["reason"] == "fewer orders"
        within = client.get("/api/v1/why/orders", params=asked | {"category": "cups,shoes", "by": "event_type"}).json()
        assert within["where"] == {"category": ["cups", "shoes"]} and within["change"] == -6
        refused = client.get("/api/v1/why/active_users", params=asked)
        assert refused.status_code == 422 and "does not add up" in refused.json()["detail"]
        assert client.get("/api/v1/why/revenu", params=asked).status_code == 404
        assert client.get("/api/v1/why/revenue", params=asked | {"shift": "7d"}).status_code == 422

    def test_the_waterfall_goes_from_the_earlier_to_the_later_figure(self) -> None:
        found = both_days({("shoes", "<b>acme"): (4, 2, "20")})()
        (bars,) = found.figure("category").data
        assert list(bars.measure) == ["absolute", "relative", "relative", "relative", "total"]
        assert (bars.x[0], bars.x[-1]) == (1150, 1310)
        assert bars.x[0] + sum(bars.x[1:-1]) == bars.x[-1]
        assert "&lt;b&gt;acme " in found.figure("brand").layout.yaxis.ticktext

    def test_a_notebook_shows_sentence_and_frame(self) -> None:
        found = both_days({("shoes", "acme"): (4, 2, "20")})(by=("category",))
        bundle = found._repr_mimebundle_()
        assert found.sentence in bundle["text/plain"]
        assert "shoes" in bundle["text/html"] and "fewer orders" in bundle["text/html"]
