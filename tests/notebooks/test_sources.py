"""What every source notebook keeps: no outputs, a named kernel, typed parameters, a twin for review."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from retailpulse_kernel.notebooks.files import is_test
from retailpulse_kernel.notebooks.parameters import read_parameters
from retailpulse_kernel.streaming.run.context import RunContext, using_context
from retailpulse_kernel.streaming.run.job import Job
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JOBS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
pytestmark = pytest.mark.notebooks


def test_there_are_notebooks() -> None:
    assert {f"{job}.ipynb" for job in JOBS} <= {p.name for p in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT)))
def test_it_is_committed_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "retailpulse"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT)))
def test_its_twin_says_the_same(path: Path) -> None:
    def cells(notebook: Any) -> list[tuple[str, str, list[str]]]:
        return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    twin = path.with_suffix(".py")
    assert cells(jupytext.read(twin)) == cells(jupytext.read(path)), f"jupytext --sync {path.relative_to(ROOT)}"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_typed_parameters_that_mean_the_same_in_each(job: str) -> None:
    parameters = read_parameters(ROOT / "notebooks" / "jobs" / f"{job}.ipynb")
    backfill = [] if job == "archive" else ["since", "until", "source", "late"]
    assert list(parameters) == ["run", "run_for", "trigger", "watermark", "dedup_horizon", *backfill]
    assert all(p.annotation is not Any and p.help for p in parameters.values())


@pytest.mark.parametrize("job", JOBS)
def test_a_job_writes_the_tables_that_the_project_reads(job: str, use_bench: Callable[[Any], None]) -> None:
    """The notebook names its figures itself; what reads them must find the same."""
    from retailpulse_kernel.shop.tables import CATEGORY, SESSION, USER

    made: list[Job] = []

    def run(job: Job) -> Report:
        made.append(job)
        return Report(job.name, job.settings.namespace.name, 0)

    source = jupytext.read(ROOT / "notebooks" / "jobs" / f"{job}.py")
    names: dict[str, Any] = {}
    use_bench(Workbench(namespace="never_used"))
    with using_context(RunContext(run_job=run)):
        for cell in source.cells:
            if cell.cell_type == "code" and not is_test(cell):
                exec(cell.source, names)
    written = {"metrics": [CATEGORY], "engagement": [SESSION, USER], "archive": []}[job]
    assert made[0].writes.tables == written
    assert made[0].name == job
