"""How long an event takes from Kafka to where it can be read, with all three jobs running."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from bench.feed import fill
from bench.jobs import JOBS, generator, started
from bench.lab import Lab
from bench.results import Figure, Target, number, percentile
from retailpulse_kernel.ground.errors import NoSuchTable, UnknownName, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import GRAINS
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.producer import Sender
from retailpulse_kernel.stores.kafka.topics import topic_states

__all__ = ["measure"]

RATE = 2_000
#: What the shop had before: as long as the jobs know an id, which is twice the watermark.
_BEFORE = timedelta(minutes=20)
#: Probes a second; their pauses are drawn by chance, so that they don't keep step with the jobs' triggers.
_PROBES = 2.0
_TARGETS = {"Cassandra": (1.5, 3.0), "HBase": (None, 4.0), "Hive": (None, 30.0)}
#: Seconds that the last probes have to appear.
_PATIENCE = 60.0
#: Seconds that the events go on after the last probe.
_BEYOND = 20.0

_PREFIX = "probe-"


def measure(lab: Lab, *, warm_up: float = 60, seconds: float = 90) -> list[Figure]:
    """Send probes among generated events, look for them in each store, and say how long they took.

    A probe is an event with a category, a session and an id of its own. What counts is the time from before it is
    handed to the producer until a query that shows it has returned.
    """
    settings = lab.namespace("latency")
    with started(lab, settings, JOBS, topic=settings.namespace.events_topic) as running:
        before = round(RATE * _BEFORE.total_seconds())
        lab.say(f"latency: {before:,} events of the {_BEFORE.total_seconds() / 60:.0f} min before")
        fill(settings, before, span=_BEFORE, seed=5)
        running.wait_for(before, seconds=900)
        lab.say(f"latency: {warm_up:g} s to warm up, {seconds:g} s of probes at {RATE:,} events/s")
        # It goes on a little longer than the probes, so that the last of them are like the others.
        with lab.ended(generator(lab, settings, rate=RATE, seconds=warm_up + seconds + _BEYOND)):
            time.sleep(warm_up)
            watchers, rate = _watched(settings, seconds)
    lab.forget("latency")
    return [figure for watcher in watchers for figure in _figures(watcher, rate)]


class _Watcher(threading.Thread):
    """Looks into a store again and again, and notes when each probe is first seen."""

    def __init__(self, store: str, look: Callable[[], list[str]], pause: float) -> None:
        super().__init__(name=f"watch {store}", daemon=True)
        self.store = store
        self.sent: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self.looks = 0
        self._look, self._pause = look, pause
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                found = self._look()
            except (NoSuchTable, UnknownName, UsageError):
                continue  # the job has not made its table yet
            now = time.time()
            self.looks += 1
            for probe in found:
                self.seen.setdefault(probe, now)

    def end(self) -> None:
        self._ended.set()
        self.join(30)

    @property
    def seconds(self) -> list[float]:
        """How long each probe took; infinite for one that was never seen."""
        return [self.seen.get(probe, math.inf) - moment for probe, moment in self.sent.items()]


def _watched(settings: Settings, seconds: float) -> tuple[list[_Watcher], float]:
    """Send probes for some seconds, watch the stores until all are seen; also the messages a second meanwhile."""
    cassandra, hbase, hive = CassandraStore(settings), HBaseStore(settings), HiveStore(settings)
    begin = datetime.now(UTC)
    watchers = [
        _Watcher("Cassandra", lambda: _in_cassandra(cassandra), 0.05),
        _Watcher("HBase", lambda: _in_hbase(hbase), 0.05),
        _Watcher("Hive", lambda: _in_hive(hive, begin), 1.0),
    ]
    for watcher in watchers:
        watcher.start()
    try:
        before, started_at = topic_states(settings)[0].messages, time.monotonic()
        sent = _send_probes(settings, seconds)
        rate = (topic_states(settings)[0].messages - before) / (time.monotonic() - started_at)
        for watcher in watchers:
            watcher.sent = sent
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and any(sent.keys() - watcher.seen.keys() for watcher in watchers):
            time.sleep(0.2)
    finally:
        for watcher in watchers:
            watcher.end()
        for store in (cassandra, hbase, hive):
            store.close()
    return watchers, rate


def _send_probes(settings: Settings, seconds: float) -> dict[str, float]:
    """Send probes; the time before each was handed over."""
    sent: dict[str, float] = {}
    chance = random.Random(4)
    end = time.monotonic() + seconds
    with Sender(settings) as sender:
        while time.monotonic() < end:
            probe = f"{_PREFIX}{len(sent):06d}"
            value = orjson.dumps(
                {
                    "event_id": probe,
                    "event_type": "view",
                    "event_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "user_id": probe,
                    "session_id": probe,
                    "product_id": "1",
                    "category": probe,
                    "schema_version": 1,
                }
            )
            sent[probe] = time.time()
            sender.send(probe.encode(), value)
            sender.flush()
            time.sleep(chance.uniform(0, 2 / _PROBES))
    return sent


def _in_cassandra(store: CassandraStore) -> list[str]:
    minute = GRAINS["minute"].start(datetime.now(UTC))
    found: list[str] = []
    # A probe of the minute before may come just now.
    for moment in (minute, minute - GRAINS["minute"].width):
        frame = store.query(
            "select category from category_minute where hour = :hour and minute = :minute "
            "and currency = 'USD' and category > 'probe-' and category < 'probe.'",
            {"hour": GRAINS["hour"].start(moment), "minute": moment},
        )
        found += frame["category"].tolist()
    return found


def _in_hbase(store: HBaseStore) -> list[str]:
    now = datetime.now(UTC)
    found: list[str] = []
    for moment in sorted({f"{now:%Y%m%dT%H}", f"{now - timedelta(minutes=1):%Y%m%dT%H}"}):
        frame = store.scan("session_hour", f"{moment}#{_PREFIX}", columns=["session_id"], limit=None)
        found += frame["session_id"].tolist() if len(frame) else []
    return found


def _in_hive(store: HiveStore, begin: datetime) -> list[str]:
    hours = sorted({(f"{moment:%Y-%m-%d}", moment.hour) for moment in (begin, datetime.now(UTC))})
    where = " or ".join(f"(dt = '{day}' and hour = {hour})" for day, hour in hours)
    frame = store.query(f"select event_id from events where ({where}) and event_id like 'probe-%'")
    return frame["event_id"].tolist()


def _figures(watcher: _Watcher, rate: float) -> list[Figure]:
    seconds = watcher.seconds
    missing = seconds.count(math.inf)
    p50, p95 = _TARGETS[watcher.store]
    note = f"max {max(seconds):.2f} s; {len(seconds)} probes among {number(rate)} events/s, {watcher.looks:,} looks"
    note += f", [bold red]{missing} never seen[/]" if missing else ""
    title = f"latency to {watcher.store} at {RATE:,} events/s"
    return [
        Figure(f"{title}, p50", "s", [percentile(seconds, 0.5)], target=Target(p50, at_most=True) if p50 else None),
        Figure(
            f"{title}, p95", "s", [percentile(seconds, 0.95)], target=Target(p95, at_most=True) if p95 else None,
            note=note, details={"seconds": seconds},
        ),
    ]  # fmt: skip
