"""Rows in Kafka exactly once, whatever happens to their writer; and what transactions mean for the topic's readers."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.errors import JobError, RetailPulseError, StoreUnavailable
from retailpulse_kernel.ground.retrying import Patience
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.reconcile import reconcile
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.ledger import Ledger, batch_key
from retailpulse_kernel.stores.kafka.offsets import topic_bounds
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.intake.consuming import chunks
from tests.jobs import JOBS, run_here

pytestmark = pytest.mark.integration

TABLE = RowTable("retail.scored", (Column("batch", "int"), Column("n", "int"), Column("text", "string")))
_names = itertools.count()


def by(batch: int, *, epoch: int = 1, writer: str = "job/scored") -> MicroBatch:
    return MicroBatch(epoch, batch, 1_790_000_000_000 + batch, writer)


def rows_of(batch: int, rows: int = 500, text: str = "some text") -> pa.Table:
    numbers = pa.array(range(rows), pa.int32())
    return pa.table({"batch": pa.array([batch] * rows, pa.int32()), "n": numbers, "text": [text] * rows})


@pytest.fixture
def kafka(stack: Settings) -> Iterator[KafkaStore]:
    """The topics of a namespace of its own, with an empty one for the rows."""
    store = KafkaStore(Settings.load(home=stack.home, namespace=f"tx_{os.getpid()}_{next(_names)}"))
    store.create_rows(TABLE)
    yield store
    store.drop()


def topic_of(kafka: KafkaStore) -> str:
    return kafka._settings.namespace.topic(TABLE.name)


def batches_of(kafka: KafkaStore) -> Counter[int]:
    """How many rows of each micro-batch a reader that reads committed sees."""
    return Counter(kafka.read_rows(TABLE)["batch"].to_pylist())


def uncommitted(kafka: KafkaStore) -> int:
    """How many messages a reader sees that looks at everything."""
    consumer = Consumer(
        client_config(kafka._settings, group_id="rows-test", isolation_level="read_uncommitted")
        | {"enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic_of(kafka), partition, 0) for partition in range(4)])
    found = ended = 0
    while ended < 4:
        for message in consumer.consume(1_000, timeout=1):
            ended += message.error() is not None
            found += message.error() is None
    consumer.close()
    return found


def write_until(namespace: str, note: Path, batches: int, begun: float, written: float) -> None:
    """What a job does: write one micro-batch after the other, and note each that is done.

    It is killed some seconds after it has begun, or has written its first micro-batch; 0 is never.
    """
    store, told = KafkaStore(Settings.load(namespace=namespace)), note.read_text().split() if note.exists() else []
    kill_after(begun)
    store.create_rows(TABLE)
    for batch in range(len(told), batches):
        store.write_rows(TABLE, rows_of(batch), by=by(batch))
        with note.open("a") as file:
            file.write(f"{batch}\n")
        if batch == len(told):
            kill_after(written)
    os._exit(0)


def kill_after(seconds: float) -> None:
    if seconds:
        threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()


@pytest.mark.parametrize("kills", [3, pytest.param(15, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_writer_is_killed_at_any_moment(kafka: KafkaStore, tmp_path: Path, kills: int) -> None:
    moments, note, killed, name = random.Random(kills), tmp_path / "done", 0, kafka._settings.namespace_name
    code = (
        "import sys; from pathlib import Path; from tests.integration.test_transactions import write_until; "
        "write_until(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:]))"
    )

    def run(batches: int, *seconds: float) -> int:
        command = [sys.executable, "-c", code, name, str(note), str(batches), *map(str, seconds)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, timeout=90)
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        return done.returncode

    while killed < kills:
        early = moments.random() < 0.3
        after = moments.uniform(0.1, 2.0) if early else moments.uniform(0.0, 0.5)
        assert run(1_000_000, *((after, 0) if early else (0, after))) == -signal.SIGKILL
        killed += 1
    last = (len(note.read_text().split()) if note.exists() else 0) + 3
    assert run(last, 0, 0) == 0
    found = kafka.read_rows(TABLE)
    seen = Counter(zip(found["batch"].to_pylist(), found["n"].to_pylist(), strict=True))
    assert set(seen.values()) == {1}
    assert set(seen) == {(batch, n) for batch in range(last) for n in range(500)}
    print(f"{kills} kills: {last} micro-batches, {len(found):,} rows once; {uncommitted(kafka):,} messages in all")


def test_a_batch_whose_commit_was_not_noted_is_not_written_again(kafka: KafkaStore) -> None:
    kafka.write_rows(TABLE, rows_of(0), by=by(0))
    for store in (kafka, KafkaStore(kafka._settings)):
        store.write_rows(TABLE, rows_of(0), by=by(0))
    assert batches_of(kafka) == {0: 500} and uncommitted(kafka) == 500


def test_each_output_and_each_epoch_counts_by_itself(kafka: KafkaStore) -> None:
    for batch in (by(0), by(1), by(0, writer="job/other"), by(0, epoch=2), by(2), by(2)):
        kafka.write_rows(TABLE, rows_of(batch.batch, 1), by=batch)
    assert batches_of(kafka) == {0: 3, 1: 1, 2: 1}


def test_a_checkpoint_that_is_older_than_the_topic_is_told(kafka: KafkaStore) -> None:
    kafka.write_rows(TABLE, rows_of(5), by=by(5))
    with pytest.raises(JobError, match=r"'job/scored' has written its micro-batch 5 .* is to write 4"):
        KafkaStore(kafka._settings).write_rows(TABLE, rows_of(4), by=by(4))
    assert batches_of(kafka) == {5: 500}


def test_of_two_writers_the_older_one_is_shut_out(kafka: KafkaStore) -> None:
    newer = KafkaStore(kafka._settings)
    kafka.write_rows(TABLE, rows_of(0), by=by(0))
    newer.write_rows(TABLE, rows_of(1), by=by(1))
    with pytest.raises(JobError, match="Another process writes for the output 'job/scored'"):
        kafka.write_rows(TABLE, rows_of(2), by=by(2))
    newer.write_rows(TABLE, rows_of(2), by=by(2))
    assert batches_of(kafka) == {0: 500, 1: 500, 2: 500}


def test_a_row_that_kafka_refuses_leaves_nothing_of_its_batch(kafka: KafkaStore) -> None:
    rows = pa.concat_tables([rows_of(0), rows_of(0, 1, text="x" * 3 * 2**20)])
    with pytest.raises(RetailPulseError, match="SIZE_TOO_LARGE"):
        kafka.write_rows(TABLE, rows, by=by(0))
    assert batches_of(kafka) == {}
    kafka.write_rows(TABLE, rows_of(0), by=by(0))
    assert batches_of(kafka) == {0: 500}


def test_where_kafka_is_away_the_store_says_so(kafka: KafkaStore, tmp_path: Path) -> None:
    away = tmp_path / "away.toml"
    away.write_text('[kafka]\nbootstrap = "127.0.0.1:1"\n')
    elsewhere = Settings.load(home=tmp_path, profile=str(away), namespace=kafka._settings.namespace_name)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        KafkaStore(elsewhere).write_rows(TABLE, rows_of(0), by=by(0))


@pytest.mark.long
def test_a_large_batch_is_one_transaction(kafka: KafkaStore) -> None:
    begin = time.monotonic()
    kafka.write_rows(TABLE, rows_of(0, 500_000), by=by(0))
    print(f"500,000 rows in {time.monotonic() - begin:.1f} s")
    assert batches_of(kafka) == {0: 500_000}


class TestReaders:
    """Of a topic with committed, aborted and open transactions."""

    @pytest.fixture
    def mixed(self, kafka: KafkaStore) -> Iterator[KafkaStore]:
        """Batches 0, 2 and 4 are committed, 1 and 3 are aborted, 5 is open."""
        producer = Producer(
            client_config(kafka._settings, transactional_id=f"rows-test-{os.getpid()}-{time.time_ns()}")
        )
        producer.init_transactions(30)
        for batch in range(6):
            producer.begin_transaction()
            for n in range(100):
                producer.produce(topic_of(kafka), b'{"batch": %d, "n": %d}' % (batch, n), partition=n % 2)
            producer.flush(30)
            if batch == 5:
                break
            producer.commit_transaction(30) if batch % 2 == 0 else producer.abort_transaction(30)
        yield kafka
        producer.abort_transaction(30)

    def test_ends_lie_before_what_is_open(self, mixed: KafkaStore) -> None:
        # Of each partition: five batches of 50 messages, each with a marker.
        assert mixed.offsets(topic_of(mixed)) == {0: (0, 255), 1: (0, 255), 2: (0, 0), 3: (0, 0)}

    def test_a_source_and_a_lagging_reader_are_told_the_same_ends(self, mixed: KafkaStore) -> None:
        consumer = Consumer(client_config(mixed._settings, group_id="rows-test"))
        found = topic_bounds(consumer, topic_of(mixed), Patience())
        consumer.close()
        assert found == mixed.offsets(topic_of(mixed))

    def test_every_reader_sees_what_is_committed_once(self, mixed: KafkaStore) -> None:
        expected = dict.fromkeys((0, 2, 4), 100)
        assert batches_of(mixed) == expected
        for frame in (mixed.tail(topic_of(mixed)), mixed.consume(topic_of(mixed))):
            assert Counter(frame["batch"].tolist()) == expected

    def test_a_job_s_workers_read_any_range(self, mixed: KafkaStore) -> None:
        """Each message once, however the offsets are cut: within what was aborted, before and behind a marker."""
        client, topic = client_config(mixed._settings), topic_of(mixed)
        whole = [offset for chunk in chunks(client, topic, 0, 0, 255) for offset in chunk.offsets]
        assert len(whole) == 150
        for cuts in ([0, 50, 51, 52, 102, 255], [0, 60, 70, 101, 102, 103, 253, 254, 255], list(range(0, 256, 17))):
            found = [
                offset
                for start, end in itertools.pairwise(cuts)
                for chunk in chunks(client, topic, 0, start, end)
                for offset in chunk.offsets
            ]
            assert found == whole

    def test_the_ledger_is_read_to_its_end_though_another_transaction_is_open(self, kafka: KafkaStore) -> None:
        """What is committed behind another output's open transaction must not look as if it were not there."""
        kafka.write_rows(TABLE, rows_of(0, 1), by=by(0))
        ledger = Ledger(kafka._settings)
        writer, partition = by(0).writer, ledger.partition_of(by(0).writer)
        other = Producer(client_config(kafka._settings, transactional_id=f"rows-other-{time.time_ns()}"))
        other.init_transactions(30)
        other.begin_transaction()
        other.produce(ledger.topic, b'{"batch": 7}', batch_key(topic_of(kafka), writer, 1), partition)
        other.flush(30)
        kafka.write_rows(TABLE, rows_of(1, 1), by=by(1))
        again = KafkaStore(kafka._settings)
        again.create_rows(TABLE)  # waits for nobody
        threading.Timer(1.0, lambda: other.abort_transaction(30)).start()
        begin = time.monotonic()
        again.write_rows(TABLE, rows_of(1, 1), by=by(1))
        assert time.monotonic() - begin > 0.8
        assert batches_of(kafka) == {0: 1, 1: 1}
        assert ledger.batches(writer) == {batch_key(topic_of(kafka), writer, 1): 1}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_takes_events_that_were_written_in_transactions(stack: Settings) -> None:
    """What was aborted is not there; what holds no message is neither lost nor waited for."""
    settings = Settings.load(namespace=f"tx_job_{os.getpid()}")
    drop(settings)
    ensure_topics(settings)
    messages = list(Generator(rate=50, seconds=40, seed=3, start=datetime.now(UTC) - timedelta(hours=1)).messages())
    producer = Producer(client_config(settings, transactional_id=f"rows-events-{os.getpid()}"))
    producer.init_transactions(30)
    try:
        for place in range(0, len(messages), 100):
            for end in (producer.abort_transaction, producer.commit_transaction, producer.abort_transaction):
                producer.begin_transaction()
                for message in messages[place : place + 100]:
                    producer.produce(settings.namespace.events_topic, message.value, message.key)
                producer.flush(30)
                end(30)
        run_here(settings, JOBS[0])
        result = reconcile(settings)
        assert result.differences == [] and result.messages == len(messages)
        (job,) = result.jobs
        assert (job.behind, job.problems, job.lost) == (0, [], 0)
    finally:
        drop(settings)
