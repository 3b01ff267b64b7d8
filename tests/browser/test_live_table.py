"""Live views of what any job writes, as a user has them: in JupyterLab, in a browser, on the real servers.

The tests write the tables and their plans, so every number that is shown is known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.answers.reading import money
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, ORDERS, REVENUE
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.rows import schema_of
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import Plan, RowsPlan, TablePlan, write_plan
from tests.addresses import addresses_elsewhere
from tests.browser.charts import leads_nowhere

pytestmark = pytest.mark.integration

BRANDS = tuple(f"brand {i:02}" for i in range(14))
SALES = FigureTable("sales", (EVENTS, REVENUE, ORDERS), ("currency", "brand"), (grain_of("minute"),))
CARTS = RowTable(
    "carts",
    (Column("user_id", "string"), Column("opened", "timestamp"), Column("items", "long"),
     Column("total", "decimal(18,4)")),
    ("user_id",),
)  # fmt: skip
BUSY = "import time\nend = time.time() + 12\nwhile time.time() < end:\n    pass"


class Jobs:
    """What two jobs have written, and go on to write when a test says so."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = CassandraStore(settings)
        self.store.create(SALES)
        self.store.create_rows(CARTS)
        self.sold: list[Event] = []
        self.carts: dict[str, dict[str, object]] = {}
        self.batch = 0
        rows = RowsPlan("carts", tuple((one.name, one.type) for one in CARTS.columns), CARTS.key, "update", "q",
                        ((settings.namespace.events_topic, "event_id"),))  # fmt: skip
        for job, table in (
            ("selling", TablePlan.describing(SALES, "cassandra")),
            ("carting", TablePlan("carts", "cassandra", rows=rows)),
        ):
            plan = Plan(job, "retail.events", "event_id", 600_000, (), "change", "publish", (table,))
            write_plan(new_epoch(f"{settings.checkpoints}/{job}", now_ms=1).path, plan)

    def sell(self, count: int, *, minutes: int = 0) -> None:
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        for i in range(len(self.sold), len(self.sold) + count):
            self.sold.append(
                Event(f"e{i}", "purchase", at, f"u{i}", f"s{i}", f"p{i}", "books", BRANDS[i * i % 14],
                      Decimal(1_000 + i) + Decimal("0.0123"), 1, "USD", f"o{i}", 1)
            )  # fmt: skip
        self.batch += 1
        (grain,) = SALES.every
        self.store.write(SALES, grain, fold(self.sold, SALES, grain), version=self.batch)

    def fill_cart(self, user: str, items: int, total: str) -> None:
        opened = datetime.now(UTC).replace(microsecond=0)
        row = {"user_id": user, "opened": opened, "items": items, "total": Decimal(total)}
        self.carts[user] = row
        self.batch += 1
        self.store.write_rows(
            CARTS,
            pa.Table.from_pylist([row], schema_of(CARTS)),
            by=MicroBatch(1, self.batch, self.batch, "carting/carts"),
        )


@pytest.fixture(scope="module")
def jobs(shop: Settings) -> Iterator[Jobs]:
    jobs = Jobs(shop)
    for minutes in (50, 30, 12, 5, 2):
        jobs.sell(40, minutes=minutes)
    for i in range(30):
        jobs.fill_cart(f"user {i:02}", i, f"{1_000 * i}.0500")
    yield jobs
    jobs.store.close()


@pytest.fixture(scope="module")
def notebook(lab: Labs, browser: BrowserContext, jobs: Jobs) -> Iterator[Notebook]:
    cells = [
        "rp.live('carts', refresh='0.5s')",
        "rp.live(figure='revenue', by='brand', refresh='0.5s')",
        "view = rp.live(figure=['revenue', 'average_order_value'], table='sales', refresh='0.5s')\nview",
        "rp.live(cql='select user_id, items from carts', refresh='0.5s', chart='bar')",
        BUSY,
        "print('the frame:', view.frame['revenue'].sum())",
        "rp.live('cart')",
    ]
    write_notebook(lab.root / "tables.ipynb", cells)
    opened = Notebook(browser, lab, "tables.ipynb")
    for cell in range(4):
        opened.run(cell)
        opened.page.wait_for_selector(f"{view(cell)}[data-drawn]")
    yield opened
    opened.page.close()


