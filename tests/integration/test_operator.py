"""The operator that Airflow runs, in a process as Airflow's own: what is left when something dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import psutil
import pytest

from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.cutover.overview import runs_of
from retailpulse_kernel.promotion.gate.trial import Candidate, try_out
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.jobs import consumed, produce, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
KERNEL = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
TASK = """
from retailpulse_kernel.promotion.airflow.operator import PipelineOperator
PipelineOperator(task_id="run", pipeline="metrics").execute({})
"""


#: Runs of DAGs by Airflow's own machinery, without its four servers, and what is raised to it for one that broke.
DAGS = """
import json
from sqlalchemy import select
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from retailpulse_kernel.promotion.airflow.dags import dags
from retailpulse_kernel.promotion.airflow.operator import PipelineOperator
made = dags()
for name in ("greeting", "finding"):
    made[name].test()
raised = {}
for name in ("broken", "stopping"):
    try:
        PipelineOperator(task_id="run", pipeline=name).execute({})
    except Exception as error:
        raised[name] = type(error).__name__
with create_session() as session:
    tasks = session.execute(select(TaskInstance.dag_id, TaskInstance.state, TaskInstance.try_number)).all()
    verdicts = session.execute(select(XComModel.dag_id, XComModel.value).where(XComModel.key == "verdict")).all()
found = {"tasks": [tuple(t) for t in tasks], "verdicts": [tuple(v) for v in verdicts], "raised": raised}
print("RESULT" + json.dumps(found))
"""
FINDING = """\
from retailpulse_kernel.ground.errors import CheckFailed

raise CheckFailed("Three are bad.", remedy="Look at them.")
"""


def test_airflow_retries_what_broke_and_no_verdict(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_airflow")
    sources = {"greeting": "print('hello', who)", "finding": FINDING, "broken": "who / 0", "stopping": FINDING}
    for name, source in sources.items():
        notebook = tmp_path / f"{name}.ipynb"
        cells = [
            nbformat.v4.new_code_cell("who: str = 'nobody'", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(f"{source}\nprint(who)"),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), notebook)
        kind, schedule = ("stream", "@continuous") if name == "stopping" else ("batch", "@daily")
        manifest = Manifest(name, 1, f"{name}.ipynb", "", kind, schedule, "", "", {"who": "Airflow"})
        Registry(settings).freeze(notebook, manifest)
    variables = {**os.environ, **environment(settings), "AIRFLOW_HOME": str(tmp_path / "airflow")}
    variables |= {"AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    variables["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "200"
    for code in ("from airflow.utils.db import initdb; initdb()", DAGS):
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.split("RESULT")[1])
    assert sorted(found["tasks"]) == [["finding", "failed", 1], ["greeting", "success", 1]], "no second try"
    assert found["verdicts"] == [["finding", "Three are bad. Look at them."]]
    raised = {"broken": "JobError", "stopping": "AirflowFailException"}
    assert found["raised"] == raised, "Airflow retries any error but AirflowFailException"
    held = {name: Registry(settings).current(name).paused for name in sources}
    assert held == {name: name == "stopping" for name in sources}, "Airflow would start a stream again at once"
    (run,) = runs_of(settings, "greeting", limit=9)
    assert (run["state"], run["version"], run["parameters"]) == ("finished", "v1", "who=Airflow")
    assert "hello Airflow" in Path(run["output"]).read_text()


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
