"""Start here, the tours and what builds on them run top to bottom on the real servers, and their own checks hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.stores import namespaces
from tests.addresses import addresses_elsewhere

ROOT = Path(__file__).parents[2]
TOURS = sorted((ROOT / "notebooks").glob("tour_*.ipynb"))
pytestmark = [pytest.mark.notebooks, pytest.mark.integration, pytest.mark.long]


def texts(path: Path) -> str:
    notebook = nbformat.read(path, 4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert addresses_elsewhere(json.dumps([outputs, notebook.metadata])) == []
    return "\n".join(str(output.get("text") or output.get("data")) for output in outputs)


def run(stack: Settings, path: Path, tmp_path: Path, **given: str) -> str:
    namespace = f"ct_{path.stem}_{os.getpid()}"
    try:
        done = run_notebook(stack, path, {"namespace": namespace, **given}, output=tmp_path / path.name)
    finally:
        namespaces.drop(Settings.load(namespace=namespace))
    return texts(done.output)


def test_there_is_a_tour_of_each_store() -> None:
    assert {path.stem for path in TOURS} == {"tour_kafka", "tour_cassandra", "tour_hbase", "tour_hive"}


@pytest.mark.parametrize("path", TOURS, ids=lambda path: path.stem)
def test_a_tour(stack: Settings, path: Path, tmp_path: Path) -> None:
    shown = run(stack, path, tmp_path)
    assert "application/vnd.plotly.v1+json" in shown, "it has a picture"


def test_engagement_and_funnel(stack: Settings, tmp_path: Path) -> None:
    shown = run(stack, ROOT / "notebooks" / "funnel.ipynb", tmp_path, events="3000")
    assert "3,000 events, none of them lost or counted twice" in shown
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_data_quality(stack: Settings, tmp_path: Path) -> None:
    """With Spark: a job that follows a shop which makes mistakes on purpose."""
    shown = run(stack, ROOT / "notebooks" / "data_quality.ipynb", tmp_path, events="3000", run_for="5s")
    assert "3,000 messages: " in shown and "every cent of it as it was sold" in shown


def test_writing_a_job(stack: Settings, tmp_path: Path) -> None:
    shown = run(stack, ROOT / "notebooks" / "writing_a_job.ipynb", tmp_path, events="2000")
    assert "every cent of them as it was sold" in shown


@pytest.mark.timeout(600)
def test_promoting(stack: Settings, tmp_path: Path) -> None:
    shown = run(stack, ROOT / "notebooks" / "promoting.ipynb", tmp_path, sample="2000")
    assert "frozen as pipelines/brands/v1" in shown and "it takes over from v1" in shown


def test_start_here(stack: Settings, tmp_path: Path) -> None:
    """With Spark, once: its own job is what the notebook is about."""
    shown = run(stack, ROOT / "notebooks" / "00_start_here.ipynb", tmp_path, seconds="8")
    assert "800 events, and every cent of their revenue is there." in shown
    assert "5 of 800 messages" in shown and "application/vnd.jupyter.widget-view+json" in shown
