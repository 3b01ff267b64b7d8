"""The archive on the real Hive, written by Spark: compaction, retirement and reads."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.stores.hive.archive import ARCHIVE_COLUMNS, Archive
from retailpulse_kernel.stores.hive.compaction import compact
from retailpulse_kernel.stores.hive.store import HiveStore

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.integration

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
#: A fingerprint of every column of every row, the same whatever the order, and what people ask for.
FINGERPRINT = (
    f"select count(*) n, count(distinct event_id) ids, sum(hash({', '.join(ARCHIVE_COLUMNS)})) content, "
    "sum(price * quantity) revenue, min(event_time) first, max(event_time) last, min(arrival) arrived, "
    "sum(order_line) lines, max(kafka_offset) offset_ from events"
)


@pytest.fixture(scope="module")
def spark(stack: Settings) -> Iterator[SparkSession]:
    from retailpulse_kernel.stores.spark.session import spark_session

    session = spark_session(stack, "test archive", brief=True)
    yield session
    session.stop()


@pytest.fixture
def hive(stack: Settings) -> Iterator[HiveStore]:
    settings = Settings.load(home=stack.home, namespace=f"arch_{os.getpid()}_{time.time_ns() % 10**6}")
    store = HiveStore(settings)
    store.create()
    yield store
    store.drop()
    store.close()


def events(spark: SparkSession, first: int, end: int) -> DataFrame:
    """Events of the hours 10 and 11; the event's number is its offset."""
    return spark.range(first, end, numPartitions=2).selectExpr(
        "concat('e', id) event_id", "IF(id % 2 = 0, 'view', 'purchase') event_type",
        "timestamp_millis(unix_millis(timestamp '2026-03-01 10:00:00') + id * 1234) event_time",
        "concat('u', id % 7) user_id", "'s' session_id", "'p' product_id", "'büche.r' category",
        "IF(id % 3 = 0, NULL, 'b') brand", "CAST(id AS DECIMAL(18,4)) / 10000 price", "1 quantity", "'USD' currency",
        "IF(id % 2 = 0, NULL, concat('o', id)) order_id", "CAST(IF(id % 2 = 0, NULL, 1) AS INT) order_line",
        "id % 50 = 0 late", "CAST(id % 4 AS INT) kafka_partition", "id kafka_offset",
        "timestamp_millis(1772359200000 + id) arrival", "concat('{\"n\": ', id, '}') raw",
    ).selectExpr(
        "* except (price)", "CAST(price AS DECIMAL(18,4)) price",
        "date_format(event_time, 'yyyy-MM-dd') dt", "hour(event_time) hour",
    )  # fmt: skip


def fingerprint(hive: HiveStore) -> dict[str, Any]:
    return dict(hive.query(FINGERPRINT).astype(str).iloc[0])


def files(hive: HiveStore) -> int:
    return len(list(hive.location.rglob("e*.parquet")))


def test_hive_and_spark_read_the_same_after_compaction(spark: SparkSession, hive: HiveStore) -> None:
    for batch in range(5):
        hive.put(hive.stage(events(spark, 1000 * batch, 1000 * batch + 1000), epoch=1, batch=batch))
    before, many = fingerprint(hive), files(hive)
    frame = hive.events(columns=list(ARCHIVE_COLUMNS)).sort_values("kafka_offset", ignore_index=True)
    assert before["n"] == before["ids"] == "5000"

    done = hive.compact()
    assert (done.partitions, done.files_before, done.files_after) == (2, many, files(hive))
    assert files(hive) < many
    assert fingerprint(hive) == before
    again = hive.events(columns=list(ARCHIVE_COLUMNS)).sort_values("kafka_offset", ignore_index=True)
    pd.testing.assert_frame_equal(again, frame)
    by_spark = spark.read.parquet(hive.location.as_uri())
    assert by_spark.count() == 5000
    assert by_spark.selectExpr("sum(price)").first()[0] == frame["price"].sum() == Decimal("1249.7500")
    assert dict(by_spark.drop("dt", "hour").dtypes) == ARCHIVE_COLUMNS

    # The newest batch is run again, as after a crash; and the job goes on.
    hive.put(hive.stage(events(spark, 4000, 5000), epoch=1, batch=4))
    assert fingerprint(hive) == before
    hive.put(hive.stage(events(spark, 5000, 5100), epoch=1, batch=5))
    assert fingerprint(hive)["n"] == "5100"


