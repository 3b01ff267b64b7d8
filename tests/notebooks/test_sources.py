"""What every source notebook keeps: no outputs, a named kernel, typed parameters, a twin for review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from retailpulse_kernel.demo import JOBS
from retailpulse_kernel.parameters import read_parameters
from retailpulse_kernel.streaming.job import Job
from retailpulse_kernel.workbench import Workbench

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
def test_a_job_writes_the_tables_that_the_project_reads(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook names its figures itself; what reads them must find the same."""
    from retailpulse_kernel.tables import CATEGORY, SESSION, USER

    made: list[Job] = []
    monkeypatch.setattr(Job, "run", lambda job: made.append(job))
    monkeypatch.setattr("retailpulse_kernel._default", Workbench(namespace="never_used"))
    source = jupytext.read(ROOT / "notebooks" / "jobs" / f"{job}.py")
    names: dict[str, Any] = {}
    for cell in source.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    written = {"metrics": [CATEGORY], "engagement": [SESSION, USER], "archive": []}[job]
    assert [stream.table for stream, _ in made[0]._figures] == written
    assert made[0].name == job
