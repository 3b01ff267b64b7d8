"""The worked notebooks as processes of their own, killed at random: each output is what a plain fold gives.

The short form has the three that write to Kafka, keep a state of their own and use a model, and kills one thing while
another recovers. The long form has all six, and waits for them after each kill. `--only basket` selects what is killed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.faults.pipeline import PARTS, PATIENCE, Pipeline
from tests.jobs import produce
from tests.worked import CONTRACT, WORKED, differences, notebook, sent, shop

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(3600)]

LONG = os.environ.get("RETAILPULSE_LONG") == "1"
JOBS = tuple(WORKED) if LONG else ("abandoned", "basket", "score")
#: Hours of the shop, and in how many parts they come; something is killed in all parts but the first.
HOURS, PARTS_OF_SHOP = (5, 10) if LONG else (4, 4)
ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "retailpulse_kernel.cli", "run")
SERVERS = ("kafka", "cassandra", "hbase-thrift", "hiveserver2")


@pytest.fixture
def settings(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("RETAILPULSE_CONTRACT", str(CONTRACT))
    made = Settings.load(namespace="t_worked_faults")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


@pytest.fixture
def pipeline(stack: Settings, settings: Settings) -> Iterator[Pipeline]:
    given = ["-p", "run", "continuous", "-p", "trigger", "1s"]
    made = Pipeline(stack, settings, {name: [*RUN, str(notebook(name)), *given] for name in JOBS})
    yield made
    made.remove()
    made.heal()


def kills(pipeline: Pipeline, chance: random.Random) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is killed: a part of each job in turn, and then a server."""
    while True:
        for job in chance.sample(JOBS, len(JOBS)):
            part = chance.choice(PARTS)
            yield f"kill {job}'s {part}", lambda job=job, part=part: pipeline.kill_job(job, part)
        server = chance.choice(SERVERS)
        yield f"kill {server}", lambda server=server: pipeline.kill_server(server)


def test_worked_notebooks_write_what_a_plain_fold_gives(
    settings: Settings, pipeline: Pipeline, seed: int, request: pytest.FixtureRequest
) -> None:
    chance, words = random.Random(seed), request.config.getoption("--only")
    messages = list(shop(datetime.now(UTC) - timedelta(hours=HOURS, minutes=10), HOURS * 3_600, seed=seed))
    size = -(-len(messages) // PARTS_OF_SHOP)
    parts = [messages[begin : begin + size] for begin in range(0, len(messages), size)]
    chosen = (kill for kill in kills(pipeline, chance) if words in kill[0])
    pipeline.start()
    produced = 0
    for number, part in enumerate(parts):
        produce(settings, [(message.key, message.value) for message in part])
        produced += len(part)
        if number:
            time.sleep(chance.uniform(0, 4))  # somewhere within the jobs' batches
            what, kill = next(chosen)
            print(f"{produced:,} messages, {what}", flush=True)
            kill()
        if LONG or not number:
            pipeline.heal()
            pipeline.await_taken(produced)
    pipeline.heal()
    pipeline.await_taken(produced)
    pipeline.stop()
    # To one boundary, and with what is closed by then; in a kernel as before, which compiles functions in its own way.
    variables = {**os.environ, **environment(settings), "PYTHONPATH": str(ROOT)}
    ended = [subprocess.Popen([*RUN, str(notebook(name))], env=variables, start_new_session=True) for name in JOBS]
    assert [process.wait(PATIENCE) for process in ended] == [0] * len(JOBS)
    said = [one for name in JOBS for one in differences(settings, name, sent(messages))]
    assert not said, f"seed {seed}"
