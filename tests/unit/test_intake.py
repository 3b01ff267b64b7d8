"""The intake without Spark: Arrow batches in, judged rows out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retailpulse_kernel.shop.lateness import PartitionClock
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.streaming.checkpoint.clocks import Clock, read_clock, write_clock
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch, next_start_ms, open_epoch
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, committed_batch, logged_batch, newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import forget_outputs, outputs_of, query_of
from retailpulse_kernel.streaming.checkpoint.writer import write_drain
from retailpulse_kernel.streaming.intake import judging as intakes
from retailpulse_kernel.streaming.intake import source
from retailpulse_kernel.streaming.intake.judging import Intake, Stretch
from retailpulse_kernel.streaming.intake.opening import Chunk
from retailpulse_kernel.streaming.intake.rejects import reject_record
from retailpulse_kernel.streaming.intake.remembered import ReaderNote, Remembered, Span, folder_of
from retailpulse_kernel.streaming.intake.source import SourceConfig, TopicSource
from retailpulse_kernel.streaming.state.dedup_index import DedupIndex

ARRIVAL = datetime(2026, 1, 1, 12, tzinfo=UTC)
GOOD = {
    "event_id": "1", "event_type": "view", "event_time": "2026-01-01T11:59:00Z", "user_id": "u", "session_id": "s",
    "product_id": "p",
}  # fmt: skip


def chunk(*values: bytes | None) -> Chunk:
    arrival_ms = int(ARRIVAL.timestamp() * 1000)
    return Chunk(list(values), list(range(len(values))), [arrival_ms] * len(values))


def judged(intake: Intake, *values: bytes | None, **stretch: Any) -> list[dict[str, Any]]:
    return [row for batch in intake.rows([chunk(*values)], Stretch(0, **stretch)) for row in batch.to_pylist()]


def at(moment: str, **fields: Any) -> bytes:
    """A view at a time of the first of January."""
    return json.dumps({**GOOD, "event_time": f"2026-01-01T{moment}Z", **fields}).encode()


def ms(moment: str) -> int:
    return int(datetime.fromisoformat(f"2026-01-01T{moment}Z").timestamp() * 1000)


def test_good_and_bad_are_told_apart() -> None:
    row, counts = judged(Intake(("event_type",), "t"), json.dumps(GOOD).encode(), b"\xff\x00", None, b"[]")
    assert (row["dedup_key"], row["event_type"], row["late"]) == ("1", "view", False)
    assert counts["dedup_key"] is None
    assert (counts["n_accepted"], counts["n_late"], counts["n_bad"]) == (1, 0, 3)


def test_the_batch_of_counts_carries_how_far_the_watermark_may_go() -> None:
    *_, counts = judged(Intake((), "t"), low_ms=ms("10:00:00"))
    assert counts["low"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    *_, counts = judged(Intake((), "t"))
    assert counts["low"] is None


@pytest.mark.parametrize(
    ("event_time", "late"),
    [("11:50:00.001", False), ("11:50:00", True), ("10:00:00", True), ("12:09:00", False)],
)
def test_late_is_what_is_not_after_the_watermark(event_time: str, late: bool) -> None:
    *_, counts = judged(Intake((), "t"), at(event_time), watermark_ms=ms("11:50:00"))
    assert counts["n_late"] == late


def test_late_is_what_the_partition_has_left_behind() -> None:
    """The rule of `lateness`, whatever the chunks: an event moves the clock only for those behind it."""
    times = ["12:00:00", "11:50:00.001", "11:50:00", "12:05:00", "11:55:00", "11:55:00.001", "11:00:00"]
    values = [at(moment, event_id=str(i)) for i, moment in enumerate(times)]
    clock, expected = PartitionClock(600_000, ms("11:30:00")), []
    for moment in times:
        expected.append(clock.is_late(ms(moment)))
        clock.advance(ms(moment), ms("12:06:00"))
    assert expected == [False, False, True, False, True, False, True]
    intake = Intake(("offset",), "t", delay_ms=600_000, keep_late=True)
    for size in (1, 2, 7):
        chunks = [
            Chunk(values[i : i + size], list(range(i, min(i + size, 7))), [ms("12:06:00")] * min(size, 7 - i))
            for i in range(0, 7, size)
        ]
        rows = [r for b in intake.rows(chunks, Stretch(0, clock_ms=ms("11:30:00"))) for r in b.to_pylist()]
        assert [row["late"] for row in rows[:-1]] == expected


def test_the_clock_goes_on_to_the_next_stretch() -> None:
    def clock_after(intake: Intake, *values: bytes, **stretch: Any) -> int | None:
        return rows_and_clock(intake, [chunk(*values)], Stretch(0, **stretch))[1]

    for intake in (Intake((), "t", delay_ms=1), Intake((), "t")):
        assert clock_after(intake, at("11:00:00"), at("10:00:00"), b"bad") == ms("11:00:00")
        assert clock_after(intake, at("11:00:00"), clock_ms=ms("11:30:00")) == ms("11:30:00")
        assert clock_after(intake, b"bad") is None


def at_arrival(*events: tuple[str, str], name: str = "") -> Chunk:
    """Views by their times and their messages' arrivals."""
    values = [at(moment, event_id=f"{name}{i}") for i, (moment, _) in enumerate(events)]
    return Chunk(values, list(range(len(events))), [ms(arrival) for _, arrival in events])


