"""The read API on the real Cassandra, over a real socket."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from retailpulse_kernel.answers.reading import money, summarise
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.telemetry.recording import forget
from tests.archived import archive_events

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
# At half past, so that the first and the last hour have purchases in every currency, whenever this runs.
END = (datetime.now(UTC) - timedelta(minutes=32)).replace(minute=30, second=0, microsecond=0)
START = END - timedelta(hours=30)


def shop() -> list[Event]:
    """A view and a purchase every five minutes, with prices that have four decimal places."""
    events = []
    for i in range(360):
        common = {
            "event_time": START + timedelta(minutes=5 * i), "user_id": f"u{i % 11}", "session_id": "s",
            "product_id": "p", "category": ("books", "toys", "été")[i % 3],
        }  # fmt: skip
        events.append(Event(event_id=f"v{i}", event_type="view", **common))
        order = {"order_id": f"o{i}", "order_line": 1, "price": Decimal(7 * i) / 100 + Decimal("0.0003")}
        currency = "EUR" if i % 4 == 0 else "USD"
        events.append(Event(event_id=f"p{i}", event_type="purchase", currency=currency, **order, **common))
    return events


@pytest.fixture(scope="module")
def store(stack: Settings) -> Iterator[CassandraStore]:
    made = CassandraStore(Settings.load(home=stack.home, namespace=f"ct_api_{os.getpid()}"))
    made.create(CATEGORY)
    for grain in CATEGORY.every:
        made.write(CATEGORY, grain, fold(shop(), CATEGORY, grain), version=1)
    # Only the files, as the job "archive" leaves them: the API does not ask Hive.
    hive = HiveStore(made._settings)
    archive_events(hive.archive, shop())
    yield made
    shutil.rmtree(hive.location.parent)
    made.drop()
    made.close()
    forget(made._settings)


@pytest.fixture(scope="module")
def api(store: CassandraStore) -> Iterator[httpx.Client]:
    """`retailpulse serve` with a token, as a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("retailpulse"), "serve", "--port", str(port), "--token", "env:API_TOKEN",
               "--namespace", f"ct_api_{os.getpid()}"]  # fmt: skip
    served = subprocess.Popen(command, env={**os.environ, "API_TOKEN": "t0ken"})
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": "Bearer t0ken"}, timeout=30
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.get("/api/v1/health").raise_for_status()
                break
            except httpx.TransportError:
                assert served.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield client
    finally:
        client.close()
        served.terminate()
        assert served.wait(30) == 0  # SIGTERM lets it end in order


def test_the_figures_are_those_of_the_library(api: httpx.Client, store: CassandraStore) -> None:
    summary = summarise(store, since=START, until=END, grain="hour")
    asked = {"from": START.isoformat(), "to": END.isoformat()}

    def rows(name: str, **more: str) -> list[dict[str, Any]]:
        response = api.get(f"/api/v1/figures/{name}", params={**asked, **more})
        assert response.status_code == 200, response.text
        return response.json()["rows"]

    assert summary.currencies.keys() == {"EUR", "USD"}
    for currency, expected in summary.currencies.items():
        assert [row["decimal"] for row in rows("revenue", currency=currency)] == [money(expected.revenue)]
        assert [row["decimal"] for row in rows("average_order_value", currency=currency)] == [
            money(expected.average_order_value or Decimal(0))
        ]
        assert {row["category"]: row["decimal"] for row in rows("revenue", by="category", currency=currency)} == {
            category: money(revenue) for category, revenue in expected.revenue_by_category.items()
        }
        assert [
            (datetime.fromisoformat(r["bucket"]), r["decimal"], r["running_total_decimal"], r["peak"])
            for r in rows("revenue", by="bucket", grain="hour", currency=currency)
            if r["minor"]
        ] == [(b.start, money(b.revenue), money(b.running_total), b.peak) for b in expected.revenue_over_time]
    assert {row["event_type"]: row["value"] for row in rows("events", by="event_type")} == summary.events_by_type
    assert [row["value"] for row in rows("active_users")] == [summary.active_users] == [11]


