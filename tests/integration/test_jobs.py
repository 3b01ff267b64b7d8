"""The three jobs, run by papermill on the real servers, against a truth that shares no code with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from retailpulse_kernel.demo import JOBS, job_notebook
from retailpulse_kernel.errors import EventError, UsageError
from retailpulse_kernel.events import Event, parse_event, to_message
from retailpulse_kernel.figures import summarise
from retailpulse_kernel.fold import fold
from retailpulse_kernel.generator import Generator
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.running import run_notebook
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.hbase import HBaseStore
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint import find_epoch
from retailpulse_kernel.tables import CATEGORY, SESSION, USER, FigureTable
from retailpulse_kernel.topics import ensure_topics
from tests.jobs import JobProcess, consumed, produce, totals, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def namespace(stack: Settings, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """The stack with a namespace of the test's own."""
    settings = Settings.load(namespace=f"t_{request.node.name.removeprefix('test_')[:30]}")
    drop(settings)
    ensure_topics(settings)
    yield settings
    drop(settings)


@pytest.fixture
def cassandra(namespace: Settings) -> Iterator[CassandraStore]:
    """Cassandra, left in order: an open session would go on looking for a server that is gone."""
    store = CassandraStore(namespace)
    yield store
    store.close()


def folded_topic(settings: Settings) -> list[Event]:
    """Every valid event of the topic once, by a plain loop; the first of a partition wins."""
    found: dict[str, Event] = {}
    for message in sorted(KafkaStore(settings).messages(), key=lambda m: (m.partition, m.offset)):
        try:
            event = parse_event(message.value, arrival_ms=message.arrival_ms)
        except EventError:
            continue
        found.setdefault(event.event_id, event)
    return list(found.values())


def comparable(row: dict[str, Any], table: FigureTable) -> dict[str, Any]:
    """A row without its sketch: equal sets of users may be stored as different bytes."""
    return {name: value for name, value in row.items() if name != "active_users"}


def assert_table_is_fold(store: Any, table: FigureTable, events: list[Event]) -> None:
    for grain in table.every:
        stored = {table.key(row, grain): comparable(row, table) for row in store.read(table, grain)}
        truth = {table.key(row, grain): comparable(row, table) for row in fold(events, table, grain)}
        assert stored.keys() == truth.keys()
        assert stored == truth


def assert_archive_is_fold(settings: Settings, events: list[Event]) -> None:
    frame = HiveStore(settings).query(
        "select event_type, currency, count(*) n, count(distinct event_id) ids, sum(price * quantity) amount "
        "from events group by event_type, currency"
    )
    rows: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for event in events:
        count, amount = rows.get((event.event_type, event.currency), (0, Decimal(0)))
        rows[event.event_type, event.currency] = (count + 1, amount + (event.price or 0) * event.quantity)
    stored = {(r.event_type, r.currency): (r.n, Decimal(r.amount or 0)) for r in frame.itertuples()}
    assert stored == rows
    assert frame["ids"].sum() == frame["n"].sum()


ODD = [
    None, b"", b"\xff\xfe\x00", b"null", b"[]", b"{}", b'{"event_id": 1', b"[" * 100_000, b"\x00" * 1_000_000 + b"{",
    b'{"event_id":"x","event_type":"view","event_time":"9999-12-31T23:59:59Z","user_id":"u","session_id":"s","product_id":"p"}',
    b'{"event_id":"x","event_type":"purchase","event_time":"2026-01-01T00:00:00Z","user_id":"u","session_id":"s",'
    b'"product_id":"p","price":1e400,"order_id":"o","order_line":1}',
]  # fmt: skip


#: A cell that makes a store fail in the middle of its first two writes.
FAILING = """
from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.stores.{module} import {store}
whole, failures = {store}.{method}, [1, 2]
def failing(self, *given, **named):
    if failures:
        failures.pop()
        raise StoreUnavailable("{module}", "It is down.")
    return whole(self, *given, **named)
{store}.{method} = failing
job.run()"""


