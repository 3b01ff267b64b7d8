"""Backfills and new epochs beside what the stream wrote: the same tables, however often."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.answers.corrected import corrected
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.sketching.sketches import estimate
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION, USER
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.upkeep.correcting import correct
from tests.jobs import JOBS, JobProcess, produce, run_here, totals, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def namespace(stack: Settings) -> Iterator[Settings]:
    settings = Settings.load(namespace="t_backfill")
    drop(settings)
    ensure_topics(settings)
    yield settings
    drop(settings)


def tables(settings: Settings) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Every row of every figure table, by its key."""
    cassandra, hbase = CassandraStore(settings), HBaseStore(settings)
    try:
        found = {}
        for store, table in ((cassandra, CATEGORY), (hbase, SESSION), (hbase, USER)):
            for grain in table.every:
                rows = store.read(table, grain)
                found[table.physical(grain)] = {table.key(row, grain): comparable(row) for row in rows}
        return found
    finally:
        cassandra.close()
        hbase.close()


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose sketch is a number: equal sets of users may be stored as different bytes."""
    sketch = {"active_users": estimate(row["active_users"])} if "active_users" in row else {}
    return {**row, **sketch}


def archived(settings: Settings) -> list[tuple[int, int]]:
    frame = HiveStore(settings).events(columns=["kafka_partition", "kafka_offset"])
    return sorted(zip(frame["kafka_partition"], frame["kafka_offset"], strict=True))


def test_backfills_and_new_epochs_give_what_the_stream_gave(namespace: Settings, tmp_path: Path) -> None:
    start = datetime.now(UTC) - timedelta(minutes=90)
    generator = Generator(
        rate=3, seconds=4800, seed=5, duplicates=0.03, late=0.05, bad=0.02, currencies={"EUR": 0.3}, start=start
    )
    produce(namespace, [(message.key, message.value) for message in generator.messages()])
    offsets = sum(end for _, end in KafkaStore(namespace).offsets().values())
    stream_until(namespace, JOBS, offsets, epoch=1, logs=tmp_path)
    accounts = read_accounts(namespace)
    counts = [totals(accounts, name) for name in JOBS]
    assert counts[0] == counts[1] == counts[2], "every job judges alike"
    assert counts[0]["late"] > 100
    result = reconcile(namespace)
    assert result.ok, result.to_json()
    stream, archive = tables(namespace), archived(namespace)

    hour = GRAINS["hour"].start(start) + timedelta(hours=1)
    part = {"since": hour.isoformat(), "until": (hour + timedelta(minutes=30)).isoformat()}
    for given in ({}, part, {"source": "archive", **part}):
        run_here(namespace, "metrics", run="backfill", **given)
        assert tables(namespace) == stream, given

    run_here(namespace, "metrics", run="backfill", late="include")
    closed = tables(namespace)
    events = [sum(row["events"] for row in found["category_day"].values()) for found in (stream, closed)]
    assert events[1] - events[0] > 100, "closing a day counts the late events"
    assert correct(namespace).notes == []
    store = corrected(CassandraStore(namespace))
    assert sum(row["events"] for row in store.read(CATEGORY, GRAINS["day"])) == events[1], "and they count once"

    for name in ("metrics", "archive"):
        done = subprocess.run(
            [sys.executable, "-m", "retailpulse_kernel.cli", "epochs", name, "--new", "--json"],
            capture_output=True, text=True, timeout=60, env={**os.environ, **environment(namespace)}, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)[0]["epoch"] == 2
    stream_until(namespace, ("metrics", "archive"), offsets, epoch=2, logs=tmp_path)
    # Where nothing but late events happened, the new epoch has no row, and does not take the old one back.
    won = {name: closed[name] | stream[name] for name in stream}
    assert tables(namespace) == won, "a new epoch's figures win over all before"
    assert archived(namespace) == archive, "and the archive holds each message once"


def stream_until(settings: Settings, names: Sequence[str], offsets: int, *, epoch: int, logs: Path) -> None:
    """Run jobs continuously, all at once, until they have taken so many messages."""
    jobs = [JobProcess(settings, name, logs / f"{name}.log") for name in names]
    try:
        for name in names:
            wait_until(lambda name=name: taken(settings, name, epoch) >= offsets, f"{name} in epoch {epoch}")  # type: ignore[misc]
        for job in jobs:
            job.process.send_signal(signal.SIGTERM)
        for job in jobs:
            assert job.process.wait(120) == 0
    finally:
        for job in jobs:
            job.kill()


def taken(settings: Settings, job: str, epoch: int) -> int:
    return sum(a.consumed for a in read_accounts(settings) if a.job == job and a.epoch == epoch)


def test_a_range_is_checked_before_anything_is_written(namespace: Settings) -> None:
    for given, sentence in [
        ({"run": "backfill", "since": "2026-01-01T10:00:30"}, "whole minute"),
        ({"run": "continuous", "since": "2026-01-01"}, "Only a backfill"),
        ({"run": "backfill", "source": "archive"}, "holds nothing"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            run_here(namespace, "metrics", **given)
