"""What notebooks say that it moves, moves; and no chart of a notebook leads off the machine."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.namespaces import drop
from tests.browser.charts import leads_nowhere

pytestmark = pytest.mark.integration

START_HERE = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"
RATE, SECONDS = 50, 20
CANVAS = ".rp-canvas .rp-chart"


@pytest.fixture
def start_here(lab: Labs, browser: BrowserContext, shop: Settings) -> Iterator[Notebook]:
    """The notebook for beginners, up to the cell that moves, in a namespace of its own."""
    namespace = f"{shop.namespace_name}_start"
    source = nbformat.read(START_HERE, as_version=4)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    moves = next(place for place, cell in enumerate(code) if "canvas.draw" in cell.source)
    source.cells = code[: moves + 1]
    given = {"namespace": repr(namespace), "seconds": SECONDS, "rate": RATE}
    for name, value in given.items():
        code[0].source = re.sub(rf"^({name}: \w+ = )\S+", rf"\g<1>{value}", code[0].source, flags=re.MULTILINE)
    nbformat.write(source, lab.root / "start.ipynb")
    notebook = Notebook(browser, lab, "start.ipynb")
    for place in range(moves):
        notebook.run(place)
    yield notebook
    notebook.page.close()
    drop(Settings.load(namespace=namespace))


def counted(page: Page) -> int:
    """The events that the picture says and draws."""
    title, bars = page.evaluate(
        "c => [document.querySelector(`${c} .gtitle`).textContent, [...document.querySelector(c)._fullData[0].x]]",
        CANVAS,
    )
    events = int(title.replace(",", "").removesuffix(" events so far"))
    assert sum(bars) == events, title
    return events


def test_the_first_notebook_s_figure_moves_while_its_cell_runs(start_here: Notebook) -> None:
    page = start_here.page
    last = page.locator(".jp-CodeCell").count() - 1
    start_here.run(last, wait=False)
    page.wait_for_selector(f"{CANVAS} .gtitle")
    assert "*" in page.locator(".jp-InputPrompt").nth(last).inner_text(), "its cell runs"
    counts, pictures = [counted(page)], {page.locator(CANVAS).screenshot()}
    while counts[-1] < RATE * SECONDS:
        changed = f"n => !document.querySelector('{CANVAS} .gtitle').textContent.startsWith(n)"
        page.wait_for_function(changed, arg=f"{counts[-1]:,} ")
        counts.append(counted(page))
        pictures.add(page.locator(CANVAS).screenshot())
    assert counts == sorted(counts) and counts[-1] == RATE * SECONDS
    assert len(counts) >= 3 and len(pictures) >= 3, "it moved step by step, and not once at its end"
    leads_nowhere(page)
    assert start_here.errors == [] and start_here.requests == []


CELLS = [
    "import plotly.express as px\npx.bar(x=[1, 20_000, 208_000], y=['1499', '855', '<b>b</b>'])",
    "import plotly.express as px\npx.bar(x=[1], y=['a']).show()",
    """
import time
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.run.report import Report, shown
report = Report('metrics', 'here', 3, state='running')
with shown(report) as show:
    for batch in range(40):
        report.add(Account('metrics', 3, batch, {}, 10, 10, 0, 0, 0, 7, 0, 1000 * batch, 1000 * batch + 500))
        show()
        time.sleep(0.1)
""",
]


@pytest.fixture(scope="module")
def figures(lab: Labs, browser: BrowserContext) -> Iterator[Notebook]:
    write_notebook(lab.root / "figures.ipynb", CELLS)
    notebook = Notebook(browser, lab, "figures.ipynb")
    yield notebook
    notebook.page.close()


@pytest.mark.parametrize("cell", [0, 1])
def test_a_figure_of_plotly_s_has_no_way_out_and_plain_axes(figures: Notebook, cell: int) -> None:
    figures.run(cell)
    page = figures.page
    chart = page.locator(".jp-CodeCell").nth(cell).locator(".js-plotly-plot")
    chart.locator(".main-svg").first.wait_for()
    leads_nowhere(page)
    if cell == 0:
        assert "200,000" in chart.locator(".xtick").all_text_contents()
        assert chart.locator(".bars path").count() == 3 and "1499" in chart.locator(".ytick").all_text_contents()
    assert figures.errors == [] and figures.requests == []


def test_a_run_s_report_moves_while_its_cell_runs(figures: Notebook) -> None:
    figures.run(2, wait=False)
    output = figures.page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output").first
    seen, end = set(), time.monotonic() + 120
    while not any("400 = 400 accepted" in text for text in seen):
        assert time.monotonic() < end, seen
        seen.add(output.inner_text())
    assert len(seen) >= 3, seen
