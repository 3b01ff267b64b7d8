"""The notebooks about live views run top to bottom on the real stores, and their own checks hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.shop.events import parse_event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.addresses import addresses_elsewhere
from tests.archived import archive_events

pytestmark = pytest.mark.integration
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def shop(stack: Settings) -> Iterator[Settings]:
    """A quarter of an hour of events, stored as the jobs store them."""
    settings = Settings.load(namespace=f"live_notebooks_{os.getpid()}")
    ensure_topics(settings)
    start = datetime.now(UTC) - timedelta(minutes=20)
    events = [parse_event(m.value) for m in Generator(rate=20, seconds=900, seed=3, start=start).messages()]
    store, hive = CassandraStore(settings), HiveStore(settings)
    store.create(CATEGORY)
    for grain in CATEGORY.every:
        store.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    hive.create()
    archive_events(hive.archive, events)
    store.close()
    hive.close()
    yield settings
    drop(settings)


@pytest.mark.parametrize("name", ["live", "categories"])
def test_it_runs(shop: Settings, name: str, tmp_path: Path) -> None:
    run = run_notebook(shop, NOTEBOOKS / f"{name}.ipynb", {}, output=tmp_path / "out.ipynb")
    notebook = nbformat.read(run.output, as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert addresses_elsewhere(json.dumps([outputs, notebook.metadata])) == []
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
    if name == "categories":
        assert "application/vnd.plotly.v1+json" in kinds
