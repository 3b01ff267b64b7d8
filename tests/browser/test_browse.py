"""Topics and tables to look through: in a cell, and at JupyterLab's left side."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, jupyter_lab, write_notebook
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import EVENTS, REVENUE
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, grain_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan, write_plan

pytestmark = pytest.mark.integration

CELL, SIDE = ".jp-OutputArea .rp-browser", "#retailpulse-browse .rp-browser"
CONTRACT = '[fields.email]\npath = "user.email"\npersonal = true\n'


@pytest.fixture(scope="module")
def listed(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A namespace in which a job has written figures, and another one rows; and forty more tables."""
    contract = tmp_path_factory.mktemp("contract") / "shop.toml"
    contract.write_text(CONTRACT)
    settings = Settings.load(namespace=f"browse_{os.getpid()}", contract=contract, pipelines=contract.parent)
    ensure_topics(settings)
    columns = (("user_id", "string"), ("at", "timestamp"), ("email", "string"), ("total", "decimal(18,4)"))
    carts = RowsPlan("carts", columns, ("user_id", "at"), "append", "q", (("retail.events", "event_id"),))
    further = [
        FigureTable(f"sales_{n:02}", (EVENTS, REVENUE), ("currency", "brand"), (grain_of("hour"),)) for n in range(40)
    ]
    for job, tables in {
        "metrics": [TablePlan.describing(CATEGORY, "cassandra")],
        "carts": [TablePlan("carts", "cassandra", rows=carts)],
        "sales": [TablePlan.describing(table, "cassandra") for table in further],
    }.items():
        plan = Plan(job, "retail.events", "event_id", 600_000, (), "change", "publish", tables=tuple(tables))
        write_plan(new_epoch(f"{settings.checkpoints}/{job}", now_ms=1).path, plan)
    yield settings
    drop(settings)


@pytest.fixture(scope="module")
def running(listed: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    with jupyter_lab(listed, tmp_path_factory.mktemp("browse")) as found:
        yield found


@pytest.fixture(scope="module")
def notebook(running: Labs, browser: BrowserContext) -> Iterator[Notebook]:
    write_notebook(running.root / "browse.ipynb", ["rp.browse()"])
    opened = Notebook(browser, running, "browse.ipynb")
    yield opened
    opened.page.close()


def cells(page: Page) -> list[str]:
    return page.locator(".jp-CodeCell .cm-content").all_inner_texts()


def entry(page: Page, view: str, name: str) -> str:
    """Open an entry; its selector."""
    summary = f"{view} summary:has(b:text-is('{name}'))"
    page.click(summary)
    return f"{view} details:has(> summary b:text-is('{name}'))"


def test_a_figure_goes_into_the_next_cell(notebook: Notebook) -> None:
    page = notebook.page
    notebook.run(0)
    page.wait_for_selector(f"{CELL} h3:has-text('Tables (42)')")
    category = entry(page, CELL, "category")
    about = page.inner_text(f"{category} dl")
    assert "metrics draft" in about and "minute, hour, day" in about
    page.click(f"{category} button:text-is('revenue')")
    page.wait_for_function("() => document.querySelectorAll('.jp-CodeCell').length === 2")
    assert cells(page)[1] == 'rp.figures("revenue", by="category", last="1d")'
    page.click(f"{category} button:text-is('%%cql')")
    page.wait_for_function("() => document.querySelectorAll('.jp-CodeCell').length === 3")
    assert cells(page)[1] == "%%cql --limit 100\nselect * from category_minute", "below the cell of the view"


def test_the_search_finds_columns_and_the_keyboard_is_enough(notebook: Notebook) -> None:
    page = notebook.page
    page.fill(f"{CELL} .rp-search", "email")
    page.wait_for_function(f"() => document.querySelectorAll('{CELL} summary').length === 2")
    before = len(cells(page))
    page.focus(f"{CELL} .rp-search")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    carts = f"{CELL} details:has(> summary b:text-is('carts'))"
    page.wait_for_selector(f"{carts}[open] li.rp-hit em:text-is('personal')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_function("n => document.querySelectorAll('.jp-CodeCell').length === n + 1", arg=before)
    assert cells(page)[1] == 'rp.table("carts", order="-at", limit=100)'
    page.focus(f"{CELL} .rp-search")
    page.keyboard.press("Escape")
    assert page.input_value(f"{CELL} .rp-search") == ""
    page.fill(f"{CELL} .rp-search", "no such thing")
    page.wait_for_selector(f"{CELL} .rp-none")


def test_the_same_list_stands_at_the_side(notebook: Notebook, listed: Settings) -> None:
    page = notebook.page
    page.click(f"{CELL} .rp-aside")
    page.wait_for_selector(f"{SIDE} h3:has-text('Topics (4)')")
    events = entry(page, SIDE, "retail.events")
    assert page.locator(f"{events} li:has(code:text-is('email')) em").inner_text() == "personal"
    before = len(cells(page))
    page.click(f"{events} button:text-is('Newest messages')")
    page.wait_for_function("n => document.querySelectorAll('.jp-CodeCell').length === n + 1", arg=before)
    assert 'rp.kafka.tail(last="10m")' in cells(page)
    plan = Plan("late_one", "retail.events", "event_id", 600_000, (), "change", "publish",
                tables=(TablePlan.describing(CATEGORY, "hbase"),))  # fmt: skip
    write_plan(new_epoch(f"{listed.checkpoints}/late_one", now_ms=1).path, plan)
    page.click(f"{SIDE} .rp-refresh")
    page.wait_for_selector(f"{SIDE} h3:has-text('Tables (43)')")


def test_the_side_follows_a_kernel_that_starts_again(notebook: Notebook) -> None:
    page = notebook.page
    page.evaluate(f"() => document.querySelector('{SIDE}').dataset.old = 'yes'")
    page.click(".lm-MenuBar-itemLabel:text-is('Kernel')")
    page.click(".lm-Menu-itemLabel:text-is('Restart Kernel…')")
    page.click(".jp-Dialog button:has-text('Restart')")
    page.wait_for_selector(f"{SIDE}:not([data-old]) h3:has-text('Tables (43)')")


def test_nothing_was_wrong_and_nothing_left_the_machine(notebook: Notebook) -> None:
    assert notebook.errors == []
    assert notebook.requests == []