def test_a_frame_of_a_range_equals_hives_answer(spark: SparkSession, hive: HiveStore) -> None:
    hive.put(hive.stage(events(spark, 0, 5000), epoch=1, batch=0))
    since, until = TEN + timedelta(minutes=50, milliseconds=1), TEN + timedelta(minutes=70)
    frame = hive.events(since, until, late=False)
    asked = {"since": "2026-03-01 10:50:00.001", "until": "2026-03-01 11:10:00"}
    (answer,) = hive.query(
        "select count(*) n, sum(price) price, min(event_time) first, max(arrival) last from events "
        "where event_time >= :since and event_time < :until and not late",
        asked,
    ).itertuples(index=False)
    assert (len(frame), frame["price"].sum()) == (answer.n, answer.price)
    assert (frame["event_time"].min(), frame["arrival"].max()) == (answer.first, answer.last)
    assert sum(batch.num_rows for batch in hive.record_batches(since, until, late=False)) == len(frame)
    assert hive.events(until=TEN).empty


def test_a_new_epoch_leaves_each_message_once(spark: SparkSession, hive: HiveStore) -> None:
    for batch in range(3):
        hive.put(hive.stage(events(spark, 1000 * batch, 1000 * batch + 1000), epoch=1, batch=batch))
    hive.compact()
    begin = dict.fromkeys(range(4), 1500)
    assert hive.retire(2, begin) == 1500
    for _ in range(2):
        assert hive.retire(2, begin) == 0
        hive.put(hive.stage(events(spark, 1500, 4000), epoch=2, batch=0))
        assert (fingerprint(hive)["n"], fingerprint(hive)["ids"]) == ("4000", "4000")


def test_the_notebook_compacts(spark: SparkSession, hive: HiveStore) -> None:
    for batch in range(3):
        hive.put(hive.stage(events(spark, 100 * batch, 100 * batch + 100), epoch=1, batch=batch))
    before, many = fingerprint(hive), files(hive)
    notebook = (project_root() or Path()) / "notebooks" / "batch" / "compact.ipynb"
    run_notebook(hive._settings, notebook, {"target_mb": "64"})
    assert files(hive) < many and fingerprint(hive) == before


CHILD = """
import sys
from pathlib import Path
from retailpulse_kernel.stores.hive.archive import Archive
from retailpulse_kernel.stores.hive.compaction import compact
archive = Archive(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
compact(archive, target_bytes=60_000)
"""


def test_kill_9_during_compaction(spark: SparkSession, hive: HiveStore, tmp_path: Path) -> None:
    """A real process, really killed, at moments of its work: until it was cut short four times."""
    for batch in range(6):
        hive.put(hive.stage(events(spark, 500 * batch, 500 * batch + 500), epoch=1, batch=batch))
    truth = sorted(hive.events(columns=["kafka_offset"])["kafka_offset"])
    copy = tmp_path / "copy"
    shutil.copytree(hive.location, copy)
    begin = time.monotonic()
    compact(Archive(copy), target_bytes=60_000)
    whole = time.monotonic() - begin
    dice, cut_short = random.Random(5), 0
    for moment in range(40):
        if cut_short == 4:
            break
        root = tmp_path / str(moment)
        shutil.copytree(hive.location, root)
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
            child.stdin.write("go\n")
            child.stdin.flush()
            time.sleep(whole * dice.random())
            child.kill()
        cut_short += child.returncode == -9
        archive = Archive(root)
        for step in (lambda: None, lambda archive=archive: compact(archive)):
            step()
            rows = [
                offset for batch in archive.record_batches(columns=["kafka_offset"]) for offset in batch[0].to_pylist()
            ]
            assert sorted(rows) == truth
        assert not list(root.rglob(".*.tmp")) and not (root / ".compaction.json").exists()
    assert cut_short == 4
