"""The catalogue from plans, the table that answers a question, and conditions on rows, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import tomli_w
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from retailpulse_kernel.answers.ranges import cover, cover_open
from retailpulse_kernel.answers.request import values_of
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.browsing import listed
from retailpulse_kernel.catalogue.choosing import Question, choose, choose_each
from retailpulse_kernel.catalogue.conditions import require_currency, texts_of, time_column, wanted_of
from retailpulse_kernel.catalogue.overview import Freshness, Tables, freshness
from retailpulse_kernel.catalogue.personal import without_personal
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry, catalogue_of
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.contract.loading import contract_of, read_contract, shipped
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.figures import (
    ACTIVE_USERS,
    EVENTS,
    REVENUE,
    Figure,
    Ratio,
    average_of,
    count,
    distinct_of,
    greatest_of,
    median_of,
    parts_of,
    sum_of,
)
from retailpulse_kernel.shop.personal import is_personal, shows_personal
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, USER, FigureTable, grain_of
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, RowsPlan, TablePlan, write_plan
from retailpulse_kernel.streaming.plan.finding import other_writer
from tests.memory import MemoryStore

ROWS = TablePlan(
    "carts",
    "cassandra",
    rows=RowsPlan("carts", (("user_id", "string"), ("at", "timestamp"), ("total", "decimal(18,4)")), ("user_id", "at"),
                  "append", "q", (("retail.events", "event_id"),)),
)  # fmt: skip


def plan(job: str, *tables: TablePlan, **changed: Any) -> Plan:
    values: dict[str, Any] = {"conditions": (), "output": "change", "rejects": "publish"} | changed
    return Plan(job, "retail.events", "event_id", 600_000, tables=tables, **values)


def figures_plan(name: str, *figures: Figure, by: tuple[str, ...], every: tuple[str, ...] = ("hour",)) -> TablePlan:
    table = FigureTable(name, figures, by, tuple(map(grain_of, every)))
    return TablePlan.describing(table, "cassandra")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_catalogue")


def ran(settings: Settings, one: Plan) -> None:
    write_plan(new_epoch(f"{settings.checkpoints}/{one.job}", now_ms=1).path, one)


def promoted(settings: Settings, one: Plan, version: int) -> None:
    folder = settings.pipelines / one.job / f"v{version}"
    folder.mkdir(parents=True)
    content = msgspec.to_builtins(one)
    del content["dedup_horizon_ms"]  # TOML has no null
    content["tables"] = [{k: v for k, v in table.items() if v is not None} for table in content["tables"]]
    for table in content["tables"]:
        table["figures"] = [{k: v for k, v in figure.items() if v is not None} for figure in table["figures"]]
    (folder / "manifest.toml").write_text(tomli_w.dumps({"plan": content}))
    (folder.parent / "current.toml").write_text(f"version = {version}\n")


class TestCatalogue:
    def test_tables_come_from_plans_that_ran_and_from_promoted_ones(self, settings: Settings) -> None:
        brands = figures_plan("brands", EVENTS, by=("brand",), every=("5 minutes",))
        ran(settings, plan("draft", ROWS))
        ran(settings, plan("sales", brands))
        promoted(settings, plan("sales", brands, figures_plan("later", EVENTS, by=("brand",))), version=3)
        found = {entry.name: entry for entry in catalogue_of(settings).entries}
        assert {name: (one.kind, one.version, one.ran) for name, one in found.items()} == {
            "carts": ("rows", "draft", True), "brands": ("figures", "v3", True), "later": ("figures", "v3", True),
        }  # fmt: skip

    def test_a_table_is_found_by_its_name_and_by_a_stored_one(self, settings: Settings) -> None:
        ran(settings, plan("sales", figures_plan("brands", EVENTS, by=("brand",), every=("5 minutes", "hour"))))
        catalogue = catalogue_of(settings)
        assert catalogue.find("brands").grain is None
        assert catalogue.find("brands_5m").grain == grain_of("5 minutes")
        with pytest.raises(UnknownName, match="Did you mean 'brands'"):
            catalogue.find("brand")

    def test_a_table_of_rows_belongs_to_who_has_written_it(self, settings: Settings) -> None:
        ran(settings, plan("one", ROWS))
        assert other_writer(settings, plan("one", ROWS)) is None
        assert other_writer(settings, plan("two", ROWS)) == ("carts", "one")
        assert other_writer(settings, plan("two", replace(ROWS, store="hbase"))) is None
        promoted(settings, plan("two", ROWS), version=1)  # the gate has let it pass
        assert other_writer(settings, plan("two", ROWS)) is None

    def test_a_name_in_two_stores_needs_the_store(self, settings: Settings) -> None:
        ran(settings, plan("one", ROWS))
        ran(settings, plan("two", replace(ROWS, store="hbase")))
        catalogue = catalogue_of(settings)
        with pytest.raises(UsageError, match="cassandra, hbase"):
            catalogue.find("carts")
        assert catalogue.find("carts", "hbase").entry.job == "two"

    def test_freshness_is_that_of_the_table_s_own_query_in_the_newest_epoch(self) -> None:
        entry = TableEntry(replace(ROWS, rows=replace(ROWS.rows, key=())), "job", alone=True)  # type: ignore[type-var]

        def account(epoch: int, batch: int, output: str, ms: int) -> Account:
            return Account("job", epoch, batch, {}, 1, 1, 0, 0, 0, 10, ms, ms, ms, output=output)

        accounts = [account(1, 0, "carts", 900), account(2, 0, "carts", 500), account(2, 1, "carts", 700),
                    account(2, 1, "", 800)]  # fmt: skip
        found = freshness(entry, accounts)
        assert found.written == datetime.fromtimestamp(0.7, UTC) and found.rows == 20
        assert freshness(replace(entry, job="other"), accounts).written is None


BRANDS = TableEntry(figures_plan("brands", EVENTS, REVENUE, by=("currency", "brand")), "sales", "v1", ran=True)


SERVED = TableEntry(TablePlan.describing(CATEGORY, "cassandra"), "metrics", "v1", ran=True)


def catalogue(*entries: TableEntry) -> Catalogue:
    return Catalogue("t", "cassandra", (SERVED, *entries), shipped())


class TestChoosing:
    def test_the_fewest_keys_answer(self) -> None:
        users = TableEntry(TablePlan.describing(USER, "hbase"), "engagement", "v1", ran=True)
        everything = catalogue(BRANDS, users)
        assert choose(everything, Question(("revenue",), ("currency",))).entry is BRANDS
        assert choose(everything, Question(("revenue",), ("user_id",))).entry is users
        assert choose(everything, Question(("revenue",), ("category",))).entry.name == CATEGORY.name
        assert choose(everything, Question()).entry.name == CATEGORY.name

    def test_a_short_range_needs_narrow_windows(self) -> None:
        short, long = timedelta(hours=1), timedelta(days=30)
        assert choose(catalogue(BRANDS), Question(("revenue",), ("currency",), span=short)).entry.name == "category"
        assert choose(catalogue(BRANDS), Question(("revenue",), ("currency",), span=long)).entry is BRANDS
        every = grain_of("15 minutes")
        assert choose(catalogue(BRANDS), Question(("revenue",), ("currency",), every)).entry.name == "category"

    def test_a_table_of_some_events_or_of_a_job_that_never_ran_is_the_last_choice(self) -> None:
        some = replace(BRANDS, conditions=("brand = 'acme'",))
        absent = replace(BRANDS, ran=False)
        for worse in (some, absent):
            assert choose(catalogue(worse), Question(("revenue",), ("currency",))).entry.name == "category"
        assert (
            "counts only events with brand = 'acme'"
            in choose(catalogue(some), Question(("revenue",), ("brand",))).words
        )

    def test_a_table_of_another_shape_answers_only_where_none_of_events_can(self) -> None:
        shop = '[topics.payments]\ntopic = "shop.payments"\n[topics.payments.fields.method]\ndimension = true\n'
        contract = read_contract(shop + "required = true\n", name="shop.toml", base=shipped())
        table = TablePlan("by_method", "cassandra", ("hour",), ("method",), (FigurePlan.describing(EVENTS),))
        paid = TableEntry(table, "payments", "v1", ran=True, topic="shop.payments")
        late = replace(SERVED, ran=False)
        for entry in (SERVED, late):
            found = Catalogue("t", "cassandra", (paid, entry), contract)
            assert choose(found, Question(("events",))).entry is entry
            assert choose(found, Question(("events",), ("method",))).entry is paid

    def test_a_draft_answers_where_nothing_else_is_written(self) -> None:
        alone = Catalogue("t", "cassandra", (replace(BRANDS, version="draft"),), shipped())
        assert choose(alone, Question(("revenue",), ("currency",))).entry.name == "brands"
        assert choose(alone, Question(("orders",), ("currency",))).entry.name == CATEGORY.name, "it may be there"

    def test_other_meanings_of_a_name_are_not_mixed_up(self) -> None:
        tax = [Figure("tax", "Tax", sum_of(f"price * 0.{rate}"), unit="currency") for rate in (1, 2)]
        entries = [TableEntry(figures_plan(f"t{n}", one, by=("currency",)), f"j{n}", "v1", ran=True)
                   for n, one in enumerate(tax)]  # fmt: skip
        with pytest.raises(UsageError, match="'t0' and 't1' keep something else under the name tax"):
            choose(catalogue(*entries), Question(("tax",), ("currency",)))
        assert choose(catalogue(*entries), Question(("tax",), ("currency",)), table="t1").entry.name == "t1"

    def test_a_ratio_goes_by_what_its_parts_go_by(self) -> None:
        average = average_of("price", where="purchase", unit="currency")
        parts = parts_of([average])
        kept = TableEntry(figures_plan("parts", *parts, by=("currency", "brand")), "j", "v1", ran=True)
        plain = figures_plan("named", *parts, by=("currency",))
        named = TableEntry(replace(plain, ratios=TablePlan.describing(
            FigureTable("named", tuple(parts), ("currency",), (grain_of("hour"),), (average,)), "cassandra").ratios),
            "k", "v1", ran=True)  # fmt: skip
        assert choose(catalogue(kept, named), Question(("average_price",), ("brand",))).entry is kept
        assert choose(catalogue(kept), Question((average,), ("brand",))).entry is kept

    def test_what_no_table_answers_is_told_with_what_there_is(self) -> None:
        with pytest.raises(UnknownName, match="Did you mean 'revenue'"):
            choose(catalogue(BRANDS), Question(("revenu",)))
        with pytest.raises(UsageError, match=r"Did you mean 'brand'.*'brands' goes by currency, brand"):
            choose(catalogue(BRANDS), Question(("revenue",), ("brnd",)))
        with pytest.raises(UsageError, match="one table at a time: 'orders' is in 'category'"):
            own = TableEntry(figures_plan("own", Figure("n", "N", count()), by=("brand",)), "j", ran=True)
            choose(catalogue(own), Question(("orders", "n")))
        with pytest.raises(UnknownName, match="Did you mean 'orders'"):
            choose_each(catalogue(own), Question(("order", "n")))

    def test_figures_of_several_tables_come_from_the_best_for_each(self) -> None:
        own = TableEntry(figures_plan("own", Figure("n", "N", count()), by=("currency",)), "j", "v1", ran=True)
        asked = Question(("revenue", "n", "units"), ("currency",))
        found = choose_each(catalogue(own, BRANDS), asked)
        assert {one.entry.name: [figure.name for figure in one.figures] for one in found} == {
            "brands": ["revenue"], "own": ["n"], "category": ["units"],
        }  # fmt: skip
        together = choose_each(catalogue(own, BRANDS), Question(("revenue", "events"), ("brand",)))
        assert [one.entry for one in together] == [BRANDS]


TABLE = ROWS.row_table


class TestConditions:
    def test_texts_become_values_of_the_column(self) -> None:
        wanted = wanted_of(TABLE, where={"total": "1.10", "at": ["2026-03-01T10:00", None]})
        assert wanted.where == {"total": (Decimal("1.10"),), "at": (datetime(2026, 3, 1, 10, tzinfo=UTC), None)}

    def test_rows_are_chosen_sorted_and_cut(self) -> None:
        start = datetime(2026, 3, 1, tzinfo=UTC)
        times = [start + timedelta(hours=hour) for hour in range(5)]
        rows = pa.table(
            [["a", "b", "a", "a", "b"], times, [Decimal(n) for n in range(5)]],
            schema=schema_of(TABLE),
        )
        wanted = wanted_of(TABLE, where={"user_id": "a"}, since=times[1], order="-total", limit=1, columns=["total"])
        found, more = wanted.of(TABLE, rows)
        assert (found.to_pylist(), more) == ([{"total": Decimal(3)}], True)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"where": {"totl": 1}}, "Did you mean 'total'"),
            ({"where": {"total": "much"}}, "not a value of the column 'total'"),
            ({"columns": ["user"]}, "Did you mean 'user_id'"),
            ({"order": "-totl"}, "Did you mean 'total'"),
            ({"time": "total"}, "no column of times"),
            ({"limit": -1}, "not a number of rows"),
        ],
    )
    def test_what_the_table_does_not_have_is_said(self, asked: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            wanted_of(TABLE, **asked)

    def test_the_time_of_a_row_is_the_key_s_or_the_only_one(self) -> None:
        two = (Column("a", "timestamp"), Column("b", "timestamp"), Column("n", "int"))
        assert time_column(TABLE) == "at"
        assert time_column(RowTable("t", two, key=("n", "b"))) == "b"
        assert time_column(RowTable("t", two[1:])) == "b"
        with pytest.raises(UsageError, match="Choose from a, b"):
            time_column(RowTable("t", two))
        with pytest.raises(UsageError, match="has no column of times"):
            time_column(RowTable("t", two[2:]))


def test_repeated_filters_are_taken_as_they_are() -> None:
    assert values_of(["a,b"]) == values_of(["{a,b}"]) == values_of(["a", "b"]) == {"a", "b"}
    assert values_of(["all"]) == values_of([""]) == values_of(["$__all"]) == frozenset()
    assert values_of(["all", "all"]) == {"all"} and values_of(["a,b", "{c}"]) == {"a,b", "{c}"}


class TestBrowsing:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        (tmp_path / "shop.toml").write_text(SHOP)
        nothing_listens = 21_000
        return Settings.load(home=tmp_path, pipelines=tmp_path / "p", namespace="t_browse", port_offset=nothing_listens,
                             contract=tmp_path / "shop.toml")  # fmt: skip

    def test_an_empty_namespace_says_what_to_do(self, settings: Settings) -> None:
        found = listed(settings)
        assert found["groups"] == [] and "rp.new_job" in found["empty"]
        assert any("retailpulse up" in problem for problem in found["problems"]), "Kafka is not there"

    def test_a_table_says_what_it_holds_and_how_to_read_it(self, settings: Settings) -> None:
        sales = FigureTable(
            "sales", (EVENTS, REVENUE), ("currency", "brand"), (grain_of("5 minutes"), grain_of("hour"))
        )
        people = replace(ROWS, name="people", rows=replace(ROWS.rows, columns=(
            ("user_id", "string"), ("at", "timestamp"), ("email", "string"))))  # type: ignore[type-var]  # fmt: skip
        ran(settings, plan("sales", TablePlan.describing(sales, "cassandra"), conditions=("brand = 'acme'",)))
        ran(settings, plan("people", people))
        ran(settings, plan("again", replace(people, store="hive")))
        (tables,) = listed(settings)["groups"]
        found = {(one["name"], one["store"]): one for one in tables["items"]}
        shown = found["sales", "cassandra"]
        assert ["only", "brand = 'acme'"] in shown["about"] and ["job", "sales draft"] in shown["about"]
        assert shown["code"] == [
            ["Figures", 'rp.figures("events", by="brand", last="1d", table="sales")'],
            ["Rows", 'rp.table("sales", last="1h", limit=100)'],
            ["Live", 'rp.live("sales")'],
            ["%%cql", "%%cql --limit 100\nselect * from sales_5m"],
        ]
        assert shown["parts"][1]["code"] == 'rp.figures("revenue", by="brand", last="1d", table="sales")'
        people_in_hive = found["people", "hive"]
        assert people_in_hive["code"][0] == ["Rows", 'rp.table("people", order="-at", limit=100, store="hive")']
        assert {part["name"]: part["personal"] for part in people_in_hive["parts"]} == {
            "user_id": False, "at": False, "email": True,
        }  # fmt: skip

    def test_what_comes_from_a_sketch_is_said_to_be_estimated(self, settings: Settings) -> None:
        each = Ratio("events_per_user", "Events per user", EVENTS, ACTIVE_USERS)
        table = FigureTable("visits", (EVENTS, ACTIVE_USERS), ("category",), (grain_of("hour"),), (each,))
        ran(settings, plan("visits", TablePlan.describing(table, "cassandra")))
        (tables,) = listed(settings)["groups"]
        (shown,) = tables["items"]
        estimated = {part["name"]: "estimated" in part["about"] for part in shown["parts"]}
        assert estimated == {"events": False, "active_users": True, "events_per_user": True, "category": False}


def test_a_notebook_shows_times_to_the_second_and_nothing_of_a_job_that_has_not_run(settings: Settings) -> None:
    ran(settings, plan("draft", ROWS, replace(ROWS, name="later")))
    written = datetime(2026, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC)
    shown = Tables(catalogue_of(settings), (Freshness(written, written), Freshness()))
    for text in (repr(shown), shown._repr_html_()):
        assert text.count("2026-03-01 10:00:00") == 2 and ".123" not in text and "NaT" not in text
        assert "written (UTC)" in text
    assert shown.frame["written"][0] == written, "the frame is exact"


class TestPersonal:
    SHOP = Contract(
        (*shipped().fields, Field("email", personal=True, path="email"), Field("age", "int", personal=True)),
        shipped().event_types,
    )

    def test_columns_go_by_their_names(self) -> None:
        assert [is_personal(name, self.SHOP) for name in ("email", "email_hash", "first_email", "emails", "price")] == [
            True, True, True, False, False,
        ]  # fmt: skip
        table = RowTable("t", (Column("email", "string"), Column("n", "int")), key=("email",))
        shown = without_personal(TableEntry(ROWS), table, self.SHOP)
        assert shown.types == {"n": "int"} and shown.key == ()

    def test_a_figure_shows_values_and_a_count_does_not(self) -> None:
        types = dict(self.SHOP.types)
        oldest, ages = (Figure("x", "X", of("age")).typed(types) for of in (greatest_of, distinct_of))
        mean = average_of("age").typed(types)
        assert [shows_personal(one, self.SHOP) for one in (oldest, ages, mean, EVENTS)] == [True, False, True, False]
        assert shows_personal(Figure("x", "X", median_of("age")).typed(types), self.SHOP)


SHOP = """
[fields.email]
path = "user.email"
personal = true

