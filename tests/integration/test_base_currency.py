"""Money in the base currency from Cassandra: three currencies over a weekend, rates of a file and of a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores import namespaces
from retailpulse_kernel.stores.cassandra.rows import keyspace_ddl
from retailpulse_kernel.workbench.workbench import Workbench

pytestmark = pytest.mark.integration

FRIDAY = datetime(2026, 3, 6, tzinfo=UTC)
#: One rate a day of the week; the bank publishes none on Saturday and Sunday, and none of the franc on Monday.
RATES = {
    date(2026, 3, 5): {"USD": "1.2", "GBP": "0.9"},
    date(2026, 3, 6): {"USD": "1.25", "GBP": "0.8", "CHF": "0.95"},
    date(2026, 3, 9): {"USD": "1.6", "GBP": "0.75"},
}
FILE = "Date,USD,GBP,CHF,\n" + "".join(
    f"{day},{','.join(rates.get(name, 'N/A') for name in ('USD', 'GBP', 'CHF'))},\n"
    for day, rates in sorted(RATES.items(), reverse=True)
)
IN_FILE = '[shop]\ncurrency = "EUR"\nrates = "eurofxref-hist.csv"\n'
IN_CASSANDRA = """
[shop]
currency = "EUR"
rates = "rates"

[tables.rates]
cassandra = "rates"
key = ["day", "currency"]
columns = {day = "date", currency = "string", rate = "decimal(18,6)"}
every = "1h"
"""


def sales() -> list[Event]:
    """From Thursday to Tuesday, every three hours, a purchase in each of three currencies; and one without a rate."""
    events = []
    for number in range(5 * 8):
        at = FRIDAY - timedelta(days=1) + timedelta(hours=3 * number, minutes=number)
        for place, currency in enumerate(("USD", "GBP", "EUR", *(("SEK",) if number == 20 else ()))):
            events.append(
                Event(
                    event_id=f"{number}{currency}", event_type="purchase", event_time=at, user_id="u", session_id="s",
                    product_id="p", category=("books", "toys")[number % 2], currency=currency, order_line=1,
                    order_id=f"o{number}{currency}", price=Decimal(number * 7 + place) / 100 + Decimal("0.0001"),
                )
            )  # fmt: skip
    return events


def expected(by_category: bool = False) -> dict[str, Decimal]:
    """The sums in euros, event by event, each by the last rate up to its day."""
    sums: dict[str, Decimal] = {}
    for event in sales():
        if event.currency == "SEK":
            continue
        day = max(day for day in RATES if day <= event.event_time.date())
        factor = 1 if event.currency == "EUR" else 1 / Decimal(RATES[day][event.currency])
        key = event.category if by_category else ""
        sums[key] = sums.get(key, Decimal(0)) + (event.price or Decimal(0)) * factor
    return {key: amount.quantize(Decimal("0.0001")) for key, amount in sums.items()}


@pytest.fixture(scope="module", params=["file", "cassandra"])
def rp(
    stack: Settings, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    folder: Path = tmp_path_factory.mktemp("contract")
    (folder / "eurofxref-hist.csv").write_text(FILE)
    (folder / "shop.toml").write_text(IN_FILE if request.param == "file" else IN_CASSANDRA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETAILPULSE_CONTRACT", str(folder / "shop.toml"))
        bench = Workbench(namespace=f"t_base_{request.param}_{os.getpid()}")
        bench.cassandra.query(keyspace_ddl(bench.settings))
        bench.cassandra.create(CATEGORY)
        for grain in CATEGORY.every:
            bench.cassandra.write(CATEGORY, grain, fold(sales(), CATEGORY, grain), version=1)
        if request.param == "cassandra":
            bench.cassandra.query(
                "create table rates (day date, currency text, rate decimal, primary key (day, currency))"
            )
            for day, rates in RATES.items():
                for currency, rate in rates.items():
                    bench.cassandra.query(
                        f"insert into rates (day, currency, rate) values ('{day}', '{currency}', {rate})"
                    )
        yield bench
        namespaces.drop(bench.settings)


def test_the_whole_range_and_each_category(rp: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    assert rp.figures("revenue_base", by=[])["revenue_base"].tolist() == [expected()[""]]
    assert "There is no rate for SEK on 1 day (2026-03-07): revenue 1.4301 SEK" in capsys.readouterr().err
    by_category = rp.figures("revenue_base", by="category")
    assert dict(zip(by_category["category"], by_category["revenue_base"], strict=True)) == expected(by_category=True)


def test_weekends_have_the_rate_of_friday(rp: Workbench) -> None:
    frame = rp.figures(
        "revenue", "revenue_base", by=["bucket", "currency"], every="day", since="2026-03-07", until="2026-03-09",
        currency="USD",
    )  # fmt: skip
    assert frame.attrs["rate_dates"] == {"USD": ["2026-03-06"]}
    assert [row.revenue_base for row in frame.itertuples()] == [
        (row.revenue * Decimal("0.8")).quantize(Decimal("0.0001")) for row in frame.itertuples()
    ]


def test_an_hour_and_a_week_add_up_from_the_same_parts(rp: Workbench) -> None:
    weeks = rp.figures("revenue_base", by="bucket", every="week")
    assert len(weeks) == 2
    parts = [rp.figures("revenue_base", by=[], since=since, until=until)["revenue_base"][0]
             for since, until in (("2026-03-02", "2026-03-06T11:05"), ("2026-03-06T11:05", "2026-03-09"))]  # fmt: skip
    assert abs(sum(parts) - weeks["revenue_base"][0]) <= Decimal("0.0001"), "each part is rounded once"


def test_over_http(rp: Workbench) -> None:
    asked: dict[str, Any] = {"from": "2026-03-05T00:00:00Z", "to": "2026-03-11T00:00:00Z"}
    with TestClient(create_app(rp.serving, sources=Sources(rp.serving, rp.settings))) as client:
        found = client.get("/api/v1/figures/revenue_base", params=asked).json()
    assert [Decimal(row["decimal"]) for row in found["rows"]] == [expected()[""]]
    assert found["base"]["rates"]["USD"] == {"first": "2026-03-05", "last": "2026-03-09"}
    assert found["base"]["missing"] == {"SEK": {"days": 1, "amounts": {"revenue": "1.4301"}}}
