"""Grafana's dashboards: up to date, addressed relatively, and every query is one that the API takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.cli import main
from retailpulse_kernel.dashboards.panels import COUNT, MONEY
from retailpulse_kernel.dashboards.pushing import Grafana, GrafanaSettings
from retailpulse_kernel.dashboards.store_pulse import store_pulse
from retailpulse_kernel.dashboards.writing import as_json, stale, write
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import RequirementError, UsageError
from tests.panels import every_panel, unlike_the_rules

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "grafana" / "dashboards"
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
SOURCES = {
    source["uid"]: source
    for path in (ROOT / "grafana" / "provisioning" / "datasources").glob("*.yaml")
    for source in yaml.safe_load(path.read_text())["datasources"]
}
TARGETS = [
    pytest.param(target, id=f"{name}-{panel['id']}{target['refId']}")
    for name, made in DASHBOARDS.items()
    for panel in every_panel(made)
    for target in panel["targets"]
]
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}") for name, made in DASHBOARDS.items() for panel in every_panel(made)
]


def test_the_files_are_those_of_the_code() -> None:
    assert stale(ROOT) == [], "run `retailpulse dashboards build`"


def test_check_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path, other, *_) = write(tmp_path)
    path.write_text(path.read_text().replace("API", "APIs"))
    other.rename(other.with_name("old.json"))
    with pytest.raises(SystemExit) as left:
        main(["dashboards", "check", "--root", str(tmp_path)])
    assert left.value.code == 1
    folder = "grafana/dashboards"
    assert f"{folder}/old.json, {folder}/{path.name}, {folder}/{other.name}" in capsys.readouterr().err


def test_identities_are_unique_and_stable() -> None:
    assert {name: made["uid"] for name, made in DASHBOARDS.items()} == {
        "pipeline-health": "retailpulse-pipeline-health", "store-pulse": "retailpulse-store-pulse",
    }  # fmt: skip
    for made in DASHBOARDS.values():
        ids = [panel["id"] for panel in (*every_panel(made), *(one for one in made["panels"] if one["type"] == "row"))]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_lie_on_each_other(name: str) -> None:
    taken = [
        (x, y)
        for panel in DASHBOARDS[name]["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("target", TARGETS)
def test_a_query_leads_to_a_provisioned_source_and_a_figure(target: dict[str, Any]) -> None:
    source = SOURCES[target["datasource"]["uid"]]
    assert source["type"] == target["datasource"]["type"]
    if source["type"] == "prometheus":
        return
    assert target["parser"] == "backend"
    address = urlsplit(target["url"])
    assert (address.scheme, address.netloc) == ("", "")
    assert address.path == "/api/v1/corrections" or address.path.startswith("/api/v1/figures/")
    name = address.path.rpartition("/")[2]
    if name not in ("funnel", "top_products", "corrections"):
        chosen_figures([name])
    asked = parse_qs(address.query)
    assert asked["from"] == ["${__from}"]
    assert ("bucket" in asked.get("by", [""])[0]) == (target["format"] == "timeseries")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_names_no_machine_and_adds_nothing_up(name: str) -> None:
    text = json.dumps(DASHBOARDS[name])
    assert not re.search(r"https?://|localhost|127\.0\.0\.1", text)
    for panel in every_panel(DASHBOARDS[name]):
        assert not panel.get("transformations")
        assert "sum" not in json.dumps(panel.get("options", {}).get("reduceOptions", {}))


def test_a_number_is_one_and_shown_to_its_last_digit() -> None:
    """Grafana shows a number for each row: of a range query one for each of its points."""
    for panel in (panel for made in DASHBOARDS.values() for panel in every_panel(made) if panel["type"] == "stat"):
        for target in panel["targets"]:
            assert panel["options"]["reduceOptions"]["values"]
            if target["datasource"]["type"] == "prometheus":
                assert target["instant"], panel["title"]
            else:
                assert target["format"] == "table"
                # `short` makes 102.53 K of it.
                assert panel["fieldConfig"]["defaults"]["unit"] in (MONEY, COUNT), panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_panel_s_lines_have_names_of_their_own(name: str) -> None:
    for panel in every_panel(DASHBOARDS[name]):
        shown = [column["text"] for target in panel["targets"] for column in target.get("columns", [])]
        shown += [target["legendFormat"] for target in panel["targets"] if "legendFormat" in target]
        lines = [text for text in shown if text != "Time"]
        assert len(set(lines)) == len(lines), panel["title"]


def test_a_window_that_is_not_over_is_drawn_in_dashes() -> None:
    """Of every line that is no running total: else its last point is a fall. The line below a number leaves it out."""
    for panel in every_panel(DASHBOARDS["store-pulse"]):
        shown = {column["selector"] for target in panel["targets"] for column in target["columns"]}
        if panel["type"] == "timeseries" and panel["title"] and shown != {"bucket", "running_total"}:
            assert {"complete_value", "unfinished_value"} <= shown and "value" not in shown, panel["title"]
            styles = {o["matcher"]["options"]: o["properties"] for o in panel["fieldConfig"]["overrides"]}
            assert {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 6]}} in styles["So far"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_keeps_the_rules_of_all(panel: dict[str, Any]) -> None:
    assert unlike_the_rules(panel) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"description": ""}, "description"),
        ({"fieldConfig": {"defaults": {"thresholds": {"steps": [{"value": None, "color": "green"},
                                                               {"value": 80, "color": "red"}]}}}}, "Grafana's own"),
        ({"fieldConfig": {"defaults": {}}}, "thresholds"),
        ({"options": {}}, "legend"),
    ],
)  # fmt: skip
def test_the_rules_see_what_is_missing(change: dict[str, Any], rule: str) -> None:
    panel = next(one for one in every_panel(DASHBOARDS["store-pulse"]) if one["type"] == "timeseries")
    assert any(rule in broken for broken in unlike_the_rules(panel | change))


@pytest.mark.parametrize("panel", PANELS)
def test_columns_are_in_the_order_of_their_names(panel: dict[str, Any]) -> None:
    """The plugin sorts them: they are listed as they are seen."""
    names = [column["text"] for target in panel["targets"] for column in target.get("columns", [])]
    assert panel["type"] != "table" or names == sorted(names)


def test_the_first_screen_of_pipeline_health_has_a_dozen_panels_and_the_rest_is_closed() -> None:
    made = DASHBOARDS["pipeline-health"]["panels"]
    assert len([panel for panel in made if panel["type"] != "row"]) <= 12
    rows = [panel for panel in made if panel["type"] == "row"]
    assert rows and all(row["collapsed"] and row["panels"] for row in rows)


def test_the_days_of_the_dashboard_are_those_of_the_shop() -> None:
    made = as_json(store_pulse(Calendar("Europe/Berlin"), ["brand"]))
    assert made["timezone"] == "Europe/Berlin"
    assert [one["name"] for one in made["templating"]["list"]] == ["currency", "category", "brand", "grain"]
    asked = [target["url"] for panel in every_panel(made) for target in panel["targets"] if "figures" in target["url"]]
    assert all("brand=${brand:csv}" in url for url in asked)


class TestGrafanaThatRuns:
    """What is said to a Grafana, on a twin that keeps folders and dashboards as it does."""

    @pytest.fixture
    def twin(self) -> dict[str, Any]:
        return {"folders": {}, "dashboards": {}, "seen": []}

    @pytest.fixture
    def grafana(self, twin: dict[str, Any], tmp_path: Path) -> Grafana:
        def answer(request: httpx.Request) -> httpx.Response:
            twin["seen"].append(request.headers.get("authorization"))
            body, path = json.loads(request.content or b"{}"), request.url.path
            if request.headers.get("authorization") != "Bearer t0ken":
                return httpx.Response(401)
            if request.method == "POST" and twin.get("refused"):
                return httpx.Response(403, json={"message": f"Permissions needed: {twin['refused']}", "title": "x"})
            if request.method == "POST" and twin.get("provisioned"):
                return httpx.Response(400, json={"message": "Cannot save provisioned dashboard"})
            match request.method, path.rpartition("/"):
                case "POST", (_, _, "folders"):
                    twin["folders"][body["uid"]] = body
                case "POST", (_, _, "db"):
                    assert body["folderUid"] in twin["folders"]
                    made = body["dashboard"]
                    twin["dashboards"][made["uid"]] = {"folder": body["folderUid"], **made, "id": 7, "version": 3}
                    return httpx.Response(200, json={"url": f"/d/{made['uid']}"})
                case "GET", ("/api", _, "search") if request.url.params["type"] == "dash-folder":
                    return httpx.Response(200, json=list(twin["folders"].values()))
                case "GET", ("/api", _, "search"):
                    folder = request.url.params["folderUIDs"]
                    there = [uid for uid, one in twin["dashboards"].items() if one["folder"] == folder]
                    return httpx.Response(200, json=[{"uid": uid} for uid in there])
                case "DELETE", (_, _, uid):
                    del twin["dashboards"][uid]
                case "GET", ("/api/folders", _, _):
                    return httpx.Response(403)  # as for an Editor
                case "GET", ("/api/dashboards/uid", _, uid) if uid in twin["dashboards"]:
                    made = {key: value for key, value in twin["dashboards"][uid].items() if key != "folder"}
                    return httpx.Response(200, json={"dashboard": made})
                case "GET", _:
                    return httpx.Response(404)
            return httpx.Response(200, json={})

        (tmp_path / "token").write_text("t0ken\n")
        settings = GrafanaSettings(url="https://grafana.example/", token=f"file:{tmp_path / 'token'}")
        return Grafana(settings, transport=httpx.MockTransport(answer))

    def test_what_was_pushed_is_there_as_in_the_code(self, grafana: Grafana, twin: dict[str, Any]) -> None:
        assert grafana.differing() == ["pipeline-health.json", "store-pulse.json"]
        health, pulse = (f"https://grafana.example/d/retailpulse-{name}" for name in ("pipeline-health", "store-pulse"))
        assert grafana.push() == [f"made {health}", f"made {pulse}"]
        assert grafana.differing() == []
        twin["dashboards"]["retailpulse-store-pulse"]["title"] = "Mine"
        assert grafana.differing() == ["store-pulse.json"]
        assert grafana.push() == [f"unchanged {health}", f"changed {pulse}"]
        assert grafana.differing() == []

    def test_a_folder_of_the_same_title_is_taken(self, grafana: Grafana, twin: dict[str, Any]) -> None:
        twin["folders"]["mine"] = {"uid": "mine", "title": "RetailPulse"}
        grafana.push()
        assert list(twin["folders"]) == ["mine"]
        assert {one["folder"] for one in twin["dashboards"].values()} == {"mine"}

    def test_a_right_that_is_missing_is_named(self, grafana: Grafana, twin: dict[str, Any]) -> None:
        twin["refused"] = "folders:create"
        with pytest.raises(RequirementError, match="folders:create"):
            grafana.push()

    def test_a_dashboard_of_a_file_is_left_to_its_file(self, grafana: Grafana, twin: dict[str, Any]) -> None:
        twin["folders"]["retailpulse"] = {"uid": "retailpulse", "title": "RetailPulse"}
        twin["provisioned"] = True
        with pytest.raises(RequirementError, match="'Pipeline health' from a file"):
            grafana.push()

    def test_promoted_jobs_have_a_folder_and_retired_ones_leave_it(
        self, grafana: Grafana, twin: dict[str, Any]
    ) -> None:
        jobs = {f"{name}.json": {"uid": f"job-{name}", "title": name} for name in ("selling", "naming")}
        assert grafana.push(jobs)[2:] == [
            f"made https://grafana.example/d/job-{name}" for name in ("selling", "naming")
        ]
        assert twin["dashboards"]["job-naming"]["folder"] == "retailpulse-jobs"
        assert twin["folders"]["retailpulse-jobs"]["title"] == "RetailPulse jobs"
        assert grafana.differing(jobs) == []
        del jobs["naming.json"]
        assert grafana.differing(jobs) == ["job-naming"]
        assert "removed https://grafana.example/d/job-naming" in grafana.push(jobs)
        assert grafana.differing(jobs) == [] and "job-naming" not in twin["dashboards"]
        assert "retailpulse-store-pulse" in twin["dashboards"], "only the jobs' folder is emptied"

    def test_without_an_address_or_a_right_token_it_says_what_to_do(self, grafana: Grafana) -> None:
        with pytest.raises(UsageError, match="GRAFANA_URL"):
            GrafanaSettings().require()
        with pytest.raises(RequirementError, match="GRAFANA_TOKEN"):
            Grafana(GrafanaSettings(url="https://grafana.example"), transport=grafana._client._transport).push()


BUSINESS = yaml.safe_load((ROOT / "grafana" / "provisioning" / "alerting" / "business.yaml").read_text())


@pytest.mark.parametrize("rule", BUSINESS["groups"][0]["rules"], ids=lambda rule: rule["uid"])
def test_a_business_alert_compares_with_the_week_before_and_says_where_to_look(rule: dict[str, Any]) -> None:
    now, before, condition = rule["data"]
    assert rule["condition"] == condition["refId"]
    for query in (now, before):
        assert SOURCES[query["datasourceUid"]]["type"] == query["model"]["datasource"]["type"]
        address = urlsplit(query["model"]["url"])
        assert (address.scheme, address.netloc) == ("", "")
        # The plugin fills in the range of an alert, and no variable of a dashboard.
        assert set(re.findall(r"\$\{[^}]*\}", query["model"]["url"])) == {"${__from}", "${__to}"}
    assert parse_qs(urlsplit(before["model"]["url"]).query)["shift"] == ["7d"]
    said = rule["annotations"]
    assert said["summary"].endswith(".") and (ROOT / said["runbook"]).is_file()
    shown = [str(panel["id"]) for panel in every_panel(DASHBOARDS["store-pulse"])]
    assert said["__dashboardUid__"] == DASHBOARDS["store-pulse"]["uid"] and said["__panelId__"] in shown


def test_a_business_alert_reaches_alertmanager() -> None:
    (point,), (policy,) = BUSINESS["contactPoints"], BUSINESS["policies"]
    assert policy["receiver"] == point["name"]
    assert [one["type"] for one in point["receivers"]] == ["prometheus-alertmanager"]
    assert point["receivers"][0]["settings"] == {"url": "$ALERTMANAGER_URL"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_file_is_of_the_schema_of_grafana_s_sdk(name: str) -> None:
    """The SDK's classes are generated from Grafana's own schema: what they do not know is lost in between."""
    register_default_plugins()
    known = Dashboard.from_json(DASHBOARDS[name])
    assert json.loads(json.dumps(known, cls=JSONEncoder)) == DASHBOARDS[name]
    broken = {**DASHBOARDS[name], "panels": [{**DASHBOARDS[name]["panels"][0], "gridPosition": {}}]}
    assert json.loads(json.dumps(Dashboard.from_json(broken), cls=JSONEncoder)) != broken
