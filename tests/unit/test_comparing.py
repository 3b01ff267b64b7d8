"""The largest groups and comparisons with an earlier range, against a plain fold of the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.answers.comparing import Comparison, compared, compared_frame, comparison_of
from retailpulse_kernel.answers.largest import Largest
from retailpulse_kernel.answers.ranges import Extent
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, LAST_EVENT
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable, grain_of
from retailpulse_kernel.stores.frames import shaped
from retailpulse_kernel.streaming.plan.data import TablePlan
from tests.memory import MemoryStore

#: Whole hours of days that are over, so that no test depends on the time of day.
DAY = datetime(2026, 3, 9, tzinfo=UTC)
WEEK, TODAY = timedelta(days=7), {"since": DAY, "until": DAY + timedelta(days=1)}
#: Dollars by category: last week, and on the day. `books` is new, `toys` is gone.
BEFORE = {"shoes": 40, "toys": 30, "cups": 8, "hats": 2}
NOW = {"shoes": 50, "books": 20, "cups": 6, "hats": 3}


def sale(number: int, at: datetime, category: str, price: int, currency: str = "USD") -> Event:
    return Event(f"e{number}", "purchase", at, f"u{number % 3}", "s", "p", category, None, Decimal(price), 1, currency,
                 f"o{number}", 1)  # fmt: skip


def filled(events: list[Event]) -> MemoryStore:
    made = MemoryStore()
    made.create(CATEGORY)
    for grain in CATEGORY.every:
        made.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    return made


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    at = DAY + timedelta(hours=10)
    sales = [(at - WEEK, name, price) for name, price in BEFORE.items()] + [(at, *one) for one in NOW.items()]
    events = [sale(number, *one) for number, one in enumerate(sales)]
    return filled([*events, sale(100, at, "hats", 900, "EUR"), sale(101, at + timedelta(hours=2), "cups", 1)])


Ask = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def ask(store: MemoryStore) -> Ask:
    return asking(store)


def asking(store: MemoryStore) -> Ask:
    served = TableEntry(TablePlan.describing(CATEGORY, store.name), "metrics", "v1", ran=True)
    catalogue = Catalogue("t", store.name, (served,), shipped())

    def asked(*figures: str, **given: Any) -> pd.DataFrame:
        where = {"currency": ["USD"]} | given.pop("where", {})
        return answer(catalogue, Asking(figures, where=where, **TODAY | given), lambda _: store)

    return asked


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    found = frame[list(columns)].itertuples(index=False, name=None)
    return [tuple(None if pd.isna(value) else value for value in row) for row in found]


class TestLargest:
    def test_the_largest_come_first_and_all_others_are_one_group(self, ask: Ask) -> None:
        frame = ask("revenue", top=2)
        assert rows(frame, "category", "revenue") == [("shoes", 50), ("books", 20), ("other", 10)]
        assert frame.attrs["others"] == 2
        assert frame["revenue"].sum() == ask("revenue")["revenue"].sum(), "nothing is left out"

    def test_the_group_of_others_has_every_figure_as_if_it_were_one(self, ask: Ask) -> None:
        names = ("revenue", "average_order_value", "active_users", "orders")
        last = ask(*names, top=2).iloc[-1]
        alone = ask(*names, by=("currency",), where={"category": ["cups", "hats"]}).iloc[0]
        assert [last[name] for name in names] == [alone[name] for name in names]
        assert last["average_order_value"] == Decimal("3.3333")

    def test_over_time_the_whole_range_decides(self, ask: Ask) -> None:
        frame = ask("revenue", by=("bucket", "category"), every="hour", top=3)
        assert rows(frame, "category", "revenue") == [
            ("shoes", 50), ("books", 20), ("cups", 6), ("other", 3), ("cups", 1),
        ]  # fmt: skip
        assert frame["complete"].all()

    def test_each_currency_has_its_own(self, ask: Ask) -> None:
        frame = ask("revenue", top=1, where={"currency": ["EUR", "USD"]})
        assert rows(frame, "currency", "category", "revenue") == [
            ("EUR", "hats", 900), ("USD", "shoes", 50), ("USD", "other", 30),
        ]  # fmt: skip

    def test_a_group_that_is_called_other_is_not_mixed_up_with_the_rest(self) -> None:
        at = DAY + timedelta(hours=1)
        store = filled([sale(n, at, name, 9 - n) for n, name in enumerate(("other", "cups", "hats"))])
        assert rows(asking(store)("revenue", top=1), "category", "revenue") == [("other", 9), ("all other", 15)]

    def test_nothing_to_rank_is_said(self, ask: Ask) -> None:
        with pytest.raises(UsageError, match="no dimension but the currency"):
            ask("revenue", by=("bucket", "currency"), every="hour", top=3)
        for wrong in (0, -1, 1.5, True):
            with pytest.raises(UsageError, match="not a number of groups"):
                ask("revenue", top=wrong)

    @pytest.mark.parametrize("form", ["pandas", "float", "polars", "arrow"])
    def test_every_kind_of_frame_has_it(self, ask: Ask, form: Any) -> None:
        made = shaped(ask("revenue", top=2, compare="last week"), form)
        columns = list(getattr(made, "column_names", None) or made.columns)
        assert columns == ["category", "currency", "revenue", "revenue_before", "change", "change_percent"]
        assert len(made) == 3


class TestComparing:
    def test_each_group_is_beside_its_earlier_value(self, ask: Ask) -> None:
        frame = ask("revenue", compare="last week")
        assert rows(frame, "category", "revenue", "revenue_before", "change", "change_percent") == [
            ("books", 20, 0, 20, None), ("cups", 7, 8, -1, -12.5), ("hats", 3, 2, 1, 50.0), ("shoes", 50, 40, 10, 25.0),
            ("toys", 0, 30, -30, -100.0),
        ]  # fmt: skip
        assert frame.attrs["since_before"] == (DAY - WEEK).isoformat()

    def test_several_figures_have_changes_of_their_own(self, ask: Ask) -> None:
        frame = ask("revenue", "orders", "average_order_value", by=("currency",), compare="last week")
        (row,) = frame.to_dict("records")
        assert (row["orders"], row["orders_before"], row["orders_change"], row["orders_change_percent"]) == (
            5,
            4,
            1,
            25.0,
        )
        assert row["average_order_value_change"] == Decimal("16.0000") - Decimal("20.0000")

    def test_a_time_is_no_amount(self) -> None:
        both = compared(
            {("a",): {"last_event": DAY}}, {("b",): {"last_event": DAY - WEEK}}, ["category"], [LAST_EVENT], WEEK
        )
        frame = compared_frame(both, ["category"], [LAST_EVENT], Extent(GRAINS["day"], None, None, DAY))
        assert list(frame.columns) == ["category", "last_event", "last_event_before"]
        assert rows(frame, "last_event", "last_event_before") == [(DAY, None), (None, DAY - WEEK)]

    def test_windows_lie_over_the_earlier_ones(self, ask: Ask) -> None:
        frame = ask("revenue", by=("bucket",), every="hour", compare="last week")
        assert rows(frame, "bucket", "revenue", "revenue_before", "change_percent") == [
            (DAY + timedelta(hours=10), 79, 80, -1.25),
            (DAY + timedelta(hours=12), 1, None, None),
        ]  # fmt: skip

    def test_the_range_before_is_as_long(self, ask: Ask) -> None:
        frame = ask("revenue", by=("currency",), since=DAY + timedelta(hours=11), until=DAY + timedelta(hours=13),
                    compare="previous")  # fmt: skip
        assert rows(frame, "revenue", "revenue_before") == [(1, 79)]

    def test_a_range_without_history_says_so(self, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
        frame = ask("revenue", by=("currency",), compare="yesterday")
        assert rows(frame, "revenue", "revenue_before", "change", "change_percent") == [(80, None, None, None)]
        assert "There are no figures from 2026-03-08T00:00:00Z to 2026-03-09T00:00:00Z" in capsys.readouterr().err
        late = ask("revenue", by=("currency",), since=DAY - WEEK * 2, until=DAY, compare="previous")
        assert len(late) == 1 and "There are no figures" in capsys.readouterr().err

    def test_a_history_that_begins_later_says_so(self) -> None:
        comparison = Comparison(DAY, DAY + WEEK, WEEK)
        assert comparison.missing(DAY - WEEK) == ""
        assert "begin at 2026-03-08T00:00:00Z, and the range at 2026-03-02" in comparison.missing(
            DAY - timedelta(days=1)
        )

    def test_a_running_range_ends_with_the_last_window_that_is_over(self) -> None:
        now = DAY + timedelta(hours=10, minutes=20, seconds=30)
        found = comparison_of("yesterday", DAY, None, finest=GRAINS["minute"], now=now)
        day = timedelta(days=1)
        assert (found.until, found.before) == (now.replace(second=0), (DAY - day, now.replace(second=0) - day))
        tonight = comparison_of("previous", DAY, DAY + day, finest=grain_of("15m"), now=now)
        assert (tonight.until, tonight.shift) == (DAY + timedelta(hours=10, minutes=15), day), "as long as was asked"

    def test_what_can_not_be_compared_is_said(self, ask: Ask) -> None:
        with pytest.raises(UnknownName, match="Did you mean 'yesterday'"):
            ask("revenue", compare="yesteday")
        with pytest.raises(UsageError, match="Give `last` or `since`"):
            ask("revenue", since=None, compare="yesterday")
        with pytest.raises(UsageError, match="do not lie over those"):
            ask("revenue", by=("bucket",), every="week", since=DAY, until=DAY + WEEK, compare="yesterday")

    @pytest.mark.parametrize("by", [(), ("bucket",)])
    def test_in_the_first_minute_of_a_day_there_is_nothing_and_that_is_said(
        self, ask: Ask, client: TestClient, by: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        empty = comparison_of("previous", DAY, None, finest=GRAINS["hour"], now=DAY + timedelta(minutes=5))
        assert empty.since == empty.until == DAY and empty.shift == timedelta(0)
        tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        frame = ask("revenue", by=by, since=tomorrow, until=None, compare="last week")
        assert frame.empty and "change_percent" in frame
        assert "so there is nothing to compare" in "".join(capsys.readouterr())
        asked = {"from": tomorrow.isoformat(), "to": (tomorrow + WEEK).isoformat(), "by": ",".join(by)}
        found = client.get("/api/v1/figures/revenue", params={**asked, "compare": "last week"})
        assert found.status_code == 200 and found.json()["rows"] == []
        assert "so there is nothing to compare." in found.json()["note"]


@pytest.fixture(scope="module")
def client(store: MemoryStore) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as made:
        yield made


class TestOverHttp:
    def get(self, client: TestClient, figure: str, **asked: Any) -> Any:
        range_ = {"from": DAY.isoformat(), "to": (DAY + timedelta(days=1)).isoformat(), "currency": "USD"}
        return client.get(f"/api/v1/figures/{figure}", params={**range_, **asked})

    @pytest.mark.parametrize("figure", ["revenue", "orders", "average_order_value", "active_users"])
    def test_it_gives_what_a_notebook_gets(self, client: TestClient, ask: Ask, figure: str) -> None:
        body = self.get(client, figure, by="category", top=2, compare="last week").json()
        frame = ask(figure, top=2, compare="last week")
        assert body["others"] == frame.attrs["others"]
        assert datetime.fromisoformat(body["since_before"]) == DAY - WEEK

        def plain(value: Any) -> Any:
            return None if pd.isna(value) else float(value)

        names = (figure, f"{figure}_before", "change", "change_percent")
        expected = {row["category"]: tuple(plain(row[name]) for name in names) for row in frame.to_dict("records")}
        found = {row["category"]: tuple(None if row[name] is None else float(row[name])
                 for name in ("value", "before", "change", "change_percent")) for row in body["rows"]}  # fmt: skip
        assert found == expected

    def test_a_series_is_beside_its_earlier_windows(self, client: TestClient) -> None:
        found = self.get(client, "revenue", by="bucket,category", grain="hour", compare="last week").json()["rows"]
        ten = {row["category"]: (row["decimal"], row["before_decimal"], row["change_percent"], row["complete"])
               for row in found if row["bucket"] == "2026-03-09T10:00:00Z"}  # fmt: skip
        assert ten["toys"] == ("0.00", "30.00", -100.0, True)
        assert ten["shoes"] == ("50.00", "40.00", 25.0, True)
        assert [row["before"] for row in found if row["bucket"] == "2026-03-09T12:00:00Z"] == [None]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ({"compare": "last year"}, "comparison"), ({"compare": "yesterday", "shift": "1d"}, "both given"),
            ({"top": 3}, "nothing to rank"),
        ],
    )  # fmt: skip
    def test_what_can_not_be_answered_is_said(self, client: TestClient, asked: dict[str, Any], said: str) -> None:
        refused = self.get(client, "revenue", **asked)
        assert refused.status_code == 422 and said in refused.text
        refused = self.get(client, "funnel", top=3)
        assert refused.status_code == 422 and "neither" in refused.text


def test_a_table_without_currencies_is_ranked_as_a_whole() -> None:
    table = FigureTable("t", (EVENTS,), ("category",), (GRAINS["day"],))
    stored = [{"day": DAY, "bucket": DAY, "category": name, "events": count} for name, count in NOW.items()]
    merged = Largest(1, ("category",)).merged(stored, table, [EVENTS])
    assert [row["category"] for row in merged] == ["shoes", "other", "other", "other"]