def rows_and_clock(intake: Intake, chunks: list[Chunk], stretch: Stretch) -> tuple[list[dict[str, Any]], int | None]:
    rows, judging = [], intake.rows(chunks, stretch)
    while True:
        try:
            rows += next(judging).to_pylist()
        except StopIteration as end:
            return rows, end.value


@pytest.mark.parametrize(("delay", "fast"), [(60_000, "12:05:00"), (600_000, "12:09:00")])
def test_fast_clocks_leave_the_others_their_whole_tolerance(delay: int, fast: str) -> None:
    """Eight views with fast clocks, and behind them thousands of events that keep the watermark."""
    latest = datetime.fromtimestamp((ms("12:00:00") - delay + 1) / 1000, UTC).strftime("%H:%M:%S.%f")
    values = [at_arrival(*[(fast, "12:00:00")] * 8, name="fast"), at_arrival(*[(latest, "12:00:00")] * 3_000)]
    (*_, counts), clock = rows_and_clock(Intake((), "t", delay_ms=delay), values, Stretch(0))
    assert (counts["n_accepted"], counts["n_late"]) == (3_008, 0), "a fast event counts, too"
    assert (counts["n_ahead"], counts["ahead_ms"]) == (8, ms(fast) - ms("12:00:00"))
    assert clock == ms("12:00:00")
    (*_, counts), _ = rows_and_clock(Intake((), "t", delay_ms=delay - 1), values, Stretch(0))
    assert counts["n_late"] == 3_000, "they are at the very limit"


def test_events_of_yesterday_are_late_and_harm_no_others() -> None:
    yesterday = json.dumps({**GOOD, "event_time": "2025-12-31T12:00:00Z"}).encode()
    slow = Chunk([yesterday] * 5, [1] * 5, [ms("12:00:00")] * 5)
    ordinary = at_arrival(*[("11:59:30", "12:00:00")] * 10)
    (*_, counts), clock = rows_and_clock(Intake((), "t", delay_ms=60_000), [ordinary, slow, ordinary], Stretch(0))
    assert (counts["n_accepted"], counts["n_late"], counts["n_ahead"], counts["ahead_ms"]) == (20, 5, 0, 0)
    assert clock == ms("11:59:30")


def test_a_clock_from_before_the_rule_counts_as_far_as_the_brokers_time() -> None:
    intake, chunks = Intake((), "t", delay_ms=60_000), [at_arrival(("11:59:30", "12:00:00"), ("11:59:00", "12:00:01"))]
    before = Stretch(0, clock_ms=ms("12:05:00"), held=False)
    (*_, counts), clock = rows_and_clock(intake, chunks, before)
    assert (counts["n_accepted"], counts["n_late"], clock) == (1, 1, ms("12:00:00"))
    (*_, counts), clock = rows_and_clock(intake, chunks, Stretch(0, clock_ms=ms("12:05:00")))
    assert (counts["n_late"], clock) == (2, ms("12:05:00")), "a clock is not turned back where the broker's was"


def test_messages_without_a_broker_time_are_judged_by_their_own() -> None:
    chunk = Chunk([at("12:05:00"), at("12:00:00")], [0, 1], [-1, -1])
    (*_, counts), clock = rows_and_clock(Intake((), "t", delay_ms=60_000), [chunk], Stretch(0))
    assert (counts["n_accepted"], counts["n_late"], counts["n_ahead"]) == (1, 1, 0)
    assert clock == ms("12:05:00") and counts["arrived_ms"] is None


