"""The read API on the in-memory twin: its answers are the figures, and whatever is asked, it never breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from retailpulse_kernel.answers.reading import money, summarise
from retailpulse_kernel.answers.request import asked
from retailpulse_kernel.answers.rows import figure_rows
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.cache import AnswerCache
from retailpulse_kernel.cli import main
from retailpulse_kernel.ground.errors import StoreUnavailable, UsageError
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.hive.archive import Archive
from tests.archived import archive_events
from tests.memory import MemoryStore

START = datetime(2026, 3, 1, 22, 58, tzinfo=UTC)
END = START + timedelta(minutes=200)
RANGE = {"from": START.isoformat(), "to": END.isoformat()}


def shop() -> list[Event]:
    """A view and a purchase of i cents and a hundredth each minute, every fifth in euros."""
    events = []
    for i in range(200):
        common = {
            "event_time": START + timedelta(minutes=i), "user_id": f"u{i % 7}", "session_id": "s", "product_id": "p",
            "category": ("books", "shoes.sport", "toys")[i % 3],
        }  # fmt: skip
        events.append(Event(event_id=f"v{i}", event_type="view", **common))
        order = {"order_id": f"o{i}", "order_line": 1, "price": Decimal(i) / 100 + Decimal("0.0001")}
        currency = "EUR" if i % 5 == 0 else "USD"
        events.append(Event(event_id=f"p{i}", event_type="purchase", currency=currency, **order, **common))
    return events


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    made = MemoryStore()
    made.create(CATEGORY)
    for grain in CATEGORY.every:
        made.write(CATEGORY, grain, fold(shop(), CATEGORY, grain), version=1)
    return made


@pytest.fixture(scope="module")
def client(store: MemoryStore) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as made:
        yield made


def rows(client: TestClient, name: str, **asked_for: Any) -> list[dict[str, Any]]:
    response = client.get(f"/api/v1/figures/{name}", params={**RANGE, **asked_for})
    assert response.status_code == 200, response.text
    return response.json()["rows"]


class TestFigures:
    def test_revenue_is_the_summary_s_in_every_form(self, client: TestClient, store: MemoryStore) -> None:
        summary = summarise(store, since=START, until=END)
        found = {row["currency"]: row for row in rows(client, "revenue")}
        assert found.keys() == {"EUR", "USD"}
        for currency, row in found.items():
            revenue = summary.currencies[currency].revenue
            assert row["decimal"] == money(revenue)
            assert Decimal(row["minor"]).scaleb(row["exponent"]) == revenue

    def test_revenue_by_category_of_one_currency_largest_first(self, client: TestClient, store: MemoryStore) -> None:
        expected = summarise(store, since=START, until=END).currencies["USD"].revenue_by_category
        found = rows(client, "revenue", by="category", currency="USD")
        assert [(row["category"], row["decimal"]) for row in found if row["minor"]] == [
            (category, money(revenue)) for category, revenue in expected.items()
        ]
        assert rows(client, "revenue", by="category", currency="USD", limit=1) == found[:1]
        asked = {**RANGE, "by": "category", "currency": "USD", "limit": 1}
        assert client.get("/api/v1/figures/revenue", params=asked).json()["total_rows"] == len(found)
        assert rows(client, "revenue", by="category", currency="USD", category="books") == [
            row for row in found if row["category"] == "books"
        ]

    @pytest.mark.parametrize("grain", ["minute", "5m", "hour", "6h", "day", "week"])
    def test_revenue_over_time_with_running_total_and_peaks(
        self, client: TestClient, store: MemoryStore, grain: str
    ) -> None:
        for currency, expected in summarise(store, since=START, until=END, grain=grain).currencies.items():
            found = rows(client, "revenue", by="bucket", grain=grain, currency=currency)
            assert [(r["decimal"], r["running_total_decimal"], r["peak"]) for r in found if r["minor"]] == [
                (money(b.revenue), money(b.running_total), b.peak) for b in expected.revenue_over_time if b.revenue
            ]

    @pytest.mark.parametrize("name", ["revenue", "orders", "average_order_value", "active_users"])
    def test_a_window_that_runs_or_is_cut_says_so(self, store: MemoryStore, name: str) -> None:
        asking = {"since": RANGE["from"], "until": RANGE["to"], "by": "bucket,currency", "grain": "hour"}
        now = START + timedelta(minutes=150)  # 01:28
        with ThreadPoolExecutor(1) as pool:
            found = figure_rows(store, pool, name, asked(**asking, now=now), now=now)
        dollars = [row for row in found if row["currency"] == "USD"]
        assert [row["complete"] for row in dollars] == [False, True, True, False, False]  # 22:58 to 02:18
        values = [row["value"] for row in dollars]
        assert [row["complete_value"] for row in dollars] == [None, *values[1:3], None, None]
        assert [row["unfinished_value"] for row in dollars] == values, "with their neighbours, where the line begins"

    def test_what_is_over_has_no_dashes(self, client: TestClient) -> None:
        whole = {"from": "2026-03-01T23:00:00Z", "to": "2026-03-02T02:00:00Z"}
        for row in rows(client, "revenue", by="bucket", grain="hour", currency="USD", **whole):
            assert row["complete"] and row["complete_value"] == row["value"] and row["unfinished_value"] is None

    def test_a_shifted_range_lies_under_the_unshifted_one(self, client: TestClient) -> None:
        later = {"from": (START + timedelta(days=7)).isoformat(), "to": (END + timedelta(days=7)).isoformat()}
        plain = rows(client, "orders", by="bucket", grain="hour")
        moved = rows(client, "orders", by="bucket", grain="hour", shift="7d", **later)
        assert [row["value"] for row in moved] == [row["value"] for row in plain]
        for row, before in zip(moved, plain, strict=True):
            assert datetime.fromisoformat(row["bucket"]) - datetime.fromisoformat(before["bucket"]) == timedelta(days=7)

    def test_counts_cross_currencies_and_money_does_not(self, client: TestClient) -> None:
        assert [row["value"] for row in rows(client, "orders")] == [200]
        assert [row["value"] for row in rows(client, "active_users")] == [7]
        assert len(rows(client, "average_order_value")) == 2
        assert {row["event_type"]: row["value"] for row in rows(client, "events", by="event_type")} == {
            "view": 200, "purchase": 200,
        }  # fmt: skip

    def test_the_funnel_has_each_step(self, client: TestClient) -> None:
        assert [(r["step"], r["value"], r["percent"], r["of_before"]) for r in rows(client, "funnel")] == [
            ("view", 200, 100.0, 100.0), ("add_to_cart", 0, 0.0, 0.0), ("purchase", 200, 100.0, None),
        ]  # fmt: skip

    def test_the_values_of_a_dimension_are_those_of_the_range(self, client: TestClient) -> None:
        asked = {"from": START.isoformat(), "to": END.isoformat()}
        found = client.get("/api/v1/values/category", params=asked).json()["rows"]
        assert {row["category"] for row in found} == {row["category"] for row in rows(client, "events", by="category")}
        assert client.get("/api/v1/values/colour", params=asked).status_code == 422

    def test_without_rates_the_currency_base_is_that_of_the_books(self, client: TestClient) -> None:
        assert rows(client, "revenue", currency="base") == rows(client, "revenue", currency="USD") != []

    @pytest.mark.parametrize(("dimension", "value"), [("currency", "USD"), ("category", "")])
    def test_a_variable_has_a_value_before_the_first_event(
        self, client: TestClient, dimension: str, value: str
    ) -> None:
        found = client.get(f"/api/v1/values/{dimension}", params={"from": "2020-01-01", "to": "2020-01-02"})
        assert found.json()["rows"] == [{dimension: value}]


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "asked_for", "status", "part"),
        [
            ("revenu", {}, 404, "Did you mean 'revenue'"),
            ("revenue", {"by": "colour"}, 422, "no dimension 'colour'"),
            ("revenue", {"grain": "year"}, 422, "no grain"),
            ("revenue", {"from": "someday"}, 422, "not a time"),
            ("revenue", {"from": "1" * 40}, 422, "not a time"),
            ("revenue", {"from": "2026-03-03"}, 422, "is empty"),
            ("revenue", {"from": "2010-01-01"}, 422, "days is more than"),
            ("revenue", {"from": "2026-01-01", "by": "bucket", "grain": "minute"}, 422, "coarser grain"),
            ("revenue", {"shift": "9" * 19 + "d"}, 422, "longer"),
            ("revenue", {"limit": -1}, 422, "limit"),
        ],
    )
    def test_says_what_is_wrong(
        self, client: TestClient, name: str, asked_for: dict[str, Any], status: int, part: str
    ) -> None:
        response = client.get(f"/api/v1/figures/{name}", params={**RANGE, **asked_for})
        assert response.status_code == status
        assert part in response.text

    def test_a_store_that_does_not_answer_is_503_with_a_remedy(self) -> None:
        class Down(MemoryStore):
            def read(self, *_: Any, **__: Any) -> Any:
                raise StoreUnavailable("cassandra", "Cassandra does not answer.", remedy="Start it: retailpulse up.")

        response = TestClient(create_app(Down())).get("/api/v1/figures/revenue", params=RANGE)
        assert response.status_code == 503
        assert response.json() == {"detail": "Cassandra does not answer.", "remedy": "Start it: retailpulse up."}
        assert response.headers["retry-after"]

    def test_asks_for_the_token(self, store: MemoryStore) -> None:
        client = TestClient(create_app(store, token="s3cret"))
        for path in ("/api/v1/figures/revenue", "/metrics", "/openapi.json", "/docs"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/api/v1/health").status_code == 200

    def test_answers_to_its_own_name_only(self, store: MemoryStore) -> None:
        client = TestClient(create_app(store, hosts=["localhost"]))
        assert client.get("/api/v1/health", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/api/v1/health", headers={"Host": "localhost:8090"}).status_code == 200

    def test_does_not_listen_elsewhere_without_a_token(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["serve", "--host", "0.0.0.0"])
        assert left.value.code == UsageError.exit_code
        assert "without a token" in capsys.readouterr().err


class TestCache:
    def test_an_unchanged_answer_is_not_sent_again(self, client: TestClient) -> None:
        first = client.get("/api/v1/figures/revenue", params=RANGE)
        second = client.get("/api/v1/figures/revenue", params=RANGE, headers={"If-None-Match": first.headers["etag"]})
        assert (second.status_code, second.content) == (304, b"")

    def test_equal_requests_are_read_once(self) -> None:
        answers, started, go_on, reads = AnswerCache(60), threading.Event(), threading.Event(), []

        def make() -> bytes:
            reads.append(1)
            started.set()
            assert go_on.wait(10)
            return b"x"

        threads = [threading.Thread(target=answers.get, args=("a", make)) for _ in range(5)]
        threads[0].start()
        assert started.wait(10)
        for thread in threads[1:]:
            thread.start()
        go_on.set()
        for thread in threads:
            thread.join(10)
        assert (len(reads), answers.misses, answers.hits) == (1, 1, 4)

    def test_expires_forgets_the_oldest_and_keeps_no_failure(self) -> None:
        now = [0.0]
        answers = AnswerCache(2, most=2, clock=lambda: now[0])
        with pytest.raises(ZeroDivisionError):
            answers.get("a", lambda: bytes(1 // 0))
        assert answers.get("a", lambda: b"1").body == b"1"
        assert answers.get("a", lambda: b"2").body == b"1"
        now[0] = 2.0
        assert answers.get("a", lambda: b"2").body == b"2"
        answers.get("b", lambda: b"")
        answers.get("c", lambda: b"")
        assert answers.get("a", lambda: b"3").body == b"3"

    def test_the_metrics_count_requests_by_route(self, store: MemoryStore) -> None:
        client = TestClient(create_app(store))
        client.get("/api/v1/figures/revenue", params=RANGE)
        client.get("/api/v1/figures/revenue", params=RANGE)
        text = client.get("/metrics").text
        assert 'retailpulse_api_requests_total{namespace="",route="/api/v1/figures/{name}",status="200"} 2.0' in text
        assert 'retailpulse_api_cache_hits_total{namespace=""} 1.0' in text


class TestTopProducts:
    """Products are folded from the archive, on files as the job "archive" writes them."""

    @pytest.fixture(scope="class")
    def products(self, store: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
        events = [msgspec.structs.replace(event, product_id=f"p{i % 5}") for i, event in enumerate(shop())]
        refund = msgspec.structs.replace(events[9], event_id="r", event_type="refund")
        archive = Archive(tmp_path_factory.mktemp("archive"))
        archive_events(archive, [*events, refund])
        archive_events(archive, events[:50], batch=1, late=True)
        with TestClient(create_app(store, archive=lambda: archive)) as made:
            yield made

    def test_add_up_to_the_revenue_less_refunds_and_without_late_events(
        self, products: TestClient, store: MemoryStore
    ) -> None:
        usd = rows(products, "top_products", currency="USD")
        refunded = shop()[9]
        assert refunded.price is not None
        expected = summarise(store, since=START, until=END).currencies["USD"].revenue - refunded.price
        assert sum(Decimal(row["minor"]) for row in usd).scaleb(-4) == expected
        assert [row["minor"] for row in usd] == sorted((row["minor"] for row in usd), reverse=True)
        assert {row["product_id"] for row in usd} == {"p0", "p2", "p3", "p4"}  # p1 is only sold in euros
        assert rows(products, "top_products", currency="USD", limit=2) == usd[:2]

    def test_of_a_category(self, products: TestClient) -> None:
        books = rows(products, "top_products", category="books", currency="USD")
        expected = rows(products, "revenue", category="books", currency="USD")
        assert sum(row["units"] for row in books) == sum(i % 3 == 0 and i % 5 != 0 for i in range(200))
        assert sum(row["minor"] for row in books) == expected[0]["minor"]

    def test_too_long_a_range_and_no_archive_are_refused(self, products: TestClient, client: TestClient) -> None:
        long = {"from": "2026-01-01", "to": "2026-03-01"}
        assert products.get("/api/v1/figures/top_products", params=long).status_code == 422
        assert client.get("/api/v1/figures/top_products", params=RANGE).status_code == 404


def test_grafana_s_milliseconds_are_widened_to_whole_minutes() -> None:
    now = datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC)
    found = asked(since="1772355630123", until="1772355690123", now=now)
    assert (found.since, found.until) == (
        datetime(2026, 3, 1, 9, 0, tzinfo=UTC), datetime(2026, 3, 1, 9, 2, tzinfo=UTC),
    )  # fmt: skip
    today = asked(now=now)
    assert (today.since, today.until) == (
        datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 10, 1, tzinfo=UTC),
    )  # fmt: skip


@cache
def api_cases() -> st.SearchStrategy[schemathesis.Case]:
    filled = MemoryStore()
    filled.create(CATEGORY)
    for grain in CATEGORY.every:
        filled.write(CATEGORY, grain, fold(shop(), CATEGORY, grain), version=1)
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(filled))
    return st.one_of(*(operation.ok().as_strategy() for operation in schema.get_all_operations()))


NAMES = ("revenue", "average_order_value", "orders", "events", "active_users", "funnel", "")


@given(case=st.deferred(lambda: api_cases()), name=st.sampled_from(NAMES))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_it_does_not_break(case: schemathesis.Case, name: str) -> None:
    if name and "name" in case.path_parameters:  # names are made up, too
        case.path_parameters["name"] = name
    case.call_and_validate(checks=[not_a_server_error, response_schema_conformance, status_code_conformance])
