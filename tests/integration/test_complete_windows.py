"""Which windows are complete behind a real job: a bounded run, then a continuous one that is behind the clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.catalogue.completeness import served_until
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.events import Event, to_message
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from retailpulse_kernel.workbench.workbench import Workbench
from tests.jobs import JobProcess, consumed, produce, run_here, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace=f"t_complete_{os.getpid()}")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


def sold(settings: Settings, since: datetime, minutes: int, name: str) -> None:
    """A purchase in each minute, all of one user, whose messages are in one partition."""
    events = [
        Event(event_id=f"{name}{i}", event_type="purchase", event_time=since + i * MINUTE, user_id="u", session_id="s",
              product_id="p", price=Decimal(1), order_id=f"{name}{i}", order_line=1)
        for i in range(minutes)
    ]  # fmt: skip
    produce(settings, [(event.user_id, to_message(event)) for event in events])


def listed(rp: Workbench) -> datetime:
    """Until when the table of the dashboards is complete, as the table of tables has it."""
    frame = rp.tables().frame.set_index("table")
    found: datetime = frame.loc["category", "complete_until"].to_pydatetime()
    return found


def test_windows_are_complete_up_to_where_the_job_has_come(settings: Settings, tmp_path: Path) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    rp = Workbench(namespace=settings.namespace_name)
    sold(settings, start, 60, "a")
    before = datetime.now(UTC)
    run_here(settings, "metrics")
    assert before <= served_until(settings) <= datetime.now(UTC)
    assert listed(rp) == served_until(settings), "the table of tables says the same"
    minutes = rp.figures("revenue", by="bucket", every="minute")
    assert len(minutes) == 60 and minutes["complete"].all(), "a bounded run took all that there was"

    log = tmp_path / "job.log"
    job = JobProcess(settings, "metrics", log)
    try:
        # A batch's clocks are those before its messages, and move the watermark of the next batch.
        for name, first, minutes in (("b", 60, 30), ("c", 90, 10), ("d", 100, 5)):
            sold(settings, start + first * MINUTE, minutes, name)
            end = first + minutes
            wait_until(lambda end=end: consumed(settings, "metrics") >= end, f"{name}; log: {log.read_text()[-2000:]}")
        newest = start + timedelta(minutes=89)
        wait_until(lambda: newest <= served_until(settings) < before - MINUTE, "the partition's newest event")
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(90) == 0
    finally:
        job.kill()
    reached = served_until(settings)
    assert reached <= start + timedelta(minutes=104), "no event is newer"
    minutes = rp.figures("revenue", by="bucket", every="minute")
    assert len(minutes) == 105
    assert minutes["complete"].tolist() == [bucket + MINUTE <= reached for bucket in minutes["bucket"]]
    assert rp.table("category").attrs["complete_until"] == reached.isoformat() == listed(rp).isoformat()
    assert not minutes["complete"].all(), "all of them are hours ago by the clock"
