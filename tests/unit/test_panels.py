"""The widgets of promotion, without a browser and without servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from retailpulse_kernel.cli import app
from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.ground.errors import StoreUnavailable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.notebooks.files import read_notebook, same_code
from retailpulse_kernel.promotion.cutover import overview
from retailpulse_kernel.promotion.gate.candidate import cleaned, run_as, this_notebook
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.promotion.widgets import panels
from retailpulse_kernel.promotion.widgets.board import Jobs
from retailpulse_kernel.promotion.widgets.rendering import diff_html, steps_html
from retailpulse_kernel.streaming.plan.data import Plan


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_panels")


def frozen(settings: Settings, source: Path, version: int) -> None:
    plan = Plan("metrics", "retail.events", "event_id", 600_000, (), "change", "publish", ())
    manifest = Manifest(
        "metrics", version, "metrics.ipynb", "", "stream", "@continuous", "", "", {"run": "continuous"},
        Environment("", ""), "first", plan=plan,
    )  # fmt: skip
    Registry(settings).freeze(source, manifest)


def changed(path: Path, *cells: str) -> Path:
    content = nbformat.read(job_notebook("metrics"), as_version=4)
    content.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    content.cells[2].outputs = [nbformat.v4.new_output("stream", text="what it said")]
    content.cells[2].execution_count = 3
    content.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(content, path)
    return path


def test_what_is_promoted_is_the_job_and_nothing_of_the_work_on_it(tmp_path: Path) -> None:
    source = changed(tmp_path / "metrics.ipynb", "rp.promote()", "# the jobs\nrp.jobs()")
    clean = cleaned(source, tmp_path / "clean")
    assert same_code(read_notebook(clean), read_notebook(job_notebook("metrics")))
    assert "what it said" in source.read_text() and "what it said" not in clean.read_text()
    assert "widgets" in read_notebook(source).metadata and "widgets" not in read_notebook(clean).metadata
    kept = cleaned(changed(tmp_path / "other.ipynb", "gate = rp.promote()\nprint(gate)"), tmp_path / "clean")
    assert "gate = rp.promote()" in kept.read_text(), "only a cell that does nothing else"


def test_the_models_of_a_notebook_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "score.joblib").write_bytes(b"1")
    source = changed(tmp_path / "metrics.ipynb", 'model = job.model("score.joblib", load=load)', "%time job.model(1)")
    clean = cleaned(source, tmp_path / "clean")
    assert clean.with_name("score.joblib").read_bytes() == b"1"


def test_which_notebook_this_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with pytest.raises(UsageError, match="Name the notebook"):
        this_notebook()
    path = changed(tmp_path / "metrics.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    assert this_notebook() == path


def test_the_gate_shows_what_would_change(settings: Settings, tmp_path: Path) -> None:
    source = changed(tmp_path / "metrics.ipynb")
    gate = panels.Gate(settings, source, {"watermark": "5m"})
    assert "not in production yet" in gate._head.value
    assert gate.given == {"watermark": "5m"}
    frozen(settings, job_notebook("metrics"), 1)
    gate = panels.Gate(settings, changed(tmp_path / "metrics.ipynb", "job.lag = 1 < 2"), {})
    assert "metrics v1 runs" in gate._head.value
    assert "+job.lag = 1 &lt; 2" in gate._diff.value
    gate._schedule.value = "@daily"
    gate._fields["watermark"].value = "5m"
    assert "+ schedule @daily" in gate._diff.value and "+ watermark = 5m" in gate._diff.value


def test_the_gate_shows_what_is_frozen(settings: Settings, tmp_path: Path) -> None:
    gate = panels.Gate(settings, changed(tmp_path / "metrics.ipynb"), {})
    fields = {"schedule": gate._schedule, **gate._fields}
    assert fields["schedule"].placeholder == "@continuous"
    assert (fields["run"].placeholder, fields["run_for"].placeholder) == ("continuous", "30m")
    assert fields["watermark"].placeholder == "0:10:00", "the notebook's own"
    gate._schedule.value = "@daily"
    assert (fields["run"].placeholder, fields["run_for"].placeholder) == ("available_now", "None")
    frozen(settings, job_notebook("metrics"), 1)
    gate._schedule.value, gate._fields["run_for"].value = "", "1h"
    schedule, given = run_as(job_notebook("metrics"), gate.given, schedule=None, before=None)
    assert (schedule, given) == ("@continuous", {"run": "continuous", "run_for": "1h"}), "what is given wins"


def test_jobs_that_wait_say_for_what(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise StoreUnavailable("kafka", "Kafka is away")

    monkeypatch.setattr(overview.KafkaStore, "offsets", down)
    monkeypatch.setenv("RETAILPULSE_HOME", str(settings.home))
    monkeypatch.setenv("RETAILPULSE_PIPELINES", str(settings.pipelines))
    frozen(settings, job_notebook("metrics"), 1)
    version, start = Registry(settings).version("metrics"), "`retailpulse up airflow --namespace t_panels`"
    assert f"Airflow does not run, so no promoted job starts by itself: {start}" in Jobs(settings)._why.value
    assert f"{start} starts Airflow" in CliRunner().invoke(app, ["jobs", "--namespace", "t_panels"]).stderr
    assert (
        overview.who_runs(settings, version)
        == f"Airflow will run metrics (@continuous) once Airflow is started: {start}."
    )
    by_hand = replace(version, manifest=replace(version.manifest, schedule=""))
    assert overview.who_runs(settings, by_hand) == (
        "metrics has no schedule: `retailpulse run metrics --namespace t_panels` runs the job once."
    )
    supervisor = Supervisor(settings)
    supervisor.start()
    try:
        supervisor.add("airflow-scheduler", ["sleep", "600"])
        supervisor.start_program("airflow-scheduler")
        assert Jobs(settings)._why.value == overview.waits_for(settings) == ""
        assert overview.who_runs(settings, version) == "Airflow runs metrics (@continuous)."
    finally:
        supervisor.shutdown()


def test_the_jobs_and_the_rollback(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise StoreUnavailable("kafka", "Kafka is away")

    monkeypatch.setattr(overview.KafkaStore, "offsets", down)
    jobs = Jobs(settings)
    assert "Nothing is promoted yet" in jobs._note.value
    for version in (1, 2):
        frozen(settings, job_notebook("metrics"), version)
    jobs.refresh()
    (box,) = jobs._list.children
    text, versions, back, diff, hold = box.children
    assert "<b>metrics</b> v2" in text.value and versions.options == ("v1",)
    diff.click()
    assert "metrics v1 -&gt; v2" in jobs._detail.value
    hold.click()
    assert Registry(settings).current("metrics").paused and hold.description == "Resume"
    hold.click()
    back.click()
    assert Registry(settings).current("metrics").version == 1
    assert "metrics v2 → v1" in jobs._note.value and versions.options == ("v2",)
    jobs.close()


def test_steps_and_diffs_are_escaped() -> None:
    step = {"name": "job", "found": "a < b", "verdict": "refused", "ok": False}
    assert "a &lt; b" in steps_html([step]) and "✗" in steps_html([step])
    assert "<b>" not in diff_html(["+<b>"])
