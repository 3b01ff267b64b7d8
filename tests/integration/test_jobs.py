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
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from retailpulse_kernel.answers.reading import summarise
from retailpulse_kernel.demo.jobs import job_notebook
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import EventError, JobError, StoreUnavailable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.events import Event, parse_event, to_message
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY, SESSION, USER, FigureTable
from retailpulse_kernel.stores.cassandra.store import CassandraStore
from retailpulse_kernel.stores.hbase.store import HBaseStore
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import delete_topics, ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.accounts import read_accounts
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from tests.jobs import JOBS, JobProcess, consumed, produce, run_here, stamp, totals, wait_until

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


@pytest.mark.parametrize(
    ("job", "store", "method"), [("engagement", HBaseStore, "write"), ("archive", HiveStore, "_add_partitions")]
)
def test_a_write_that_is_tried_again_counts_once(
    namespace: Settings, monkeypatch: pytest.MonkeyPatch, job: str, store: type, method: str
) -> None:
    produce(namespace, [(m.key, m.value) for m in Generator(rate=400, seconds=1, seed=3, duplicates=0.1).messages()])
    whole, failures = getattr(store, method), ["in the second write", "in the first"]

    def failing(self: Any, *given: Any, **named: Any) -> Any:
        if failures:
            raise StoreUnavailable(store.name, f"It is down {failures.pop()}.")
        return whole(self, *given, **named)

    monkeypatch.setattr(store, method, failing)
    run_here(namespace, job)
    assert failures == []
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

    run_notebook(namespace, job_notebook("metrics"), {"run": "available_now"})
    run_here(namespace, "engagement")
    run_here(namespace, "archive")

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


def one_of(number: int, time: datetime, event_type: str) -> Event:
    """An event of one of eight users."""
    order: dict[str, Any] = {"order_id": f"o{number}", "order_line": 1} if event_type == "purchase" else {}
    return Event(
        event_id=f"e{number}", event_type=event_type, event_time=time.replace(microsecond=0), user_id=f"u{number % 8}",
        session_id="s", product_id="p", category="c", price=Decimal(number) / 100, **order,
    )  # fmt: skip


#: The same servers, with checkpoints at a URI: the job's state is Spark's then.
ELSEWHERE = """
[kafka]
bootstrap = "{kafka}"
[cassandra]
port = {cassandra}
[spark]
checkpoints = "{checkpoints}"
"""


@pytest.mark.parametrize(("state", "stamped"), [("files", "LogAppendTime"), ("spark", "CreateTime")])
def test_fast_clocks_make_no_others_late(
    namespace: Settings, cassandra: CassandraStore, tmp_path: Path, state: str, stamped: str
) -> None:
    """Eight views five minutes ahead, and behind them ordinary events of the same users, under a watermark of a minute.

    Batch by batch, so that Spark's watermark follows; and wherever the job keeps its state.
    """
    settings, topic = namespace, namespace.namespace.events_topic
    if state == "spark":
        path, local = tmp_path / "elsewhere.toml", namespace.profile
        path.write_text(
            ELSEWHERE.format(
                kafka=local.kafka.bootstrap, cassandra=local.cassandra.port, checkpoints=(tmp_path / "shared").as_uri()
            )
        )
        settings = Settings.load(namespace=namespace.namespace.name, profile=str(path))
        stamp(settings, topic, stamped)
    log = tmp_path / "job.log"
    job = JobProcess(settings, "metrics", log, watermark="1m")

    def send(some: range, lead: timedelta, event_type: str) -> None:
        time = datetime.now(UTC) + lead
        produce(settings, [(f"u{i % 8}", to_message(one_of(i, time, event_type))) for i in some])
        wait_until(lambda: consumed(settings, "metrics") >= some.stop, f"{some}; log: {log.read_text()[-2000:]}")

    try:
        send(range(8), timedelta(minutes=5), "view")
        for first in (8, 1_008, 2_008):
            send(range(first, first + 1_000), timedelta(seconds=-30), "purchase")
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(90) == 0
    finally:
        job.kill()
    accounts = read_accounts(settings)
    assert totals(accounts, "metrics") == Counter(consumed=3_008, accepted=3_008)
    assert sum(account.ahead for account in accounts) == 8
    assert 240_000 < max(account.ahead_ms for account in accounts) <= 300_000
    arrivals = [message.arrival_ms for message in KafkaStore(settings).messages()]
    assert 0 < accounts[-1].watermark_ms <= max(arrivals) - 60_000, "Spark's watermark moved, and not ahead"
    epoch = find_epoch(f"{settings.checkpoints}/metrics")
    assert epoch is not None
    folders = {path.name for path in Path(epoch.path.removeprefix("file://")).iterdir()}
    assert folders & {"ids", "sums", "state"} == ({"ids", "sums"} if state == "files" else {"state"})
    assert_table_is_fold(cassandra, CATEGORY, folded_topic(settings))
    (record,) = (settings.home / "runs" / settings.namespace.name / "metrics").glob("*.ipynb")
    said = record.read_text()
    assert "8 events were ahead of the" in said
    assert ("carry the producer's time" in said) == (stamped == "CreateTime")