def test_an_empty_range_has_no_rows_and_a_wrong_token_no_answer(api: httpx.Client) -> None:
    asked = {"from": "2020-01-01", "to": "2020-01-02"}
    assert api.get("/api/v1/figures/revenue", params=asked).json()["rows"] == []
    assert api.get("/api/v1/figures/revenue", headers={"Authorization": "Bearer no"}).status_code == 401
    assert api.get("/api/v1/health").json()["store"].startswith("cassandra ")


def panel_rows(api: httpx.Client, target: dict[str, Any], since: datetime, until: datetime) -> list[dict[str, Any]]:
    """What Grafana gets for a panel's query, with its variables filled in as Grafana does."""
    values = {
        "${__from}": f"{since.timestamp() * 1000:.0f}", "${__to}": f"{until.timestamp() * 1000:.0f}",
        "${currency:csv}": "USD", "${category:csv}": "all", "${grain}": "hour",
    }  # fmt: skip
    url = target["url"]
    for name, value in values.items():
        url = url.replace(name, value)
    assert "$" not in url
    response = api.get(url)
    assert response.status_code == 200, response.text
    return response.json()["rows"]


#: Panels without rows here: no correction has run, as no event was late.
NOTHING_LATE = ("Corrected windows",)


def test_each_panel_shows_what_the_figures_say(api: httpx.Client, store: CassandraStore) -> None:
    dashboard = json.loads((ROOT / "grafana" / "dashboards" / "store-pulse.json").read_text())
    rows: dict[str, list[dict[str, Any]]] = {}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            # The second query of a panel shows the week before, whose events are a week from here.
            back = timedelta(days=7 * ("shift=7d" in target["url"]))
            found = panel_rows(api, target, START + back, END + back)
            assert found or panel["title"] in NOTHING_LATE, panel["title"]
            for column in target["columns"]:
                assert all(column["selector"] in row for row in found), panel["title"]
            rows[f"{panel['id']}{target['refId']}"] = found
    usd = summarise(store, since=START, until=END, grain="hour").currencies["USD"]
    revenue = [money(bucket.revenue) for bucket in usd.revenue_over_time]
    totals = [money(bucket.running_total) for bucket in usd.revenue_over_time]
    shown = {title: [row["decimal"] for row in found] for title, found in rows.items()}
    running = {t: [r.get("running_total_decimal") for r in found] for t, found in rows.items()}
    assert shown["1A"] == [money(usd.revenue)]
    assert shown["2A"] == [str(usd.orders)]
    assert shown["3A"] == [money(usd.average_order_value or Decimal(0))]
    assert shown["4A"] == ["11"]
    assert shown["5A"] == revenue
    assert running["12A"] == running["12B"] == totals
    assert {row["category"]: row["decimal"] for row in rows["7A"]} == {
        category: money(value) for category, value in usd.revenue_by_category.items()
    }
    assert shown["13A"] == [money(usd.revenue)]  # all of it is one product's
    hours = {bucket.start for bucket in usd.revenue_over_time}
    assert {datetime.fromisoformat(row["bucket"]) for row in rows["10A"]} == hours
    assert sum(row["value"] for row in rows["16A"]) == usd.orders
    bought = sum(i % 4 != 0 for i in range(360))
    # Views have the default currency.
    assert {r["event_type"]: r["value"] for r in rows["8A"]}["purchase"] == bought == usd.orders
    assert [r["value"] for r in rows["9A"]][2] == bought


def test_each_business_alert_asks_what_the_api_answers(api: httpx.Client, store: CassandraStore) -> None:
    made = yaml.safe_load((ROOT / "grafana" / "provisioning" / "alerting" / "business.yaml").read_text())
    for rule in made["groups"][0]["rules"]:
        now, before = (
            panel_rows(api, query["model"], START + back, END + back)
            for query, back in zip(rule["data"][:2], (timedelta(0), timedelta(days=7)), strict=True)
        )
        assert now and now == before, "a week from here, these events are those of the week before"
        assert set(query_columns(rule)) <= now[0].keys()


def query_columns(rule: dict[str, Any]) -> list[str]:
    return [column["selector"] for query in rule["data"][:2] for column in query["model"]["columns"]]
