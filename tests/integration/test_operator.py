"""The operator that Airflow runs, in a process as Airflow's own: what is left when something dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from retailpulse_kernel.demo import job_notebook
from retailpulse_kernel.generator import Generator
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.promotion.manifest import Environment, Manifest
from retailpulse_kernel.promotion.overview import runs_of
from retailpulse_kernel.promotion.registry import Registry
from retailpulse_kernel.promotion.trial import Candidate, try_out
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.running import environment
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.topics import ensure_topics
from tests.jobs import consumed, produce, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TASK = """
from retailpulse_kernel.promotion.operator import PipelineOperator
PipelineOperator(task_id="run", pipeline="metrics").execute({})
"""


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Iterator[Settings]:
    made = Settings.load(namespace="t_operator", pipelines=tmp_path / "pipelines")
    drop(made)
    ensure_topics(made)
    source = job_notebook("metrics")
    plan = try_out(made, [Candidate(str(source))])[0].plan
    manifest = Manifest(
        "metrics", 1, "metrics.ipynb", "", "stream", "@continuous", "", "", {"run": "continuous"},
        Environment("0.1.0", "3.11"), "first", (), (), plan,
    )  # fmt: skip
    Registry(made).freeze(source, manifest)
    yield made
    drop(made)


def feed(settings: Settings, seed: int) -> None:
    messages = Generator(rate=500, seconds=1, seed=seed, start=datetime.now(UTC)).messages()
    produce(settings, [(message.key, message.value) for message in messages])


def begin(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", TASK],
            env={**os.environ, **environment(settings)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kernel_of(task: subprocess.Popen[bytes]) -> psutil.Process:
    children = psutil.Process(task.pid).children(recursive=True)
    return next(child for child in children if "ipykernel_launcher" in " ".join(child.cmdline()))


def test_a_task_that_dies_leaves_no_process_and_no_gap(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "task.log"
    feed(settings, 1)
    task = begin(settings, log)
    try:
        wait_until(lambda: consumed(settings, "metrics") >= 500, f"the first events; {log}")
        tree = psutil.Process(task.pid).children(recursive=True)
        assert any("java" in process.name() for process in tree), "Spark belongs to it"
        task.kill()  # the worker dies with all that it had to tell
        task.wait()
        _, left = psutil.wait_procs(tree, timeout=60)
        assert not left, [process.cmdline() for process in left]
        assert runs_of(settings, "metrics", limit=1)[0]["state"] == "killed"

        feed(settings, 2)
        task = begin(settings, log)
        wait_until(lambda: consumed(settings, "metrics") >= 1000, f"the next events; {log}")
        tree = psutil.Process(task.pid).children(recursive=True)
        kernel_of(task).kill()
        assert task.wait(30) != 0, "a run whose kernel is gone has failed"
        assert "lost its kernel" in log.read_text()
        _, left = psutil.wait_procs(tree, timeout=60)
        assert not left, [process.cmdline() for process in left]
    finally:
        if task.poll() is None:
            task.terminate()
            task.wait(120)
    assert reconcile(settings).ok
