"""A job's way to production on the real servers: promoted, run, changed, taken over, rolled back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.demo import job_notebook
from retailpulse_kernel.generator import Generator
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.promotion.diffing import diff_versions
from retailpulse_kernel.promotion.gate import promote
from retailpulse_kernel.promotion.overview import overview, runs_of
from retailpulse_kernel.promotion.registry import Registry
from retailpulse_kernel.promotion.switching import rollback
from retailpulse_kernel.promotion.tables import figure_store, figure_table, make_way
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.reconcile.batches import newest_epochs
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.accounts import read_accounts
from retailpulse_kernel.streaming.plan import FigurePlan, Plan, TablePlan
from retailpulse_kernel.tables import GRAINS
from retailpulse_kernel.topics import ensure_topics, topic_states
from tests.faults.handover import Runs
from tests.jobs import consumed, produce, wait_until

DAY = GRAINS["day"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    made = Settings.load(namespace="t_promotion", pipelines=tmp_path / "pipelines")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def feed(settings: Settings, seed: int) -> None:
    generator = Generator(rate=1000, seconds=1, seed=seed, start=datetime.now(UTC), duplicates=0.02, bad=0.01)
    produce(settings, [(message.key, message.value) for message in generator.messages()])


def edited(path: Path, *changes: tuple[str, str]) -> Path:
    content = nbformat.read(job_notebook("metrics"), as_version=4)
    for old, new in changes:
        (cell,) = (cell for cell in content.cells if cell.cell_type == "code" and old in cell.source)
        cell.source = cell.source.replace(old, new)
    nbformat.write(content, path)
    return path


def newest_run(settings: Settings) -> tuple[str, str]:
    run = runs_of(settings, "metrics", limit=1)[0]
    return run["version"], run["state"]


def taken(settings: Settings) -> int:
    """Messages that the newest epoch has an account of."""
    jobs = newest_epochs(read_accounts(settings), settings.namespace.events_topic)
    return jobs["metrics"].total("consumed") if "metrics" in jobs else 0


def files(settings: Settings) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in settings.pipelines.rglob("*") if path.is_file()}


def is_shadow(name: str) -> bool:
    return name.startswith("shadow_t_promotion")


def topics_of(settings: Settings, is_one: Callable[[str], bool]) -> list[str]:
    from confluent_kafka.admin import AdminClient

    from retailpulse_kernel.stores.kafka_config import client_config

    return [name for name in AdminClient(client_config(settings)).list_topics(timeout=10).topics if is_one(name)]


def test_a_job_goes_to_production_and_back(settings: Settings, tmp_path: Path) -> None:
    feed(settings, 1)
    source = job_notebook("metrics")
    first = promote(settings, source, sample=500)
    assert first.ok and first.version is not None, first.steps
    assert first.verdict is not None and first.verdict.outcome == "first"
    said = {step.name: step.found for step in first.steps}
    assert said["dry run"].startswith("500 events") or said["dry run"].startswith("49"), said
    assert said["conservation"].split(" = ")[0] == said["dry run"].split()[0]
    assert first.version.manifest.parameters == {"run": "continuous", "run_for": "30m"}

    production = Runs(settings, "metrics", tmp_path / "production.log")
    try:
        wait_until(lambda: consumed(settings, "metrics") >= 1000, "the first events")
        held = files(settings)

        same = promote(settings, source)
        assert same.unchanged and same.version is None
        broken = edited(tmp_path / "broken.ipynb", ("=dedup_horizon)", '=dedup_horizon).where("colour = 1")'))
        failed = promote(settings, broken, sample=200)
        assert not failed.ok and failed.version is None and failed.steps[-1].name == "dry run"
        assert "colour" in failed.steps[-1].found
        assert files(settings) == held, "nothing was written"
        assert production.running and runs_of(settings, "metrics", limit=1)[0]["state"] == "running"

        more = edited(tmp_path / "metrics.ipynb", ("    UNITS,\n", "    UNITS,\n    rp.metrics.VIEWS,\n"))
        second = promote(settings, more, sample=500)
        assert second.ok and second.version is not None, second.steps
        assert second.verdict is not None and second.verdict.outcome == "new epoch", second.verdict
        said = {step.name: step.found for step in second.steps}
        assert said["catching up"].startswith("1,000 messages beside the live version")
        assert said["comparison"].startswith("in closed windows")
        feed(settings, 2)
        wait_until(lambda: newest_run(settings) == ("v2", "running"), "the new version")
        wait_until(lambda: taken(settings) >= 2000, "the new version's events")
        rows = figure_store(settings, "cassandra").read(figure_table(second.version.manifest.plan.tables[0]), DAY)
        views = sum(row["events"] for row in rows if row["event_type"] == "view")
        assert sum(row["views"] for row in rows) == views > 0, "also for what came before it"

        way = rollback(settings, "metrics")
        assert (way["from"], way["to"]) == ("v2", "v1") and "its own epoch 1" in way["state"]
        wait_until(lambda: newest_run(settings) == ("v1", "running"), "the old version")
        feed(settings, 3)
        wait_until(lambda: taken(settings) >= 3000, "the old version's events")
    finally:
        production.end()

    versions = [(run["version"], run["state"]) for run in runs_of(settings, "metrics", limit=9)]
    assert versions == [("v1", "finished"), ("v2", "finished"), ("v1", "finished")]
    assert production.failures == 0
    (row,) = overview(settings)
    assert (row["job"], row["version"], row["state"], row["lag"]) == ("metrics", "v1", "waiting", 0)
    assert Registry(settings).current("metrics").previous == 2
    assert "rp.metrics.VIEWS" in "\n".join(diff_versions(settings, "metrics", "v1", "v2").lines())
    result = reconcile(settings)
    assert result.ok, result.differences
    assert sum(state.messages for state in topic_states(settings, [settings.namespace.events_topic])) == 3000
    assert topics_of(settings, is_shadow) == [], "the shadow is gone"


def test_a_promotion_whose_terminal_is_closed_leaves_no_shadow(settings: Settings) -> None:
    feed(settings, 1)
    command = [sys.executable, "-m", "retailpulse_kernel.cli", "promote", str(job_notebook("metrics")), "--dry-run"]
    gate = subprocess.Popen(
        [*command, "--namespace", settings.namespace.name],
        # Also where the tests themselves run in the background and ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: topics_of(settings, is_shadow) != [], "the shadow")
    finally:
        gate.send_signal(signal.SIGHUP)
        code = gate.wait(180)
    assert code == 128 + signal.SIGHUP
    assert topics_of(settings, is_shadow) == []


def test_a_table_whose_key_changes_makes_way(settings: Settings) -> None:
    """Cassandra can't change a table's key, and in HBase old rows would stand beside new ones."""
    figures = (FigurePlan("events", "count", "1", ""),)
    table = TablePlan("shelf", "cassandra", ("day",), ("currency", "category"), figures)
    old = Plan("shelf", "retail.events", "event_id", 1, (), "change", "count", (table, replace(table, name="kept")))
    for store in ("cassandra", "hbase"):
        tables = tuple(replace(table, store=store) for table in old.tables)
        before = replace(old, tables=tables)
        after = replace(old, tables=(replace(tables[0], by=("currency", "brand")), tables[1]))
        stored = figure_store(settings, store)
        row = {"day": datetime(2026, 1, 1, tzinfo=UTC), "currency": "EUR", "category": "a", "events": 1}
        for plan in tables:
            stored.create(figure_table(plan))
            stored.write(figure_table(plan), GRAINS["day"], [row], version=1)
        assert make_way(settings, before, after) == ["shelf_day"]
        new = {"day": row["day"], "currency": "EUR", "brand": "b", "events": 2}
        stored.create(figure_table(after.tables[0]))
        stored.write(figure_table(after.tables[0]), GRAINS["day"], [new], version=2)
        assert stored.read(figure_table(after.tables[0]), GRAINS["day"]) == [new]
        assert stored.read(figure_table(tables[1]), GRAINS["day"]) == [row], "the other one stays"
