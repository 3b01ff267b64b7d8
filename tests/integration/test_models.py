"""Models beside a notebook: loaded once in each worker, and a part of what the job means."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from retailpulse_kernel.ground.errors import JobError, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import produce

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def settings(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    made = Settings.load(namespace=f"t_models_{os.getpid()}")
    drop(made)
    ensure_topics(made)
    monkeypatch.chdir(tmp_path)
    yield made
    drop(made)


def loading(log: Path) -> Callable[[str], Any]:
    """A loader that writes down which process has loaded something."""
    target = str(log)

    def load(path: str) -> Any:
        with Path(target).open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        return pickle.loads(Path(path).read_bytes())

    return load


def train(factor: float) -> None:
    Path("score.pickle").write_bytes(pickle.dumps({"factor": factor}))


def job_of(settings: Settings) -> Job:
    rp = Workbench(namespace=settings.namespace_name)
    job = rp.job("scores")
    events = job.events(watermark="1m").df
    model = job.model("score.pickle", load=loading(Path("loaded").absolute()))
    from pyspark.sql import functions as F

    @F.pandas_udf("double")  # type: ignore[call-overload]
    def score(quantity: pd.Series) -> pd.Series:
        return quantity * model()["factor"]

    job.write(events.select("event_id", score("quantity").alias("score")), to=rp.cassandra, table="s", key="event_id")
    return job


def send(settings: Settings, *ids: str) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    common = {"event_type": "view", "event_time": now, "session_id": "s1", "product_id": "p1", "quantity": 2}
    events = ({**common, "event_id": one, "user_id": one} for one in ids)
    produce(settings, [(event["event_id"], json.dumps(event).encode()) for event in events])


def test_a_model_is_loaded_once_a_worker_and_is_part_of_the_meaning(settings: Settings) -> None:
    train(1.5)
    with closing(CassandraStore(settings)) as store:
        for part in (["a", "b", "c"], ["d", "e", "f"]):
            send(settings, *part)
            job_of(settings).run()
        assert set(store.query("select score from s")["score"]) == {3.0}
        assert len(store.query("select score from s")) == 6
    workers = Path("loaded").read_text().split()
    assert workers and len(workers) == len(set(workers))
    before, again = job_of(settings), job_of(settings)
    assert before.writes.rows[0].fingerprint == again.writes.rows[0].fingerprint
    train(2.5)
    changed = job_of(settings)
    assert before.writes.rows[0].fingerprint != changed.writes.rows[0].fingerprint
    with pytest.raises(JobError, match=r"the model score\.pickle changed"):
        changed.run()


def test_a_model_is_a_file_beside_the_notebook(settings: Settings) -> None:
    train(1.0)
    job = Workbench(namespace=settings.namespace_name).job("scores")
    with pytest.raises(
        UnknownName, match=r"no model beside the notebook 'scor\.pickle'\. Did you mean 'score\.pickle'"
    ):
        job.model("scor.pickle", load=pickle.loads)
    with pytest.raises(UsageError, match="is not beside the notebook"):
        job.model("../score.pickle", load=pickle.loads)
