"""The intake without Spark: Arrow batches in, judged rows out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retailpulse_kernel.streaming import intake as intakes
from retailpulse_kernel.streaming.checkpoint import LoggedBatch, logged_batch, open_epoch
from retailpulse_kernel.streaming.intake import Intake
from retailpulse_kernel.streaming.rejects import reject_record

ARRIVAL = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD = {
    "event_id": "1", "event_type": "view", "event_time": "2026-01-01T11:59:00Z", "user_id": "u", "session_id": "s",
    "product_id": "p",
}  # fmt: skip


def messages(*values: bytes | None) -> pa.RecordBatch:
    count = len(values)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(values, pa.binary()),
            pa.array([0] * count, pa.int32()),
            pa.array(range(count), pa.int64()),
            pa.array([ARRIVAL] * count, pa.timestamp("us", tz="UTC")),
        ],
        names=["value", "partition", "offset", "timestamp"],
    )


def judged(intake: Intake, *values: bytes | None) -> list[dict[str, Any]]:
    return [row for batch in intake(iter([messages(*values)])) for row in batch.to_pylist()]


@pytest.fixture
def watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A micro-batch whose watermark is 11:50."""
    ms = int(datetime(2026, 1, 1, 11, 50, tzinfo=UTC).timestamp() * 1000)
    monkeypatch.setattr(Intake, "_logged", lambda self: (7, ms))


def test_good_and_bad_are_told_apart() -> None:
    rows = judged(Intake(("event_type",), "t"), json.dumps(GOOD).encode(), b"\xff\x00", None, b"[]")
    assert [(r["status"], r["n"]) for r in rows] == [("accepted", 1), ("bad", 3)]
    assert rows[0]["dedup_key"] == "1" and rows[0]["event_type"] == "view"
    assert rows[1]["dedup_key"] is None


@pytest.mark.usefixtures("watermark")
@pytest.mark.parametrize(
    ("event_time", "status"),
    [("11:50:00.001", "accepted"), ("11:50:00", "late"), ("10:00:00", "late"), ("12:09:00", "accepted")],
)
def test_late_is_what_is_not_after_the_watermark(event_time: str, status: str) -> None:
    value = json.dumps({**GOOD, "event_time": f"2026-01-01T{event_time}Z"}).encode()
    (row,) = judged(Intake((), "t"), value)
    assert row["status"] == status


@pytest.mark.usefixtures("watermark")
def test_late_rows_can_be_kept_and_are_never_duplicates() -> None:
    late = json.dumps({**GOOD, "event_time": "2026-01-01T10:00:00Z"}).encode()
    rows = judged(Intake(("event_id", "event_time", "raw", "offset"), "t", keep_late=True), late, late)
    assert [r["status"] for r in rows] == ["late", "late"]
    assert rows[0]["dedup_key"] != rows[1]["dedup_key"]
    assert rows[0]["clock"] > rows[0]["event_time"], "Spark would drop the row by its own filter"
    assert [r["raw"] for r in rows] == [late.decode()] * 2


def test_rejects_are_sent_with_place_and_reason() -> None:
    class Topics:
        bad, late, sent = "dlq", "late", []

        def send(self, records: list[tuple[str, str, bytes]]) -> None:
            self.sent.extend(records)

    intake = Intake((), "events", rejects=Topics(), labels={"job": "j", "epoch": 2})  # type: ignore[arg-type]
    judged(intake, json.dumps(GOOD).encode(), b'{"event_id": ""}')
    ((topic, key, record),) = Topics.sent
    assert (topic, key) == ("dlq", "events-0-1")
    found = json.loads(record)
    assert (found["topic"], found["partition"], found["offset"], found["job"]) == ("events", 0, 1, "j")
    assert found["value"] == '{"event_id": ""}' and found["reason"]


def test_a_reject_record_takes_any_bytes_and_stays_small() -> None:
    place = {"topic": "t", "partition": 0, "offset": 1, "arrival_ms": 0, "reason": "not_utf8"}
    assert "value_base64" in json.loads(reject_record(b"\xff", **place))
    huge = reject_record(b"x" * 3_000_000, **place)
    assert len(huge) < 1_100_000 and json.loads(huge)["cut_from_bytes"] == 3_000_000
    assert len(reject_record(b"\0" * 1_000_000, **place)) < 1_500_000, "escapes would not fit into the topic"
    assert "value" not in json.loads(reject_record(None, **place))


def test_an_epoch_is_made_once(tmp_path: Path) -> None:
    first = open_epoch(str(tmp_path / "job"), now_ms=1_000)
    again = open_epoch(str(tmp_path / "job"), now_ms=2_000)
    assert first == again
    assert (first.number, first.start_ms) == (1, 1_000)


def test_the_offset_log_gives_the_watermark_and_offsets(tmp_path: Path) -> None:
    (tmp_path / "offsets").mkdir()
    (tmp_path / "offsets" / "3").write_text('v1\n{"batchWatermarkMs":1500,"conf":{}}\n{"retail.events":{"0":5,"1":7}}')
    assert logged_batch(str(tmp_path), 3) == LoggedBatch(3, 1500, {"retail.events": {"0": 5, "1": 7}})
    assert logged_batch(str(tmp_path), 4) is None


def test_the_schema_spark_is_told_is_the_one_that_comes() -> None:
    intake = Intake((*intakes.EVENT_COLUMNS, "partition", "offset", "arrival", "raw"), "t")
    assert [part.split("`")[1] for part in intake.ddl.split(", ")] == intake.schema.names
