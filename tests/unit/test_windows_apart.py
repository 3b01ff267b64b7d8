"""A table whose widths do not add up to one another: weeks of a shop in Kathmandu, and windows of 7 minutes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.answers.ranges import fitting
from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.insight.explaining import Asked, explain
from retailpulse_kernel.live.tables.figures import FigureSource
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import EVENTS, REVENUE
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, grain_of
from retailpulse_kernel.streaming.plan.data import TablePlan
from tests.memory import MemoryStore

SHOP = replace(shipped(), shop=replace(shipped().shop, zone="Asia/Kathmandu", week_start="saturday"))
CALENDAR = SHOP.shop.calendar
TABLE = FigureTable("visits", (EVENTS, REVENUE), ("currency", "brand"),
                    tuple(grain_of(width, CALENDAR) for width in ("7m", "week")))  # fmt: skip
SEVEN, WEEK = TABLE.every
#: Midnight of the Saturdays in Kathmandu, five and three quarter hours before that of UTC.
FIRST, SECOND, THIRD = (datetime(2026, 3, day, 18, 15, tzinfo=UTC) for day in (6, 13, 20))


def sale(number: int, at: datetime) -> Event:
    return Event(f"e{number}", "purchase", at, "u", "s", "p", "shoes", "acme", Decimal(2) ** number, 1, "USD",
                 f"o{number}", 1)  # fmt: skip


#: Around the ends of the weeks; each amount is a power of two, so that a sum tells which are in it.
SALES = [sale(number, at) for number, at in enumerate(
    [FIRST - timedelta(minutes=1), FIRST, FIRST + timedelta(days=3), SECOND - timedelta(minutes=1), SECOND,
     SECOND + timedelta(days=2)])]  # fmt: skip
OF_FIRST, OF_SECOND = Decimal(2 + 4 + 8), Decimal(16 + 32)


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    made = MemoryStore()
    made.create(TABLE)
    for grain in TABLE.every:
        made.write(TABLE, grain, fold(SALES, TABLE, grain), version=1)
    return made


def catalogue() -> Catalogue:
    entry = TableEntry(TablePlan.describing(TABLE, "memory"), "visits", "v1", ran=True)
    return Catalogue("t", "memory", (entry,), SHOP)


def revenue(store: MemoryStore, **given: Any) -> Decimal:
    by = given.pop("by", ("currency",))
    frame = answer(catalogue(), Asking(("revenue",), by, table="visits", **given), lambda _: store)  # type: ignore[arg-type, return-value]
    return Decimal(frame["revenue"].sum())


class TestFigures:
    def test_a_range_of_whole_weeks_is_answered_by_the_weeks(self, store: MemoryStore) -> None:
        assert revenue(store, since=FIRST, until=SECOND) == OF_FIRST
        assert revenue(store, since="2026-03-14", until="2026-03-21") == OF_SECOND
        assert revenue(store, since=FIRST) == OF_FIRST + OF_SECOND == revenue(store, until=THIRD) - 1

    def test_any_other_range_is_answered_by_the_7_minutes(self, store: MemoryStore) -> None:
        since, until = SEVEN.start(FIRST), SEVEN.end(SECOND)
        assert since < FIRST and revenue(store, since=since, until=until) == 1 + OF_FIRST + 16
        assert revenue(store) == 63

    def test_the_width_of_a_series_decides_where_a_range_begins(
        self, store: MemoryStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        frame = answer(catalogue(), Asking(("revenue",), ("bucket",), since=FIRST, until=THIRD, every="week"),
                       lambda _: store)  # type: ignore[arg-type, return-value]  # fmt: skip
        assert frame["revenue"].tolist() == [OF_FIRST, OF_SECOND]
        assert revenue(store, last="this week", every="week", by=("bucket",)) == 0
        assert "Figures go by" not in capsys.readouterr().err, "the week begins where its window does"
        assert revenue(store, last="400d", every="week", by=("bucket",)) == 63
        assert "Figures go by the week: this is from" in capsys.readouterr().err

    def test_no_windows_begin_there(self, store: MemoryStore) -> None:
        with pytest.raises(UsageError, match="not the start of a window of 7 minutes") as told:
            revenue(store, since="2026-03-08", until="2026-03-09")
        assert "Near it are" in told.value.remedy
        with pytest.raises(UsageError, match="is not on a whole week"):
            revenue(store, since="2026-03-08", until="2026-03-15", every="week")
        with pytest.raises(UsageError, match="can't answer by the day"):
            revenue(store, since=FIRST, until=SECOND, every="day")

    def test_a_table_that_was_never_written_answers_nothing_instead(self, store: MemoryStore) -> None:
        """The shop's own table would fit, and its job has not run here."""
        served = TableEntry(TablePlan.describing(CATEGORY.within(CALENDAR), "memory"), "metrics", "v1")
        both = Catalogue("t", "memory", (served, *catalogue().entries), SHOP)
        with pytest.raises(UsageError, match="The table 'visits' can't answer by the 5 minutes"):
            answer(both, Asking(("revenue",), ("bucket",), every="5 minutes", last="3h"), lambda _: store)  # type: ignore[arg-type, return-value]

    def test_a_range_that_does_not_fit_is_told_by_the_clock_of_its_windows(self, store: MemoryStore) -> None:
        table = replace(TABLE, every=(grain_of("hour", CALENDAR),))
        with pytest.raises(UsageError, match=r"2026-03-08T16:30:00\+05:45 is not on a whole hour") as told:
            fitting(table, datetime(2026, 3, 8, 10, 45, tzinfo=UTC), None)
        assert "Near it are 2026-03-08T16:00:00+05:45 and 2026-03-08T17:00:00+05:45" in told.value.remedy


