"""What a topic no longer holds of what a job has yet to take."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.clocks import Clock, read_clock, write_clock
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.checkpoint.losses import (
    Gap,
    accept,
    accepted,
    consumed_offsets,
    gaps_of,
    lost_between,
    open_topic,
    start_after_gaps,
)
from retailpulse_kernel.streaming.intake.data_loss import data_loss_error
from retailpulse_kernel.streaming.intake.remembered import Remembered, Span
from retailpulse_kernel.streaming.run.job import Job

TOPIC = "shop.retail.events"


def logged(folder: Path, batch: int, ends: dict[str, int], *, done: bool = True) -> None:
    """What Spark leaves of a batch in a checkpoint."""
    for name in ("offsets", "commits"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "offsets" / str(batch)).write_text(f'v1\n{{"batchWatermarkMs":0}}\n{json.dumps({TOPIC: ends})}')
    if done:
        (folder / "commits" / str(batch)).write_text("v1\n{}")


def account(job: str, ends: dict[str, int], *, epoch: int = 1, arrived_ms: int | None = None) -> Account:
    return Account(job, epoch, 0, {TOPIC: ends}, 0, 0, 0, 0, 0, 0, 0, 0, 0, arrived_ms)


def test_gaps_are_what_was_neither_taken_nor_kept() -> None:
    taken = {"0": 120, "1": 80, "2": 50}
    assert gaps_of(taken, {0: (220, 400), 1: (280, 280), 2: (50, 60), 3: (7, 9)}) == [Gap(0, 120, 220), Gap(1, 80, 280)]
    assert gaps_of({}, {0: (220, 400)}) == [], "an epoch without a batch begins with what is there"


@pytest.mark.parametrize(
    ("start", "end", "first"),
    [(120, 400, 220), (120, 220, 220), (120, 150, 150), (150, 400, 220), (220, 400, 220), (100, 400, 100)],
)
def test_a_batch_is_read_from_behind_the_gap_that_it_begins_in(start: int, end: int, first: int) -> None:
    gaps = [Gap(0, 120, 220), Gap(1, 0, 1000)]
    assert start_after_gaps(gaps, 0, start, end) == first
    assert lost_between(gaps, {"0": start}, {"0": end}) == first - start


def test_a_gap_that_several_batches_lie_in_is_lost_once() -> None:
    gaps, ends = [Gap(0, 120, 220)], [120, 150, 210, 300]
    lost = [lost_between(gaps, {"0": a}, {"0": b}) for a, b in itertools.pairwise(ends)]
    assert lost == [30, 60, 10]


def test_a_gap_that_has_grown_is_accepted_anew_as_one(tmp_path: Path) -> None:
    assert accepted(str(tmp_path)) == []
    accept(str(tmp_path), [Gap(0, 120, 220), Gap(1, 5, 6)])
    accept(str(tmp_path), [Gap(0, 120, 230)])
    assert accepted(str(tmp_path)) == [Gap(0, 120, 230), Gap(1, 5, 6)]


def test_a_batch_that_never_ended_has_taken_nothing(tmp_path: Path) -> None:
    open_topic(str(tmp_path), "metrics", TOPIC, "id 1", {0: (10, 50)})
    assert consumed_offsets(str(tmp_path), TOPIC) == {}
    logged(tmp_path, 0, {"0": 50}, done=False)
    assert consumed_offsets(str(tmp_path), TOPIC) == {"0": 10}
    logged(tmp_path, 0, {"0": 50})
    assert consumed_offsets(str(tmp_path), TOPIC) == {"0": 50}


def test_another_topic_of_the_same_name_is_refused_by_its_id(tmp_path: Path) -> None:
    open_topic(str(tmp_path), "metrics", TOPIC, "id 1", {0: (0, 50)})
    logged(tmp_path, 0, {"0": 50})
    open_topic(str(tmp_path), "metrics", TOPIC, "id 1", {0: (0, 70)})
    with pytest.raises(JobError, match=r"another topic of the same name.*`retailpulse epochs metrics --new`"):
        open_topic(str(tmp_path), "metrics", TOPIC, "id 2", {0: (0, 70)})
    with pytest.raises(JobError, match=r"`retailpulse epochs metrics --new --namespace shop`"):
        open_topic(str(tmp_path), "metrics", TOPIC, "id 2", {0: (0, 70)}, option=" --namespace shop")


def test_a_checkpoint_without_an_id_goes_on_and_gets_one(tmp_path: Path) -> None:
    logged(tmp_path, 0, {"0": 50})
    with pytest.raises(JobError, match="deleted and made again"):
        open_topic(str(tmp_path), "metrics", TOPIC, "id 1", {0: (0, 49)})
    open_topic(str(tmp_path), "metrics", TOPIC, "id 1", {0: (0, 50)})
    assert json.loads(read_note(str(tmp_path), "topic.json") or b"")["id"] == "id 1"
    with pytest.raises(JobError, match="deleted and made again"):
        open_topic(str(tmp_path), "metrics", TOPIC, "id 2", {0: (0, 50)})


def test_an_epoch_without_a_batch_takes_the_topic_that_is_there(tmp_path: Path) -> None:
    write_note(str(tmp_path), "topic.json", json.dumps({"topic": TOPIC, "id": "id 1", "begin": {"0": 9}}).encode())
    open_topic(str(tmp_path), "metrics", TOPIC, "id 2", {0: (0, 5)})
    logged(tmp_path, 0, {"0": 5}, done=False)
    assert consumed_offsets(str(tmp_path), TOPIC) == {"0": 0}


def test_the_error_says_which_since_when_and_what_to_do() -> None:
    accounts = [
        account("metrics", {"0": 120}, arrived_ms=1_767_225_600_000),
        account("metrics", {"0": 90}, arrived_ms=1_767_225_500_000),
        account("metrics", {"0": 500}, epoch=0, arrived_ms=1_800_000_000_000),
        account("archive", {"0": 180, "1": 280}),
    ]
    said = str(data_loss_error(accounts, "metrics", 1, TOPIC, [Gap(0, 120, 220), Gap(1, 80, 280)], archiver="archive"))
    assert said == (
        "300 messages are lost: the topic shop.retail.events deleted them before the job 'metrics' took them "
        "(partition 0 offsets 120 to 219, partition 1 offsets 80 to 279). They arrived after 2026-01-01 00:00:00 UTC, "
        "when the job last took some. Go on without them and account for them as lost: "
        "`retailpulse epochs metrics --accept-loss` once, or on_data_loss='account' in the job. The archive has 260 "
        "of them: once the job has gone on, fill their windows with run=backfill, source=archive and their times as "
        "since and until."
    )
    elsewhere = data_loss_error(accounts, "metrics", 1, TOPIC, [Gap(0, 120, 220)], option=" --namespace shop")
    assert "`retailpulse epochs metrics --accept-loss --namespace shop` once" in str(elsewhere)
    itself = data_loss_error(accounts, "archive", 1, TOPIC, [Gap(0, 120, 220)], archiver="archive")
    assert "The archive has" not in str(itself)
    whole = data_loss_error(accounts, "metrics", 1, TOPIC, [Gap(1, 80, 90)], archiver="archive")
    assert "The archive has all of them" in str(whole)


def test_a_batch_is_read_from_behind_accepted_gaps_and_the_clocks_are_kept(tmp_path: Path) -> None:
    checkpoint = str(tmp_path)
    for partition, offset in ((0, 120), (1, 80), (2, 5)):
        write_clock(checkpoint, partition, offset, 1_000 + partition)
    accept(checkpoint, [Gap(0, 120, 220), Gap(1, 80, 280), Gap(2, 5, 8, "another")])
    known = Remembered(checkpoint, losses=checkpoint)
    spans, starts = [Span(0, 120, 400), Span(1, 80, 150), Span(2, 5, 9)], {"0": 120, "1": 80, "2": 5}
    found = {span.partition: (span.start, span.end, s.clock_ms) for span, s in known.stretches(spans, starts, TOPIC)}
    assert found == {0: (220, 400, 1_000), 2: (5, 9, 1_002)}, "the gap of another topic is none of this one"
    assert read_clock(checkpoint, 1, 150) == Clock(1_001, held=True), "nobody else moves the clock of what is lost"
    assert known.stretches([Span(1, 150, 280)], {"1": 150}, TOPIC) == []
    assert read_clock(checkpoint, 1, 280) == Clock(1_001, held=True)


def test_a_job_stops_where_messages_are_lost_unless_it_is_told_to_go_on() -> None:
    assert Job("metrics", Settings()).on_data_loss == "stop"
    with pytest.raises(UsageError, match="Use 'stop' or 'account'"):
        Job("metrics", Settings(), on_data_loss="skip")  # type: ignore[arg-type]
