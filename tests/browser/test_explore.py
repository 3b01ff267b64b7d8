"""The category explorer in JupyterLab: every question is answered, a click drills, and Python has what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from playwright.sync_api import BrowserContext, Page

from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.drawing import TITLES
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.namespaces import drop
from tests.archived import archive_events
from tests.browser.charts import leads_nowhere

pytestmark = pytest.mark.integration

VIEW = ".rp-explorer"


@pytest.fixture(scope="module")
def events() -> list[Event]:
    # Days ago, so that no live view of the same namespace shows them.
    start = (datetime.now(UTC) - timedelta(days=3)).replace(hour=9, minute=0, second=0, microsecond=0)
    shop = Generator(rate=20, seconds=600, start=start, currencies={"USD": 0.8, "EUR": 0.2})
    return [parse_event(message.value) for message in shop.messages()]


@pytest.fixture(scope="module")
def notebook(lab: Labs, browser: BrowserContext, shop: Settings, events: list[Event]) -> Iterator[Notebook]:
    start = min(event.event_time for event in events).replace(minute=0, second=0, microsecond=0)
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
             "print(len(explorer.frame), explorer.code)",
             "import time\nend = time.time() + 20\nwhile time.time() < end and explorer.chart.question != 'hours':\n"
             "    pass\nprint('it was', explorer.chart.question)"]  # fmt: skip
    write_notebook(lab.root / "explore.ipynb", cells)
    opened = Notebook(browser, lab, "explore.ipynb")
    opened.run(0)
    answered(opened.page, "categories", "")
    yield opened
    opened.page.close()


def answered(page: Page, question: str, categories: str) -> None:
    page.wait_for_selector(f"{VIEW}[data-question='{question}'][data-categories='{categories}'] .main-svg")
    # A top list says what it leaves out; anything else would be an error.
    page.wait_for_function(f"() => /^(.* gives all\\.)?$/.test(document.querySelector('{VIEW} .rp-note').textContent)")


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
    page.mouse.click(x, y)


def test_a_click_counts_while_it_draws_anew(notebook: Notebook) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-ask-categories")
    page.click(f"{VIEW} .rp-up")
    answered(page, "categories", "")
    page.evaluate(
        f"""() => {{ window.redrawing = setInterval(() => retailpulsePlotly.then(({{ plotly }}) => {{
            const chart = document.querySelector('{VIEW} .rp-answer');
            plotly.react(chart, [{{ ...chart.data[0] }}], {{ ...chart.layout }});
        }}), 20) }}"""
    )
    click_bar(page, "electronics")
    answered(page, "categories", "electronics")
    page.evaluate("() => clearInterval(window.redrawing)")
    page.click(f"{VIEW} .rp-up")
    answered(page, "categories", "")
    page.click(f"{VIEW} .rp-ask-brands")


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


def draws(page: Page, revenue: float) -> None:
    """Wait until all bars together are that long."""
    bars = f"[...document.querySelector('{VIEW} .rp-answer')._fullData[0].x]"  # numbers come as typed arrays
    page.wait_for_function(f"sum => Math.abs({bars}.reduce((a, b) => a + b, 0) - sum) < 0.01", arg=revenue)


def sold(events: list[Event], currency: str, minutes: range) -> float:
    signs = {"purchase": 1, "refund": -1}
    inside = [e for e in events if e.event_type in signs and e.currency == currency and e.event_time.minute in minutes]
    return float(sum(signs[e.event_type] * e.price * e.quantity for e in inside if e.price is not None))


def test_a_currency_is_chosen(notebook: Notebook, events: list[Event]) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-categories summary")
    page.click(f"{VIEW} .rp-all")
    page.click(f"{VIEW} .rp-categories summary")
    page.click(f"{VIEW} .rp-ask-categories")
    answered(page, "categories", "")
    page.select_option(f"{VIEW} .rp-currency", "EUR")
    page.wait_for_selector(f"{VIEW}[data-currency='EUR']")
    assert "EUR" in (page.text_content(f"{VIEW} .gtitle") or "")
    assert sold(events, "EUR", range(60)) > 0
    draws(page, sold(events, "EUR", range(60)))
    page.select_option(f"{VIEW} .rp-currency", "USD")
    page.wait_for_selector(f"{VIEW}[data-currency='USD']")
    draws(page, sold(events, "USD", range(60)))


def test_a_past_range_is_chosen_by_its_ends(notebook: Notebook, events: list[Event]) -> None:
    page = notebook.page
    whole = page.input_value(f"{VIEW} .rp-since"), page.input_value(f"{VIEW} .rp-until")
    assert whole[0].endswith("T09:00") and whole[1].endswith("T10:00"), "it shows what it began with"
    page.fill(f"{VIEW} .rp-since", whole[0].replace("T09:00", "T09:02"))
    page.fill(f"{VIEW} .rp-until", whole[1].replace("T10:00", "T09:05"))
    draws(page, sold(events, "USD", range(2, 5)))
    page.fill(f"{VIEW} .rp-until", whole[0])
    page.wait_for_function(f"() => document.querySelector('{VIEW} .rp-note').textContent.includes('range is empty')")
    page.select_option(f"{VIEW} .rp-range-of", "1h")
    page.wait_for_selector(f"{VIEW} .rp-past", state="hidden")
    page.select_option(f"{VIEW} .rp-range-of", "past")
    page.fill(f"{VIEW} .rp-since", whole[0])
    page.fill(f"{VIEW} .rp-until", whole[1])
    draws(page, sold(events, "USD", range(60)))


def test_any_figure_goes_by_any_dimension(notebook: Notebook, events: list[Event]) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-ask-by_dimension")
    answered(page, "by_dimension", "")
    page.select_option(f"{VIEW} .rp-by", "brand")
    page.wait_for_selector(f"{VIEW}[data-by='brand']")
    draws(page, sold(events, "USD", range(60)))
    page.select_option(f"{VIEW} .rp-figure", "units")
    page.wait_for_selector(f"{VIEW}[data-figure='units']")
    signs = {"purchase": 1, "refund": -1}
    draws(page, sum(signs.get(e.event_type, 0) * e.quantity for e in events if e.currency == "USD"))
    page.click(f"{VIEW} .rp-ask-categories")
    answered(page, "categories", "")


def test_python_has_what_is_shown(notebook: Notebook) -> None:
    notebook.run(1)
    said = notebook.page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output").inner_text()
    assert "frame = categories(rp, scope)" in said and "datetime(" in said
    assert int(said.split()[0]) == page_bars(notebook.page)


def test_it_answers_while_a_cell_runs(notebook: Notebook) -> None:
    page = notebook.page
    notebook.run(2, wait=False)
    page.wait_for_function("() => document.querySelectorAll('.jp-InputPrompt')[2].textContent.includes('*')")
    page.click(f"{VIEW} .rp-ask-hours")
    answered(page, "hours", "")
    said = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    said.wait_for()
    assert said.inner_text().strip() == "it was hours", "the cell saw the answer"


def page_bars(page: Page) -> int:
    return page.evaluate(f"() => document.querySelector('{VIEW} .rp-answer').data[0].y.length")


def test_nothing_was_wrong_and_nothing_left_the_machine(notebook: Notebook) -> None:
    assert notebook.errors == []
    assert notebook.requests == []


def test_it_follows_a_shop_that_has_just_opened(lab: Labs, browser: BrowserContext, shop: Settings) -> None:
    """What is stored while somebody looks is drawn; a day with a minute of events is drawn by the minute."""
    young = Settings.load(namespace=f"{shop.namespace_name}_young")
    store = CassandraStore(young)
    store.create(CATEGORY)

    def sell(price: str, number: int) -> None:
        sale = Event(f"e{number}", "purchase", datetime.now(UTC), "u", "s", "p", "1499", None, Decimal(price), 1, "USD",
                     f"o{number}", 1)  # fmt: skip
        sold.append(sale)
        for grain in CATEGORY.every:
            store.write(CATEGORY, grain, fold(sold, CATEGORY, grain), version=number)

    sold: list[Event] = []
    sell("200000.25", 1)
    write_notebook(lab.root / "young.ipynb", [f"rp.connect(namespace={young.namespace_name!r}).explore(last='1d')"])
    opened = Notebook(browser, lab, "young.ipynb")
    try:
        opened.run(0)
        page = opened.page
        answered(page, "categories", "")
        draws(page, 200_000.25)
        before = page.locator(f"{VIEW} .rp-answer").screenshot()
        page.click(f"{VIEW} .rp-follow")
        sell("50000.25", 2)
        draws(page, 250_000.5)
        assert page.locator(f"{VIEW} .rp-answer").screenshot() != before
        assert [text.strip() for text in page.locator(f"{VIEW} .ytick").all_text_contents()] == ["1499"]
        assert "200,000" in page.locator(f"{VIEW} .xtick").all_text_contents()
        page.click(f"{VIEW} .rp-ask-over_time")
        answered(page, "over_time", "")
        first, last = page.evaluate(
            f"() => document.querySelector('{VIEW} .rp-answer')._fullLayout.xaxis.range.map((end) => Date.parse(end))"
        )
        assert last - first >= 60_000, "an axis around the points, not one of nanoseconds"
        leads_nowhere(page)
        assert opened.errors == [] and opened.requests == []
    finally:
        opened.page.close()
        store.close()
        drop(young)
