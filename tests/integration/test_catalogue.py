"""What a job writes is seen everywhere: in the catalogue, `rp.table`, `rp.figures`, the API, on real servers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.conditions import wanted_of
from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event, to_message
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, average_of, greatest_of, last, users_of
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.stores.selecting import Conditions
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan, write_plan
from retailpulse_kernel.upkeep.retention import keep_rows
from retailpulse_kernel.upkeep.table_quality import TableLimits, table_quality
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
#: Values that a list with commas, Grafana's braces or its word for everything would take for something else.
CATEGORIES = ("books", "Home, garden", "{toys}", 'say "hi"', "all")


def shop() -> list[Event]:
    """A view and a purchase every minute for four hours, in two currencies."""
    events = []
    for i in range(240):
        common = {
            "event_time": START + timedelta(minutes=i), "user_id": f"u{i % 7}", "session_id": f"s{i % 11}",
            "product_id": f"p{i % 5}", "category": CATEGORIES[i % 5], "brand": ("acme", "blue")[i % 2],
        }  # fmt: skip
        events.append(Event(event_id=f"v{i}", event_type="view", **common))
        order = {"order_id": f"o{i}", "order_line": 1, "price": Decimal(i) / 100 + Decimal("0.0001")}
        currency = "EUR" if i % 3 == 0 else "USD"
        events.append(Event(event_id=f"p{i}", event_type="purchase", currency=currency, **order, **common))
    return events


@dataclass(frozen=True)
class Shop:
    """The namespace after its job has run."""

    rp: Workbench
    events: list[Event]

    @property
    def purchases(self) -> list[Event]:
        return [event for event in self.events if event.event_type == "purchase"]

    def revenue(self, *by: str, **only: str) -> dict[tuple[str, ...], Decimal]:
        found: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for event in self.purchases:
            if all(getattr(event, name) == value for name, value in only.items()):
                found[tuple(getattr(event, name) for name in by)] += event.price * event.quantity
        return dict(found)


@pytest.fixture(scope="module")
def written(stack: Settings) -> Iterator[Shop]:
    """A job that was never promoted, with figures, single events, and rows in each store."""
    settings = Settings.load(namespace=f"t_catalogue_{os.getpid()}")
    drop(settings)
    ensure_topics(settings)
    events = shop()
    produce(settings, [(event.user_id, to_message(event)) for event in events])
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("crates")
    stream = job.events(watermark="10m")
    brands = stream.figures(
        EVENTS, REVENUE, Figure("buyers", "Buyers", users_of("user_id"), where="purchase", unit="users"),
        average_of("price", where="purchase", unit="currency"),
        Figure("dearest", "Dearest", greatest_of("price"), where="purchase", unit="currency"),
        by=["currency", "brand", "category"], every=["5 minutes", "1 hour"], table="brands",
    )  # fmt: skip
    job.write(brands, to=rp.cassandra)
    seen = Figure("seen", "Last seen", last("event_time"), where="view", unit="time")
    job.write(stream.figures(seen, by=["currency", "brand"], every=["1 day"], table="views"), to=rp.hbase)
    bought = "user_id", "event_time", "category", "currency", "price", "event_id"
    rows = stream.df.where("event_type = 'purchase'").select(*bought)
    for store, name, key in (
        (rp.cassandra, "carts", ["user_id", "event_time"]),
        (rp.hbase, "baskets", ["user_id", "event_time"]),
        (rp.hive, "crates", ["event_id"]),
        (rp.hive, "log", None),
        (rp.kafka, "feed", ["event_id"]),
    ):
        job.write(rows, to=store, table=name, key=key)
    job.run()
    kept = rp.job("keeper")
    kept.write(kept.events(watermark="10m"), to=rp.hive)
    kept.run()
    yield Shop(rp, events)
    drop(settings)


KINDS = (Column("who", "string"), Column("at", "timestamp"), Column("price", "decimal(18,4)"), Column("n", "long"))
#: Texts that a row key or a statement could take for something else, times at the ends of ranges, equal decimals.
WHO = ("a", "a#b", "a%23b", "b", "é")
AT = tuple(START + timedelta(milliseconds=ms) for ms in (0, 1, 2, 1_000))
PRICES = (Decimal("1.1"), Decimal("-1"), Decimal(10))


@pytest.fixture(scope="module")
def chosen(written: Shop) -> Iterator[dict[str, tuple[Any, RowTable]]]:
    """One table in each store that can look rows up, by the shop's names for them."""
    made = {}
    keyed = RowTable("chosen", KINDS, ("who", "at", "price"))
    timed = RowTable("timed", KINDS, ("at", "who", "price"))
    rp = written.rp
    for store, table in ((rp.cassandra, keyed), (rp.cassandra, timed), (rp.hbase, keyed), (rp.hbase, timed),
                         (rp.hive, keyed), (rp.hive, RowTable("appended", KINDS))):  # fmt: skip
        store.create_rows(table)
        for batch in range(2):
            # Both micro-batches write every key: only the second one's rows are there, where there is a key.
            rows = [{"who": who, "at": at, "price": price, "n": 10 * batch + n}
                    for who in WHO for at in AT for n, price in enumerate(PRICES)]  # fmt: skip
            store.write_rows(
                table, pa.Table.from_pylist(rows, schema_of(table)), by=MicroBatch(1, batch, 1 + batch, "w")
            )
        made[f"{store.name} {table.name}"] = (store, table)
    yield made
    for store, table in made.values():
        store.remove_rows(table)