@pytest.mark.parametrize(
    ("job", "module", "store", "method"),
    [("engagement", "hbase", "HBaseStore", "write"), ("archive", "hive", "HiveStore", "_add_partitions")],
)
def test_a_write_that_is_tried_again_counts_once(
    namespace: Settings, tmp_path: Path, job: str, module: str, store: str, method: str
) -> None:
    produce(namespace, [(m.key, m.value) for m in Generator(rate=400, seconds=1, seed=3, duplicates=0.1).messages()])
    notebook = nbformat.read(job_notebook(job), as_version=4)
    notebook.cells[-1].source = FAILING.format(module=module, store=store, method=method)
    nbformat.write(notebook, tmp_path / f"{job}.ipynb")
    run_notebook(namespace, tmp_path / f"{job}.ipynb", {"run": "available_now"})
    sent = sum(end for _, end in KafkaStore(namespace).offsets().values())
    counts = totals(read_accounts(namespace), job)
    assert counts["consumed"] == sent and counts["accepted"] + counts["duplicate"] + counts["bad"] == sent
    events = folded_topic(namespace)
    assert counts["accepted"] == len(events)
    if job == "archive":
        assert_archive_is_fold(namespace, events)
    else:
        assert_table_is_fold(HBaseStore(namespace), SESSION, events)


def test_three_jobs_agree_with_truth(namespace: Settings, cassandra: CassandraStore) -> None:
    """Duplicates, late and bad events, refunds and two currencies: every store equals the truth to the cent."""
    generator = Generator(
        rate=500, seconds=20, seed=11, duplicates=0.05, late=0.03, bad=0.03, currencies={"EUR": 0.3},
        start=datetime.now(UTC),
    )  # fmt: skip
    produce(namespace, [(message.key, message.value) for message in generator.messages()])
    produce(namespace, [("odd", value) for value in ODD])
    truth = generator.truth

    for job in JOBS:
        run_notebook(namespace, job_notebook(job), {"run": "available_now"})

    # A bounded run calls nothing late by the order of the topic, so it shows the late events too.
    expected = truth.as_dict()["figures_with_late"]
    summary = summarise(cassandra)
    assert summary.events_by_type == expected["events_by_type"]
    for currency, figures in expected["currencies"].items():
        shown = summary.currencies[currency]
        assert (shown.revenue, shown.orders) == (Decimal(figures["revenue"]), figures["orders"])
        assert shown.revenue_by_category == {c: Decimal(r) for c, r in figures["revenue_by_category"].items()}
    assert summary.active_users == pytest.approx(expected["active_users"], rel=0.02)

    events = folded_topic(namespace)
    assert len(events) == truth.accepted + truth.late
    assert_table_is_fold(cassandra, CATEGORY, events)
    assert_table_is_fold(HBaseStore(namespace), SESSION, events)
    assert_table_is_fold(HBaseStore(namespace), USER, events)
    assert_archive_is_fold(namespace, events)

    accounts = read_accounts(namespace)
    for job in JOBS:  # a live view reads from it which batch wrote a row
        epoch = find_epoch(f"{namespace.checkpoints}/{job}")
        assert epoch is not None and {a.start_ms for a in accounts if a.job == job} == {epoch.start_ms}
    offsets = sum(end for _, end in KafkaStore(namespace).offsets().values())
    bad = truth.bad.total() + len(ODD)
    for job in JOBS:
        assert totals(accounts, job) == Counter(
            consumed=offsets, accepted=len(events), duplicate=truth.duplicates, bad=bad
        )

    rejects = [json.loads(m.value or b"") for m in KafkaStore(namespace).messages(namespace.namespace.dlq_topic)]
    assert len(rejects) == bad, "one record for each bad message, from one job"
    assert all(r["reason"] and r["topic"] == namespace.namespace.events_topic for r in rejects)
    assert len({(r["partition"], r["offset"]) for r in rejects}) == bad


def events_of(minutes: range, *, name: str) -> list[tuple[str, bytes]]:
    """A purchase of one cent more each, a few a minute, all near the present."""
    base = datetime.now(UTC).replace(microsecond=0)
    return [
        (
            f"u{i % 17}",
            to_message(
                Event(
                    event_id=f"{name}-{i}", event_type="purchase", event_time=base, user_id=f"u{i % 17}",
                    session_id=f"s{i % 29}", product_id="p", category=f"c.{i % 5}", price=Decimal(i) / 100,
                    order_id=f"{name}-{i}", order_line=1,
                )
            ),
        )
        for i in minutes
    ]  # fmt: skip


