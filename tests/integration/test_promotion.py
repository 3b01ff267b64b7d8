"""A job's promotion on the real servers: promoted, run, changed, cut over, rolled back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from retailpulse_kernel.cli import app
from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.environment import environment_of
from retailpulse_kernel.promotion.cutover.copying import kept_archive
from retailpulse_kernel.promotion.cutover.overview import overview, runs_of
from retailpulse_kernel.promotion.cutover.retiring import retire
from retailpulse_kernel.promotion.cutover.staging import staging_of
from retailpulse_kernel.promotion.cutover.tables import drop_incompatible
from retailpulse_kernel.promotion.cutover.versions import rollback
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.promotion.gate.shadow import shadow_of
from retailpulse_kernel.promotion.gate.trial import Candidate, try_out
from retailpulse_kernel.promotion.registry.diffing import diff_versions
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.scaffold.jobs import new_job
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics, topic_states
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import figure_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Ledger, read_accounts
from retailpulse_kernel.streaming.checkpoint.batches import newest_epochs
from retailpulse_kernel.streaming.checkpoint.epochs import jobs_with_checkpoints, new_epoch
from retailpulse_kernel.streaming.checkpoint.files import write_note
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, TablePlan, write_plan
from tests.faults.handover import Runs
from tests.jobs import consumed, produce, wait_until

DAY = GRAINS["day"]
#: Two sessions may share the servers.
NAMESPACE = f"t_promotion_{os.getpid()}"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    made = Settings.load(namespace=NAMESPACE, pipelines=tmp_path / "pipelines")
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
    return name.startswith(f"shadow_{NAMESPACE}")


def topics_of(settings: Settings, is_one: Callable[[str], bool]) -> list[str]:
    from confluent_kafka.admin import AdminClient

    from retailpulse_kernel.stores.kafka.config import client_config

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
        assert not failed.ok and failed.version is None and failed.steps[-1].name == "tests"
        assert "colour" in failed.steps[-1].found
        assert files(settings) == held, "nothing was written"
        assert production.running and runs_of(settings, "metrics", limit=1)[0]["state"] == "running"

        more = edited(tmp_path / "metrics.ipynb", ("    UNITS,\n", "    UNITS,\n    rp.metrics.VIEWS,\n"))
        second = promote(settings, more, sample=500)
        assert second.ok and second.version is not None, second.steps
        assert second.verdict is not None and second.verdict.outcome == "new epoch", second.verdict
        said = {step.name: step.found for step in second.steps}
        assert said["catch-up"].startswith("1,000 messages in the staged epoch")
        assert said["comparison"].startswith("in closed windows")
        feed(settings, 2)
        wait_until(lambda: newest_run(settings) == ("v2", "running"), "the new version")
        wait_until(lambda: taken(settings) >= 2000, "the new version's events")
        rows = figure_store("cassandra", settings).read(second.version.manifest.plan.tables[0].table, DAY)
        views = sum(row["events"] for row in rows if row["event_type"] == "view")
        assert sum(row["views"] for row in rows) == views > 0, "also for what came before it"

        back = rollback(settings, "metrics")
        assert (back["from"], back["to"]) == ("v2", "v1") and "its own epoch 1" in back["state"]
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
    # Also where the tests themselves run in the background and ignore it.
    hears = ["env", "--default-signal=HUP", sys.executable]
    command = [*hears, "-m", "retailpulse_kernel.cli", "promote", str(job_notebook("metrics")), "--dry-run"]
    gate = subprocess.Popen([*command, "--namespace", settings.namespace.name])
    try:
        wait_until(lambda: topics_of(settings, is_shadow) != [], "the shadow")
    finally:
        gate.send_signal(signal.SIGHUP)
        code = gate.wait(180)
    assert code == 128 + signal.SIGHUP
    assert topics_of(settings, is_shadow) == []


def test_a_table_whose_key_changes_is_dropped(settings: Settings) -> None:
    """Cassandra can't change a table's key, and in HBase old rows would stand beside new ones."""
    figures = (FigurePlan("events", "count", "1", ""),)
    table = TablePlan("shelf", "cassandra", ("day",), ("currency", "category"), figures)
    old = Plan("shelf", "retail.events", "event_id", 1, (), "change", "count", (table, replace(table, name="kept")))
    for store in ("cassandra", "hbase"):
        tables = tuple(replace(table, store=store) for table in old.tables)
        before = replace(old, tables=tables)
        after = replace(old, tables=(replace(tables[0], by=("currency", "brand")), tables[1]))
        stored = figure_store(store, settings)
        row = {"day": datetime(2026, 1, 1, tzinfo=UTC), "currency": "EUR", "category": "a", "events": 1}
        for plan in tables:
            stored.create(plan.table)
            stored.write(plan.table, GRAINS["day"], [row], version=1)
        assert drop_incompatible(settings, before, after) == ["shelf_day"]
        new = {"day": row["day"], "currency": "EUR", "brand": "b", "events": 2}
        stored.create(after.tables[0].table)
        stored.write(after.tables[0].table, GRAINS["day"], [new], version=2)
        assert stored.read(after.tables[0].table, GRAINS["day"]) == [new]
        assert stored.read(tables[1].table, GRAINS["day"]) == [row], "the other one stays"


COMMAND = f"{sys.executable} -m retailpulse_kernel.cli"
#: A cell that would harm the live namespace, through each kind of door, and words of the refusal.
HARM = {
    "cassandra": ('live.cassandra.query("truncate category_day")', "`truncate category_day`"),
    "magic": ("%%cql\ndrop keyspace t_promotion", "`drop keyspace t_promotion`"),
    "hbase": ("live.hbase.drop()", "Removing the HBase tables"),
    "hive": ('rp.hive.query("drop database t_promotion cascade")', "`drop database t_promotion cascade`"),
    "spark": ('rp.spark.sql("drop table t_promotion.events")', "`drop table t_promotion.events`"),
    "produce": ('live.kafka.produce([{"user_id": "x"}])', "topic 't_promotion.retail.events'"),
    "topics": (
        "from retailpulse_kernel.stores.kafka.topics import delete_topics\ndelete_topics(live.settings)",
        "Deleting topics",
    ),
    "drop": ("from retailpulse_kernel.stores.namespaces import drop\ndrop(live.settings)", "Removing the namespace"),
    "pause": (f"!{COMMAND} pause metrics", "Changing what runs of metrics"),
    "down": (f"!{COMMAND} down", "Stopping servers"),
    "swallowed": (
        'try:\n    live.cassandra.query("truncate category_day")\nexcept BaseException:\n    pass',
        "`truncate category_day`",
    ),
}


def harming(path: Path, cell: str) -> Path:
    content = nbformat.read(job_notebook("metrics"), as_version=4)
    # The gate's look at the text finds a namespace that is written there: this one is put together.
    connect = 'live = rp.connect(namespace="_".join(["t", "promotion"]))'
    place = next(number for number, cell in enumerate(content.cells) if "rp.job(" in cell.source)
    content.cells[place:place] = [nbformat.v4.new_code_cell(connect), nbformat.v4.new_code_cell(cell)]
    nbformat.write(content, path)
    return path


def test_a_rehearsal_can_not_harm_what_lives(settings: Settings, tmp_path: Path) -> None:
    feed(settings, 1)
    promoted = Manifest("metrics", 1, "metrics.ipynb", "", "stream", "", "", "", {}, environment_of())
    Registry(settings).freeze(job_notebook("metrics"), promoted)
    category = FigureTable("category", (EVENTS,), CATEGORY.by, (DAY,))
    row = {"day": datetime(2026, 1, 1, tzinfo=UTC), "currency": "EUR", "category": "a", "event_type": "view"}
    stores = [figure_store(name, settings) for name in ("cassandra", "hbase")]
    for store in stores:
        store.create(category)
        store.write(category, DAY, [row | {"events": 1}], version=1)
    HiveStore(settings).create()
    paths = {name: harming(tmp_path / f"{name}.ipynb", cell) for name, (cell, _) in HARM.items()}
    before = [store.read(category, DAY) for store in stores], files(settings), topic_states(settings)
    with shadow_of(settings, "harm") as shadow:
        tried = try_out(shadow, [Candidate(str(path)) for path in paths.values()])
    for (name, (_, words)), one in zip(HARM.items(), tried, strict=True):
        assert one.error is not None and words in one.error and " is not allowed" in one.error, (name, one.error)
    # The whole gate: a notebook without a job has no tests, and is seen by the dry run alone, in a process of its own.
    batch = nbformat.read(paths["swallowed"], as_version=4)
    batch.cells = [
        cell for cell in batch.cells if "job" not in cell.source and "parameters" not in cell.metadata.get("tags", [])
    ]
    batch.cells.insert(0, nbformat.v4.new_code_cell("import retailpulse_kernel as rp"))
    nbformat.write(batch, tmp_path / "batch.ipynb")
    for path, said in (
        (paths["cassandra"], "it fails before the tests:"),
        (tmp_path / "batch.ipynb", "is not allowed."),
    ):
        failed = promote(settings, path, sample=100)
        assert not failed.ok and failed.version is None
        (words,) = re.findall(
            r"^cell \d:? (.*) The statement `truncate category_day` is refused", failed.steps[-1].found
        )
        assert words == said
    assert ([store.read(category, DAY) for store in stores], files(settings), topic_states(settings)) == before
    assert HiveStore(settings).tables() == ["events"]


#: Conditions and duplicates of given events, which the template's own test has none of.
PROBE = """
books = events.where("category = 'books'").figures(UNITS, by=["category"], every=["1 hour", "1 day"], table="probe")
twice = {"event_type": "purchase", "event_id": "one", "category": "books", "price": 1, "quantity": 3}
toys = {"event_type": "purchase", "category": "toys", "price": 1}
(row,) = books.of([twice, twice, toys], every="1 hour")
assert (row["hour"].hour, row["category"], row["units"]) == (12, "books", 3)
"""


def test_a_new_job_is_promoted_as_it_is_and_retired_while_it_runs(settings: Settings, tmp_path: Path) -> None:
    feed(settings, 1)
    made = new_job(settings, "brand_sales", tmp_path)
    content = nbformat.read(made.notebook, as_version=4)
    content.cells.insert(-2, nbformat.v4.new_code_cell(PROBE.strip()))
    nbformat.write(content, made.notebook)
    done = promote(settings, made.notebook, sample=500)
    assert done.ok and done.version is not None, done.steps
    assert done.version.manifest.parameters == {"run": "continuous", "run_for": "30m"}

    production = Runs(settings, "brand_sales", tmp_path / "production.log")
    try:
        wait_until(lambda: consumed(settings, "brand_sales") >= 1000, "the first events")
        store = CassandraStore(settings)
        assert store.tables() == ["brand_sales_day", "brand_sales_hour"]
        command = ["retire", "brand_sales", "--namespace", settings.namespace.name]
        told = {"RETAILPULSE_PIPELINES": str(settings.pipelines)}
        refused = CliRunner(env=told).invoke(app, command, input="n\n")
        assert refused.exit_code == 1 and "cassandra: brand_sales_hour, brand_sales_day" in refused.output
        assert production.running and consumed(settings, "brand_sales") >= 1000, "asked, and nothing was done"
        run = production.process
        retired = CliRunner(env=told).invoke(app, [*command, "--yes"])
        assert retired.exit_code == 0, retired.output
        assert run is not None and run.wait(60) == 0, "it ended in order"
        wait_until(lambda: production.failures > 0, "a run that is refused")
    finally:
        production.end()

    assert "brand_sales is retired." in retired.output
    assert store.tables() == [] and Registry(settings).names() == [] and not list(settings.pipelines.iterdir())
    assert jobs_with_checkpoints(settings.checkpoints) == [] and read_accounts(settings) == []
    assert not list((settings.home / "metrics" / settings.namespace.name).glob("job-*"))
    assert not (settings.home / "runs" / settings.namespace.name / "brand_sales").exists()
    store.close()


def end_at_once(line: str) -> None:
    raise KeyboardInterrupt(line)


def test_a_retired_job_leaves_nothing_in_any_store(settings: Settings) -> None:
    """Figures in two stores and the archive, with what an epoch kept for a rollback; also when it was cut off."""
    figures = (FigurePlan("events", "count", "1", ""),)
    shelf = TablePlan("shelf", "cassandra", ("day",), ("currency", "category"), figures)
    visitor = replace(shelf, name="visitor", store="hbase")
    plan = Plan("shelf", "retail.events", "event_id", 1, (), "change", "count", (shelf, visitor))
    archive = replace(plan, job="archive", tables=(TablePlan("events", "hive"),))
    neighbour = replace(plan, job="neighbour", tables=(replace(shelf, name="other"),))
    staging, ledger, hive = staging_of(settings), Ledger(settings), HiveStore(settings)
    places = [(settings, "shelf"), (staging, "shelf"), (staging, "shelf__e0001")]
    account = Account("shelf", 1, 0, {}, 1, 1, 0, 0, 0, 1, 0, 0, 1)

    def made() -> None:
        for one in (plan, archive, neighbour):
            epoch = new_epoch(f"{settings.checkpoints}/{one.job}")
            write_plan(epoch.path, one)
            write_note(epoch.path, "kept.json", b"{}")
            ledger.write(replace(account, job=one.job))
        for place, name in places:
            for table in (shelf, visitor):
                stored = replace(table, name=name if table is shelf else name.replace("shelf", "visitor"))
                figure_store(table.store, place).create(stored.table)
        figure_store("cassandra", settings).create(neighbour.tables[0].table)
        hive.create()
        kept.mkdir(parents=True)

    kept = Path(kept_archive(staging, 1))
    for cut_off in (False, True):
        made()
        if cut_off:
            with pytest.raises(KeyboardInterrupt):
                retire(settings, "shelf", report=end_at_once)
        retire(settings, "shelf")
        retire(settings, "archive")
        for store in (CassandraStore, HBaseStore):
            assert [store(place).tables() for place in (settings, staging)] == [
                ["other_day"] if store is CassandraStore else [],
                [],
            ]
        assert hive.tables() == [] and not hive.location.exists() and not kept.exists()
        assert [one.job for one in read_accounts(settings)] == ["neighbour"]
        assert jobs_with_checkpoints(settings.checkpoints) == ["neighbour"]
        with pytest.raises(UnknownName, match="There is no job 'shelf'"):
            retire(settings, "shelf")
        retire(settings, "neighbour", keep_tables=True)
        assert CassandraStore(settings).tables() == ["other_day"]
    hive.close()
