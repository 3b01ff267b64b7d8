"""The rates that a live view sends to browsers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.rates import DayRates
from retailpulse_kernel.live.view import live

#: Friday noon to Sunday noon, the shop's time.
SINCE, UNTIL = (int(datetime(2026, 3, day, 11, tzinfo=UTC).timestamp()) for day in (6, 8))


def shop(folder: Path, rates: str) -> Settings:
    contract = folder / "shop.toml"
    contract.write_text('[shop]\nzone = "Europe/Berlin"\ncurrency = "EUR"\nrates = "rates.csv"\n')
    (folder / "rates.csv").write_text(rates)
    return Settings.load(namespace="live_rates", contract=contract)


def test_each_business_day_has_the_last_rate_before_its_end(tmp_path: Path) -> None:
    rates = DayRates(shop(tmp_path, "Date,USD,\n2026-03-06,1.25,\n2026-03-05,1.60,\n"))
    rates.read(SINCE, UNTIL)
    assert rates.content is not None and (rates.content["base"], rates.content["fault"]) == ("EUR", "")
    days = rates.content["days"]
    assert [datetime.fromtimestamp(start, UTC).isoformat()[:16] for start, _ in days] == [
        "2026-03-05T23:00", "2026-03-06T23:00", "2026-03-07T23:00",
    ]  # fmt: skip
    assert [of["USD"] for _, of in days] == [["0.8", "2026-03-06"]] * 3
    version = rates.version
    rates.read(SINCE, UNTIL)
    assert rates.version == version == 1, "what has not changed is not sent again"


def test_rates_that_cannot_be_read_are_said_and_end_nothing(tmp_path: Path) -> None:
    rates = DayRates(shop(tmp_path, "Date,USD,\n2026-03-06,-1,\n"))
    rates.read(SINCE, UNTIL)
    assert rates.content is not None and rates.content["days"] == []
    assert "a rate is greater than 0" in rates.content["fault"]


def test_without_rates_there_is_no_base_currency() -> None:
    rates = DayRates(Settings())
    rates.read(SINCE, UNTIL)
    assert rates.content is None
    with pytest.raises(UsageError, match="the contract names no rates"):
        live(Settings(), currency="base")