def test_late_rows_can_be_kept_and_are_never_duplicates() -> None:
    late = at("10:00:00")
    intake = Intake(("event_id", "event_time", "raw", "offset"), "t", keep_late=True)
    *rows, counts = judged(intake, late, late, watermark_ms=ms("11:50:00"))
    assert [r["late"] for r in rows] == [True, True] and counts["n_late"] == 2
    assert rows[0]["dedup_key"] != rows[1]["dedup_key"]
    assert rows[0]["clock"] > rows[0]["event_time"], "Spark would drop the row by its own filter"
    assert [r["raw"] for r in rows] == [late.decode()] * 2


def test_an_event_comes_out_once_and_counts_as_often_as_it_came(tmp_path: Path) -> None:
    intake = Intake(("event_id", "offset"), "t", horizon_ms=600_000)
    index = DedupIndex(tmp_path)
    values = [at("11:59:00", event_id=name) for name in ("a", "b", "a", "b", "c")]
    for _ in range(2):  # done again, it is the same
        rows = [r for b in intake.rows([chunk(*values)], Stretch(0), index) for r in b.to_pylist()]
        assert [(r["event_id"], r["offset"]) for r in rows[:-1]] == [("a", 0), ("b", 1), ("c", 4)]
        assert rows[-1]["n_accepted"] == 5 and rows[-1]["late"] is None
    *rows, counts = [r for b in intake.rows([chunk(*values)], Stretch(1), index) for r in b.to_pylist()]
    assert rows == [] and counts["n_accepted"] == 5
    assert "dedup_key" not in intake.schema.names, "Spark has nothing to do with it"


def test_a_late_event_claims_no_id(tmp_path: Path) -> None:
    """The first that is not late counts, as reconciliation has it."""
    intake = Intake(("event_id", "offset"), "t", keep_late=True, horizon_ms=600_000)
    stretch = Stretch(0, watermark_ms=ms("11:50:00"))
    values = [at("11:00:00"), at("11:55:00"), at("11:00:00"), at("11:56:00")]
    *rows, counts = [r for b in intake.rows([chunk(*values)], stretch, DedupIndex(tmp_path)) for r in b.to_pylist()]
    assert [(r["offset"], r["late"]) for r in rows] == [(0, True), (1, False), (2, True)]
    assert (counts["n_accepted"], counts["n_late"]) == (2, 2)


def test_events_without_a_key_go_by_their_id(tmp_path: Path) -> None:
    intake = Intake(("event_id",), "t", unique_by="order_id", horizon_ms=0)
    values = [
        at("11:59:00", event_id=name, **order) for name, order in (("a", {"order_id": "1"}), ("b", {}), ("c", {}))
    ]
    *rows, _ = [r for b in intake.rows([chunk(*values)], Stretch(0), DedupIndex(tmp_path)) for r in b.to_pylist()]
    assert [row["event_id"] for row in rows] == ["a", "b", "c"]


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


def test_a_later_epoch_wins_where_the_clock_was_set_back(tmp_path: Path) -> None:
    ahead_ms = 10**14
    first = open_epoch(str(tmp_path), now_ms=ahead_ms)
    assert new_epoch(str(tmp_path)).start_ms > version_of(ahead_ms, 0)
    (Path(first.path) / "offsets").mkdir()
    (Path(first.path) / "offsets" / "7").write_text('v1\n{"batchWatermarkMs":0}\n{"t":{"0":5}}')
    assert version_of(next_start_ms(first), 0) > version_of(ahead_ms, 7)


def test_the_offset_log_gives_the_watermark_and_offsets(tmp_path: Path) -> None:
    (tmp_path / "offsets").mkdir()
    (tmp_path / "offsets" / "3").write_text('v1\n{"batchWatermarkMs":1500,"conf":{}}\n{"retail.events":{"0":5,"1":7}}')
    assert logged_batch(str(tmp_path), 3) == LoggedBatch(3, 1500, {"retail.events": {"0": 5, "1": 7}})
    assert logged_batch(str(tmp_path), 4) is None
    assert newest_batch(str(tmp_path)) == logged_batch(str(tmp_path), 3)
    assert newest_batch(str(tmp_path / "offsets")) is None


def test_clocks_are_kept_by_offset_and_the_old_ones_go(tmp_path: Path) -> None:
    for offset in range(0, 300, 10):
        write_clock(str(tmp_path), 2, offset, 1_000 + offset)
    assert read_clock(str(tmp_path), 2, 290) == Clock(1_290, held=True)
    assert read_clock(str(tmp_path), 2, 280) == Clock(1_280, held=True), "a batch that is done again starts from it"
    assert read_clock(str(tmp_path), 2, 0) is None and read_clock(str(tmp_path), 3, 290) is None
    assert len(list((tmp_path / "clocks" / "2").iterdir())) == 10


