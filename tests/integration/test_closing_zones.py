"""Days of shops in other zones are closed from one archive; each equals a plain fold of its clock's day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event, parse_event
from retailpulse_kernel.shop.figures import EVENTS, ORDERS, REVENUE, UNITS
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import FigureTable, grain_of
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.upkeep.closing import close_day, days_to_close
from tests.jobs import produce, run_here

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

#: Each with the hours that the day has: clocks are put forward, back, and by half an hour.
DAYS = [
    ("Asia/Kolkata", date(2026, 3, 28), 24),
    ("Europe/Berlin", date(2026, 3, 29), 23),
    ("Europe/Berlin", date(2026, 10, 25), 25),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
]
KEYS = ("currency", "category", "event_type")
FIGURES = (EVENTS, UNITS, REVENUE, ORDERS)
STEP = timedelta(minutes=50)


def ends(zone: str, day: date) -> tuple[datetime, datetime]:
    first, last = (
        datetime(one.year, one.month, one.day, tzinfo=ZoneInfo(zone)) for one in (day, day + timedelta(days=1))
    )
    return first.astimezone(UTC), last.astimezone(UTC)


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace="t_closing_zones")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


@pytest.fixture(scope="module")
def events(settings: Settings) -> list[Event]:
    """A second of events every 50 minutes, from an hour before each day to an hour after it, all archived."""
    messages: list[tuple[Any, Any]] = []
    for zone, day, _ in DAYS:
        moment, last = ends(zone, day)
        moment -= timedelta(hours=1)
        while moment < last + timedelta(hours=1):
            generator = Generator(rate=30, seconds=1, seed=len(messages), start=moment, currencies={"EUR": 1, "USD": 3})
            messages += [(message.key, message.value) for message in generator.messages()]
            moment += STEP
        # The last millisecond of the day, and the first one of the next.
        for edge in (last - timedelta(milliseconds=1), last):
            generator = Generator(rate=1000, seconds=0.001, seed=len(messages), start=edge)
            messages += [(message.key, message.value) for message in generator.messages()]
    produce(settings, messages)
    run_here(settings, "archive")
    return [parse_event(value) for _, value in messages]


@pytest.mark.parametrize(("zone", "day", "hours"), DAYS)
def test_a_closed_day_equals_the_fold_of_its_clocks_day(
    settings: Settings, events: list[Event], tmp_path: Path, zone: str, day: date, hours: float
) -> None:
    contract = tmp_path / "shop.toml"
    contract.write_text(f'[shop]\nzone = "{zone}"\n')
    shop = Settings.load(namespace=settings.namespace_name, contract=contract)
    first, last = ends(zone, day)
    assert (last - first) / timedelta(hours=1) == hours
    now = last + timedelta(hours=2)
    assert day in days_to_close(shop, settle=timedelta(hours=1), look_back=timedelta(days=2), now=now)
    closed = close_day(shop, day)
    assert day not in days_to_close(shop, settle=timedelta(hours=1), look_back=timedelta(days=2), now=now)

    of_day = [one for one in events if one.event_time.astimezone(ZoneInfo(zone)).date() == day]
    month = grain_of("1mo")
    truth = fold(of_day, FigureTable("truth", FIGURES, KEYS, (month,)), month)
    columns = [*KEYS, *(figure.name for figure in FIGURES)]
    found = sorted(tuple(row) for row in closed[columns].itertuples(index=False))
    assert found == sorted(tuple(row[name] for name in columns) for row in truth)
