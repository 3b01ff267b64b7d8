"""The way to production in JupyterLab: a notebook passes the gate by a click, is seen among the jobs, and goes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.registry.registry import Registry
from tests.jobs import wait_until

pytestmark = pytest.mark.integration


def greeting(path: Path, text: str) -> None:
    """A notebook without a streaming job, so that the gate needs no Spark."""
    cells = [
        nbformat.v4.new_markdown_cell("# Greeting"),
        nbformat.v4.new_code_cell("name: str = 'nobody'  # who is greeted", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"print('{text}', name)"),
    ]
    kernel = {"name": "retailpulse", "display_name": "RetailPulse", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def registry(lab: Labs) -> Registry:
    return Registry(Settings.load(pipelines=lab.root / "pipelines"))


@pytest.fixture(scope="module")
def notebook(lab: Labs, browser: BrowserContext, registry: Registry) -> Iterator[Notebook]:
    cells = [
        f"import os\nos.environ['RETAILPULSE_PIPELINES'] = '{registry.folder}'",
        "rp.promote('greeting.ipynb')",
        "rp.jobs()",
    ]
    greeting(lab.root / "greeting.ipynb", "hello")
    write_notebook(lab.root / "way.ipynb", cells)
    opened = Notebook(browser, lab, "way.ipynb")
    opened.run(0)
    opened.run(1)
    yield opened
    opened.page.close()


def click(page: Page, place: str, text: str) -> None:
    page.locator(place).get_by_role("button", name=text).first.click()


def test_a_notebook_goes_to_production_by_a_click(notebook: Notebook, registry: Registry, lab: Labs) -> None:
    page = notebook.page
    page.wait_for_selector(".rp-gate h4:has-text('greeting → production')")
    page.fill(".rp-gate input[placeholder='nobody']", "Ada")
    page.keyboard.press("Tab")
    click(page, ".rp-gate", "Promote")
    page.wait_for_selector(".rp-verdict", timeout=120_000)
    steps = page.inner_text(".rp-steps")
    assert page.locator(".rp-verdict.good").count(), page.inner_text(".rp-gate")
    assert "1 typed, all read" in steps and "dry run" in steps
    assert "greeting/v1" in page.inner_text(".rp-verdict")
    assert registry.version("greeting").manifest.parameters == {"name": "Ada"}

    greeting(lab.root / "greeting.ipynb", "good morning")
    page.fill(".rp-gate input[placeholder='by hand']", "@daily")
    page.keyboard.press("Tab")
    page.wait_for_selector(".rp-diff:has-text('good morning')")
    assert "+ schedule @daily" in page.inner_text(".rp-diff")
    click(page, ".rp-gate", "Promote")
    page.wait_for_selector(".rp-verdict.bad, .rp-verdict:has-text('greeting/v2')", timeout=120_000)
    assert "greeting/v2" in page.inner_text(".rp-verdict"), page.inner_text(".rp-gate")


def test_a_job_goes_back_by_a_click(notebook: Notebook, registry: Registry) -> None:
    page = notebook.page
    notebook.run(2)
    page.wait_for_selector(".rp-jobs b:has-text('greeting')")
    click(page, ".rp-jobs", "Diff")
    page.wait_for_selector(".rp-jobs .rp-diff:has-text('good morning')")
    click(page, ".rp-jobs", "Run it")
    wait_until(lambda: registry.current("greeting").version == 1, "the way back", 30)
    click(page, ".rp-jobs", "Pause")
    page.wait_for_selector(".rp-jobs .rp-badge.held")
    assert registry.current("greeting").paused


def test_a_notebook_that_is_not_fit_stays_out(notebook: Notebook, registry: Registry, lab: Labs) -> None:
    greeting(lab.root / "greeting.ipynb", "/home/somebody/file")
    click(notebook.page, ".rp-gate", "Promote")
    notebook.page.wait_for_selector(".rp-verdict.bad:has-text('was not promoted')", timeout=60_000)
    assert "absolute path" in notebook.page.inner_text(".rp-steps")
    assert [version.label for version in registry.versions("greeting")] == ["v1", "v2"]


def test_nothing_left_the_machine(notebook: Notebook) -> None:
    assert notebook.requests == []