def test_a_clock_of_an_older_checkpoint_is_read_as_one_that_may_be_ahead(tmp_path: Path) -> None:
    (tmp_path / "clocks" / "0").mkdir(parents=True)
    (tmp_path / "clocks" / "0" / "70").write_text("1767268800000")
    assert read_clock(str(tmp_path), 0, 70) == Clock(1_767_268_800_000, held=False)


def planned(checkpoint: Path, clocks: dict[int, str], *, idle: tuple[int, ...] = ()) -> dict[int, Stretch]:
    """The stretches of a batch of ten messages in each partition but the idle ones; the checkpoint has their clocks."""
    for partition, content in clocks.items():
        (checkpoint / "clocks" / str(partition)).mkdir(parents=True, exist_ok=True)
        (checkpoint / "clocks" / str(partition) / "5").write_text(content)
    config = SourceConfig({}, Intake((), "t", delay_ms=60_000))
    reader = TopicSource({"config.secret": config.dump()}).streamReader(None)
    ends = {str(partition): 5 if partition in idle else 15 for partition in clocks}
    portions = reader.partitions({"t": dict.fromkeys(ends, 5)}, {"t": ends})
    known = Remembered(str(checkpoint))
    found = [one for portion in portions for one in known.stretches(portion.spans, portion.starts, "t")]
    return {span.partition: stretch for span, stretch in found}


def test_an_idle_partition_holds_no_other_back(tmp_path: Path) -> None:
    clocks = {0: "9000 held", 1: "8000 held", 2: "100 held"}
    assert {p: s.low_ms for p, s in planned(tmp_path, clocks, idle=(2,)).items()} == {0: 8000, 1: 8000}


def test_sparks_watermark_follows_the_slowest_clock_that_the_brokers_time_held(tmp_path: Path) -> None:
    fast_and_slow = planned(tmp_path, {0: "9000 held", 1: "5000 held"})
    assert {p: (s.clock_ms, s.held, s.low_ms) for p, s in fast_and_slow.items()} == {
        0: (9000, True, 5000), 1: (5000, True, 5000),
    }  # fmt: skip
    of_before = planned(tmp_path, {0: "9000", 1: "5000 held"})
    assert {p: (s.clock_ms, s.held, s.low_ms) for p, s in of_before.items()} == {
        0: (9000, False, None), 1: (5000, True, None),
    }, "a clock that may be ahead moves nothing"  # fmt: skip


def test_a_bounded_run_lets_the_watermark_go_as_far_as_the_clocks_were_when_it_began(tmp_path: Path) -> None:
    write_clock(str(tmp_path), 0, 5, 9_000)
    spans = [Span(0, 5, 15)]
    held = Remembered(str(tmp_path), note=ReaderNote(bounded=True)).stretches(spans, {"0": 5}, "t")
    told = Remembered(str(tmp_path), note=ReaderNote(bounded=True, low_ms=4_000)).stretches(spans, {"0": 5}, "t")
    assert [stretch.low_ms for _, stretch in held + told] == [None, 4_000]


def test_the_second_reader_of_a_query_has_clocks_and_ids_of_its_own() -> None:
    assert (folder_of("e0001", 0), folder_of("e0001", 1)) == ("e0001", "e0001/readers/1")