def test_killed_job_loses_and_doubles_nothing(namespace: Settings, cassandra: CassandraStore, tmp_path: Path) -> None:
    """kill -9 of a running job, in the middle of its work: the next run goes on where it was."""
    log = tmp_path / "job.log"
    job = JobProcess(namespace, "metrics", log)
    try:
        produce(namespace, events_of(range(3000), name="a"))
        wait_until(lambda: consumed(namespace, "metrics") >= 3000, "the first events")
        produce(namespace, events_of(range(20_000), name="b"))
        time.sleep(0.7)  # somewhere within a batch; where does not matter to the result
    finally:
        job.kill()
    produce(namespace, events_of(range(1000), name="a"))  # repeated ones, after the restart too
    job = JobProcess(namespace, "metrics", log)
    try:
        produce(namespace, events_of(range(500), name="c"))
        wait_until(lambda: consumed(namespace, "metrics") >= 24_500, f"the rest; log: {log.read_text()[-2000:]}")
        tree = job.tree()
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(90) == 0, "SIGTERM ends the run in order"
        _, left = psutil.wait_procs(tree, timeout=20)
        assert not left, "the kernel and the JVM went with it"
    finally:
        job.kill()

    assert_table_is_fold(cassandra, CATEGORY, folded_topic(namespace))
    counts = totals(read_accounts(namespace), "metrics")
    assert counts == Counter(consumed=24_500, accepted=23_500, duplicate=1000)


def test_job_waits_for_a_store_that_is_down(namespace: Settings, cassandra: CassandraStore, tmp_path: Path) -> None:
    """Cassandra is killed under load: the job says so, waits, and the figures are right."""
    from retailpulse_kernel.stack import supervision

    log = tmp_path / "job.log"
    job = JobProcess(namespace, "metrics", log)
    try:
        produce(namespace, events_of(range(500), name="a"))
        wait_until(lambda: consumed(namespace, "metrics") >= 500, "the first events")
        (server,) = (s for s in supervision.status(namespace) if s.name == "cassandra")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        produce(namespace, events_of(range(2000), name="b"))
        wait_until(lambda: consumed(namespace, "metrics") >= 2500, f"the rest; log: {log.read_text()[-2000:]}")
    finally:
        job.process.send_signal(signal.SIGTERM)
        try:
            job.process.wait(90)
        finally:
            job.kill()
    assert_table_is_fold(cassandra, CATEGORY, folded_topic(namespace))


def test_wrong_use_is_one_sentence_and_exit_code_2(stack: Settings, tmp_path: Path) -> None:
    def retailpulse(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "retailpulse_kernel.cli", *arguments], capture_output=True, text=True, timeout=120
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    metrics = str(job_notebook("metrics"))
    for arguments, sentence in [
        (("run", metrics, "-p", "watermarks", "5m"), "Did you mean 'watermark'"),
        (("run", metrics, "-p", "watermark", "soon"), "can't be 'soon'"),
        (("run", "absent.ipynb"), "There is no notebook"),
        (("figures", "--profile", "moon"), "There is no profile 'moon'"),
        (("figures", "--namespace", "Not Good"), "can't be a namespace"),
        (("figures", "--namespace", "t_never_made"), "retailpulse run"),
        (("figures", "--since", "yesterday"), "is not a time"),
        (("demo", "--once"), "needs a file"),
        (("demo", "--input", metrics, "--format", "rees47", "--once"), "There is no format 'rees47'"),
    ]:
        code, said = retailpulse(*arguments)
        assert (code, sentence in " ".join(said.split())) == (2, True), (arguments, said)


def test_missing_topic_is_the_users_mistake(stack: Settings) -> None:
    settings = Settings.load(namespace="t_no_topics")
    with pytest.raises(UsageError, match="retailpulse topics --create"):
        run_notebook(settings, job_notebook("metrics"), {})
