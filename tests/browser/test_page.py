"""The page of the read API, in a browser: `retailpulse serve` on the real store, with figures that are known."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import httpx
import pandas as pd
import pytest
from playwright.sync_api import BrowserContext, expect

from bench.lab import free_port
from retailpulse_kernel.answers.reading import money
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.workbench.workbench import Workbench
from tests.browser.charts import leads_nowhere

pytestmark = pytest.mark.integration

MARKUP = '<b>"shoes", {red}</b>'
CATEGORIES = (MARKUP, "long" * 64, *(f"department{i}.category" for i in range(14)))


def sold(moments: Sequence[datetime], count: int = 64) -> list[Event]:
    """Events at some moments: of each category and two currencies, a third of them purchases."""
    events = []
    for moment in moments:
        for i in range(len(events), len(events) + count):
            purchase = i % 3 == 0
            events.append(
                Event(
                    f"e{i}", "purchase" if purchase else "view", moment, f"u{i % 40}", f"s{i}", f"p{i}",
                    CATEGORIES[i % len(CATEGORIES)], None, Decimal(i % 97) + Decimal("0.0123"), 1 + i % 2,
                    "EUR" if i % 5 == 0 else "USD", f"o{i}" if purchase else None, 1 if purchase else None,
                )
            )  # fmt: skip
    return events


def store(settings: Settings, events: list[Event], version: int) -> None:
    """The rows that the job "metrics" would have written."""
    table = CATEGORY.within(contract_of(settings).shop.calendar)
    with contextlib.closing(CassandraStore(settings)) as opened:
        opened.create(table)
        for grain in table.every:
            opened.write(table, grain, fold(events, table, grain), version=version)


@contextlib.contextmanager
def served(settings: Settings, port: int, *options: str) -> Iterator[str]:
    """`retailpulse serve`, killed with the block."""
    command = [Path(sys.executable).with_name("retailpulse"), "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, env={**os.environ, **environment(settings)})
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/api/v1/health", timeout=10, trust_env=False).is_success:
                    break
            assert process.poll() is None and time.monotonic() < deadline, "`retailpulse serve` does not answer"
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


class Shown:
    """The page in a tab, with what went wrong in it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else self.note(r.url))
        self.page.goto(address)

    def note(self, url: str) -> None:
        self.elsewhere.append(url)

    @property
    def data(self) -> dict[str, str]:
        return self.page.eval_on_selector("main", "main => ({ ...main.dataset })")

    def choose(self, part: str, value: str) -> dict[str, str]:
        """Choose a range or a currency, and wait for its picture."""
        before = int(self.data["frames"])
        self.page.select_option(f".rp-{part}", value)
        self.page.wait_for_function("n => Number(document.querySelector('main').dataset.frames) > n", arg=before)
        return self.data

    def drawn(self, chart: str) -> list[dict[str, Any]]:
        """The traces of a chart as Plotly has them."""
        keep = "({ name, x, y, labels, values, value, customdata, marker, line })"
        return self.page.evaluate(
            f"chart => document.querySelector(`.rp-chart-${{chart}}`).data.map({keep} => {keep})", chart
        )

    def status(self, text: str, seconds: float = 40) -> None:
        expect(self.page.locator(".rp-note")).to_contain_text(text, timeout=seconds * 1000)