def view(cell: int) -> str:
    return f".jp-Notebook [data-windowed-list-index='{cell}'] .rp-table"


def text(page: Page, cell: int, row: str, column: int) -> str:
    """A cell of a view's table, by the text in the first column."""
    found = page.locator(f"{view(cell)} tbody tr").filter(has=page.locator("td:first-child", has_text=row))
    return found.locator("td").nth(column).inner_text()


def waits_for(page: Page, cell: int, row: str, column: int, shown: str) -> None:
    page.wait_for_function(
        """([view, row, column, shown]) => [...document.querySelectorAll(`${view} tbody tr`)].some((tr) =>
             tr.children[0].textContent === row && tr.children[column].textContent === shown)""",
        arg=[view(cell), row, column, shown],
    )


def revenue(jobs: Jobs, brand: str | None = None) -> Decimal:
    sold = (event for event in jobs.sold if brand in (None, event.brand))
    return sum((event.price for event in sold if event.price is not None), Decimal(0))


def test_a_table_of_rows_ticks_and_flashes_what_has_changed(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    assert text(page, 0, "user 29", 3) == "29,000.0500", "exact, thousands apart"
    jobs.fill_cart("user 07", 1_234, "7654321.0999")
    page.wait_for_selector(f"{view(0)} td.rp-changed:text-is('7,654,321.0999')")
    assert text(page, 0, "user 07", 2) == "1,234"
    assert page.locator(f"{view(0)} .rp-chart .bars").count() == 2, "a chart for each number"


def test_sort_and_filter_are_answered_in_the_page(notebook: Notebook) -> None:
    page = notebook.page
    first = f"{view(0)} tbody tr:first-child td:first-child"
    page.click(f"{view(0)} th >> nth=3 >> button")
    assert page.inner_text(first) == "user 07"
    page.click(f"{view(0)} th >> nth=3 >> button")
    assert page.inner_text(first) == "user 00", "numbers go by their value"
    page.fill(f"{view(0)} .rp-filters input >> nth=0", "USER 1")
    assert page.locator(f"{view(0)} tbody tr").count() == 10
    assert page.inner_text(f"{view(0)} .rp-count") == "10 of 30 rows"
    number = page.get_attribute(view(0), "data-number")
    page.wait_for_function(f"n => document.querySelector(`{view(0)}`).dataset.number > Number(n) + 1", arg=number)
    assert page.locator(f"{view(0)} tbody tr").count() == 10, "also of the rows that come"


def test_what_the_filters_leave_is_exported_exactly(notebook: Notebook, jobs: Jobs, tmp_path: Path) -> None:
    with notebook.page.expect_download() as download:
        notebook.page.click(f"{view(0)} .rp-export")
    download.value.save_as(tmp_path / "carts.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "carts.csv").read_text())))
    wanted = {user: cart for user, cart in jobs.carts.items() if user.startswith("user 1")}
    assert [row["user_id"] for row in rows] == sorted(wanted), "in the order that is shown"
    assert all(Decimal(row["total"]) == wanted[row["user_id"]]["total"] for row in rows)
    notebook.page.fill(f"{view(0)} .rp-filters input >> nth=0", "")


def test_a_figure_by_a_dimension_is_what_was_sold(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    jobs.sell(40)
    for brand in {event.brand for event in jobs.sold if event.brand}:
        waits_for(page, 1, brand, 2, f"{revenue(jobs, brand):,}")
    drawn = f"[...document.querySelectorAll(`{view(1)} .rp-chart`)].map((chart) => chart._fullData[0].type)"
    assert page.evaluate(drawn) == ["scatter", "bar"]
    bars = f"[...document.querySelectorAll(`{view(1)} .rp-chart`)[1]._fullData[0].x].reduce((a, b) => a + b, 0)"
    page.wait_for_function(f"sum => Math.abs({bars} - sum) < 0.01", arg=float(revenue(jobs)))


def test_without_a_dimension_it_is_a_big_number(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    page.wait_for_selector(f"{view(2)} .rp-tile b:text-is('{Decimal(money(revenue(jobs))):,} USD')")
    assert page.locator(f"{view(2)} .rp-tile span").all_text_contents() == ["Total revenue", "Average order value"]


def test_a_statement_is_read_again(notebook: Notebook, jobs: Jobs) -> None:
    jobs.fill_cart("user 03", 5_005, "1.5")
    waits_for(notebook.page, 3, "user 03", 1, "5,005")


def test_pause_stands_still_and_then_shows_the_newest(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    page.click(f"{view(0)} .rp-pause")
    before = page.get_attribute(view(0), "data-number")
    jobs.fill_cart("user 05", 51, "51")
    waits_for(page, 3, "user 05", 1, "51")  # the view beside it goes on
    assert page.get_attribute(view(0), "data-number") == before and text(page, 0, "user 05", 2) == "5"
    jobs.fill_cart("user 05", 52, "52")
    page.click(f"{view(0)} .rp-pause")
    waits_for(page, 0, "user 05", 2, "52")


def test_scrub_shows_an_earlier_range_and_live_returns(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    until = int((datetime.now(UTC) - timedelta(minutes=20)).timestamp()) // 60 * 60
    page.eval_on_selector(
        f"{view(1)} .rp-scrub", "(s, to) => { s.value = to; s.dispatchEvent(new Event('change')); }", str(until)
    )
    page.wait_for_function(f"() => document.querySelector(`{view(1)}`).dataset.until !== ''")
    early = sum((e.price for e in jobs.sold if e.price and e.event_time.timestamp() < until), Decimal(0))
    shown = page.locator(f"{view(1)} tbody td:nth-child(3)").all_text_contents()
    assert sum(Decimal(one.replace(",", "")) for one in shown) == early
    page.click(f"{view(1)} .rp-live")
    brand = jobs.sold[-1].brand or ""
    waits_for(page, 1, brand, 2, f"{revenue(jobs, brand):,}")


def test_drawn_by_another_column_at_the_page_s_wish(notebook: Notebook) -> None:
    page = notebook.page
    page.select_option(f"{view(1)} .rp-by", "")
    page.wait_for_function(f"() => document.querySelectorAll(`{view(1)} .rp-chart`).length === 1")
    page.select_option(f"{view(1)} .rp-by", "brand")
    page.wait_for_function(f"() => document.querySelectorAll(`{view(1)} .rp-chart`).length === 2")


def test_they_go_on_and_answer_while_a_cell_runs(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    notebook.run(4, wait=False)
    page.wait_for_function("() => document.querySelectorAll('.jp-InputPrompt')[4].textContent.includes('*')")
    jobs.fill_cart("user 09", 99, "99")
    waits_for(page, 0, "user 09", 2, "99")
    waits_for(page, 3, "user 09", 1, "99")
    page.select_option(f"{view(1)} .rp-by", "")
    page.wait_for_function(f"() => document.querySelectorAll(`{view(1)} .rp-chart`).length === 1")
    page.select_option(f"{view(1)} .rp-by", "brand")
    assert "*" in page.locator(".jp-InputPrompt").nth(4).inner_text(), "the cell still runs"


def test_python_has_the_rows_and_says_which_tables_there_are(notebook: Notebook, jobs: Jobs) -> None:
    page = notebook.page
    notebook.run(5)
    page.wait_for_selector(f".jp-OutputArea-output:has-text('the frame: {revenue(jobs)}')")
    notebook.run(6)
    page.wait_for_selector(".jp-OutputArea-output:has-text(\"Did you mean 'carts'\")")


def test_a_reload_shows_them_again(notebook: Notebook, jobs: Jobs) -> None:
    notebook.save()
    notebook.open()
    jobs.fill_cart("user 11", 1_111, "11.11")
    waits_for(notebook.page, 0, "user 11", 2, "1,111")
    jobs.sell(40)
    notebook.page.wait_for_selector(f"{view(2)} .rp-tile b:text-is('{Decimal(money(revenue(jobs))):,} USD')")


def test_nothing_was_wrong_and_nothing_left_the_machine(notebook: Notebook, lab: Labs) -> None:
    notebook.save()
    assert addresses_elsewhere((lab.root / "tables.ipynb").read_text()) == []
    leads_nowhere(notebook.page)
    assert notebook.errors == []
    assert notebook.requests == []