@pytest.mark.faults
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


def delete_before(settings: Settings, offsets: dict[int, int]) -> None:
    """What retention does, at once."""
    topic = settings.namespace.events_topic
    admin = AdminClient(client_config(settings))
    futures = admin.delete_records([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
    for future in futures.values():
        future.result()


def made_up(seed: int, count: int) -> list[tuple[str | bytes, bytes | None]]:
    return [(m.key, m.value) for m in Generator(rate=count, seconds=1, seed=seed).messages()]


def test_messages_that_the_topic_deleted_are_told_and_accounted_for(namespace: Settings, tmp_path: Path) -> None:
    metrics, topic = job_notebook("metrics"), namespace.namespace.events_topic
    run = partial(run_notebook, namespace, given={"run": "available_now"})
    produce(namespace, made_up(1, 400))
    run(metrics)
    taken = {p: end for p, (_, end) in KafkaStore(namespace).offsets().items()}
    produce(namespace, made_up(2, 300))
    ends = {p: end for p, (_, end) in KafkaStore(namespace).offsets().items()}
    # One partition has lost all that was new, the others half of it.
    kept = {p: end if p == 0 else (taken[p] + end) // 2 for p, end in ends.items()}
    lost = sum(kept.values()) - sum(taken.values())
    delete_before(namespace, kept)

    with pytest.raises(JobError) as caught:
        run(metrics)
    said = str(caught.value)
    assert f"{lost:,} messages are lost: the topic {topic} deleted them before the job 'metrics' took them" in said
    assert all(f"partition {p} offsets {taken[p]} to {kept[p] - 1}" in said for p in kept)
    assert "They arrived after 20" in said and "retailpulse epochs metrics --accept-loss" in said
    assert "Nothing is lost" not in said and "Python Proxy" not in said

    command = [sys.executable, "-m", "retailpulse_kernel.cli", "epochs", "metrics", "--accept-loss"]
    command += ["--namespace", namespace.namespace.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert f"partition 0 offsets {taken[0]} to {kept[0] - 1}" in done.stderr
    # Meanwhile retention went on: this run, told to go on by itself, finds more gone than was accepted.
    kept |= {1: ends[1]}
    lost = sum(kept.values()) - sum(taken.values())
    delete_before(namespace, {1: ends[1]})
    notebook = nbformat.read(metrics, as_version=4)
    notebook.cells[-1].source = "job.on_data_loss = 'account'\njob.run()"
    nbformat.write(notebook, tmp_path / "metrics.ipynb")
    run(tmp_path / "metrics.ipynb")
    accounts = [account for account in read_accounts(namespace) if account.job == "metrics"]
    counts = totals(accounts, "metrics")
    assert counts["consumed"] == sum(ends.values()) - lost
    assert counts["consumed"] == sum(counts[name] for name in ("accepted", "duplicate", "late", "bad"))
    assert sum(account.lost for account in accounts) == lost
    result = reconcile(namespace)
    assert result.ok, result.differences
    assert [check.lost for check in result.jobs if check.job == "metrics"] == [lost]
    assert any(f"{lost:,} messages as lost" in note for note in result.notes)

    # A topic of the same name that has more messages than the old one had is another topic all the same.
    delete_topics(namespace)
    ensure_topics(namespace)
    produce(namespace, made_up(4, 2 * sum(ends.values())))
    with pytest.raises(JobError, match="was deleted and made again"):
        run(metrics)


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
        (("figures", "--since", "someday"), "is not a time"),
        (("demo", "--once"), "needs a file"),
        (("demo", "--input", metrics, "--format", "rees47", "--once"), "There is no format 'rees47'"),
    ]:
        code, said = retailpulse(*arguments)
        assert (code, sentence in " ".join(said.split())) == (2, True), (arguments, said)


def test_missing_topic_is_the_users_mistake(stack: Settings) -> None:
    settings = Settings.load(namespace="t_no_topics")
    with pytest.raises(UsageError, match="retailpulse topics --create"):
        run_notebook(settings, job_notebook("metrics"), {})