WHERE: tuple[dict[str, Any], ...] = (
    {}, {"who": "a"}, {"who": ["a#b", "é", "zz"]}, {"who": []}, {"at": AT[1]}, {"who": "a%23b", "at": [AT[0], AT[3]]},
    {"who": "b", "at": AT[2] + timedelta(microseconds=7)}, {"who": "a", "at": AT[0], "price": "1.1"},
    {"price": [Decimal(10), None]}, {"n": 11}, {"who": "a", "n": [1, 11]},
)  # fmt: skip
RANGES = (
    (None, None), (AT[1], AT[2]), (AT[0] + timedelta(microseconds=1), None), (None, AT[2] + timedelta(microseconds=1)),
    (AT[3], None), (AT[2], AT[1]),
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["cassandra chosen", "cassandra timed", "hbase chosen", "hbase timed", "hive chosen", "hive appended"],
)
def test_rows_that_are_looked_up_are_those_of_the_whole_table(chosen: dict[str, Any], name: str) -> None:
    store, table = chosen[name]
    whole = store.read_rows(table)
    assert len(whole) == len(WHO) * len(AT) * len(PRICES) * (1 if table.is_keyed else 2)
    for where, (since, until), limit in product(WHERE, RANGES, (None, 1, 5)):
        wanted = wanted_of(table, where=where, since=since, until=until, time="at", limit=limit)
        conditions = Conditions(wanted.where, wanted.time, since, until, wanted.first)
        found, more = wanted.of(table, store.select_rows(table, conditions))
        every = replace(wanted, limit=None).of(table, whole)[0].to_pylist()
        rows = found.to_pylist()
        assert all(row in every for row in rows), (where, since, until, limit)
        assert (len(rows), more) == (min(len(every), limit or len(every)), limit is not None and len(every) > limit)


TABLES = ("carts", "baskets", "crates", "log", "feed")


