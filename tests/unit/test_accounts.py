"""What a micro-batch's account says, and what a run's report and metrics make of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import orjson
import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.run.report import Report
from retailpulse_kernel.telemetry.jobs import JobMetrics
from retailpulse_kernel.telemetry.recording import recording

BATCH = Account(
    "metrics", 1, 0, {"t": {"0": 10}}, consumed=10, accepted=9, duplicate=0, late=1, bad=0, rows=3, watermark_ms=0,
    started_ms=1_000, finished_ms=2_000, ahead=2, ahead_ms=299_400, held=True,
)  # fmt: skip
NEXT = replace(BATCH, batch=1, ahead=1, ahead_ms=40)
QUIET = replace(BATCH, ahead=0, ahead_ms=0)


def clocks(*accounts: Account, producer_time: bool = False) -> str:
    report = Report("metrics", "here", 1, producer_time=producer_time)
    for account in accounts:
        report.add(account)
    (line,) = (line for line in str(report).splitlines() if line.startswith("clocks"))
    return line.removeprefix("clocks").strip()


def test_an_account_from_before_clocks_were_held_is_read_as_one() -> None:
    older = {name: value for name, value in asdict(BATCH).items() if name not in ("ahead", "ahead_ms", "held")}
    read = Account(**orjson.loads(orjson.dumps(older)))
    assert read == replace(BATCH, ahead=0, ahead_ms=0, held=False)


@pytest.mark.parametrize(
    ("accounts", "says"),
    [
        ((BATCH, NEXT), "3 events were ahead of the broker's time, by 299.400 s at most"),
        ((NEXT,), "1 event was ahead of the broker's time, by 0.040 s at most"),
        ((QUIET,), "no event was ahead of the broker's time"),
    ],
)
def test_a_report_says_how_many_events_ran_ahead_and_by_how_much(accounts: tuple[Account, ...], says: str) -> None:
    assert clocks(*accounts) == says


def test_a_report_says_whose_time_it_is() -> None:
    assert clocks(QUIET, producer_time=True) == "no event was ahead of the message's time, which is the producer's"


def test_a_report_says_which_events_are_further_ones_of_their_messages() -> None:
    several = replace(BATCH, accepted=12, further_events=3)
    assert several.events == several.accepted + several.late == 13
    report = Report("metrics", "here", 1)
    for account in (several, BATCH):
        report.add(account)
    said = "20 + 3 further events = 21 accepted + 0 duplicate + 2 late + 0 bad"
    assert said in str(report) and report.to_json()["messages"]["further_events"] == 3


def test_metrics_count_events_that_ran_ahead_and_keep_the_greatest_lead(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, namespace="shop")
    with recording(settings, "job", "metrics", job_name="metrics") as recorder:
        metrics = JobMetrics(recorder, "retail.events", None)
        for account in (BATCH, NEXT):
            metrics.add(account)
        found = {name: value for name, _, value in recorder.dump()["numbers"]}
    assert found["retailpulse_job_ahead_messages_total"] == 3
    assert found["retailpulse_job_ahead_seconds"] == 299.4
