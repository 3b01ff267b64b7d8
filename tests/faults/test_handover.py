"""Promotions and rollbacks while events arrive: no event is missing or counted twice, in any store.

The short form is part of `make test`; `make handover` runs the long one, of a million events and with the whole gate.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.versions import rollback
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from tests.faults.evidence import judge
from tests.faults.handover import Edit, Line
from tests.faults.load import Load
from tests.jobs import JOBS

pytestmark = [pytest.mark.integration, pytest.mark.faults, pytest.mark.timeout(3600)]

LONG = os.environ.get("RETAILPULSE_LONG") == "1"
#: Messages a second at the mean hour of the generator's day, and how many there are at least.
RATE, EVENTS = (1_000, 1_000_000) if LONG else (200, 20_000)

WATERMARK = "minutes=10"
USD = ("=dedup_horizon)", "=dedup_horizon).where(\"currency = 'USD'\")")
CARTS = (
    "figures = (EVENTS,",
    'CARTS = rp.metrics.Figure("carts", "Carts", rp.metrics.count(), "add_to_cart")\nfigures = (CARTS, EVENTS,',
)
EDITS = (
    *(Edit(job, 1, (), "first") for job in JOBS),
    Edit("metrics", 2, ((WATERMARK, "minutes=12"),), "another watermark"),
    Edit("archive", 2, (("seconds=15", "seconds=10"),), "another trigger"),
    Edit("engagement", 2, (CARTS,), "a figure added, killed while it took over", "new epoch"),
    Edit("metrics", 3, ((WATERMARK, "minutes=12"), USD), "a filter", "new epoch"),
    Edit(
        "archive", 3, (('"count")', '"count").where("event_id IS NOT NULL")'),), "a filter that keeps all", "new epoch"
    ),
)


@pytest.fixture
def line(stack: Settings, tmp_path: Path) -> Iterator[Line]:
    settings = Settings.load(namespace="t_handover", pipelines=tmp_path / "pipelines")
    drop(settings)
    ensure_topics(settings)
    made = Line(settings, tmp_path, EDITS, whole=LONG)
    try:
        yield made
    finally:
        made.end()
        drop(settings)


@pytest.fixture
def load(line: Line, request: pytest.FixtureRequest) -> Iterator[Load]:
    made = Load(line.settings, seed=request.config.getoption("--seed"), rate=RATE)
    yield made
    made.end()


def test_nothing_is_lost_or_doubled_at_a_hand_over(line: Line, load: Load, request: pytest.FixtureRequest) -> None:
    line.try_out()
    for job in JOBS:
        line.promote(job, 1)
        line.start(job)
    for job in JOBS:
        line.await_taken(job, load.acknowledged)

    together(
        lambda: promoted(line, load, "metrics", 2),
        lambda: promoted(line, load, "archive", 2),
    )
    together(
        lambda: promoted(line, load, "engagement", 2, kill=True),
        lambda: promoted(line, load, "metrics", 3),
        lambda: promoted(line, load, "archive", 3),
    )
    together(
        lambda: rolled_back(line, load, "metrics", "v2"),
        lambda: rolled_back(line, load, "engagement", "v1"),
    )

    end = time.monotonic() + 1800
    while load.acknowledged < EVENTS:
        assert time.monotonic() < end
        time.sleep(0.2)
    load.hold()
    for job in JOBS:
        line.await_taken(job, load.acknowledged)
    verdict = judge(line.settings, load.truth, load.acknowledged)
    line.report.notes.append(
        f"{load.acknowledged:,} messages, {verdict.events:,} events: "
        f"{verdict.lost} missing, {verdict.doubled} doubled, reconcile {'equal' if verdict.reconciled else 'differs'}."
    )
    print(line.report.table())
    if path := request.config.getoption("--report"):
        path.write_text(line.report.table() + "\n")
    assert not verdict.differences
    assert line.failures() == {"metrics": 0, "engagement": 1, "archive": 0}, "only what was killed has failed"
    numbers = {job: epoch.number for job in JOBS if (epoch := find_epoch(f"{line.settings.checkpoints}/{job}"))}
    assert numbers == {"metrics": 3, "engagement": 3, "archive": 2}
    # Then it works through what was sent since its epoch was replaced, which takes as long as there is of that.
    slow = [one.what for one in line.report.done if not one.gate and one.runs > 60]
    assert not LONG or not slow, "a version that is rolled back to runs within a minute"


def together(*hand_overs: Callable[[], None]) -> None:
    """All at once, which is shorter; the long form takes the time of each, with the gate in the main thread."""
    if LONG:
        for hand_over in hand_overs:
            hand_over()
        return
    with ThreadPoolExecutor(len(hand_overs)) as pool:
        for done in [pool.submit(hand_over) for hand_over in hand_overs]:
            done.result()


def promoted(line: Line, load: Load, job: str, version: int, *, kill: bool = False) -> None:
    edit = line.edits[job, version]
    gate = line.promote(job, version)
    begin = time.monotonic()
    if kill:
        line.kill_in_exchange(job)
    line.hand_over(job, edit.label, edit.what, load.acknowledged, gate, begin)


def rolled_back(line: Line, load: Load, job: str, label: str) -> None:
    begin = time.monotonic()
    rollback(line.settings, job, label)
    line.hand_over(job, label, "rollback", load.acknowledged, 0.0, begin)