def test_a_query_is_found_by_the_id_that_spark_gave_it(tmp_path: Path) -> None:
    for folder, query_id in ((tmp_path, "a"), (tmp_path / "outputs" / "carts", "b"), (tmp_path / "outputs" / "x", "c")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metadata").write_text(f'{{"id": "{query_id}"}}')
    assert query_of(str(tmp_path), "a") == str(tmp_path)
    assert query_of(str(tmp_path), "b") == f"{tmp_path}/outputs/carts"
    assert query_of(str(tmp_path), "d") is None


def test_an_epoch_has_taken_what_all_its_queries_have_taken(tmp_path: Path) -> None:
    def log(folder: Path, batch: int, end: int, watermark_ms: int) -> None:
        for name in ("offsets", "commits"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / str(batch)).write_text(f'v1\n{{"batchWatermarkMs":{watermark_ms}}}\n{{"t":{{"0":{end}}}}}')

    log(tmp_path, 7, 50, 900)
    log(tmp_path / "outputs" / "carts", 2, 30, 400)
    assert committed_batch(str(tmp_path)) == LoggedBatch(7, 400, {"t": {"0": 30}})
    assert newest_batch(str(tmp_path)) == LoggedBatch(7, 400, {"t": {"0": 50}})
    assert committed_batch(str(tmp_path), alone=True) == LoggedBatch(7, 900, {"t": {"0": 50}})
    assert outputs_of(str(tmp_path)) == ["", "carts"]
    forget_outputs(str(tmp_path), {""})
    assert outputs_of(str(tmp_path)) == [""]


class Topic:
    """A source's planner over a topic whose ends a test says, with a clock that it turns on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.reader = TopicSource(
            {"config.secret": SourceConfig({}, Intake((), "t"), tells=True, **config).dump()}
        ).streamReader(None)
        self.ends, self.now = {"0": 0, "1": 0}, 100.0
        monkeypatch.setattr(self.reader, "_bounds", lambda: {p: (0, end) for p, end in self.ends.items()})
        monkeypatch.setattr(source, "time", SimpleNamespace(monotonic=lambda: self.now))

    def after(self, start: dict[str, Any]) -> dict[str, Any]:
        return self.reader.latestOffset(start, self.reader.getDefaultReadLimit())


def test_once_a_topic_is_quiet_spark_is_told_the_clocks_by_a_batch_without_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic(monkeypatch)
    start = topic.reader.initialOffset()
    assert topic.after(start) == start == {"t": {"0": 0, "1": 0}}, "nothing has come, so nothing is told"
    topic.ends = {"0": 3, "1": 0}
    first = topic.after(start)
    assert first == {"t": {"0": 3, "1": 0}, "untold": "0"}
    assert topic.after(first) == first, "not yet quiet"
    topic.ends = {"0": 3, "1": 2}
    second = topic.after(first)
    assert second == {"t": {"0": 3, "1": 2}, "untold": "0,1"}
    topic.now += 3
    told = topic.after(second)
    assert told == {"t": {"0": 3, "1": 2}, "untold": ""}
    assert topic.after(told) == told, "told once"
    (task,) = topic.reader.partitions(second, told)
    assert (task.tells, task.spans, task.starts) == (True, [], {"0": 3, "1": 2})
    assert not any(task.tells for task in topic.reader.partitions(first, second))


def test_a_bounded_run_tells_at_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    topic = Topic(monkeypatch, bounded=True, drain=str(tmp_path / "drain"))
    topic.ends = {"0": 3, "1": 2}
    write_drain(tmp_path / "drain", {"t": topic.ends})
    topic.reader.prepareForTriggerAvailableNow()
    taken = topic.after(topic.reader.initialOffset())
    assert topic.after(taken) == {"t": topic.ends, "untold": ""}
    write_drain(tmp_path / "drain", {})
    assert topic.after(taken) == taken, "a run that is stopped tells nothing"


def test_what_is_told_at_a_bounded_runs_end_is_where_the_slowest_clock_stands(tmp_path: Path) -> None:
    write_clock(str(tmp_path), 0, 5, 9_000)
    write_clock(str(tmp_path), 1, 7, 8_000)
    known = Remembered(str(tmp_path), note=ReaderNote(bounded=True, low_ms=4_000, closes=True))
    assert (known.low_ms({"0": 5, "1": 7}), known.low_ms({"0": 5, "1": 7}, told=True)) == (4_000, 8_000)
    rows = Intake(("event_id",), "t").rows((), Stretch(-1, low_ms=8_000))
    (counts,) = next(rows).to_pylist()
    assert counts["low"].timestamp() == 8 and counts["n_accepted"] == 0


def test_a_stopping_run_tells_its_sources_how_far_to_go(tmp_path: Path) -> None:
    drain = tmp_path / "drain"
    config = SourceConfig({}, Intake((), "t"), drain=str(drain))

    def latest() -> dict[str, dict[str, int]]:
        reader = TopicSource({"config.secret": config.dump()}).streamReader(None)
        reader._bounds = lambda: {"0": (0, 100), "1": (0, 100)}
        return reader.latestOffset({"t": {"0": 10, "1": 10}}, reader.getDefaultReadLimit())

    assert latest() == {"t": {"0": 100, "1": 100}}
    write_drain(drain, {})
    assert latest() == {"t": {"0": 10, "1": 10}}, "nothing new"
    write_drain(drain, {"t": {"0": 40, "1": 10}})
    assert latest() == {"t": {"0": 40, "1": 10}}, "as far as the furthest query has gone"


def test_the_schema_spark_is_told_is_the_one_that_comes() -> None:
    intake = Intake((*intakes.EVENT_COLUMNS, "partition", "offset", "arrival", "raw"), "t")
    assert [part.split("`")[1] for part in intake.ddl.split(", ")] == intake.schema.names
