"""The shipped jobs under other names, their tables too: everything that reads them goes by their plans."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.truth import Truth
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.feed import Feed
from retailpulse_kernel.monitoring.reading import read_recorded
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.scaffold.jobs import new_job
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.plan.finding import archiver, plans, writer_of
from retailpulse_kernel.telemetry.recording import folder
from tests.jobs import JOBS, produce, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

BATCH = Path(__file__).resolve().parents[2] / "notebooks" / "batch"
#: The table `category` is what dashboards ask Cassandra for: it keeps its name.
RENAMED = dict(zip(JOBS, ("takings", "visits", "keeper"), strict=True))
TABLES = {'table="session"': 'table="visit"', 'table="user"': 'table="shopper"'}
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of all shipped jobs, by their new names."""
    place, made = tmp_path_factory.mktemp("renamed"), {}
    for old, new in RENAMED.items():
        content = nbformat.read(job_notebook(old), as_version=4)
        for cell in content.cells:
            for name, other in ({f'"{old}"': f'"{new}"'} | TABLES).items() if "source:" not in cell.source else ():
                cell.source = cell.source.replace(name, other)
        made[new] = place / f"{new}.ipynb"
        nbformat.write(content, made[new])
    return made


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A namespace in whose production only the renamed jobs are."""
    made = Settings.load(namespace="t_renamed", pipelines=tmp_path_factory.mktemp("pipelines"))
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


@pytest.fixture(scope="module")
def truth(settings: Settings, notebooks: dict[str, Path]) -> Truth:
    """The renamed jobs have taken a shop's events of yesterday; what these truly hold."""
    generator = Generator(rate=10, seconds=300, seed=11, start=YESTERDAY, duplicates=0.03, bad=0.02)
    produce(settings, [(message.key, message.value) for message in generator.messages()])
    for name, notebook in notebooks.items():
        run_here(settings, notebook)
        (plan,) = (plan for plan in plans(settings) if plan.job == name)
        made_of = environment_of()
        manifest = Manifest(name, 1, notebook.name, "", "stream", "@continuous", "", "", {}, made_of, plan=plan)
        Registry(settings).freeze(notebook, manifest)
    return generator.truth


def run(settings: Settings, name: str, tmp_path: Path, **given: str) -> str:
    done = run_notebook(settings, BATCH / f"{name}.ipynb", given, output=tmp_path / f"{name}.ipynb")
    cells = nbformat.read(done.output, as_version=4).cells
    return "\n".join(str(o.get("text") or o.get("data")) for cell in cells for o in cell.get("outputs", []))


def test_it_is_known_who_writes_what(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    assert {plan.job for plan in plans(settings)} == set(RENAMED.values())
    writers = {table: writer_of(settings, table) for table in ("category", "visit", "shopper", "session")}
    assert {table: plan and plan.job for table, plan in writers.items()} == {
        "category": "takings", "visit": "visits", "shopper": "visits", "session": None,
    }  # fmt: skip
    keeps = archiver(settings)
    assert keeps is not None and keeps.job == "keeper"
    with pytest.raises(UsageError, match="The table 'shopper' is written by the job 'visits'"):
        new_job(settings, "shopper", tmp_path)


def test_they_are_reconciled(settings: Settings, truth: Truth) -> None:
    result = reconcile(settings)
    assert result.outcome == "equal", [*result.differences, *result.unchecked]
    assert {(check.job, check.store, check.table) for check in result.tables if check.rows} == {
        ("takings", "cassandra", "category_minute"), ("takings", "cassandra", "category_hour"),
        ("takings", "cassandra", "category_day"), ("visits", "hbase", "visit_hour"), ("visits", "hbase", "shopper_day"),
        ("keeper", "hive", "events"), ("keeper", "hive", "event ids"),
    }  # fmt: skip
    assert {check.job for check in result.jobs} == set(RENAMED.values())
    (total,) = result.totals
    assert total.figures["orders"].keys() == {"topic", "cassandra", "hbase", "hive"} and total.equal


def test_a_day_is_closed_and_judged_and_let_go(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    day = YESTERDAY.date().isoformat()
    assert f"To close: {day}." in run(settings, "close_day", tmp_path, settle="0s")
    assert f"{truth.bad.total():,} of {truth.sent:,}" in run(settings, "quality", tmp_path, before="3d", bad="0.5")
    shown = run(settings, "retention", tmp_path, topics="3d", minutes="30d")
    assert "category_minute for 30 days" in shown
    store = CassandraStore(settings)
    options = store.query(
        "select default_time_to_live from system_schema.tables where keyspace_name = :place and table_name = :name",
        {"place": store.keyspace, "name": "category_minute"},
    )
    store.close()
    assert int(options["default_time_to_live"][0]) == 30 * 86_400


def test_a_live_view_follows_the_job_that_writes_its_table(settings: Settings, truth: Truth) -> None:
    feed = Feed(settings)
    end = time.monotonic() + 60
    feed._open()
    try:
        while not feed.state.loaded:
            assert time.monotonic() < end, feed.state
            feed.look()
        newest = feed.followed.batches.newest
    finally:
        feed._close()
    assert newest is not None and newest.job == "takings"
    assert feed.state.folding and not feed.state.note and not feed.state.lag
    assert sum(counts[0] for counts in feed.health.minutes.values()) == truth.sent


def test_what_they_measure_bears_their_names(settings: Settings, truth: Truth) -> None:
    wait_until(lambda: set(RENAMED.values()) <= measured(settings), "the jobs' metrics", 30)
    assert not measured(settings) & set(RENAMED)


def measured(settings: Settings) -> set[str]:
    recorded = read_recorded(folder(settings))
    mine = [one.identity for one in recorded if one.identity.get("namespace") == settings.namespace.name]
    return {name for identity in mine for name in identity.values()}


def test_one_that_is_renamed_while_it_has_its_table(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    """The new name's job writes the table from then on; the old one's checkpoint is still there."""
    content = nbformat.read(job_notebook(JOBS[0]), as_version=4)
    for cell in content.cells:
        cell.source = cell.source.replace(f'rp.job("{JOBS[0]}"', 'rp.job("proceeds"')
    nbformat.write(content, tmp_path / "proceeds.ipynb")
    Registry(settings).withdraw("takings")
    run_here(settings, tmp_path / "proceeds.ipynb")
    plan = writer_of(settings, CATEGORY.name)
    assert plan is not None and plan.job == "proceeds"
    result = reconcile(settings)
    assert result.outcome == "equal", [*result.differences, *result.unchecked]
    assert {check.job for check in result.tables if check.table == "category_day"} == {"proceeds"}
    assert any("category_minute, category_hour, category_day now" in note for note in result.notes)
