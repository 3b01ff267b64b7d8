"""Live views of tables: what is read, what is drawn, and how a page gets it, on the in-memory twin of the stores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from retailpulse_kernel.catalogue.answering import Asking
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import RetailPulseError, StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.live.tables import charts, numbers
from retailpulse_kernel.live.tables.figures import FigureSource
from retailpulse_kernel.live.tables.opening import Asked, open_view
from retailpulse_kernel.live.tables.picture import exact, readable, table
from retailpulse_kernel.live.tables.reading import Reading
from retailpulse_kernel.live.tables.rows import RowSource, StatementSource
from retailpulse_kernel.live.tables.view import TableView
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, ORDERS, REVENUE, Figure, greatest_of, median_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import FigureTable, grain_of, late_part
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.binding import only_reads
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.plan.data import RowsPlan, TablePlan
from tests.memory import MemoryStore

TYPICAL = Figure("typical", "Typical price", median_of("price"), where="purchase", unit="currency")
SALES = FigureTable(
    "sales", (EVENTS, REVENUE, ORDERS, ACTIVE_USERS, TYPICAL), ("currency", "brand"), (grain_of("minute"),)
)
CARTS = RowTable(
    "carts",
    (Column("user_id", "string"), Column("email", "string"), Column("at", "timestamp"),
     Column("total", "decimal(18,4)")),
    ("user_id", "at"),
)  # fmt: skip
SHOP = Contract((*shipped().fields, Field("email", personal=True, path="email"), Field("age", "int", personal=True)),
                shipped().event_types)  # fmt: skip
OLDEST = Figure("oldest", "Oldest", greatest_of("age").typed({"age": "int"}))
NOW = datetime.now(UTC).replace(second=0, microsecond=0)


def sold(count: int) -> list[Event]:
    """A purchase of each of some brands in each of the last minutes, the later brands dearer."""
    return [
        Event(f"e{minute}-{i}", "purchase", NOW - timedelta(minutes=minute), f"u{i}", "s", "p", "books", f"b{i:02}",
              Decimal(i + 1) + Decimal("0.0001"), 1, "EUR" if i == 0 else "USD", f"o{minute}-{i}", 1)
        for minute in (1, 2, 3)
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.create(SALES)
    (grain,) = SALES.every
    store.write(SALES, grain, fold(sold(12), SALES, grain), version=1)
    store.create_rows(CARTS)
    rows = [{"user_id": f"u{i}", "email": "a@shop.example", "at": NOW - timedelta(minutes=i), "total": Decimal(i)}
            for i in range(5)]  # fmt: skip
    store.write_rows(CARTS, pa.Table.from_pylist(rows, schema_of(CARTS)), by=MicroBatch(1, 1, 1, "w"))
    return store


@pytest.fixture
def catalogue() -> Catalogue:
    columns = tuple((column.name, column.type) for column in CARTS.columns)
    rows = RowsPlan("carts", columns, CARTS.key, "append", "q", ())
    return Catalogue(
        "t", "memory",
        (TableEntry(TablePlan.describing(SALES, "memory"), "selling", "v2", ran=True),
         TableEntry(TablePlan("carts", "memory", rows=rows), "carting", ran=True)),
        SHOP,
    )  # fmt: skip


def figures(catalogue: Catalogue, store: MemoryStore, asking: Asking, *, rows: bool = False) -> FigureSource:
    return FigureSource.of(asking, lambda: catalogue, lambda _: store, rows=rows)


class TestFigures:
    def test_by_a_dimension_they_are_those_of_the_events(self, catalogue: Catalogue, store: MemoryStore) -> None:
        source = figures(catalogue, store, Asking(("revenue", "average_order_value"), ("brand",), last="1h"))
        assert source.title == ("Total revenue, Average order value by brand, last 1h (sales in memory, by selling v2)")
        reading = source.read("brand", None)
        assert list(reading.frame.columns) == ["brand", "currency", "revenue", "average_order_value"]
        assert reading.frame.set_index("brand")["revenue"]["b03"] == 3 * Decimal("4.0001")
        assert reading.series is not None
        assert set(reading.series.columns) >= {"bucket", "brand", "complete"} and len(reading.series) == 36
        assert reading.money == {"revenue", "average_order_value"} and reading.additive == {"revenue"}

    def test_a_median_is_of_all_events_of_a_brand_and_never_a_sum(
        self, catalogue: Catalogue, store: MemoryStore
    ) -> None:
        source = figures(catalogue, store, Asking(("typical",), ("brand",), last="1h"))
        reading = source.read("brand", None)
        found = reading.frame.set_index("brand")["typical"]
        for place in range(12):
            assert abs(found[f"b{place:02}"] - place - 1) <= Decimal("0.01") * (place + 1) + Decimal("0.0002")
        assert reading.series is not None and reading.series["typical"].notna().all()
        assert (reading.money, reading.additive) == ({"typical"}, frozenset())
        whole = figures(catalogue, store, Asking(("typical",), (), last="1h")).read(None, None).frame
        dollars = whole.set_index("currency")["typical"]["USD"]
        assert abs(dollars - 7) <= Decimal("0.08"), "the median of 2 to 12, and not of their medians"

    def test_windows_with_late_events_are_marked(self, catalogue: Catalogue, store: MemoryStore) -> None:
        (grain,), part = SALES.every, late_part(SALES)
        late = sold(1)[1]
        store.create(part)
        store.write(part, grain, fold([late], part, grain), version=1)
        reading = figures(catalogue, store, Asking(("revenue",), ("brand",), last="1h")).read("brand", None)
        assert reading.notes == (f"Late events that were added: 1, the last at {iso_text(late.event_time)}.",)
        assert reading.key == ("brand", "currency")
        (chart,) = charts.drawn(reading, "line", "EUR")
        *_, marks = chart["data"]
        assert (marks["marker"]["symbol"], marks["name"]) == ("circle-open", "corrected")
        assert marks["x"] == [exact(pd.Timestamp(late.event_time))]
        assert marks["y"] == [float(2 * late.price)]
        rows = figures(catalogue, store, Asking((), ("brand",), table="sales"), rows=True).read("brand", None)
        assert rows.key == ("bucket", "brand", "currency") and "corrected" in rows.frame

    def test_without_a_dimension_there_is_a_row_for_each_currency(
        self, catalogue: Catalogue, store: MemoryStore
    ) -> None:
        reading = figures(catalogue, store, Asking(("orders",), (), last="1h")).read("", None)
        assert reading.frame.to_dict("records") == [{"currency": "EUR", "orders": 3}, {"currency": "USD", "orders": 33}]

    def test_a_whole_table_shows_single_windows_the_newest_first(
        self, catalogue: Catalogue, store: MemoryStore
    ) -> None:
        source = figures(catalogue, store, Asking(table="sales", by=(), last="1h"), rows=True)
        reading = source.read("brand", None)
        assert reading.key == ("bucket", "currency", "brand") and len(reading.frame) == 36
        assert reading.frame["bucket"].is_monotonic_decreasing
        assert "active_users" in reading.frame.columns and "active_users" not in reading.additive
        assert reading.numbers["active_users"].endswith("(estimated)")

    def test_an_earlier_range_ends_where_windows_do(self, catalogue: Catalogue, store: MemoryStore) -> None:
        source = figures(catalogue, store, Asking(("events",), ("brand",), last="1h"))
        early = source.read("brand", NOW - timedelta(minutes=1, seconds=-30))
        assert set(early.frame["events"]) == {2}

    def test_a_long_range_has_wider_windows(self, catalogue: Catalogue, store: MemoryStore) -> None:
        source = figures(catalogue, store, Asking(("events",), (), last="30d"))
        assert source.read("", None).width == timedelta(hours=6)

    def test_personal_values_are_not_shown(self, catalogue: Catalogue, store: MemoryStore) -> None:
        ages = FigureTable("ages", (EVENTS, OLDEST), ("brand",), (grain_of("minute"),))
        wider = replace(catalogue, entries=(*catalogue.entries, TableEntry(TablePlan.describing(ages, "memory"), "a")))
        with pytest.raises(UsageError, match="personal field"):
            figures(wider, store, Asking(("oldest",), ("brand",), last="1h"))
        kept = figures(wider, store, Asking(table="ages", by=(), last="1h"), rows=True)
        assert kept.asking.figures == ("events",)

    def test_an_unknown_figure_is_told_with_those_that_there_are(
        self, catalogue: Catalogue, store: MemoryStore
    ) -> None:
        with pytest.raises(UnknownName, match="'revenue'"):
            figures(catalogue, store, Asking(("revenu",), (), last="1h"))


class TestRows:
    def test_the_newest_first_and_without_personal_columns(self, catalogue: Catalogue, store: MemoryStore) -> None:
        source = RowSource.of("carts", lambda: catalogue, lambda _: store, last="1h")
        reading = source.read(None, None)
        assert list(reading.frame.columns) == ["user_id", "at", "total"]
        assert list(reading.frame["user_id"]) == [f"u{i}" for i in range(5)]
        assert reading.by == "user_id" and source.reach == timedelta(days=1)
        with pytest.raises(UnknownName, match="email"):
            RowSource.of("carts", lambda: catalogue, lambda _: store, where={"email": "a@shop.example"})

    def test_an_earlier_range_is_without_what_came_later(self, catalogue: Catalogue, store: MemoryStore) -> None:
        source = RowSource.of("carts", lambda: catalogue, lambda _: store)
        reading = source.read("", NOW - timedelta(minutes=2))
        assert list(reading.frame["user_id"]) == ["u3", "u4"]

    def test_a_statement_has_columns_by_what_they_hold(self) -> None:
        frame = pd.DataFrame({"brand": ["a", "b"], "email": ["x", "y"], "total": [Decimal("1.10"), None]})
        source = StatementSource("select 1", lambda statement, most: frame, SHOP, "select 1")
        assert source.read("", None).by == ""
        reading = source.read(None, None)
        assert reading.by == "brand" and dict(reading.numbers) == {"total": "total"}
        assert list(reading.frame.columns) == ["brand", "total"] and "personal" in " ".join(reading.notes)

    @pytest.mark.parametrize(
        ("statement", "reads"),
        [("SELECT a FROM t", True), ("-- insert\nselect 'delete' from t", True),
         ("with a as (select 1) select * from a", True),
         ("insert into t values (1)", False), ("with a as (select 1) insert into t select * from a", False),
         ("drop table t", False), ("", False), ("/* select */ truncate t", False)],
    )  # fmt: skip
    def test_a_statement_must_only_read(self, statement: str, reads: bool) -> None:
        assert only_reads(statement, "hive") is reads


def reading(rows: list[dict[str, Any]], **changed: Any) -> Reading:
    frame = pd.DataFrame(rows)
    values: dict[str, Any] = {"frame": frame, "key": (), "totals": frame, "series": None, "time": "", "by": "brand",
                              "numbers": {"n": "N"}}  # fmt: skip
    return Reading(**(values | changed))


class TestCharts:
    def test_bars_beyond_the_largest_are_added_up_where_sums_make_sense(self) -> None:
        rows = [{"brand": f"b{i:02}", "n": Decimal(i)} for i in range(15)]
        (bar,) = charts.drawn(reading(rows, additive=frozenset({"n"})), "auto", "")
        texts = [text for _, text in bar["data"][0]["customdata"]]
        assert texts == [*map(str, range(14, 2, -1)), "3"] and bar["data"][0]["x"][-1] == 3.0
        (bar,) = charts.drawn(reading(rows), "auto", "")
        assert len(bar["data"][0]["x"]) == 12 and "top 12 of 15" in bar["layout"]["title"]["text"]

    def test_lines_beyond_the_largest_are_one(self) -> None:
        rows = [{"at": pd.Timestamp(NOW), "brand": f"b{i}", "n": i + 1} for i in range(10)]
        rows += [{"at": pd.Timestamp(NOW + timedelta(minutes=1)), "brand": f"b{i}", "n": i + 1} for i in range(10)]
        made = reading(rows, series=pd.DataFrame(rows), time="at", additive=frozenset({"n"}))
        (line,) = charts.drawn(made, "line", "")
        assert [trace["name"] for trace in line["data"]] == [*(f"b{i}" for i in range(2, 10)), "2 others"]
        assert line["data"][-1]["customdata"] == ["3", "3"]

    def test_what_is_not_complete_is_dashed_and_what_is_missing_is_a_hole(self) -> None:
        rows = [{"at": pd.Timestamp(NOW + timedelta(minutes=i)), "n": i, "complete": i < 4} for i in (0, 1, 3, 4)]
        made = reading(rows, by="", series=pd.DataFrame(rows), time="at", width=timedelta(minutes=1))
        (chart,) = charts.drawn(made, "auto", "")
        whole, open_ = chart["data"]
        assert whole["y"] == [0.0, 1.0, None, 3.0, None] and open_["y"] == [None, None, None, 3.0, 4.0]
        assert open_["line"]["dash"] == "dot" and whole["marker"]["size"][3] == 6, "a point alone is no line"

    def test_markup_in_a_name_is_text(self) -> None:
        (bar,) = charts.drawn(reading([{"brand": "<b>x</b>", "n": 1}]), "bar", "")
        assert bar["layout"]["yaxis"]["ticktext"] == ["&lt;b&gt;x&lt;/b&gt; "]

    def test_money_is_of_one_currency(self) -> None:
        rows = [{"brand": "a", "currency": one, "n": Decimal(n)} for one, n in (("EUR", 1), ("USD", 2), ("USD", 3))]
        rows.append({"brand": "a", "currency": "", "n": Decimal(0)})
        made = reading(rows, money=frozenset({"n"}))
        assert numbers.currencies_of(made) == ["USD", "EUR"]
        (bar,) = charts.drawn(made, "bar", "EUR")
        assert bar["data"][0]["customdata"] == [["a", "1.00 EUR"]]

    def test_counts_cross_currencies_and_estimates_do_not(self) -> None:
        rows = [{"brand": "a", "currency": one, "n": 2, "e": 1} for one in ("", "EUR", "USD", "USD")]
        made = reading(rows, numbers={"n": "N", "e": "E"}, additive=frozenset({"n"}))
        assert numbers.currencies_of(made) == ["USD", "EUR"], "events without a price have no currency"
        counts, estimates = charts.drawn(made, "bar", "EUR")
        assert counts["data"][0]["x"] == [8.0] and counts["layout"]["title"]["text"] == "N by brand"
        assert estimates["data"][0]["x"] == [1.0] and "events in EUR" in estimates["layout"]["title"]["text"]

    def test_one_row_is_a_big_number_with_all_its_digits(self) -> None:
        made = reading([{"n": Decimal("12345678901234567.8901")}], by="")
        assert numbers.tiles(made, "auto", "") == [{"title": "N", "text": "12,345,678,901,234,567.8901"}]

    def test_an_unknown_chart_is_told(self) -> None:
        with pytest.raises(UnknownName, match="'pie'"):
            charts.chosen("pie")


def test_texts_keep_every_digit() -> None:
    values = [Decimal("1E+3"), Decimal("0.0000001"), 2**63, pd.NA, pd.NaT, float("nan"), True, b"\x01", [1, 2]]
    assert [exact(value) for value in values] == [
        "1000", "0.0000001", "9223372036854775808", None, None, None, "true", "01", "[1, 2]",
    ]  # fmt: skip
    assert exact(pd.Timestamp("2026-03-01T10:00Z")) == "2026-03-01T10:00:00Z"
    assert readable(Decimal("-1234.5000")) == "-1,234.5"
    made = table(pd.DataFrame({"a": [1], "when": [pd.Timestamp(NOW)]}))
    assert [column["kind"] for column in made["columns"]] == ["number", "time"]


class Counting:
    """A source that counts how often it is read, and fails at a test's wish."""

    title, reach = "counting", timedelta(days=1)

    def __init__(self) -> None:
        self.reads: list[tuple[str | None, datetime | None]] = []
        self.error: Exception | None = None

    def read(self, by: str | None, until: datetime | None) -> Reading:
        self.reads.append((by, until))
        if self.error is not None:
            raise self.error
        return reading([{"brand": "a", "n": len(self.reads)}], by=by or "")


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestView:
    def test_a_page_gets_one_picture_at_a_time_and_the_newest(self) -> None:
        source = Counting()
        view = TableView(source, refresh="0.5s")
        view._take({"op": "next", "page": "p"})
        eventually(lambda: view.picture.get("number"))
        first = view.picture["number"]
        eventually(lambda: len(source.reads) > first + 2)
        assert view.picture["number"] == first, "it was not painted yet"
        view._take({"op": "next", "page": "p", "seen": first})
        eventually(lambda: view.picture["number"] > first + 1)
        view.stop()
        assert view.picture["rows"][0][1] == str(view.picture["number"])

    def test_a_read_that_fails_says_why_and_keeps_the_rows(self) -> None:
        source = Counting()
        view = TableView(source, refresh="0.5s")
        view._take({"op": "next", "page": "p"})
        eventually(lambda: view.picture.get("number"))
        source.error = StoreUnavailable("memory", "The store is down.")
        view._take({"op": "ask", "page": "p", "seen": view.picture["number"]})
        eventually(lambda: view.picture["failed"])
        assert "The store is down." in view.picture["note"] and view.picture["rows"]
        source.error = None
        view._take({"op": "next", "page": "p", "seen": view.picture["number"]})
        eventually(lambda: not view.picture["failed"])
        view.stop()

    def test_a_page_s_wishes_reach_the_source(self) -> None:
        source = Counting()
        view = TableView(source, refresh="1h")
        view._take({"op": "next", "page": "p"})
        eventually(lambda: len(source.reads) == 1)
        view._take({"op": "ask", "page": "p", "seen": 1, "by": "brand", "until": 60_000})
        eventually(lambda: len(source.reads) == 2)
        view.stop()
        assert source.reads[-1] == ("brand", datetime(1970, 1, 1, 0, 1, tzinfo=UTC))

    def test_a_picture_says_the_end_that_it_was_read_for(self) -> None:
        """A page asks for another end while the rows up to now are read."""
        source = Counting()
        view = TableView(source, refresh="1h")

        def read(by: str | None, until: datetime | None) -> Reading:
            if until is None:
                view._take({"op": "ask", "page": "p", "until": 60_000})
            return reading([{"brand": str(until), "n": 1}], by="")

        source.read = read  # type: ignore[method-assign]
        view._take({"op": "next", "page": "p"})
        eventually(lambda: view.picture.get("number"))
        shown = [view.picture]
        view._take({"op": "next", "page": "p", "seen": 1})
        eventually(lambda: view.picture["number"] > 1)
        view.stop()
        shown.append(view.picture)
        assert [(one["until"], one["rows"][0][0]) for one in shown] == [
            (None, "None"),
            ("1970-01-01T00:01Z", "1970-01-01 00:01:00+00:00"),
        ]

    def test_the_frame_is_there_without_a_page(self) -> None:
        assert TableView(Counting()).frame.to_dict("list") == {"brand": ["a"], "n": [1]}

    @pytest.mark.parametrize("refresh", ["0.1s", "2h", "soon"])
    def test_it_is_not_read_too_often_nor_too_rarely(self, refresh: str) -> None:
        with pytest.raises(UsageError):
            TableView(Counting(), refresh=refresh)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(table="nothing"), "nothing"),
        (Asked(statements={"cql": "drop table t"}), "may change something"),
        (Asked(table="t", statements={"cql": "select 1"}), "several are named"),
        (Asked(statements={"cql": "select 1", "hive": "select 1"}), "several are named"),
        (Asked(statements={"hive": "select 1"}, where={"a": 1}), "Write them into the statement"),
    ],
)
def test_what_can_t_be_shown_is_refused(tmp_path: Any, asked: Asked, said: str) -> None:
    settings = Settings.load(home=tmp_path, pipelines=tmp_path / "pipelines", namespace="t_live")
    with pytest.raises(UsageError, match=said) as caught:
        open_view(settings, asked, lambda name: MemoryStore(), lambda *_: pd.DataFrame())
    assert isinstance(caught.value, RetailPulseError) and caught.value.remedy
