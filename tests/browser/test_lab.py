"""What the package adds to JupyterLab's pages: a new job from the launcher, and SQL's colours in magic cells."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, write_notebook
from retailpulse_kernel.promotion.gate.static import static_problems

pytestmark = pytest.mark.integration

#: The words of a cell and their colours.
_COLOURS = """n => [...document.querySelectorAll(".jp-CodeCell")[n].querySelectorAll(".cm-line span")]
  .map(span => [span.textContent, getComputedStyle(span).color])"""


@pytest.fixture(scope="module")
def page(lab: Labs, browser: BrowserContext) -> Iterator[Page]:
    cql = "%%cql --limit 5\nselect category from category_day"
    write_notebook(lab.root / "colours.ipynb", [cql, "def select(category):\n    return category", "select = 1"])
    page = browser.new_page()
    page.goto(lab.address("colours.ipynb"), wait_until="domcontentloaded")
    page.wait_for_selector(".jp-CodeCell .cm-line span:text-is('return')")
    yield page
    page.close()


def coloured(page: Page, cell: int) -> dict[str, str]:
    return dict(page.evaluate(_COLOURS, cell))


def test_a_magic_cell_has_the_colours_of_its_language(page: Page) -> None:
    sql, python = coloured(page, 0), coloured(page, 1)
    assert sql["select"] == sql["from"] == python["return"], "keywords"
    assert "category" not in sql and "select" not in coloured(page, 2), "which are names"


def test_the_colours_follow_what_is_typed(page: Page) -> None:
    cell = page.locator(".jp-CodeCell").nth(2)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.type("%%hive\nselect 1 from events")
    cell.locator(".cm-line span:text-is('select')").wait_for()
    page.keyboard.press("Control+a")
    page.keyboard.type("select = 2")
    cell.locator(".cm-line span:text-is('select')").wait_for(state="detached")


def test_the_launcher_makes_a_new_job(page: Page, lab: Labs) -> None:
    page.locator(".jp-Notebook").press("Escape")
    page.keyboard.press("Control+Shift+L")
    card = page.locator(".jp-LauncherCard:has-text('New RetailPulse job')")
    card.click()
    page.fill(".jp-Dialog input", "Brand sales")
    page.keyboard.press("Enter")
    page.wait_for_selector(".jp-Dialog:has-text(\"'Brand sales' can't be the name of a job\")")
    page.keyboard.press("Enter")
    page.wait_for_selector(".jp-Dialog", state="detached")
    assert not list(lab.root.glob("*rand*"))

    card.click()
    page.fill(".jp-Dialog input", "brand_sales")
    page.keyboard.press("Enter")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) h1:has-text('Job: brand_sales')")
    assert static_problems(lab.root / "brand_sales.ipynb", {}) == []
    assert (lab.root / "brand_sales.py").is_file()


def test_a_stranger_makes_no_job(lab: Labs) -> None:
    answer = httpx.post(f"{lab.url}/retailpulse/new-job", json={"name": "stranger"}, timeout=60)
    assert answer.status_code == 403
    assert not list(lab.root.rglob("stranger*"))
