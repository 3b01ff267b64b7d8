"""What a job writes is seen everywhere: in the catalogue, `rp.table`, `rp.figures`, the API, on real servers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, average_of, greatest_of, users_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
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
    produce(settings, [(event.key, event.to_json()) for event in events])
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
    job.write(stream, to=rp.hive)
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
    yield Shop(rp, events)
    drop(settings)


TABLES = ("carts", "baskets", "crates", "log", "feed")


def test_the_catalogue_says_what_each_table_is(written: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    found = written.rp.tables()
    mine = found.frame[found.frame["job"] == "crates"].set_index("table")
    assert {*TABLES, "brands", "events"} <= set(mine.index)
    assert mine.loc["brands", ["store", "kind", "version"]].tolist() == ["cassandra", "figures", "draft"]
    assert mine.loc["brands", "windows"] == "5 minutes, hour" and mine.loc["brands", "sketched"] == "buyers"
    assert mine.loc["carts", ["store", "kind", "by"]].tolist() == ["cassandra", "rows", "user_id, event_time"]
    assert mine.loc["log", "rows"] == len(written.purchases)
    assert mine.loc["events", "kind"] == "events"
    assert mine["written"].notna().all()
    assert "carts" in repr(found) and "<table" in found._repr_html_()
    main(["tables", "--namespace", written.rp.settings.namespace_name])
    assert "carts" in capsys.readouterr().out


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
    key = {"event_id": "p21"} if name in ("crates", "log") else {"user_id": "u3"}
    found = written.rp.table(name, where=key)
    assert 0 < len(found) == found.attrs["rows_read"]
    assert written.rp.table(name, limit=4).attrs["rows_read"] <= 5
    bounds = {"since": START + timedelta(minutes=30), "until": START + timedelta(minutes=90), "time": "event_time"}
    ranged = written.rp.table(name, where=key, **bounds)
    assert ranged.attrs["rows_read"] == len(ranged)


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


def test_figures_come_from_any_table_that_keeps_them(written: Shop) -> None:
    rp = written.rp
    frame = rp.figures("revenue", by="brand")
    assert frame.attrs["table"] == "brands"
    assert {(r.brand, r.currency): r.revenue for r in frame.itertuples() if r.currency} == {
        key: value for key, value in written.revenue("brand", "currency").items()
    }
    one = rp.figures("average_price", "dearest", by="currency", where={"category": ["all", "Home, garden"]})
    prices: dict[str, list[Decimal]] = defaultdict(list)
    for event in written.purchases:
        if event.category in ("all", "Home, garden"):
            prices[event.currency].append(event.price)
    for row in one[one["currency"] != ""].itertuples():
        assert row.dearest == max(prices[row.currency])
        assert abs(row.average_price - sum(prices[row.currency]) / len(prices[row.currency])) <= Decimal("0.00005")
    half = rp.figures("revenue", by="currency", since=START + timedelta(minutes=95), table="brands")
    late = [e for e in written.purchases if e.event_time >= START + timedelta(minutes=95) and e.currency == "USD"]
    assert half.set_index("currency").loc["USD", "revenue"] == sum(e.price for e in late)
    early = rp.figures("revenue", by="currency", until=START + timedelta(minutes=95), table="brands")
    both = early.set_index("currency")["revenue"] + half.set_index("currency")["revenue"]
    assert both["USD"] == written.revenue("currency")[("USD",)]


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
    with pytest.raises(UnknownName, match="Did you mean 'average_price'"):
        rp.figures("averge_price")
    with pytest.raises(UsageError, match="'brands' goes by currency, brand, category"):
        rp.figures("dearest", by="brnd")