def exact(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


@pytest.fixture(scope="module")
def business(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A shop in Kolkata, whose days begin at half past six in UTC, with a rate for euros."""
    contract = tmp_path_factory.mktemp("business") / "shop.toml"
    contract.write_text('[shop]\nname = "Lamps & <more>"\nzone = "Asia/Kolkata"\nrates = "rates.csv"\n')
    published = datetime.now(UTC).date() - timedelta(days=1)
    contract.with_name("rates.csv").write_text(f"Date,USD,\n{published},1.25,\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_CONTRACT", str(contract))
        # The versions of the checkout are of a shop in UTC; a job of this shop would have told its own plan.
        patch.setenv("RETAILPULSE_PIPELINES", str(contract.parent))
        yield from filled(Settings.load(namespace=f"browser_page_{os.getpid()}"))


def filled(settings: Settings) -> Iterator[Settings]:
    now = datetime.now(UTC)
    moments = [now - timedelta(minutes=m) for m in (3_000, 1_200, 290, 130, 50, 41, 40, 30, 20, 10, 5, 1)]
    store(settings, sold([*(moment - timedelta(days=7) for moment in moments), *moments]), version=1)
    yield settings
    drop(settings)


@pytest.fixture(scope="module")
def address(business: Settings) -> Iterator[str]:
    with served(business, free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def shown(browser: BrowserContext, address: str) -> Iterator[Shown]:
    opened = Shown(browser, address)
    opened.page.wait_for_selector("main[data-frames]")
    yield opened
    assert not opened.errors and not opened.elsewhere, (opened.errors, opened.elsewhere)
    opened.page.close()


def figures(business: Settings, data: dict[str, str], **asked: Any) -> pd.DataFrame:
    """What `rp.figures` says of the range that a page shows."""
    since, until = (datetime.fromtimestamp(int(data[end]), UTC) for end in ("since", "until"))
    return Workbench(namespace=business.namespace_name).figures(since=since, until=until, **asked)


@pytest.mark.parametrize("span", ["1h", "1d", "7d", "30d", ""])
def test_numbers_are_those_of_figures(shown: Shown, business: Settings, span: str) -> None:
    shown.choose("window", "6h")
    data = shown.choose("window", span)
    frame = figures(business, data, by="currency")
    stored = frame.set_index("currency").loc["USD"]
    assert stored["orders"] > 0
    assert exact(data["revenue"]) == stored["revenue"] and int(data["orders"]) == stored["orders"]
    assert data["average"].replace(",", "") == money(stored["average_order_value"])
    assert int(data["events"]) == int(frame["events"].sum())


def test_charts_draw_these_numbers(shown: Shown, business: Settings) -> None:
    data = shown.choose("window", "1d")
    (bar,) = shown.drawn("bar")
    frame = figures(business, data, by="category")
    stored = frame[frame["currency"] == "USD"].set_index("category")["revenue"].sort_values(ascending=False)
    assert [exact(label[1]) for label in reversed(bar["customdata"])] == [*stored[:12], stored[12:].sum()]
    assert bar["customdata"][0][0] == "4 more"
    (pie,) = shown.drawn("pie")
    types = figures(business, data, by="event_type").groupby("event_type", observed=True)["events"].sum()
    assert dict(zip(pie["labels"], pie["values"], strict=True)) == types.to_dict()
    total, line, *_ = shown.drawn("line")
    by_hour = figures(business, data, by=["bucket", "currency"], every="hour")
    dollars = by_hour[by_hour["currency"] == "USD"]
    over = dollars[dollars["complete"]]
    zone = ZoneInfo("Asia/Kolkata")
    assert [x for x, y in zip(line["x"], line["y"], strict=True) if y is not None] == [
        f"{moment.astimezone(zone):%Y-%m-%dT%H:%M:%S}" for moment in over["bucket"]
    ]
    assert exact(total["customdata"][-1][0]) == dollars["revenue"].sum() == exact(data["revenue"])


def test_a_window_that_is_not_over_is_hollow_at_the_end_of_dashes(shown: Shown) -> None:
    shown.choose("window", "1d")
    open_ = next(trace for trace in shown.drawn("line") if trace["name"] == "so far")
    assert (open_["marker"]["symbol"], open_["line"]["dash"]) == ("circle-open", "dot")
    assert open_["marker"]["size"][-1] > 0


def test_money_of_each_currency_and_of_all_in_the_base_currency(shown: Shown, business: Settings) -> None:
    data = shown.choose("window", "1d")
    dollars = exact(data["revenue"])
    euros = exact(shown.choose("currency", "EUR")["revenue"])
    assert euros == figures(business, data, by="currency").set_index("currency").loc["EUR", "revenue"] > 0
    assert "currency=EUR" in shown.page.url and "range=1d" in shown.page.url
    both = (dollars + euros * Decimal("1.25")).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert exact(shown.choose("currency", "base")["revenue"]) == both
    shown.status("Amounts in USD use the rates for EUR of")
    shown.choose("window", "30d")
    shown.status("There is no rate for EUR: ")
    shown.choose("currency", "USD")
    assert not shown.page.inner_text(".rp-note")


def test_names_are_text_and_no_chart_leads_elsewhere(shown: Shown) -> None:
    shown.choose("window", "7d")
    assert shown.page.inner_text("h1") == shown.page.title() == "Lamps & <more>"
    assert MARKUP in shown.page.locator(".rp-chart-bar").inner_text()
    leads_nowhere(shown.page)


def test_it_goes_on_by_itself(shown: Shown, business: Settings) -> None:
    before = shown.choose("window", "1h")
    events = sold([datetime.now(UTC) - timedelta(minutes=2)])
    store(business, events, version=2)
    shown.page.wait_for_function(
        "events => document.querySelector('main').dataset.events !== events", arg=before["events"], timeout=30_000
    )


@pytest.mark.parametrize("width", [900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(shown: Shown, width: int, scheme: Literal["light", "dark"]) -> None:
    page = shown.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    dark = page.evaluate("() => document.body.dataset.jpThemeLight") == "false"
    assert dark == (scheme == "dark")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.rp-chart')].every((c) => c.scrollWidth <= c.clientWidth + 1)"
    )
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    for chart in page.locator(".rp-chart").all():
        title, box = chart.locator(".gtitle").bounding_box(), chart.bounding_box()
        assert title and box and title["x"] + title["width"] <= box["x"] + box["width"]


def test_before_the_first_event(browser: BrowserContext, stack: Settings) -> None:
    with served(Settings.load(namespace=f"browser_empty_{os.getpid()}"), free_port()) as address:
        shown = Shown(browser, address)
        expect(shown.page.locator(".rp-empty")).to_have_text(
            "No events yet today. This page shows the first ones by itself."
        )
        assert not shown.page.locator(".rp-charts").is_visible() and not shown.errors
        shown.page.close()


def test_a_stopped_api_and_its_return(browser: BrowserContext, business: Settings) -> None:
    port = free_port()
    with served(business, port) as address:
        shown = Shown(browser, f"{address}/?range=1d")
        shown.page.wait_for_selector("main[data-frames]")
        before = shown.data
    shown.status("The read API does not answer: it is down or restarts. The figures are those of ")
    assert shown.data["revenue"] == before["revenue"] and shown.page.locator(".rp-old .rp-charts").is_visible()
    with served(business, port):
        expect(shown.page.locator("main:not(.rp-old)")).to_be_visible(timeout=40_000)
        expect(shown.page.locator(".rp-note")).to_have_text("")
        shown.page.close()


def test_a_token_is_asked_for(browser: BrowserContext, business: Settings, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct horse")
    with served(business, free_port(), "--token", f"file:{token}") as address:
        shown = Shown(browser, f"{address}/?range=1d")
        shown.status("The read API asks for a token.")
        field = shown.page.get_by_label("Token of the read API")
        field.fill("wrong")
        field.press("Enter")
        shown.status("The read API does not take this token.")
        field.fill("correct horse")
        field.press("Enter")
        shown.page.wait_for_selector("main[data-frames]")
        assert exact(shown.data["revenue"]) > 0 and not field.is_visible()
        assert "horse" not in shown.page.url
        shown.page.reload()
        shown.page.wait_for_selector("main[data-frames]")
        shown.page.close()
