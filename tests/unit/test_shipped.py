"""What production runs out of the box: `pipelines/` holds the project's own notebooks, bound to no machine."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.files import is_parameters, is_test, read_notebook
from retailpulse_kernel.promotion.registry.registry import Registry
from retailpulse_kernel.promotion.registry.schedules import check_schedule
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.planning import plan_of
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JOBS

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Registry(Settings.load(pipelines=ROOT / "pipelines"))
SOURCES = {path.stem: path for folder in ("jobs", "batch") for path in (ROOT / "notebooks" / folder).glob("*.ipynb")}
#: When each runs, where it is not a stream.
SCHEDULES = {
    "compact": "40 * * * *",
    "correct": "*/3 * * * *",
    "reconcile": "10 * * * *",
    "close_day": "asset:archive",
    "quality": "*/15 * * * *",
    "retention": "30 3 * * *",
}


def promote(name: str) -> str:
    """What makes a shipped version anew; its events may be made up."""
    schedule = f' --schedule "{SCHEDULES[name]}"' if name in SCHEDULES else ""
    return f"retailpulse promote {SOURCES[name].relative_to(ROOT)}{schedule}"


def content(notebook: Path) -> list[tuple[str, str, bool]]:
    return [(cell.cell_type, cell.source, is_parameters(cell)) for cell in read_notebook(notebook).cells]


@pytest.mark.parametrize("name", SOURCES)
def test_it_is_the_current_notebook(name: str) -> None:
    assert name in REGISTRY.names(), f"It is not shipped: {promote(name)}"
    version = REGISTRY.version(name)
    version.require_intact()
    assert content(version.notebook) == content(SOURCES[name]), f"Another one is shipped: {promote(name)}"
    twin = [(cell.cell_type, cell.source) for cell in jupytext.read(version.script).cells]
    assert twin == [(kind, source) for kind, source, _ in content(SOURCES[name])]


@pytest.mark.parametrize("name", SOURCES)
def test_it_runs_when_it_should(name: str) -> None:
    manifest, current = REGISTRY.version(name).manifest, REGISTRY.current(name)
    assert manifest.schedule == SCHEDULES.get(name, "@continuous")
    check_schedule(manifest.schedule)
    assert not current.paused
    assert [step.verdict for step in manifest.steps if not step.ok] == [] and len(manifest.steps) >= 3
    if name in JOBS:
        assert manifest.parameters == {"run": "continuous", "run_for": "30m"}


@pytest.mark.parametrize("name", JOBS)
def test_it_means_what_the_notebook_means_now(name: str, use_bench: Callable[[Any], None]) -> None:
    """Also where not the notebook but a figure was changed."""
    made: list[Job] = []

    def run(job: Job) -> Report:
        made.append(job)
        return Report(job.name, job.settings.namespace.name, 0)

    names: dict[str, Any] = {}
    use_bench(Workbench(namespace="never_used"))
    with using_context(RunContext(run_job=run)):
        for cell in jupytext.read(SOURCES[name].with_suffix(".py")).cells:
            if cell.cell_type == "code" and not is_test(cell):
                exec(cell.source, names)
    assert REGISTRY.version(name).manifest.plan == plan_of(made[0]), f"A figure was changed: {promote(name)}"


def test_nothing_in_it_is_of_one_machine() -> None:
    files = [path for path in (ROOT / "pipelines").rglob("*") if path.is_file() and path.name != "README.md"]
    assert len(files) == 4 * len(SOURCES)
    machine = re.compile(
        rf"(?<![\w.:/])/(?:home|root|work|tmp|usr|opt|var|srv|mnt|data|Users)\b|localhost|\b\d+\.\d+\.\d+\.\d+\b"
        rf"|\b{re.escape(socket.gethostname())}\b|file:/"
    )
    found = {path.name: match[0] for path in files if (match := machine.search(path.read_text()))}
    assert found == {}
