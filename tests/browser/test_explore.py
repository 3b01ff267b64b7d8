"""The category explorer in JupyterLab: every question is answered, a click drills, and Python has what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.events import parse_event
from retailpulse_kernel.fold import fold
from retailpulse_kernel.generator import Generator
from retailpulse_kernel.live.drawing import TITLES
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.tables import CATEGORY
from tests.archived import archive_events

pytestmark = pytest.mark.integration

VIEW = ".rp-explorer"


@pytest.fixture(scope="module")
def notebook(lab: Labs, browser: BrowserContext, shop: Settings) -> Iterator[Notebook]:
    # Days ago, so that no live view of the same namespace shows them.
    start = (datetime.now(UTC) - timedelta(days=3)).replace(hour=9, minute=0, second=0, microsecond=0)
    events = [parse_event(message.value) for message in Generator(rate=20, seconds=600, start=start).messages()]
    store = CassandraStore(shop)
    store.create(CATEGORY)
    for grain in CATEGORY.every:
        store.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    store.close()
    hive = HiveStore(shop)
    hive.create()
    archive_events(hive.archive, events)
    hive.close()
    until = start + timedelta(hours=1)
    cells = [f"explorer = rp.explore(since='{start.isoformat()}', until='{until.isoformat()}')\nexplorer",
             "print(len(explorer.frame), explorer.code)"]  # fmt: skip
    write_notebook(lab.root / "explore.ipynb", cells)
    opened = Notebook(browser, lab, "explore.ipynb")
    opened.run(0)
    answered(opened.page, "categories", "")
    yield opened
    opened.page.close()


def answered(page: Page, question: str, categories: str) -> None:
    page.wait_for_selector(f"{VIEW}[data-question='{question}'][data-categories='{categories}'] .main-svg")
    page.wait_for_function(f"() => document.querySelector('{VIEW} .rp-note').textContent === ''")


@pytest.mark.parametrize("question", TITLES)
def test_every_question_is_answered(notebook: Notebook, question: str) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-ask-{question}")
    answered(page, question, "")
    title = page.text_content(f"{VIEW} .gtitle") or ""
    assert "all categories" in title


def test_a_click_drills_down_to_the_brands_and_up_again(notebook: Notebook) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-ask-categories")
    answered(page, "categories", "")
    click_bar(page, "electronics")
    answered(page, "categories", "electronics")
    click_bar(page, "electronics.smartphone")
    answered(page, "brands", "electronics.smartphone")
    page.click(f"{VIEW} .rp-up")
    answered(page, "brands", "electronics")


def click_bar(page: Page, name: str) -> None:
    page.wait_for_function(f"n => document.querySelector('{VIEW} .rp-answer').data[0].y.includes(n)", arg=name)
    place = page.evaluate(f"n => document.querySelector('{VIEW} .rp-answer').data[0].y.indexOf(n)", name)
    box = page.locator(f"{VIEW} .bars .point").nth(place).bounding_box()
    assert box is not None
    x, y = box["x"] + min(box["width"] / 2, 5), box["y"] + box["height"] / 2
    # Plotly takes a click only for what it has seen the mouse over, and forgets that when it draws anew.
    for step in range(100):
        page.mouse.move(x + step % 2, y)
        if page.locator(f"{VIEW} .hoverlayer .hovertext").count():
            break
        page.wait_for_timeout(50)
    page.mouse.click(x, y)


def test_several_are_compared(notebook: Notebook) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-categories summary")
    page.click(f"{VIEW} .rp-all")
    answered(page, "brands", "")
    page.check(f"{VIEW} .rp-tree input[value='computers']")
    answered(page, "brands", "computers")
    page.check(f"{VIEW} .rp-tree input[value='electronics.audio']")
    answered(page, "brands", "computers,electronics.audio")
    page.click(f"{VIEW} .rp-bar")
    assert page.locator(f"{VIEW} .rp-categories[open]").count() == 0, "a click elsewhere closes the tree"
    page.click(f"{VIEW} .rp-ask-categories")
    answered(page, "categories", "computers,electronics.audio")
    assert page.evaluate(f"() => document.querySelector('{VIEW} .rp-answer').data[0].y.length") == 2


def test_python_has_what_is_shown(notebook: Notebook) -> None:
    notebook.run(1)
    said = notebook.page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").inner_text()
    assert said.startswith("2 ") and "frame = categories(rp, scope)" in said


def test_nothing_was_wrong_and_nothing_left_the_machine(notebook: Notebook) -> None:
    assert notebook.errors == []
    assert notebook.requests == []
