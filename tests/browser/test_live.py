"""The live view as a user has it: in JupyterLab, in a browser, on the real servers.

The events come from the tests, and the rows that the job "metrics" would store are written by its own sink's store
with an account for each: so every number that is painted is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

import retailpulse_kernel as rp
from bench.browser import Labs, Notebook, write_notebook
from retailpulse_kernel.answers.corrected import corrected
from retailpulse_kernel.answers.reading import money, summarise
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.assets import plotly_js
from retailpulse_kernel.shop.events import Event, to_message
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, CORRECTED_AT, late_part
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.accounts import Account, Ledger
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch, open_epoch
from tests.addresses import addresses_elsewhere
from tests.browser.charts import leads_nowhere
from tests.jobs import produce

pytestmark = pytest.mark.integration

VIEW = ".rp-view"
CATEGORIES = ("electronics.audio", "electronics.phone", "apparel.shoes", "unknown")


class Shop:
    """Sends events, and stores their figures as the job does, a batch each time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = CassandraStore(settings)
        self.store.create(CATEGORY)
        self.epoch: Epoch = open_epoch(f"{settings.checkpoints}/metrics")
        self.ledger = Ledger(settings)
        self.sent: list[Event] = []
        self.late: list[Event] = []
        self._batch = 0

    def sell(self, count: int, *, at: datetime | None = None, category: str | None = None) -> list[Event]:
        moment = at or datetime.now(UTC)
        events = []
        for i in range(len(self.sent), len(self.sent) + count):
            purchase = i % 3 == 0
            events.append(
                Event(
                    f"e{i}", "purchase" if purchase else "view", moment, f"u{i}", f"s{i}", f"p{i}",
                    category or CATEGORIES[i % 4], None, Decimal(i % 97) + Decimal("0.0123"), 1 + i % 2,
                    "EUR" if i % 5 == 0 else "USD", f"o{i}" if purchase else None, 1 if purchase else None,
                )
            )  # fmt: skip
        produce(self.settings, [(e.user_id, to_message(e)) for e in events])
        self.sent += events
        return events

    def correct(self, events: list[Event], at: datetime) -> None:
        """What `retailpulse correct` writes of late events."""
        self.late += events
        part = late_part(CATEGORY)
        self.store.create(part)
        for grain in CATEGORY.every:
            rows = [row | {CORRECTED_AT.name: at} for row in fold(self.late, part, grain)]
            self.store.write(part, grain, rows, version=int(at.timestamp() * 1000))

    def store_all(self) -> None:
        """What the job "metrics" does with everything that was sent: the rows, then the account."""
        for grain in CATEGORY.every:
            rows = fold(self.sent, CATEGORY, grain)
            self.store.write(CATEGORY, grain, rows, version=version_of(self.epoch.start_ms, self._batch))
        ends = {str(p): end for p, (_, end) in KafkaStore(self.settings).offsets().items()}
        now = int(datetime.now(UTC).timestamp() * 1000)
        topic = self.settings.namespace.events_topic
        self.ledger.write(
            Account("metrics", self.epoch.number, self._batch, {topic: ends}, len(self.sent), len(self.sent), 0, 0, 0,
                    1, 0, now, now)
        )  # fmt: skip
        self._batch += 1


@pytest.fixture(scope="module")
def seller(shop: Settings) -> Iterator[Shop]:
    seller = Shop(shop)
    now = datetime.now(UTC)
    for minutes in (190, 130, 50, 40, 30, 20, 10, 5, 1):
        seller.sell(40, at=now - timedelta(minutes=minutes))
    seller.store_all()
    yield seller
    seller.store.close()


@pytest.fixture(scope="module")
def notebook(lab: Labs, browser: BrowserContext, seller: Shop) -> Iterator[Notebook]:
    cells = ["rp.live(currency='USD', hz=4)", "import time\nend = time.time() + 12\nwhile time.time() < end:\n    pass"]
    write_notebook(lab.root / "live.ipynb", cells)
    opened = Notebook(browser, lab, "live.ipynb")
    opened.run(0)
    shows(opened.page, seller, loaded=True)
    yield opened
    opened.page.close()


def painted(page: Page) -> dict[str, str]:
    return page.eval_on_selector(VIEW, "view => ({ ...view.dataset })")


