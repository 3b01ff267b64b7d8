"""The alert rules: up to date, each with a runbook, and by promtool each fires when it should and only then."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from retailpulse_kernel.dashboards.business_alerts import BUSINESS_ALERTS
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.monitoring.alerts import ALERTS, OBJECTIVES, AlertSettings, rules

ROOT = Path(__file__).resolve().parents[2]
RULES = rules(AlertSettings())
NAMES = [alert.name for alert in ALERTS] + [objective.name for objective in OBJECTIVES]
RUNNING = ('retailpulse_process_up{namespace="shop",component="job",name="metrics"}', "1x120")


def messages(status: str, per_minute: int) -> tuple[str, str]:
    labels = f'{{namespace="shop",job_name="metrics",status="{status}"}}'
    return f"retailpulse_job_messages_total{labels}", f"0+{per_minute}x120"


def slow(name: str, labels: str, bound: str, good: int, all_: int) -> list[tuple[str, str]]:
    """A histogram of which so many of so many observations a minute are within a bound."""
    return [
        (f'{name}_bucket{{namespace="shop",le="{bound}"{labels}}}', f"0+{good}x120"),
        (f'{name}_count{{namespace="shop"{labels}}}', f"0+{all_}x120"),
    ]


def latency(good: int, all_: int = 1000) -> list[tuple[str, str]]:
    return slow("retailpulse_job_end_to_end_latency_seconds", ',job_name="metrics"', "10.0", good, all_)


def api(good: int, failed: int = 0) -> list[tuple[str, str]]:
    route = ',route="/api/v1/figures/{name}"'
    found = slow("retailpulse_api_request_duration_seconds", route, "0.25", good, 1000)
    for status, count in (("200", 1000 - failed), ("503", failed)):
        found.append((f'retailpulse_api_requests_total{{namespace="shop",status="{status}"{route}}}', f"0+{count}x120"))
    return found


SERVICE = 'retailpulse_service_up{service="cassandra"}'
DISK, MEMORY = ("retailpulse_disk_size_bytes", "100x120"), ("retailpulse_memory_size_bytes", "100x120")
FREE, AVAILABLE = "retailpulse_disk_free_bytes", "retailpulse_memory_available_bytes"
TOPIC = 'retailpulse_topic_messages_total{namespace="shop",topic="retail.events"}'
LAG = 'retailpulse_job_lag_messages{namespace="shop",job_name="metrics"}'
STARTS = 'retailpulse_process_starts_total{namespace="shop",component="job",name="metrics"}'
RATIO = 'retailpulse_revenue_to_usual_ratio{namespace="shop",currency="USD"}'

#: What is seen by the minute, and whether the alert fires at 02:00.
CASES: list[tuple[str, str, list[tuple[str, str]], bool]] = [
    ("JobDown", "killed", [(RUNNING[0], "1x118 0 0")], True),
    ("JobDown", "ends again and again", [RUNNING, (STARTS, "1x110 2+1x9")], True),
    ("JobDown", "runs", [RUNNING, (STARTS, "1x120")], False),
    ("JobDown", "another notebook's kernel was closed", [(RUNNING[0].replace('"job"', '"live"'), "0x120")], False),
    ("JobDown", "ended in order", [(RUNNING[0], "1x110 stale")], False),
    ("ServiceDown", "down", [(SERVICE, "1x117 0 0 0")], True),
    ("ServiceDown", "a restart of half a minute", [(SERVICE, "1x118 0 1")], False),
    ("TargetGone", "gone", [('up{job="monitor",instance="127.0.0.1:8091"}', "1x117 0 0 0")], True),
    ("TargetGone", "there", [('up{job="monitor",instance="127.0.0.1:8091"}', "1x120")], False),
    ("TargetGone", "a server, of which ServiceDown tells", [('up{job="kafka",server="kafka"}', "0x120")], False),
    ("DagsUnreadable", "one of two", [("retailpulse_airflow_import_errors", "0x116 1x4")], True),
    ("DagsUnreadable", "while it was written", [("retailpulse_airflow_import_errors", "0x118 1 0")], False),
    ("DagsUnreadable", "Airflow does not run", [("retailpulse_airflow_import_errors", "1x110 stale")], False),
    ("ReconcileDiffers", "differs", [('retailpulse_reconcile_equal{namespace="shop"}', "1x119 0")], True),
    ("ReconcileDiffers", "equal again", [('retailpulse_reconcile_equal{namespace="shop"}', "0x119 1")], False),
    ("NoEvents", "silence", [(TOPIC, "0+100x100 10000x20"), RUNNING], True),
    ("NoEvents", "the topic is not measured", [RUNNING], True),
    ("NoEvents", "events", [(TOPIC, "0+1x120"), RUNNING], False),
    ("NoEvents", "silence where nothing should run", [(TOPIC, "46000x120")], False),
    ("LagGrowing", "grows", [(LAG, "0x80 0+2000x40")], True),
    ("LagGrowing", "catches up", [(LAG, "900000-2000x120")], False),
    ("LagGrowing", "grows, but is small", [(LAG, "0+1x120")], False),
    ("BadShareHigh", "one in ten", [messages("accepted", 900), messages("bad", 100)], True),
    ("BadShareHigh", "one in a hundred", [messages("accepted", 990), messages("bad", 10)], False),
    ("BadShareHigh", "nothing comes", [messages("accepted", 0), messages("bad", 0)], False),
    ("LateShareHigh", "one in ten", [messages("accepted", 900), messages("late", 100)], True),
    ("LateShareHigh", "one in a hundred", [messages("accepted", 990), messages("late", 10)], False),
    ("RevenueLow", "a third", [(RATIO, "1x110 0.33x10")], True),
    ("RevenueLow", "a quiet hour", [(RATIO, "0.7x120")], False),
    ("DiskShort", "full", [(FREE, "5x120"), DISK], True),
    ("DiskShort", "half", [(FREE, "50x120"), DISK], False),
    ("MemoryShort", "full", [(AVAILABLE, "4x120"), MEMORY], True),
    ("MemoryShort", "used", [(AVAILABLE, "10x120"), MEMORY], False),
    ("LatencyBudgetBurning", "one in five is slow", latency(800), True),
    ("LatencyBudgetBurning", "one in a thousand is slow", latency(999), False),
    ("LatencyBudgetBurning", "a slow leak", latency(900), True),
    ("LatencyBudgetBurning", "nothing runs", [], False),
    ("ApiBudgetBurning", "one in five is slow", api(800), True),
    ("ApiBudgetBurning", "one in five fails, at once", api(1000, failed=200), True),
    ("ApiBudgetBurning", "well", api(999, failed=1), False),
    ("ApiBudgetBurning", "never failed, so that there is no such series", api(1000)[:3], False),
    ("ApiBudgetBurning", "nobody asks", [], False),
]  # fmt: skip


def test_each_alert_has_a_runbook_that_says_what_to_do() -> None:
    folder = ROOT / "docs" / "runbooks"
    names = [*NAMES, *BUSINESS_ALERTS]
    assert len(set(names)) == len(names), "one cause has one alert, in Prometheus or in Grafana"
    assert sorted(path.stem for path in folder.glob("*.md") if path.stem != "README") == sorted(names)
    for name in names:
        text = (folder / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        for part in ("## It means", "## Look", "## Do", "## Tried"):
            assert part in text, (name, part)
        assert f"({name}.md)" in (folder / "README.md").read_text()


def test_each_rule_says_how_bad_it_is_and_where_to_look() -> None:
    for rule in RULES["groups"][1]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert (ROOT / rule["annotations"]["runbook"]).is_file()
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["dashboard"].startswith("/d/retailpulse-")


def test_each_alert_has_cases_both_ways() -> None:
    for name in NAMES:
        assert {fires for alert, _, _, fires in CASES if alert == name} == {True, False}, name
    assert {alert for alert, *_ in CASES} == set(NAMES)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_agrees_with_each_case(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    tests = [_test(*case) for case in CASES]
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert "SUCCESS" in checked.stdout, checked.stderr


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_would_tell_a_wrong_case(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    name, what, series, fires = CASES[0]
    wrong = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [_test(name, what, series, not fires)]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(wrong))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True)
    assert done.returncode == 1


def _test(name: str, what: str, series: list[tuple[str, str]], fires: bool) -> dict[str, Any]:
    """A test of promtool: how many alerts of this name fire at 02:00."""
    counted = {
        "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0 or vector(0)',
        "eval_time": "2h",
    }
    return {
        "name": f"{name}: {what}",
        "interval": "1m",
        "input_series": [{"series": labels, "values": values} for labels, values in series],
        "promql_expr_test": [{**counted, "exp_samples": [{"labels": "{}", "value": int(fires)}]}],
    }


def test_a_setting_shortens_how_long_something_must_last_and_nothing_else() -> None:
    short = rules(AlertSettings(hold=0.1))

    def held(found: dict[str, Any]) -> list[str]:
        return [rule.pop("for") for rule in found["groups"][1]["rules"]]

    long = rules(AlertSettings())
    assert set(held(long)) == {"0s", "30s", "1m", "2m", "5m"}
    assert set(held(short)) == {"1ms", "3000ms", "6000ms", "12000ms", "30000ms"}
    assert short == long


def test_a_webhook_is_an_address_or_leads_to_one(tmp_path: Path) -> None:
    secret = tmp_path / "webhook"
    secret.write_text("https://example.org/hook\n")
    assert AlertSettings(webhook=f"file:{secret}").webhook_url() == "https://example.org/hook"
    assert AlertSettings().webhook_url() == ""
    with pytest.raises(UsageError, match="not an address"):
        AlertSettings(webhook="nonsense").webhook_url()
