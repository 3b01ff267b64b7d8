"""A store that is not shipped, `tests/sqlite_store.py`, in the place of Cassandra: nothing else knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.stored import StoredFigures
from retailpulse_kernel.promotion.cutover.production import run_current
from retailpulse_kernel.promotion.cutover.retiring import retire
from retailpulse_kernel.promotion.cutover.staging import staging_of
from retailpulse_kernel.promotion.cutover.versions import rollback
from retailpulse_kernel.promotion.gate.gate import promote
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
DAY, MINUTE = GRAINS["day"], GRAINS["minute"]
ONCE = {"run": "available_now"}


@pytest.fixture
def settings(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A namespace of a profile whose figures are served from SQLite; the store is found as an installed one is."""
    about = tmp_path / "site" / "sqlite_store-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sqlite-store\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[retailpulse.stores]\nsqlite = tests.sqlite_store\n")
    path = [str(about.parent), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.syspath_prepend(str(about.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    profile = tmp_path / "local.toml"
    profile.write_text(
        f'[spark]\ndriver_memory = "1g"\n[serving]\nstore = "sqlite"\n[stores.sqlite]\nfolder = "{tmp_path}/shelf"\n'
    )
    made = Settings.load(profile=str(profile), namespace=f"t_further_{os.getpid()}", pipelines=tmp_path / "pipelines")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)
    assert files(made, tmp_path) == [], "nothing of the namespace is left, nor of what was beside it or tried"


def files(settings: Settings, folder: Path) -> list[Path]:
    return [path for path in (folder / "shelf").glob(f"*{settings.namespace.name}*/*") if path.is_file()]


def feed(settings: Settings, seed: int) -> dict[str, Decimal]:
    """Send events; their revenue by currency."""
    generator = Generator(
        rate=500, seconds=2, seed=seed, start=datetime.now(UTC), duplicates=0.02, bad=0.01,
        currencies={"EUR": 1, "USD": 3},
    )  # fmt: skip
    produce(settings, [(message.key, message.value) for message in generator.messages()])
    found = generator.truth.as_dict()["figures_with_late"]["currencies"]
    return {currency: Decimal(figures["revenue"]) for currency, figures in found.items()}


def edited(path: Path, *changes: tuple[str, str]) -> Path:
    content = nbformat.read(job_notebook("metrics"), as_version=4)
    for old, new in changes:
        (cell,) = (cell for cell in content.cells if cell.cell_type == "code" and old in cell.source)
        cell.source = cell.source.replace(old, new)
    path.parent.mkdir(exist_ok=True)
    nbformat.write(content, path)
    return path


def revenue(settings: Settings) -> dict[str, Decimal]:
    """What `rp.figures` answers."""
    frame = Workbench(settings.profile_name, settings.namespace_name).figures("revenue", by="currency")
    return dict(zip(frame["currency"], frame["revenue"], strict=True))


def command(settings: Settings, *words: str) -> str:
    """What a command prints that is told no more than the profile and the namespace."""
    given = ["--profile", settings.profile_name, "--namespace", settings.namespace_name]
    done = subprocess.run(
        [sys.executable, "-m", "retailpulse_kernel.cli", *words, *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_further_store_is_promoted_to_and_serves(settings: Settings, tmp_path: Path) -> None:
    sent = feed(settings, 1)
    to_serving = ("to=rp.cassandra", "to=rp.serving")
    first = promote(settings, edited(tmp_path / "v1" / "metrics.ipynb", to_serving), ONCE, sample=300)
    assert first.ok and first.version is not None and first.version.manifest.plan is not None, first.steps[::-1]
    assert [table.store for table in first.version.manifest.plan.tables] == ["sqlite"]
    tried = {step.name: step.found for step in first.steps}["tables"]
    assert "category_minute" in tried and "keys unique" in tried, "the trial wrote it in its shadow"

    run_current(settings, "metrics")
    assert revenue(settings) == sent
    summary = json.loads(command(settings, "figures", "--json"))["currencies"]
    assert {currency: Decimal(figures["revenue"]) for currency, figures in summary.items()} == sent
    assert "metrics" in command(settings, "reconcile")
    stored = StoredFigures(settings)
    newest = stored.newest_hour()
    assert newest is not None and stored.rows(MINUTE, newest, newest + 3600), "a live view finds it"
    assert CassandraStore(settings).tables() == []

    more = edited(
        tmp_path / "v2" / "metrics.ipynb", to_serving, ("    UNITS,\n", "    UNITS,\n    rp.metrics.VIEWS,\n")
    )
    second = promote(settings, more, ONCE, sample=300)
    assert second.ok and second.version is not None and second.version.manifest.plan is not None, second.steps[::-1]
    assert second.verdict is not None and second.verdict.outcome == "new epoch", second.verdict
    later = feed(settings, 2)
    both = {currency: amount + later[currency] for currency, amount in sent.items()}
    run_current(settings, "metrics")
    assert revenue(settings) == both
    store = serving_store(settings)
    rows = store.read(second.version.manifest.plan.tables[0].table, DAY)
    views = sum(row["events"] for row in rows if row["event_type"] == "view")
    assert sum(row["views"] for row in rows) == views > 0, "also of what came before the figure"

    rollback(settings, "metrics")
    run_current(settings, "metrics")
    assert revenue(settings) == both
    damaged = store.read(CATEGORY, DAY)[0]
    assert reconcile(settings).ok
    damage(store, damaged | {"events": damaged["events"] + 1})
    result = reconcile(settings)
    assert [check.table for check in result.tables if check.state == "differs"] == ["category_day"]
    retire(settings, "metrics")
    store.create(CATEGORY)
    assert [store.read(CATEGORY, grain) for grain in CATEGORY.every] == [[], [], []]
    assert {path.parent.name for path in files(settings, tmp_path)} == {
        place.namespace.name for place in (settings, staging_of(settings))
    }, "which the fixture drops"


def damage(store: FigureStore, row: dict[str, object]) -> None:
    store.write(CATEGORY, DAY, [row], version=int(datetime.now(UTC).timestamp() * 1000) * 2)