def test_the_catalogue_says_what_each_table_is(written: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    found = written.rp.tables()
    mine = found.frame[found.frame["job"].isin(["crates", "keeper"])].set_index("table")
    assert {*TABLES, "brands", "events"} <= set(mine.index)
    assert mine.loc["brands", ["store", "kind", "version"]].tolist() == ["cassandra", "figures", "draft"]
    assert mine.loc["brands", "windows"] == "5 minutes, hour" and mine.loc["brands", "sketched"] == "buyers"
    assert mine.loc["carts", ["store", "kind", "by"]].tolist() == ["cassandra", "rows", "user_id, event_time"]
    assert mine.loc["log", "rows"] == len(written.purchases)
    assert mine.loc["events", ["kind", "rows"]].tolist() == ["events", len(written.events)]
    assert mine["written"].notna().all()
    assert "carts" in repr(found) and "<table" in found._repr_html_()
    with pytest.raises(SystemExit) as ended:
        main(["tables", "--namespace", written.rp.settings.namespace_name])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "carts" in said and f"{mine['written'].max():%Y-%m-%d}" in said and "…" not in said


@pytest.mark.parametrize("name", TABLES)
def test_any_table_of_rows_is_read_with_conditions(written: Shop, name: str) -> None:
    rp, begin = written.rp, START + timedelta(minutes=60)
    expected = {e.event_id: e.price for e in written.purchases if e.event_time >= begin and e.user_id == "u3"}
    frame = rp.table(name, where={"user_id": "u3"}, since=begin, time="event_time")
    assert dict(zip(frame["event_id"], frame["price"], strict=True)) == expected
    assert all(isinstance(price, Decimal) for price in frame["price"])
    for category in CATEGORIES:
        found = rp.table(name, where={"category": category}, columns=["event_id"])
        assert set(found["event_id"]) == {e.event_id for e in written.purchases if e.category == category}
    newest = rp.table(name, order="-event_time", limit=3, as_="arrow")
    assert newest["event_id"].to_pylist() == ["p239", "p238", "p237"]
    some = rp.table(name, limit=5)
    assert len(some) == 5 and some.attrs["more"]
    assert len(rp.table(name)) == len(written.purchases)
    assert len(rp.table(name, where={"user_id": ["u1", "u2", "nobody"]})) == sum(
        e.user_id in ("u1", "u2") for e in written.purchases
    )


@pytest.mark.parametrize("name", ["carts", "baskets", "crates", "log"])
def test_a_store_that_can_look_up_a_key_is_not_read_whole(written: Shop, name: str) -> None:
    key = {"event_id": "p41"} if name in ("crates", "log") else {"user_id": "u3"}
    found = written.rp.table(name, where=key)
    assert 0 < len(found) == found.attrs["rows_read"]
    if name != "crates":  # a file does not know which of its rows are the newest of their keys
        assert written.rp.table(name, limit=4).attrs["rows_read"] <= 6
    bounds = {"since": START + timedelta(minutes=30), "until": START + timedelta(minutes=90), "time": "event_time"}
    ranged = written.rp.table(name, where=key, **bounds)
    assert 0 < len(ranged) == ranged.attrs["rows_read"]


def test_figures_and_events_are_read_as_they_are_stored(written: Shop) -> None:
    rp = written.rp
    assert rp.table("brands").equals(rp.table("brands_5m"))
    hours = rp.table("brands", every="hour", where={"category": "all", "currency": "USD"})
    assert sum(hours["revenue"]) == written.revenue("currency", category="all")[("USD",)]
    assert hours["buyers"].max() <= 7
    part = rp.table("brands_1h" if "brands_1h" in _stored(rp) else "brands_hour", since=START + timedelta(hours=1))
    assert set(part["hour"]) == {START + timedelta(hours=hour) for hour in (1, 2, 3)}
    views = rp.table("events", where={"event_type": "view", "category": "Home, garden"}, columns=["event_id"])
    assert set(views["event_id"]) == {
        e.event_id for e in written.events if e.event_type == "view" and e.category == "Home, garden"
    }
    assert len(rp.table("events", limit=7)) == 7


def _stored(rp: Workbench) -> list[str]:
    return [name for entry in rp.tables().catalogue.entries for name in entry.plan.physical]


def test_figures_come_from_any_table_that_keeps_them(written: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    rp = written.rp
    frame = rp.figures("revenue", by="brand")
    assert "From the table 'brands' in cassandra (crates draft)" in capsys.readouterr().err
    assert frame.attrs["table"] == "brands"
    found = {(row.brand, row.currency): row.revenue for row in frame.itertuples() if row.currency}
    assert found == written.revenue("brand", "currency")
    one = rp.figures("average_price", "dearest", by="currency", where={"category": ["all", "Home, garden"]})
    prices: dict[str, list[Decimal]] = defaultdict(list)
    for event in written.purchases:
        if event.category in ("all", "Home, garden"):
            prices[event.currency].append(event.price)
    for row in one[one["currency"] != ""].itertuples():
        assert row.dearest == max(prices[row.currency])
        assert abs(row.average_price - sum(prices[row.currency]) / len(prices[row.currency])) <= Decimal("0.00005")
    both = rp.figures("seen", "buyers", by="brand").set_index(["brand", "currency"])
    assert both.loc[("acme", "USD"), "seen"] == START + timedelta(minutes=238)
    assert both.loc[("acme", "USD"), "buyers"] == 7
    half = rp.figures("revenue", by="currency", since=START + timedelta(minutes=95), table="brands")
    late = [e for e in written.purchases if e.event_time >= START + timedelta(minutes=95) and e.currency == "USD"]
    assert half.set_index("currency").loc["USD", "revenue"] == sum(e.price for e in late)
    early = rp.figures("revenue", by="currency", until=START + timedelta(minutes=95), table="brands")
    both = early.set_index("currency")["revenue"] + half.set_index("currency")["revenue"]
    assert both["USD"] == written.revenue("currency")[("USD",)]


@pytest.mark.parametrize("name", [*TABLES, "brands", "brands_5m", "events"])
def test_any_table_can_be_watched(written: Shop, name: str) -> None:
    view = written.rp.live(name, last=None)
    whole = written.rp.table(name)
    assert len(view.frame) == min(len(whole), 1_000)
    view._paint(0)
    assert not view._newest["failed"], view._newest["note"]
    assert len(view._newest["rows"]) == len(view.frame) and view._newest["charts"]


@pytest.mark.parametrize(("language", "table"), [("cql", "carts"), ("hive", "log"), ("spark", "log")])
def test_a_statement_can_be_watched(written: Shop, language: str, table: str) -> None:
    view = written.rp.live(**{language: f"select user_id, price from {table}"}, by="user_id")
    assert sum(view.frame["price"]) == sum(event.price for event in written.purchases)
    view._paint(0)
    (bars,) = view._newest["charts"]
    assert not view._newest["failed"] and len(bars["data"][0]["x"]) == 7


@pytest.fixture(scope="module")
def api(written: Shop) -> Iterator[TestClient]:
    settings = written.rp.settings
    sources = Sources(written.rp.serving, settings)
    with TestClient(create_app(written.rp.serving, sources=sources)) as made:
        yield made


RANGE = {"from": START.isoformat(), "to": (START + timedelta(minutes=240)).isoformat()}


def test_the_api_lists_the_tables_and_gives_their_rows(written: Shop, api: TestClient) -> None:
    listed = {table["table"]: table for table in api.get("/api/v1/tables").json()["tables"]}
    assert {*TABLES, "brands", "events"} <= listed.keys()
    assert listed["carts"]["columns"][0] == {"name": "user_id", "type": "string"}
    for name in TABLES:
        answer = api.get(f"/api/v1/tables/{name}", params={"user_id": ["u1", "u2"], "order": "event_time"}).json()
        expected = [e for e in written.purchases if e.user_id in ("u1", "u2")]
        assert [Decimal(row["price"]) for row in answer["rows"]] == [e.price for e in expected]
        assert not answer["more"]
    cut = api.get("/api/v1/tables/carts", params={"limit": 3}).json()
    assert cut["more"] and len(cut["rows"]) == 3
    for category in CATEGORIES:
        found = api.get("/api/v1/tables/events", params={"category": category, "event_type": "view"}).json()["rows"]
        assert len(found) == 48
    assert api.get("/api/v1/tables/cart").status_code == 404
    wrong = api.get("/api/v1/tables/carts", params={"colour": "red"})
    assert wrong.status_code == 422 and "no column" in wrong.text


def test_the_api_answers_every_figure_with_filters_of_any_dimension(written: Shop, api: TestClient) -> None:
    def rows(figure: str, **asked: object) -> list[dict[str, Any]]:
        response = api.get(f"/api/v1/figures/{figure}", params={**RANGE, **asked})
        assert response.status_code == 200, response.text
        return response.json()["rows"]

    for category in CATEGORIES:
        found = rows("revenue", brand="acme", category=[category, category])
        expected = written.revenue("currency", brand="acme", category=category)
        assert {row["currency"]: Decimal(str(row["decimal"])) for row in found} == {
            currency: value for (currency,), value in expected.items()
        }
    grafana = rows("revenue", by="brand", category="{books,all}", currency="all")
    several = rows("revenue", by="brand", category=["books", "Home, garden"])
    assert grafana == rows("revenue", by="brand", category="books"), "`all` among others is Grafana's, and left out"
    assert several != grafana and {row["brand"] for row in several} == {"acme", "blue"}
    series = rows("average_price", by="bucket,currency", grain="hour", currency="USD")
    assert len(series) == 4 and all(row["complete"] for row in series)
    assert len(rows("buyers", by="category")) == 5
    assert {row["currency"] for row in rows("dearest")} == {"EUR", "USD"}
    assert rows("seen", by="brand")[0]["decimal"].startswith("2026-03-02T01:5")
    paths = api.get("/openapi.json").json()["paths"]
    named = {parameter["name"] for parameter in paths["/api/v1/figures/{name}"]["get"]["parameters"]}
    assert {"brand", "category", "from", "table"} <= named and "/api/v1/tables/{table}" in paths


@pytest.mark.parametrize("store", ["cassandra", "hbase", "hive", "kafka"])
def test_a_table_that_was_never_written_is_said_to_be_so(written: Shop, store: str) -> None:
    rows = RowsPlan("nothing", (("user_id", "string"), ("n", "int")), ("user_id",), "append", "q", ())
    table = TablePlan(f"nothing_{store}", store, rows=rows)
    one = Plan(f"idle_{store}", "retail.events", "event_id", 600_000, (), "change", "publish", (table,))
    settings = written.rp.settings
    write_plan(new_epoch(f"{settings.checkpoints}/{one.job}", now_ms=1).path, one)
    for where in ({}, {"user_id": "u1"}):
        with pytest.raises(NoSuchTable, match=f"the job 'idle_{store}' .draft. has not written it"):
            written.rp.table(table.name, where=where)


def test_what_is_not_there_is_said_with_what_is(written: Shop) -> None:
    rp = written.rp
    with pytest.raises(UnknownName, match="Did you mean 'carts'"):
        rp.table("cart")
    with pytest.raises(UnknownName, match="Did you mean 'price'"):
        rp.table("carts", where={"prise": 1})
    with pytest.raises(UsageError, match="not a value of the column 'price'"):
        rp.table("carts", where={"price": "dear"})
    with pytest.raises(NoSuchTable, match="has not written it in this namespace"):
        rp.table("session")
    with pytest.raises(NoSuchTable, match=r"job 'engagement' \(v1\) has not written it"):
        rp.figures("views", by="user_id")
    with pytest.raises(UnknownName, match="Did you mean 'average_price'"):
        rp.figures("averge_price")
    with pytest.raises(UsageError, match="'brands' goes by currency, brand, category"):
        rp.figures("revenue", by="brnd")
    with pytest.raises(UnknownName, match="Did you mean 'brand'"):
        rp.figures("dearest", by="brnd")


def test_rows_with_a_time_go_by_their_age(written: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    settings = written.rp.settings
    week, month = timedelta(days=7), timedelta(days=30)
    with pytest.raises(UsageError, match="before their messages"):
        keep_rows(settings, week, topics=month)
    assert keep_rows(settings, month, topics=week) == ["carts"]
    said = capsys.readouterr().err
    assert {f"those of {name} stay" in said for name in ("baskets", "crates", "log", "feed")} == {True}
    query = (
        "select default_time_to_live from system_schema.tables where keyspace_name = :keyspace and table_name = 'carts'"
    )
    found = written.rp.cassandra.query(query, {"keyspace": settings.namespace.keyspace})
    assert list(found["default_time_to_live"]) == [month.total_seconds()]


def test_every_table_is_judged(written: Shop) -> None:
    limits = TableLimits(timedelta(minutes=15), 0.1)
    first, newest = (pick(event.event_time for event in written.events) for pick in (min, max))
    found = {one.name: one for one in table_quality(written.rp.settings, limits, until=newest + timedelta(minutes=1),
             last=newest - first + timedelta(minutes=1), before=timedelta(days=1), drafts=True)}  # fmt: skip
    tables = {"brands", "views", "carts", "baskets", "crates", "log", "feed", "events"}
    assert {f"{name} keeps up" for name in tables} <= set(found)
    assert {f"nulls of {name}" for name in tables - {"brands", "views", "events"}} <= set(found)
    assert [one for one in found.values() if not one.ok] == []
    assert table_quality(written.rp.settings, limits, until=newest, last=limits.age, before=limits.age) == []
    bought = len({event.event_id for event in written.purchases})
    assert found["rules of carts"].found == f"none of {bought:,} rows"
