"""The DAGs, as Airflow reads them: in a process of its own, because Airflow changes the one that imports it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
#: Hourly, its last tick longer ago than any test takes.
HALF_AN_HOUR_AGO = f"{(datetime.now(UTC) - timedelta(minutes=30)).minute} * * * *"

READ = """
import json
from datetime import UTC, datetime, timedelta
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DagRunInfo
from pendulum import instance
bag = DagBag("dags")
def asset(schedule):
    if isinstance(schedule, list):
        return [a.name for a in schedule]
    return schedule if schedule is None or isinstance(schedule, str) else getattr(schedule, "expression", None)
def due(dag_id, last=None):
    # In how many seconds the scheduler would run a DAG, of which the last run was so many hours ago.
    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id]))
    now = instance(datetime.now(UTC))
    before = None if last is None else DagRunInfo.exact(now - timedelta(hours=last))
    return (dag.next_dagrun_info(last_automated_run_info=before).run_after - now).total_seconds()
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "dags": {
        dag.dag_id: {
            "schedule": asset(dag.schedule), "active": dag.max_active_runs, "catchup": dag.catchup,
            "tags": sorted(dag.tags), "doc": dag.doc_md, "tasks": [
                {"operator": [kind.__name__ for kind in type(task).__mro__], "pipeline": task.pipeline,
                 "retries": task.retries, "slots": task.pool_slots, "backoff": task.retry_exponential_backoff,
                 "outlets": asset(task.outlets), "inlets": asset(task.inlets),
                 "links": [link.name for link in task.operator_extra_links],
                 "deadline": task.execution_timeout and task.execution_timeout.total_seconds()}
                for task in dag.tasks
            ],
        }
        for dag in bag.dags.values()
    },
    "due": {"first": due("hourly"), "after an outage": due("hourly", last=5.2), "stream": due("endless")},
}))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of a stream, an endless one, a held one, an hourly and a dependent batch notebook."""
    folder = tmp_path_factory.mktemp("dags")
    settings = Settings.load(pipelines=folder / "pipelines")
    registry = Registry(settings)
    notebook = folder / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# What it does")]), notebook)
    for name, kind, schedule, parameters in (
        ("metrics", "stream", "@continuous", {"run": "continuous", "run_for": "30m"}),
        ("endless", "stream", "@continuous", {"run": "continuous"}),
        ("held", "stream", "@continuous", {"run": "continuous"}),
        ("hourly", "batch", HALF_AN_HOUR_AGO, {}),
        ("close", "batch", "asset:metrics", {}),
        ("manual", "batch", "", {}),
    ):
        registry.freeze(
            notebook,
            Manifest(
                name, 1, f"{name}.ipynb", "", kind, schedule, "# What it does", "2026-01-01", parameters,
                Environment("0.1.0", "3.11"), "first" if kind == "stream" else "",
            ),
        )  # fmt: skip
    registry.freeze(notebook, Manifest("metrics", 2, "metrics.ipynb", "", "stream", "@continuous", "# Now", "", {}))
    registry.activate("metrics", 1)
    registry.pause("held", paused=True)
    shutil.copytree(ROOT / "pipelines" / "engagement", settings.pipelines / "engagement")
    shutil.copytree(ROOT / "pipelines" / "archive", settings.pipelines / "torn")
    (settings.pipelines / "torn" / "v1" / "manifest.toml").write_text("name = ")
    variables = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "RETAILPULSE_PIPELINES": str(settings.pipelines),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "200",  # a busy machine takes more than Airflow's 30 s
    }
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.split("RESULT")[1])


def test_every_promoted_job_is_one_dag(read: dict[str, Any]) -> None:
    assert read["errors"] == {}
    assert sorted(read["dags"]) == ["close", "endless", "engagement", "held", "hourly", "manual", "metrics", "torn"]
    for name, dag in read["dags"].items():
        if name == "torn":
            continue
        (task,) = dag["tasks"]
        assert task["pipeline"] == name
        assert task["operator"][:2] == ["PipelineOperator", "PapermillOperator"]
        assert (dag["active"], dag["catchup"]) == (1, False), "two runs at once would be two writers"
        assert task["retries"] > 0 and task["backoff"]
        assert task["outlets"][0] == f"retailpulse_{name}"
        assert task["links"] == ["Output notebook"]


def test_what_a_run_reads_and_writes_is_told(read: dict[str, Any]) -> None:
    (task,) = read["dags"]["engagement"]["tasks"]
    assert task["inlets"] == ["kafka/retail.events"]
    assert task["outlets"] == ["retailpulse_engagement", "hbase/session_hour", "hbase/user_day"]
    (task,) = read["dags"]["close"]["tasks"]
    assert (task["inlets"], task["outlets"]) == (["retailpulse_metrics"], ["retailpulse_close"])


def test_a_pipeline_that_can_not_be_read_leaves_the_others_alone(read: dict[str, Any]) -> None:
    torn = read["dags"]["torn"]
    assert torn["tasks"] == [] and torn["schedule"] is None and "damaged" in torn["tags"]
    assert "can't be read" in torn["doc"] and "Restore the manifest from git" in torn["doc"]


@pytest.mark.parametrize(
    ("name", "schedule", "deadline"),
    [
        ("metrics", "@continuous", 2700),
        ("endless", "@continuous", None),
        ("held", None, None),
        ("hourly", HALF_AN_HOUR_AGO, 7200),
        ("close", ["retailpulse_metrics"], 7200),
        ("manual", None, 7200),
    ],
)
def test_schedules_and_deadlines(read: dict[str, Any], name: str, schedule: object, deadline: float | None) -> None:
    dag = read["dags"][name]
    assert (dag["schedule"], dag["tasks"][0]["deadline"]) == (schedule, deadline)


def test_a_first_start_runs_no_tick_that_has_passed(read: dict[str, Any]) -> None:
    """All of them would run at once, beside the streams that start."""
    due = read["due"]
    assert 0 < due["first"] <= 1800
    assert -3600 < due["after an outage"] < 0, "the last of five missed ticks is made up for"
    assert due["stream"] < 1, "a stream begins at once"


def test_two_batch_notebooks_are_one_too_many_for_the_pool(read: dict[str, Any]) -> None:
    slots = {name: dag["tasks"][0]["slots"] for name, dag in read["dags"].items() if dag["tasks"]}
    assert {slots[name] for name in ("metrics", "endless", "engagement")} == {1}
    batch = [slots[name] for name in ("hourly", "close", "manual")]
    assert max(batch) + 16 <= 128 < 2 * min(batch), "the default pool has 128"


def test_the_page_of_a_dag_says_what_it_is(read: dict[str, Any]) -> None:
    metrics = read["dags"]["metrics"]
    assert metrics["doc"].startswith("# What it does") and "**v1**" in metrics["doc"]
    assert metrics["tags"] == ["retailpulse", "stream", "v1"]