[fields.age]
type = "int"
path = "user.age"
personal = true
"""


class TestOverHttp:
    """The API of a shop with personal fields, on the in-memory twin."""

    @pytest.fixture
    def client(self, tmp_path: Path) -> Iterator[TestClient]:
        (tmp_path / "shop.toml").write_text(SHOP)
        settings = Settings.load(
            home=tmp_path, pipelines=tmp_path / "p", namespace="t", contract=tmp_path / "shop.toml"
        )
        types = contract_of(settings).types
        figures = (EVENTS, *(Figure(name, name, of("age")).typed(types)
                             for name, of in (("oldest", greatest_of), ("ages", distinct_of))))  # fmt: skip
        hour = grain_of("hour")
        table = FigureTable("ages", figures, ("category",), (hour,))
        store = MemoryStore()
        store.create(table)
        start = datetime(2026, 3, 1, 10, tzinfo=UTC)
        rows = [{"hour": start, "category": name, "events": 3, "oldest": 80, "ages": sketches.of(["1", "2"])}
                for name in ("books", "Home, garden", "all", "{toys}")]  # fmt: skip
        store.write(table, hour, rows, version=1)
        people = replace(ROWS, name="people", rows=replace(ROWS.rows, columns=(
            ("user_id", "string"), ("at", "timestamp"), ("email", "string"))))  # type: ignore[type-var]  # fmt: skip
        ran(settings, plan("people", people))
        ran(settings, plan("ages", TablePlan.describing(table, store.name)))
        mails = FigureTable("mails", (EVENTS,), ("email_hash",), (hour,), dimensions=("email_hash",))
        store.create(mails)
        store.write(mails, hour, [{"hour": start, "email_hash": "5d41", "events": 3}], version=1)
        ran(settings, plan("mails", TablePlan.describing(mails, store.name)))
        with TestClient(create_app(store, sources=Sources(store, settings))) as made:
            yield made

    @pytest.mark.parametrize(
        ("path", "asked"),
        [
            ("figures/events", {"by": "email_hash", "table": "mails"}),
            ("figures/events", {"email_hash": "5d41", "table": "mails"}),
            ("values/email_hash", {}),
            ("values/email_hash", {"table": "mails"}),
            ("why/events", {"by": "email_hash", "table": "mails"}),
            ("corrections", {"email_hash": "5d41", "table": "mails"}),
        ],
    )
    def test_no_request_goes_by_a_personal_key_of_a_draft(
        self, client: TestClient, path: str, asked: dict[str, str]
    ) -> None:
        day = {"from": "2026-03-01", "to": "2026-03-02"}
        refused = client.get(f"/api/v1/{path}", params=day | asked)
        assert refused.status_code == 422, refused.text
        assert refused.json()["detail"] == "'email_hash' holds values of a personal field."
        assert "5d41" not in client.get("/api/v1/figures/events", params=day | {"table": "mails"}).text

    def test_what_shows_personal_fields_is_left_out(self, client: TestClient) -> None:
        listed = {table["table"]: table for table in client.get("/api/v1/tables").json()["tables"]}
        assert [column["name"] for column in listed["people"]["columns"]] == ["user_id", "at"]
        assert [figure["name"] for figure in listed["ages"]["figures"]] == ["events", "ages"]
        row = client.get("/api/v1/tables/ages", params={"category": "books"}).json()["rows"][0]
        assert row == {"hour": "2026-03-01T10:00:00Z", "category": "books", "events": 3, "ages": 2}
        for asked in ({"oldest": "80"}, {"order": "oldest"}, {"columns": "category,oldest"}):
            refused = client.get("/api/v1/tables/ages", params=asked)
            assert refused.status_code == 422 and "oldest" not in refused.json()["remedy"]
        day = {"from": "2026-03-01", "to": "2026-03-02"}
        assert client.get("/api/v1/figures/ages", params=day).json()["rows"][0]["value"] == 2
        refused = client.get("/api/v1/figures/oldest", params=day)
        assert refused.status_code == 422 and "personal" in refused.text

    def test_filters_reach_every_value_and_unknown_ones_are_told(self, client: TestClient) -> None:
        day = {"from": "2026-03-01", "to": "2026-03-02", "by": "category", "table": "ages"}

        def categories(*values: str) -> set[str]:
            response = client.get("/api/v1/figures/events", params={**day, "category": values})
            assert response.status_code == 200, response.text
            return {row["category"] for row in response.json()["rows"]}

        assert categories("Home, garden", "all") == {"Home, garden", "all"}
        assert categories("{toys}", "{toys}") == {"{toys}"}
        assert categories("{books,nothing}") == {"books"} and len(categories("all")) == len(categories("$__all")) == 4
        wrong = client.get("/api/v1/figures/events", params={**day, "categry": "books"})
        assert wrong.status_code == 422 and "Did you mean 'category'" in wrong.text
        assert client.get("/api/v1/figures/events", params={**day, "table": "age"}).status_code == 404


@given(first=st.integers(0, 500), length=st.integers(1, 500))
def test_a_range_without_an_end_is_read_like_one_with_ends(first: int, length: int) -> None:
    """The head of an open range is made of narrower windows, as that of a closed one."""
    minutes, hours = grain_of("minute"), grain_of("hour")
    start = datetime(2026, 3, 1, tzinfo=UTC)
    since, until = start + timedelta(minutes=first), start + timedelta(minutes=first + length)

    def covered(spans: Any) -> set[datetime]:
        found: set[datetime] = set()
        for grain, begin, end in spans:
            moment, last = begin or start, end or start + timedelta(minutes=1_200)
            while moment < last:
                found |= {moment + timedelta(minutes=n) for n in range(grain.seconds // 60)}
                moment = grain.end(moment)
        return found

    every = covered([(minutes, start, None)])
    assert covered(cover_open(since, None, (hours, minutes))) == {one for one in every if one >= since}
    assert covered(cover_open(None, until, (hours, minutes))) == {one for one in every if one < until}
    assert list(cover_open(since, until, (hours, minutes))) == list(cover(since, until, (hours, minutes)))


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, {}),
        ({"device": "phone"}, {"device": ["phone"]}),
        ({"device": ["phone", "tv"]}, {"device": ["phone", "tv"]}),
        ({"device": np.array(["phone"])}, {"device": ["phone"]}),
        ({"products.cost": Decimal(2)}, {"products.cost": [2]}),
        ({"device": None}, "device can't be None: values of a dimension are texts."),
        ({"device": 5}, "device can't be 5"),
        ({"device": ["phone", None]}, "device can't be None"),
        ({"device": {"phone": 1}}, "device can't be {'phone': 1}"),
    ],
)
def test_conditions_of_figures_are_texts(where: dict[str, Any] | None, found: Any) -> None:
    if isinstance(found, dict):
        assert texts_of(where) == found
    else:
        with pytest.raises(UsageError) as told:
            texts_of(where)
        assert str(told.value).startswith(found) and "Write where={'device': 'a value'}" in str(told.value)


def test_a_condition_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Write where=\{'device': 'phone'\}"):
        texts_of("device = 'phone'")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "said"), [("eur", "Did you mean 'EUR'?"), ("base", "such as 'revenue_base'"), ("X", "ISO")]
)
def test_a_currency_that_there_is_not_is_refused(name: str, said: str) -> None:
    require_currency("EUR")
    require_currency(None)
    with pytest.raises(UsageError) as told:
        require_currency(name)
    assert said in str(told.value)