def test_why_compares_whole_weeks(store: MemoryStore) -> None:
    found = explain(catalogue(), Asked("revenue", since=SECOND, until=THIRD, against="last week"), lambda _: store)  # type: ignore[arg-type, return-value]
    assert (found.before, found.after) == (OF_FIRST, OF_SECOND)


class TestApi:
    def asked(self, store: MemoryStore, **given: str) -> dict[str, Any]:
        class Here(Sources):
            @property
            def catalogue(self) -> Catalogue:
                return catalogue()

        response = TestClient(create_app(store, sources=Here(store))).get(
            "/api/v1/figures/revenue", params={"table": "visits", **given}
        )
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def test_a_range_is_widened_to_windows_that_begin_and_end_there(self, store: MemoryStore) -> None:
        ends = {"from": "2026-03-08T00:00", "to": "2026-03-14T00:00"}
        weeks = self.asked(store, **ends, by="bucket", grain="week")
        assert [Decimal(row["decimal"]) for row in weeks["rows"]] == [OF_FIRST]
        assert Decimal(self.asked(store, **ends)["rows"][0]["decimal"]) == 4 + 8 + 16
        week = {"from": "2026-03-07T00:00", "to": "2026-03-14T00:00"}
        assert Decimal(self.asked(store, **week)["rows"][0]["decimal"]) == OF_FIRST, "its weeks need no widening"

    def test_the_windows_of_a_line_are_whole_ones_of_the_table(self, store: MemoryStore) -> None:
        found = self.asked(store, **{"from": "2026-03-07T00:10", "to": "2026-03-22T00:00"}, by="bucket")
        assert found["grain"] == "minutes_63", "the hours that a line of two weeks has are no whole windows"
        assert sum(Decimal(row["decimal"]) for row in found["rows"]) == 4 + 8 + OF_SECOND


def test_corrections_have_a_range_where_none_is_asked_for(store: MemoryStore) -> None:
    class Here(Sources):
        @property
        def catalogue(self) -> Catalogue:
            return catalogue()

    client = TestClient(create_app(store, sources=Here(store)))
    for asked in ({}, {"grain": "week"}, {"grain": "7m"}):
        found = client.get("/api/v1/corrections", params={"table": "visits", **asked})
        assert found.status_code == 200 and found.json()["rows"] == [], found.text


def test_an_earlier_time_of_a_live_view_ends_where_its_windows_do(store: MemoryStore) -> None:
    source = FigureSource.of(Asking(("revenue",), ("brand",), every="week"), catalogue, lambda _: store)  # type: ignore[arg-type, return-value]
    shown = source.read(None, SECOND + timedelta(days=1))
    assert shown.series["revenue"].tolist() == [1, OF_FIRST]
