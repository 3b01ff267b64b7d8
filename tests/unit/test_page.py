"""The page of the read API: what it is made of comes from the API, and holds no figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.answers.request import Asked, asked
from retailpulse_kernel.answers.rows import figure_rows, funnel_rows
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from tests.addresses import addresses_elsewhere
from tests.memory import MemoryStore

NOW = datetime(2026, 3, 4, 9, 30, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(MemoryStore(), token="s3cret")) as made:
        yield made


def parts(client: TestClient) -> dict[str, str]:
    """The texts of the page and of all that it leads to, by their addresses."""
    found: dict[str, str] = {}
    waiting = ["/"]
    while waiting:
        address = waiting.pop()
        if address not in found:
            response = client.get(address)
            assert response.status_code == 200, address
            found[address] = response.text
            waiting += [
                urljoin(address, there)
                for there in re.findall(r'(?:from |src=|href=)"([^"]+\.(?:mjs|js|css))"', response.text)
                if not address.endswith("plotly.js")
            ]
    return found


def test_all_parts_come_without_a_token_and_from_nowhere_else(client: TestClient) -> None:
    found = parts(client)
    names = {PurePosixPath(address).name for address in found}
    assert {"page.mjs", "answers.mjs", "charts.mjs", "model.mjs", "plotly.js", "live.css", "page.css"} <= names
    for address, text in found.items():
        if not address.endswith("plotly.js"):
            assert not addresses_elsewhere(text), address


def test_the_page_may_ask_nobody_but_the_api(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "script-src 'self';" in policy


def test_what_is_kept_is_not_sent_again(client: TestClient) -> None:
    for address in ("/", "/page/plotly.js"):
        tag = client.get(address).headers["etag"]
        again = client.get(address, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["live/js/live.mjs", "api/page.py", "../api/v1/shop", "..%2f..%2fpyproject.toml", ""])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(f"/page/{path}").status_code in (401, 404)


def test_figures_and_the_shop_still_ask_for_the_token(client: TestClient) -> None:
    for address in ("/api/v1/shop", "/api/v1/figures/revenue", "/metrics", "/docs", "/pages"):
        assert client.get(address).status_code == 401, address
    allowed = {"Authorization": "Bearer s3cret"}
    shop: dict[str, Any] = client.get("/api/v1/shop", headers=allowed).json()
    assert (shop["zone"], shop["currency"], shop["has_rates"]) == ("UTC", "USD", False)
    assert shop["titles"]["average_order_value"] == "Average order value"


def ask(**texts: str) -> Asked:
    return asked(**texts, now=NOW, calendar=Calendar("Asia/Kolkata"))


class TestTheNewestSpan:
    def test_ends_with_the_present_minute(self) -> None:
        found = ask(last="1h")
        assert (found.since, found.until) == (
            datetime(2026, 3, 4, 8, 31, tzinfo=UTC), datetime(2026, 3, 4, 9, 31, tzinfo=UTC),
        )  # fmt: skip
        assert ask(last="1h", until="2026-03-04T07:00:00Z").since == datetime(2026, 3, 4, 6, tzinfo=UTC)

    def test_may_be_a_period_of_the_shop(self) -> None:
        found = asked(last="yesterday", now=datetime.now(UTC), calendar=Calendar("Asia/Kolkata"))
        assert found.until - found.since == timedelta(days=1) and (found.since.hour, found.since.minute) == (18, 30)
        today = asked(last="today", now=(now := datetime.now(UTC)), calendar=Calendar("Asia/Kolkata"))
        assert today.since == found.until and today.until > now

    @pytest.mark.parametrize(
        "texts", [{"last": "1h", "since": "2026-03-04"}, {"last": "soon"}, {"last": "9999999999d"}, {"last": "-1h"}]
    )
    def test_is_refused_in_words(self, texts: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            ask(**texts)


def test_the_served_table_is_read_by_the_shops_clock() -> None:
    """In Kolkata hours and days begin at half past an hour of UTC."""
    store, table = MemoryStore(), CATEGORY.within(Calendar("Asia/Kolkata"))
    store.create(table)
    kinds = ("view", "view", "add_to_cart")
    events = [
        Event(f"e{i}", kinds[i % 3], NOW - timedelta(minutes=20 * i), "u", "s", "p", category="books")
        for i in range(300)
    ]
    for grain in table.every:
        store.write(table, grain, fold(events, table, grain), version=1)
    question = ask(since="2026-03-01T18:10:00Z", until="2026-03-04T09:31:00Z")
    inside = [one for one in events if question.since <= one.event_time < question.until]
    with ThreadPoolExecutor(1) as pool:
        (row,) = figure_rows(store, pool, "events", question, now=NOW)
        steps = {step["step"]: step["value"] for step in funnel_rows(store, pool, question)}
    assert row["value"] == len(inside)
    assert steps == {
        "view": sum(one.event_type == "view" for one in inside),
        "add_to_cart": sum(one.event_type == "add_to_cart" for one in inside), "purchase": 0,
    }  # fmt: skip
