"""Tables of rows against a batch: the same notebook over the same messages, on the real servers; damage is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jupytext
import nbformat
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import Reconciliation, TableCheck, reconcile
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.plan.data import read_plan
from tests.jobs import produce
from tests.rows_jobs import WRITES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
CELLS = """
# %% tags=["parameters"]
from datetime import timedelta
from typing import Literal

run: Literal["continuous", "available_now"] = "available_now"  # follow, or take what there is
run_for: timedelta | None = None  # how long a continuous run lasts

# %%
from pyspark.sql.streaming.stateful_processor import StatefulProcessor

import retailpulse_kernel as rp
from tests.rows_jobs import FRAMES, WRITES, Basket

job = rp.job("rows", run=run, run_for=run_for)
events = job.events(watermark="1m")


class Processor(Basket, StatefulProcessor):
    pass


def baskets(events, spark):
    schema = "user_id string, events long, newest timestamp"
    return events.groupBy("user_id").transformWithStateInPandas(Processor(), schema, "Update", "None")


# %%
for name, (store, key) in WRITES.items():
    more = [events.df] if name == "purchases" else []
    frame = (baskets if name == "baskets" else FRAMES[name])(events.df, job.spark, *more)
    job.write(frame, to=getattr(rp, store), table=name, key=key)
job.run()
"""


@pytest.fixture(scope="module")
def settings(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    pipelines = tmp_path_factory.mktemp("pipelines")
    made = Settings.load(namespace=f"t_rows_again_{os.getpid()}", pipelines=pipelines)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{ROOT}:{before or ''}"
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def notebook(folder: Path, cells: str) -> Path:
    path = folder / "rows.ipynb"
    content = jupytext.reads(cells, fmt="py:percent")
    content.metadata["kernelspec"] = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(content, path)
    return path


def ran(settings: Settings, path: Path, **given: str) -> None:
    """Run a notebook as production does; its last cell runs the job."""
    run_notebook(settings, path, given)


def promote(settings: Settings, path: Path, job: str) -> None:
    """Freeze a version as a promotion does, without its gate, for the job that has run."""
    epoch = find_epoch(f"{settings.checkpoints}/{job}")
    assert epoch is not None
    registry = Registry(settings)
    number = len(registry.versions(job)) + 1
    plan = read_plan(epoch.path)
    registry.freeze(path, Manifest(job, number, path.name, "", "stream", "@continuous", "", "", plan=plan))


@pytest.fixture(scope="module")
def taken(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook of a job of five queries, promoted, that has taken a stream in two runs: late ones are among it."""
    path = notebook(tmp_path_factory.mktemp("notebook"), CELLS)
    start = datetime.now(UTC) - timedelta(hours=2)
    generator = Generator(rate=1, seconds=2_000, seed=7, start=start, users=200, duplicates=0.03, bad=0.01, late=0.02)
    messages: list[tuple[str | bytes, bytes | None]] = [(m.key, m.value) for m in generator.messages()]
    produce(settings, messages[:1_200])
    ran(settings, path, run="continuous", run_for="30s")
    produce(settings, messages[1_200:])
    ran(settings, path)
    promote(settings, path, "rows")
    return path


def of_rows(result: Reconciliation) -> dict[str, TableCheck]:
    return {check.table: check for check in result.tables}


def test_every_table_is_what_a_batch_gives(settings: Settings, taken: Path) -> None:
    result = reconcile(settings)
    checks = of_rows(result)
    assert checks.keys() == WRITES.keys()
    assert {name: (check.state, check.reason) for name, check in checks.items()} == dict.fromkeys(WRITES, ("equal", ""))
    assert all(check.rows > 10 for check in checks.values()), checks
    assert result.ok
