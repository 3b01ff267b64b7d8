"""The dashboard of a promoted job: made from its plan, and every query is one that the read API answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pyarrow as pa
import pytest
import tomli_w
from fastapi.testclient import TestClient
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from bench.lab import free_port
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.dashboards.keeping import keep_dashboards
from retailpulse_kernel.dashboards.panels import COUNT, MONEY
from retailpulse_kernel.dashboards.writing import dashboards, job_dashboards, stale, write
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, REVENUE, Figure, Ratio, average_of, count, last, users_of
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan
from tests.jobs import wait_until
from tests.memory import MemoryStore
from tests.panels import unlike_the_rules

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
CONTRACT = """
[fields.email]
personal = true
"""
BUYS = Figure("buys", "Buys", count(), where="purchase")
CONVERSION = Ratio("conversion", "Conversion", BUYS, EVENTS)
PRICE = average_of("price", name="mean_price", where="purchase")
SALES = FigureTable(
    "sales",
    (EVENTS, REVENUE, BUYS, PRICE.over, PRICE.under, Figure("buyers", "Buyers", users_of("user_id")),
     Figure("seen", "Last seen", last("event_time"))),
    ("currency", "brand", "event_type"), (grain_of("5 minutes"), grain_of("hour")), (CONVERSION, PRICE),
)  # fmt: skip
CARTS = RowTable("carts", (Column("user_id", "string"), Column("email", "string"), Column("at", "timestamp"),
                           Column("total", "decimal(18,4)"), Column("items", "long")), ("user_id",))  # fmt: skip
NAMES = RowTable("names", (Column("brand", "string"), Column("n", "int")), ("brand",))


def rows_plan(table: RowTable) -> TablePlan:
    columns = tuple((column.name, column.type) for column in table.columns)
    return TablePlan(table.name, "memory", rows=RowsPlan(table.name, columns, table.key, "update", "q", ()))


def promote(settings: Settings, job: str, version: int, *tables: TablePlan) -> None:
    plan = Plan(job, "retail.events", "event_id", 600_000, ("brand != ''", "email != 'a'"), "change", "publish", tables)
    folder = settings.pipelines / job / f"v{version}"
    folder.mkdir(parents=True)
    text = msgspec.json.encode(plan)
    # TOML has no null.
    content = json.loads(text, object_hook=lambda one: {key: value for key, value in one.items() if value is not None})
    (folder / "manifest.toml").write_text(tomli_w.dumps({"plan": content}))
    (folder.parent / "current.toml").write_text(f"version = {version}\n")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "contract.toml").write_text(CONTRACT)
    settings = Settings.load(
        home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_dashboards",
        contract=tmp_path / "contract.toml",
    )  # fmt: skip
    promote(settings, "selling", 3, TablePlan.describing(SALES, "memory"), rows_plan(CARTS), rows_plan(NAMES))
    return settings


@pytest.fixture
def made(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = job_dashboards(settings)["selling.json"]
    return found


def queries(made: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for panel in made["panels"]:
        for target in panel.get("targets", []):
            yield panel, target
    for variable in made["templating"]["list"]:
        yield variable, variable["query"]["infinityQuery"]


def panels(made: dict[str, Any], kind: str = "") -> dict[str, dict[str, Any]]:
    return {one["title"]: one for one in made["panels"] if one["type"] != "row" and kind in ("", one["type"])}


class TestWhatIsAsked:
    @pytest.fixture
    def api(self, settings: Settings) -> Iterator[TestClient]:
        store = MemoryStore()
        store.create(SALES)
        sold = [
            Event(f"e{i}", "purchase" if i % 2 else "view", NOW - timedelta(minutes=10), f"u{i}", "s", "p", "books",
                  f"brand {i % 3}", Decimal(10), 1, "USD", f"o{i}", 1)
            for i in range(12)
        ]  # fmt: skip
        for grain in SALES.every:
            store.write(SALES, grain, fold(sold, SALES, grain), version=1)
        cart = {"user_id": "u1", "email": "a@shop.example", "at": NOW - timedelta(minutes=5), "total": Decimal("1.5"),
                "items": 2}  # fmt: skip
        for table, row in ((CARTS, cart), (NAMES, {"brand": "brand 1", "n": 1})):
            store.create_rows(table)
            rows = pa.Table.from_pylist([row], schema_of(table))
            store.write_rows(table, rows, by=MicroBatch(1, 1, 1, f"selling/{table.name}"))
        with TestClient(create_app(store, sources=Sources(store, settings))) as client:
            yield client

    def test_the_api_answers_every_query_with_its_columns(self, api: TestClient, made: dict[str, Any]) -> None:
        asked = 0
        for panel, target in queries(made):
            if target["datasource"]["type"] == "prometheus":
                continue
            answer = api.get(filled(target["url"]))
            assert answer.status_code == 200, (panel.get("title"), target["url"], answer.text)
            (row, *_) = answer.json()[target["root_selector"]]
            assert {column["selector"] for column in target["columns"]} <= row.keys(), panel.get("title")
            asked += 1
        assert asked > 20

    def test_a_variable_filters(self, api: TestClient, made: dict[str, Any]) -> None:
        (target,) = panels(made, "stat")["Events"]["targets"]
        assert api.get(filled(target["url"])).json()["rows"][0]["value"] == 12
        assert api.get(filled(target["url"], brand="brand 1")).json()["rows"][0]["value"] == 4

    def test_personal_fields_are_nowhere(self, made: dict[str, Any]) -> None:
        assert "email" not in json.dumps(made)


def filled(url: str, **values: str) -> str:
    """An address as Grafana asks it."""
    start, end = NOW - timedelta(hours=6), NOW + timedelta(minutes=5)
    known = {
        "__from": f"{start.timestamp() * 1000:.0f}", "__to": f"{end.timestamp() * 1000:.0f}",
        "__from:date:iso": f"{start:%Y-%m-%dT%H:%M:%S.000Z}", "__to:date:iso": f"{end:%Y-%m-%dT%H:%M:%S.000Z}",
        "currency:csv": "USD", "brand:csv": "all", "event_type:csv": "all",
        **{f"{name}:csv": value for name, value in values.items()},
    }  # fmt: skip
    return re.sub(r"\$\{([^}]+)\}", lambda match: known[match[1]], url)


class TestLook:
    def test_each_figure_is_shown_by_its_kind(self, made: dict[str, Any]) -> None:
        units = {
            title: (panel["fieldConfig"]["defaults"]["unit"], panel["fieldConfig"]["defaults"]["decimals"])
            for title, panel in panels(made, "stat").items()
        }
        assert units["Events"] == (COUNT, 0) and units["Total revenue, $currency"] == (MONEY, 2)
        assert units["conversion"] == ("percentunit", 1)
        assert units["seen"] == ("dateTimeAsIso", 0) and units["mean_price, $currency"] == (MONEY, 2)
        assert "Estimated" in panels(made)["buyers"]["description"]
        assert panels(made)["buys"]["description"] == "Count where purchase. Only events with brand != ''."

    def test_rows_are_the_newest_where_there_is_a_time(self, made: dict[str, Any]) -> None:
        carts, names = (panel["targets"][0] for panel in panels(made, "table").values())
        asked = parse_qs(urlsplit(carts["url"]).query)
        assert asked["order"] == ["-at"] and asked["columns"] == ["user_id,at,total,items"]
        types = {column["selector"]: column["type"] for column in carts["columns"]}
        assert types == {"user_id": "string", "at": "timestamp", "total": "string", "items": "string"}
        assert "order" not in names["url"] and "since" not in names["url"]

    def test_dimensions_are_variables_and_only_money_has_no_all(self, made: dict[str, Any]) -> None:
        found = {one["name"]: one.get("includeAll", False) for one in made["templating"]["list"]}
        assert found == {"currency": False, "brand": True, "event_type": True}

    def test_prometheus_is_asked_for_this_job(self, made: dict[str, Any]) -> None:
        asked = [target["expr"] for _, target in queries(made) if target["datasource"]["type"] == "prometheus"]
        assert len(asked) == 5 and all('namespace="t_dashboards",job_name="selling"' in expr for expr in asked)

    def test_every_panel_says_what_it_is_and_what_is_good(self, made: dict[str, Any]) -> None:
        broken = [rule for panel in panels(made).values() for rule in unlike_the_rules(panel)]
        assert broken == []

    def test_panels_have_places_and_ids_of_their_own(self, made: dict[str, Any]) -> None:
        ids = [panel["id"] for panel in made["panels"]]
        assert len(set(ids)) == len(ids)
        taken = [
            (x, y)
            for place in (panel["gridPos"] for panel in made["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(taken)) == len(taken) and max(x for x, _ in taken) < 24

    def test_it_is_of_the_schema_of_grafana_s_sdk(self, made: dict[str, Any]) -> None:
        register_default_plugins()
        assert json.loads(json.dumps(Dashboard.from_json(made), cls=JSONEncoder)) == made
        assert len(made["uid"]) <= 40 and not re.search(r"https?://|localhost", json.dumps(made))


def test_store_pulse_of_a_shop_has_its_zone_and_its_dimensions(settings: Settings) -> None:
    assert settings.contract is not None
    settings.contract.write_text(CONTRACT + '[shop]\nzone = "Europe/Berlin"\n')
    made = dashboards(settings)["store-pulse.json"]
    assert made["timezone"] == "Europe/Berlin"
    assert [one["name"] for one in made["templating"]["list"]] == ["currency", "category", "brand", "grain"]


def test_files_follow_promotions_and_retirements(settings: Settings) -> None:
    folder = settings.home / "dashboards"
    assert keep_dashboards(settings) == [folder / "selling.json"]
    assert keep_dashboards(settings) == [], "nothing has changed"
    promote(settings, "naming", 1, rows_plan(NAMES))
    promote(settings, "selling", 4, TablePlan.describing(SALES, "memory"))
    assert {path.name for path in keep_dashboards(settings)} == {"naming.json", "selling.json"}
    uids = {json.loads(path.read_text())["uid"] for path in folder.glob("*.json")}
    (settings.pipelines / "naming" / "current.toml").unlink()
    assert keep_dashboards(settings) == [folder / "naming.json"]
    assert [path.name for path in folder.iterdir()] == ["selling.json"] and len(uids) == 2


def test_the_monitor_keeps_the_files(settings: Settings) -> None:
    """As a user has it: a job is promoted while the command runs, and nobody does anything else."""
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "monitor", "--port", str(free_port())]
    file = settings.home / "dashboards" / "naming.json"
    monitor = subprocess.Popen(command, env={**os.environ, **environment(settings)})
    try:
        wait_until(lambda: (settings.home / "dashboards" / "selling.json").is_file(), "the first dashboard", 60)
        promote(settings, "naming", 1, rows_plan(NAMES))
        wait_until(file.is_file, "a dashboard of the new job", 60)
        assert json.loads(file.read_text())["title"] == "naming"
    finally:
        monitor.terminate()
        assert monitor.wait(30) == 0


def test_the_files_of_a_shop_with_a_contract_have_its_zone_and_others_those_of_the_shipped_one(
    settings: Settings, tmp_path: Path
) -> None:
    assert settings.contract is not None
    text = settings.contract.read_text()
    settings.contract.write_text(text.replace("[shop]", '[shop]\nzone = "Europe/Berlin"') if "[shop]" in text
                                 else f'[shop]\nzone = "Europe/Berlin"\n{text}')  # fmt: skip
    shop = Settings.load(
        home=settings.home, pipelines=settings.pipelines, namespace="t_dashboards", contract=settings.contract
    )
    write(tmp_path, shop)
    pulse = json.loads((tmp_path / "grafana" / "dashboards" / "store-pulse.json").read_text())
    assert pulse["timezone"] == "Europe/Berlin"
    assert stale(tmp_path, shop) == []
    assert stale(tmp_path) == ["grafana/dashboards/store-pulse.json"]
    shipped = Settings.load(home=settings.home, pipelines=settings.pipelines, namespace="t_dashboards")
    assert stale(tmp_path, shipped) == stale(tmp_path), "jobs alone change no file of a checkout"
