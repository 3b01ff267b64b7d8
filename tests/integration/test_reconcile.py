"""`retailpulse reconcile` on the real servers: equal after the jobs ran, and every kind of damage named."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer

from retailpulse_kernel.demo.jobs import job_command
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.reconcile import Reconciliation, reconcile
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, SESSION
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.figure_rows import arrow_rows
from retailpulse_kernel.stores.hbase.rows import pack_keys
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import Ledger, read_accounts
from tests.jobs import JOBS, run_here

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

HOUR = GRAINS["hour"]
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "batch" / "reconcile.ipynb"


def fresh(name: str) -> Settings:
    settings = Settings.load(namespace=name)
    drop(settings)
    ensure_topics(settings)
    return settings


def produce(settings: Settings, generator: Generator) -> None:
    producer = Producer({**client_config(settings), "enable.idempotence": True})
    for message in generator.messages():
        producer.produce(settings.namespace.events_topic, key=message.key, value=message.value)
        producer.poll(0)
    assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def taken(stack: Settings) -> Iterator[tuple[Settings, Generator]]:
    """A namespace whose jobs have taken all of a stream with everything in it."""
    settings = fresh("t_reconcile")
    generator = Generator(
        rate=400, seconds=20, seed=23, duplicates=0.05, late=0.03, bad=0.03, currencies={"EUR": 1, "USD": 3},
        start=datetime.now(UTC),
    )  # fmt: skip
    produce(settings, generator)
    for job in JOBS:
        run_here(settings, job)
    yield settings, generator
    drop(settings)


@pytest.fixture
def settings(taken: tuple[Settings, Generator]) -> Settings:
    return taken[0]


def only_difference(result: Reconciliation, *, of: str) -> str:
    """The one sentence about what differs, apart from totals that differ with it."""
    assert not result.ok
    found = [sentence for sentence in result.differences if not sentence.startswith("The totals")]
    named = [sentence for sentence in found if of in sentence]
    assert len(named) == 1, found
    return named[0]


def test_all_stores_are_equal_after_the_jobs_ran(taken: tuple[Settings, Generator]) -> None:
    settings, generator = taken
    result = reconcile(settings)
    assert result.ok, result.differences
    assert {check.state for check in result.tables} <= {"equal", "nothing"}
    assert {(c.store, c.table) for c in result.tables if c.rows} == {
        ("cassandra", "category_minute"), ("cassandra", "category_hour"), ("cassandra", "category_day"),
        ("hbase", "session_hour"), ("hbase", "user_day"), ("hive", "events"), ("hive", "event ids"),
    }  # fmt: skip

    truth = generator.truth
    for job in result.jobs:
        assert job.reported == job.found
        assert job.reported["accepted"] == truth.accepted + truth.late, "nothing is late in a bounded run"
        assert job.reported["bad"] == truth.bad.total()
        assert job.reported["duplicate"] == truth.duplicates

    expected = truth.as_dict()["figures_with_late"]["currencies"]
    assert {total.currency for total in result.totals} == {"EUR", "USD"}
    for total in result.totals:
        revenue, orders = total.figures["revenue"], total.figures["orders"]
        assert revenue.keys() == {"topic", "cassandra", "hbase", "hive"}
        assert set(revenue.values()) == {Decimal(expected[total.currency]["revenue"])}
        assert set(orders.values()) == {expected[total.currency]["orders"]}


def test_the_command_prints_it_and_the_notebook_runs_through(settings: Settings) -> None:
    done = retailpulse("reconcile", "--namespace", settings.namespace.name)
    assert done.returncode == 0, done.stderr
    assert "Nothing differs" in done.stdout
    run_notebook(settings, NOTEBOOK, {"since": "2026-01-01", "until": "2100-01-01T00:00+02:00"})
    for said in ("category_minute", "session_hour", "event ids", "revenue EUR", "orders USD"):
        assert said in done.stdout


def test_a_changed_figure_in_cassandra(settings: Settings) -> None:
    store = CassandraStore(settings)
    row = next(row for row in store.read(CATEGORY, HOUR) if row["revenue"])
    now = int(time.time() * 1000)
    try:
        store.write(CATEGORY, HOUR, [row | {"revenue": row["revenue"] + Decimal("0.01")}], version=now)
        result = reconcile(settings)
        said = only_difference(result, of="cassandra")
        assert "category_hour, 1 of " in said
        assert f"category {row['category']!r}" in said
        assert f"the store has revenue {row['revenue'] + Decimal('0.01')}" in said
        total = next(total for total in result.totals if total.currency == row["currency"])
        assert total.figures["revenue"]["cassandra"] - total.figures["revenue"]["topic"] == Decimal("0.01")
        assert not total.equal

        done = retailpulse("reconcile", "--namespace", settings.namespace.name, "--json")
        assert done.returncode == 1
        written = json.loads(done.stdout)
        assert not written["ok"]
        first = next(t["first"] for t in written["tables"] if t["state"] == "differs")
        assert first["key"]["category"] == row["category"]
        assert first["folded"] == {"revenue": str(row["revenue"])}

        window = timedelta(minutes=59, seconds=59)
        assert reconcile(settings, row["hour"], row["hour"] + window).ok, "its hour is not within the range"
        assert not reconcile(settings, row["hour"], row["hour"] + HOUR.width).ok

        with pytest.raises(CheckFailed, match="cassandra category_hour"):
            run_notebook(settings, NOTEBOOK, {})
    finally:
        store.write(CATEGORY, HOUR, [row], version=now + 1)
        store.close()
    assert reconcile(settings).ok


def test_a_row_that_is_gone_from_hbase_and_one_too_many(settings: Settings) -> None:
    store = HBaseStore(settings)
    row = store.read(SESSION, HOUR)[0]
    surplus = row | {"session_id": "nobody's"}
    now = int(time.time() * 1000)
    delete(store, row, now)
    try:
        said = only_difference(reconcile(settings), of="hbase")
        assert "session_hour, 1 of " in said
        assert f"session_id {row['session_id']!r}" in said
        assert "the store has nothing" in said
    finally:
        store.write(SESSION, HOUR, [row], version=now + 1)
    store.write(SESSION, HOUR, [surplus], version=now)
    try:
        assert "the fold of the topic nothing" in only_difference(reconcile(settings), of="hbase")
    finally:
        delete(store, surplus, now + 1)
        store.close()
    assert reconcile(settings).ok


def delete(store: HBaseStore, row: dict[str, Any], version: int) -> None:
    (key,) = pack_keys(SESSION, HOUR, arrow_rows(SESSION, HOUR, [row]))
    store._run(lambda hbase: hbase.table(SESSION.physical(HOUR)).delete(key, timestamp=version))


def test_an_archive_file_that_is_gone_and_one_that_is_there_twice(settings: Settings, tmp_path: Path) -> None:
    location = HiveStore(settings).location
    file = max(location.glob("dt=*/hour=*/*.parquet"), key=lambda path: path.stat().st_size)
    kept = shutil.move(file, tmp_path / file.name)
    try:
        assert "fold of the topic" in only_difference(reconcile(settings), of="hive events,")
    finally:
        shutil.move(kept, file)
    doubled = file.with_name(f"x{file.name}")
    shutil.copy(file, doubled)
    try:
        result = reconcile(settings)
        assert only_difference(result, of="hive events,")
        assert only_difference(result, of="hive event ids,")
    finally:
        doubled.unlink()
    assert reconcile(settings).ok


def test_an_account_that_is_wrong(settings: Settings) -> None:
    right = next(account for account in read_accounts(settings) if account.job == "engagement")
    ledger = Ledger(settings)
    try:
        ledger.write(replace(right, accepted=right.accepted - 1, duplicate=right.duplicate + 1))
        said = only_difference(reconcile(settings), of="The job engagement: accepted")
        assert f"{right.accepted:,} in the topic" in said
        ledger.write(replace(right, bad=right.bad + 1))
        result = reconcile(settings)
        assert any("batch 0: bad" in sentence for sentence in result.differences)
        assert any("is not accepted + duplicate + late + bad" in sentence for sentence in result.differences)
    finally:
        ledger.write(right)
    assert reconcile(settings).ok


def test_a_job_that_never_ran_is_no_difference(stack: Settings) -> None:
    settings = fresh("t_reconcile_idle")
    try:
        result = reconcile(settings)
        assert result.ok
        assert {check.state for check in result.tables} == {"not run"}
        assert any("metrics has not run" in note for note in result.notes)
    finally:
        drop(settings)


def test_wrong_use(stack: Settings) -> None:
    for arguments, says in [
        (["--namespace", "t_reconcile_none"], "There is no topic"),
        (["--since", "tomorrow"], "is not a time"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "is not before"),
    ]:
        done = retailpulse("reconcile", *arguments)
        assert (done.returncode, says in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_while_a_job_runs(stack: Settings, tmp_path: Path) -> None:
    """Closed windows are equal at any moment; when the stream rests, so are all."""
    settings = fresh("t_reconcile_live")
    log = (tmp_path / "job.log").open("ab")
    job = subprocess.Popen(
        job_command("metrics", run="continuous"),
        env={**os.environ, **environment(settings)},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tree = [psutil.Process(job.pid)]
    try:
        began = datetime.now(UTC) - timedelta(hours=1)
        end = time.monotonic() + 400
        compared, turns, result = 0, 0, None
        while time.monotonic() < end and compared < 2:
            # Six minutes each, in order of time: some windows close with every turn.
            start = began + timedelta(minutes=6) * turns
            produce(settings, Generator(rate=3, seconds=360, seed=turns, start=start, currencies={"EUR": 1}))
            turns = min(turns + 1, 9)
            result = reconcile(settings)
            assert result.ok, result.differences
            compared += any(job.closed_until and job.closed_until > began for job in result.jobs) and any(
                check.state == "equal" for check in result.tables
            )
            tree = [*tree[:1], *tree[0].children(recursive=True)]
        assert compared >= 2, f"windows were never closed: {result}; log: {(tmp_path / 'job.log').read_text()[-2000:]}"
        assert any("has not run" in note for note in result.notes)  # type: ignore[union-attr]
        while time.monotonic() < end and any(job.behind for job in result.jobs):  # type: ignore[union-attr]
            result = reconcile(settings)
        assert result.ok  # type: ignore[union-attr]
        assert result.jobs[0].closed_until is None, "it has taken all, so every window is compared"  # type: ignore[union-attr]
        job.send_signal(signal.SIGTERM)
        assert job.wait(90) == 0
    finally:
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        job.wait()
        log.close()
        drop(settings)


def retailpulse(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "retailpulse_kernel.cli", *arguments], capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr
    return done
