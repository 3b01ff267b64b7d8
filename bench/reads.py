"""How fast people read: the topic's tail, the archive, and today's figures."""

from __future__ import annotations

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from retailpulse_kernel.answers.reading import summarise
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import EVENT_TYPES, ORDER_EVENTS
from retailpulse_kernel.shop.sketching import sketches
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, Grain, Row
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["archive_rate", "figures_ms", "fill_figures", "fill_hours", "series_ms", "tail_rate"]


def tail_rate(settings: Settings, *, limit: int = 1_000_000, last: str = "30d") -> float:
    """Messages a second from the namespace's topic into a frame."""
    begin = time.perf_counter()
    frame = KafkaStore(settings).tail(last=last, limit=limit)
    return len(frame) / (time.perf_counter() - begin)


def archive_rate(settings: Settings) -> float:
    """Events a second from the namespace's archive into a frame of every column but the raw message."""
    begin = time.perf_counter()
    frame = HiveStore(settings).events()
    return len(frame) / (time.perf_counter() - begin)


def figures_ms(settings: Settings, *, reads: int = 20, users: bool = False) -> float:
    """The median of some reads of today's four figures, in milliseconds."""
    store, now = CassandraStore(settings), datetime.now(UTC)
    minute, day = GRAINS["minute"], GRAINS["day"]
    since, until = day.start(now), minute.start(now) + minute.width
    took = []
    try:
        summarise(store, since=since, until=until, users=users)  # connects
        for _ in range(reads):
            begin = time.perf_counter()
            summarise(store, since=since, until=until, users=users)
            took.append((time.perf_counter() - begin) * 1000)
    finally:
        store.close()
    return statistics.median(took)


def fill_figures(settings: Settings, *, days: int = 30, categories: int = 200, hour_days: int = 3) -> int:
    """Write that much history into the namespace's tables, half of the categories in two currencies; its rows.

    Days for all of it, hours of the last `hour_days`, minutes of the last two days with 120 keys each.
    """
    dice, now = random.Random(1), datetime.now(UTC)
    today = GRAINS["day"].start(now)
    users = [f"u{i}" for i in range(20_000)]
    some = {n: [sketches.of(dice.sample(users, n)) for _ in range(20)] for n in (3, 30, 300, 5_000)}
    keys = [
        (currency, f"department{i % 20}.category{i}", event_type)
        for i in range(categories)
        for event_type in EVENT_TYPES
        for currency in (("USD", "EUR") if i % 2 else ("USD",))
    ]

    def row(grain: Grain, start: datetime, key: tuple[str, str, str], most: int, active: int) -> Row:
        currency, category, event_type = key
        n = dice.randrange(1, most)
        pieces = (n if event_type in ORDER_EVENTS else 0) * (-1 if event_type == "refund" else 1)
        return {
            grain.name: start, "currency": currency, "category": category, "event_type": event_type,
            "events": n, "units": pieces, "revenue": Decimal(pieces * dice.randrange(100, 10**6)).scaleb(-2),
            "orders": n if event_type == "purchase" else 0, "active_users": dice.choice(some[active]),
        }  # fmt: skip

    store, written = CassandraStore(settings), 0
    store.create(CATEGORY)
    for grain, length, most, actives, sample in (
        (GRAINS["day"], days, 9_000, (5_000, *[300] * 9), len(keys)),
        (GRAINS["hour"], hour_days, 900, (30,), len(keys)),
        (GRAINS["minute"], 2, 20, (3,), 120),
    ):
        start = today - timedelta(days=length - 1)
        while start <= now:
            chosen = enumerate(dice.sample(keys, sample))
            rows = [row(grain, start, key, most, actives[i % len(actives)]) for i, key in chosen]
            # Large sketches fill the driver's connection: few of them at a time.
            for first in range(0, len(rows), 100):
                store.write(CATEGORY, grain, rows[first : first + 100], version=1)
            written += len(rows)
            start += grain.width
    store.close()
    return written


def fill_hours(settings: Settings, *, first: int, days: int, categories: int = 30) -> int:
    """Write hours of whole days, from `first` days before today back to `days` before it; how many rows these are.

    Each hour has a row for each category and type of event, in one currency.
    """
    hour, users = GRAINS["hour"], sketches.of([f"u{i}" for i in range(30)])
    today, written = GRAINS["day"].start(datetime.now(UTC)), 0
    store = CassandraStore(settings)
    try:
        store.create(CATEGORY)
        for day in range(first, days):
            rows: list[Row] = [
                {
                    hour.name: today - timedelta(days=day + 1) + timedelta(hours=place), "currency": "USD",
                    "category": f"category{category}", "event_type": event_type, "events": 9, "units": 9,
                    "revenue": Decimal("99.90"), "orders": 9 if event_type == "purchase" else 0, "active_users": users,
                }
                for place in range(24) for category in range(categories) for event_type in EVENT_TYPES
            ]  # fmt: skip
            store.write(CATEGORY, hour, rows, version=1)
            written += len(rows)
    finally:
        store.close()
    return written


def series_ms(settings: Settings, *, days: int, reads: int = 10) -> float:
    """The median of some reads of the revenue by hours of that many days before today, in milliseconds."""
    rp = Workbench(settings.profile_name, settings.namespace_name)
    took: list[float] = []
    today = GRAINS["day"].start(datetime.now(UTC))
    for _ in range(reads + 1):
        begin = time.perf_counter()
        frame = rp.figures("revenue", by="bucket", every="hour", since=today - timedelta(days=days), until=today)
        took.append((time.perf_counter() - begin) * 1000)
        if len(frame) != 24 * days:
            raise AssertionError(f"{len(frame)} hours were read instead of {24 * days}.")
    return statistics.median(took[1:])  # the first one connects