def expected(
    seller: Shop, data: dict[str, str], currency: str = "USD", categories: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a plain fold of the sent events has for the range that is shown."""
    since, until = (datetime.fromtimestamp(int(data[end]), UTC) for end in ("since", "until"))
    every = (*seller.sent, *seller.late)
    events = [e for e in every if since <= e.event_time < until and (not categories or e.category in categories)]
    orders = [e for e in events if e.event_type == "purchase" and e.currency == currency]
    revenue = sum((e.price * e.quantity for e in orders), Decimal(0))
    return {"events": str(len(events)), "orders": str(len(orders)), "revenue": revenue}


def found(data: dict[str, str]) -> dict[str, Any]:
    return {"events": data["events"], "orders": data["orders"], "revenue": Decimal(data["revenue"].replace(",", ""))}


def shows(
    page: Page,
    seller: Shop,
    *,
    loaded: bool = False,
    seconds: float = 60,
    when: Callable[[dict[str, str]], bool] | None = None,
    **ask: Any,
) -> dict[str, str]:
    """Wait until the view shows exactly what was sent."""
    page.wait_for_selector(f"{VIEW}[data-frames]")
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    while True:
        data = painted(page)
        right = found(data) == expected(seller, data, **ask)
        if right and (not loaded or data["loaded"] == "true") and (when is None or when(data)):
            return data
        assert datetime.now(UTC) < deadline, f"{found(data)} is shown, not {expected(seller, data, **ask)}: {data}"
        page.wait_for_timeout(50)


def choose(page: Page, part: str, value: str) -> None:
    page.select_option(f"{VIEW} .rp-{part}", value)


def frames(page: Page) -> int:
    return int(painted(page)["frames"])


def test_it_paints_all_four_figures_and_the_strip(notebook: Notebook) -> None:
    page = notebook.page
    for name in ("line", "aov", "bar", "pie"):
        assert page.locator(f".rp-chart-{name} .main-svg").count() >= 1
    assert page.locator(".rp-chart-bar .bars path").count() == 4
    assert page.locator(".rp-chart-pie .slice").count() == 2
    assert re.fullmatch(r"[\d,]+", page.inner_text(".rp-lag")) and page.inner_text(".rp-late") == "0"


def test_new_events_are_shown_before_and_after_they_are_stored(notebook: Notebook, seller: Shop) -> None:
    seller.sell(50)
    shows(notebook.page, seller, when=lambda data: int(data["lag"]) > 0)
    seller.store_all()
    shows(notebook.page, seller, when=lambda data: data["lag"] == "0")


def test_the_running_minute_is_a_hollow_point_at_the_end_of_dashes(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    # Of one picture: the minutes of the line and of the dashes, as they are drawn, and the end of what is shown.
    drawn = f"""() => {{
            const traces = document.querySelector('{VIEW} .rp-chart-line')._fullData;
            const minutes = (name) => {{
                const {{ x, y }} = traces.find((trace) => trace.name === name) ?? {{ x: [], y: [] }};
                return [...x].filter((_, i) => y[i] !== null && y[i] !== undefined).map((at) => at.slice(0, 16));
            }};
            const until = document.querySelector('{VIEW}').dataset.until;
            const running = new Date((until - 60) * 1000).toISOString().slice(0, 16);
            const open = traces.find((trace) => trace.name === 'so far');
            return minutes('so far').at(-1) === running && !minutes('by minute').includes(running)
                && minutes('by minute').length > 0 && open.marker.symbol === 'circle-open' && open.line.dash === 'dot';
        }}"""
    sold, deadline = None, datetime.now(UTC) + timedelta(seconds=90)
    while not page.evaluate(drawn):
        now = datetime.now(UTC)
        assert now < deadline, painted(page)
        if sold != (minute := now.replace(second=0, microsecond=0)):
            seller.sell(30)  # in each minute that begins before the last one's events were drawn
            sold = minute
        page.wait_for_timeout(50)
    assert page.locator(f"{VIEW} .rp-chart-line .legendtext", has_text="so far").count() == 1
    seller.store_all()


def test_the_charts_draw_what_the_view_says(notebook: Notebook, seller: Shop) -> None:
    """New events move the bars themselves, and not only the numbers beside them."""
    page = notebook.page
    drawn = f"[...document.querySelector('{VIEW} .rp-chart-bar')._fullData[0].x].reduce((a, b) => a + b, 0)"
    before = page.evaluate(f"() => {drawn}")
    picture = page.locator(f"{VIEW} .rp-chart-bar").screenshot()
    seller.sell(40)
    page.wait_for_function(f"before => {drawn} > before", arg=before)
    data = shows(page, seller)
    page.wait_for_function(f"sum => Math.abs({drawn} - sum) < 0.001", arg=float(data["revenue"].replace(",", "")))
    assert page.locator(f"{VIEW} .rp-chart-bar").screenshot() != picture
    seller.store_all()


def test_numbers_are_those_of_figures_to_the_cent(notebook: Notebook, seller: Shop) -> None:
    seller.store_all()
    data = shows(notebook.page, seller, when=lambda data: data["lag"] == "0")
    since, until = (datetime.fromtimestamp(int(data[end]), UTC) for end in ("since", "until"))
    frame = rp.connect(namespace=seller.settings.namespace_name).figures(
        by="currency", since=since, until=until, grain="minute"
    )
    stored = frame.set_index("currency").loc["USD"]
    assert Decimal(data["revenue"].replace(",", "")) == stored["revenue"]
    assert int(data["orders"]) == stored["orders"]
    assert data["average"].replace(",", "") == money(stored["average_order_value"])
    assert int(data["events"]) == int(frame["events"].sum())


@pytest.mark.parametrize("seconds", ["300", "900", "10800", "21600", "86400", "3600"])
def test_a_window(notebook: Notebook, seller: Shop, seconds: str) -> None:
    choose(notebook.page, "window", seconds)
    data = shows(notebook.page, seller)
    assert int(data["until"]) - int(data["since"]) >= int(seconds)


def test_a_currency(notebook: Notebook, seller: Shop) -> None:
    choose(notebook.page, "currency", "EUR")
    assert found(shows(notebook.page, seller, currency="EUR"))["revenue"] > 0
    choose(notebook.page, "currency", "USD")
    shows(notebook.page, seller)


def test_all_money_in_the_base_currency(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    shows(page, seller)
    page.wait_for_selector(f"{VIEW} .rp-currency option[value='base']", state="attached")
    assert page.inner_text(f"{VIEW} .rp-currency option[value='base']") == "base currency (USD)"
    choose(page, "currency", "base")
    data = painted(page)
    own, other = expected(seller, data), expected(seller, data, "EUR")
    both = (own["revenue"] + other["revenue"] * Decimal("1.25")).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert other["revenue"] and found(data)["revenue"] == both
    assert int(data["orders"]) == int(own["orders"]) + int(other["orders"])
    day = datetime.now(UTC).date() - timedelta(days=1)
    assert page.inner_text(f"{VIEW} .rp-note") == f"Amounts in USD use the rates for EUR of {day}."
    choose(page, "currency", "USD")
    shows(page, seller)
    assert page.inner_text(f"{VIEW} .rp-note") == ""


def test_categories_by_their_tree(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-categories summary")
    page.check(f"{VIEW} .rp-tree input[value='electronics']")
    shows(page, seller, categories=CATEGORIES[:2])
    page.check(f"{VIEW} .rp-tree input[value='unknown']")
    shows(page, seller, categories=(*CATEGORIES[:2], "unknown"))
    page.click(f"{VIEW} .rp-all")
    page.click(f"{VIEW} .rp-categories summary")
    shows(page, seller)


def test_pause_stands_still_and_loses_nothing(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-pause")
    before = painted(page)
    seller.sell(30)
    seller.store_all()
    page.wait_for_timeout(1500)
    assert painted(page)["frames"] == before["frames"]
    page.click(f"{VIEW} .rp-pause")
    assert int(shows(page, seller)["events"]) >= int(before["events"])


def test_scrub_back_and_return(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    edge = int(painted(page)["until"])
    scrub(page, edge - 7200)
    data = shows(page, seller)
    assert int(data["until"]) == (edge - 7200) // 60 * 60 and int(data["events"]) > 0
    page.click(f"{VIEW} .rp-live")
    shows(page, seller, when=lambda data: int(data["until"]) >= edge)


def scrub(page: Page, to: int) -> None:
    page.eval_on_selector(
        f"{VIEW} .rp-scrub", "(s, to) => { s.value = to; s.dispatchEvent(new Event('input')); }", str(to)
    )


def test_replay_goes_on_by_itself(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    edge = int(painted(page)["until"])
    choose(page, "speed", "60")
    scrub(page, edge - 3600)
    start = int(painted(page)["until"])
    page.click(f"{VIEW} .rp-replay")
    data = shows(page, seller, when=lambda data: int(data["until"]) >= start + 120)
    assert int(data["until"]) < edge
    page.click(f"{VIEW} .rp-replay")
    halted = painted(page)["until"]
    page.wait_for_timeout(1500)
    assert painted(page)["until"] == halted
    page.click(f"{VIEW} .rp-live")


def test_freeze_keeps_a_copy(notebook: Notebook) -> None:
    page = notebook.page
    page.click(f"{VIEW} .rp-freeze")
    page.wait_for_selector(".rp-frozen section .main-svg")
    assert page.locator(".rp-frozen .rp-chart").count() == 4
    leads_nowhere(page)
    labels = "of => [...document.querySelectorAll(`${of} .rp-chart-bar .ytick`)].map((tick) => tick.textContent.trim())"
    assert page.evaluate(labels, ".rp-frozen") == page.evaluate(labels, f"{VIEW} > .rp-charts")
    assert sorted(page.evaluate(labels, ".rp-frozen")) == sorted(CATEGORIES)
    # Its colours are those of the page, also of a page whose theme changes: it is never dark on dark.
    kept = page.evaluate("() => [...document.querySelector('.rp-frozen .rp-chart-bar')._fullData[0].x]")
    ink = "of => getComputedStyle(document.querySelector(`${of} .rp-chart-bar .ytick text`)).fill"
    light = page.evaluate(ink, ".rp-frozen")
    page.evaluate("() => document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"light => ({ink})('.rp-frozen') !== light", arg=light)
    assert page.evaluate(ink, ".rp-frozen") == page.evaluate(ink, f"{VIEW} > .rp-charts") == "rgb(224, 224, 224)"
    assert page.evaluate("() => [...document.querySelector('.rp-frozen .rp-chart-bar')._fullData[0].x]") == kept
    page.evaluate("() => document.body.dataset.jpThemeLight = 'true'")
    page.click(".rp-frozen .rp-remove")
    assert page.locator(".rp-frozen section").count() == 0


def test_a_corrected_window_is_marked_and_says_when_and_how_much(notebook: Notebook, seller: Shop) -> None:
    page, at = notebook.page, datetime.now(UTC).replace(microsecond=0)
    moment = at - timedelta(minutes=25)
    late = [
        Event(
            f"late{i}", "purchase", moment, "u", "s", "p", "apparel.shoes", None, Decimal("6.25"), 1, "USD", f"l{i}", 1
        )
        for i in range(2)
    ]
    seller.correct(late, at)
    shows(
        page,
        seller,
        when=lambda data: page.locator(f"{VIEW} .rp-chart-line .legendtext", has_text="corrected").count() == 1,
    )
    marks = page.evaluate(
        f"""() => {{
            const traces = document.querySelector('{VIEW} .rp-chart-line')._fullData;
            const {{ x, customdata }} = traces.find((trace) => trace.name === 'corrected');
            return [...x].map((minute, i) => [minute.slice(11, 16), ...customdata[i]]);
        }}"""
    )
    said = f"<br>corrected at {at:%H:%M}, +12.50 USD (2 late events)"
    assert marks == [[f"{moment:%H:%M}", "12.50", said]]


def test_export_is_one_file_with_its_data(
    notebook: Notebook, browser: BrowserContext, seller: Shop, tmp_path: Path
) -> None:
    page = notebook.page
    data = shows(page, seller)
    with page.expect_download() as download:
        page.click(f"{VIEW} .rp-export")
    file = tmp_path / "export.html"
    download.value.save_as(file)
    held = json.loads(re.search(r'id="retailpulse-data">(.*?)</script>', file.read_text(), re.DOTALL)[1])
    assert held["revenue"] == data["revenue"].replace(",", "")
    assert Decimal(held["revenue"]) == sum(Decimal(value) for value in held["revenue_by_category"].values())
    library = plotly_js().decode().replace("</script", "<\\/script")
    own = file.read_text().replace(library, "")
    assert len(own) < len(library) / 10 and addresses_elsewhere(own) == []
    alone = browser.new_page()
    try:
        asked: list[str] = []
        alone.on("request", lambda request: asked.append(request.url))
        alone.goto(file.as_uri())
        alone.wait_for_function("() => document.querySelectorAll('#charts .main-svg').length >= 4")
        assert asked == [file.as_uri()]
        leads_nowhere(alone)
        paper = alone.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        assert paper == "rgb(255, 255, 255)", "also where the page around it is dark"
        labels = alone.locator("#charts .ytick").all_text_contents()
        assert {label.strip() for label in labels} >= set(CATEGORIES)
    finally:
        alone.close()


def test_it_goes_on_and_answers_while_a_cell_runs(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    notebook.run(1, wait=False)
    page.wait_for_function("() => document.querySelectorAll('.jp-InputPrompt')[1].textContent.includes('*')")
    seller.sell(20)
    shows(page, seller, seconds=10)
    choose(page, "window", "900")
    shows(page, seller)
    choose(page, "window", "3600")
    seller.sell(20)
    shows(page, seller, seconds=10)
    assert "*" in page.locator(".jp-InputPrompt").nth(1).inner_text(), "the cell still runs"
    seller.store_all()


def test_the_theme_follows_jupyterlab(notebook: Notebook) -> None:
    page = notebook.page
    ink = "() => document.querySelector('.rp-chart-bar').layout.font.color"
    light = page.evaluate(ink)
    page.evaluate("() => document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(f"light => ({ink})() !== light", arg=light)
    page.evaluate("() => document.body.dataset.jpThemeLight = 'true'")
    page.wait_for_function(f"light => ({ink})() === light", arg=light)


def test_a_hidden_tab_takes_the_newest_and_paints_nothing(notebook: Notebook, seller: Shop) -> None:
    page = notebook.page
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); " \
           "document.dispatchEvent(new Event('visibilitychange')); }"  # fmt: skip
    page.evaluate(hide, True)
    before = frames(page)
    for _ in range(5):
        seller.sell(10)
        page.wait_for_timeout(300)
    assert frames(page) == before
    page.evaluate(hide, False)
    shows(page, seller, seconds=5)
    assert frames(page) <= before + 5, "what came meanwhile is painted once, not frame by frame"
    seller.store_all()


def test_above_its_rate_it_follows_the_stored_figures_and_says_so(
    lab: Labs, browser: BrowserContext, seller: Shop
) -> None:
    """The threshold is an option, so that this needs no 10,000 events a second."""
    write_notebook(lab.root / "fast.ipynb", ["rp.live(currency='USD', hz=4, fold_up_to=20)"])
    opened = Notebook(browser, lab, "fast.ipynb")
    try:
        opened.run(0)
        page = opened.page
        shows(page, seller, loaded=True, when=lambda data: data["folding"] == "true")
        seller.sell(1_000)
        said = "() => document.querySelector('.rp-note').textContent"
        page.wait_for_function(f"({said})().includes('events/s are more than a view can fold: stored figures only')")
        # The note is there before the charts are painted, and may be before the last of them is counted.
        page.wait_for_selector(f"{VIEW}[data-folding='false'][data-lag='1000']")
        data = painted(page)
        assert int(found(data)["events"]) <= int(expected(seller, data)["events"]) - 1_000
        assert not re.search(r"\d", page.inner_text(".rp-age")), "nor does it say how new its newest event is"
        seller.store_all()
        shows(page, seller)
        page.wait_for_selector(f"{VIEW}[data-folding='true']")  # nothing has come for some seconds
        page.wait_for_function(f"({said})() === ''")
        seller.sell(20)
        shows(page, seller, when=lambda data: data["folding"] == "true" and int(data["lag"]) == 20)
        seller.store_all()
    finally:
        opened.page.close()


def test_two_browsers_see_the_same(notebook: Notebook, lab: Labs, browser: BrowserContext, seller: Shop) -> None:
    notebook.save()
    second = Notebook(browser, lab, "live.ipynb")
    try:
        first_data, second_data = shows(notebook.page, seller), shows(second.page, seller)
        assert found(first_data) == found(second_data)
        seller.sell(25)
        shows(second.page, seller)
        shows(notebook.page, seller)
    finally:
        second.page.close()


def test_a_reload_shows_it_again_without_a_gap(notebook: Notebook, seller: Shop) -> None:
    notebook.save()
    seller.sell(25)
    notebook.open()
    shows(notebook.page, seller, seconds=20)


def test_nothing_was_wrong_and_nothing_left_the_machine(notebook: Notebook, lab: Labs) -> None:
    notebook.save()
    assert addresses_elsewhere((lab.root / "live.ipynb").read_text()) == []
    leads_nowhere(notebook.page)
    assert notebook.errors == []
    assert notebook.requests == []


def test_python_has_the_same_numbers(seller: Shop) -> None:
    """The expectation of these tests is that of the product's own summary."""
    seller.store_all()
    now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    summary = summarise(corrected(seller.store), since=now - timedelta(hours=1), until=now, grain="minute")
    data = {"since": str(int((now - timedelta(hours=1)).timestamp())), "until": str(int(now.timestamp()))}
    assert summary.currencies["USD"].revenue == expected(seller, data)["revenue"]
