"""Which windows are complete: what the clock and the job's checkpoint have passed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from retailpulse_kernel.api.app import create_app
from retailpulse_kernel.api.sources import Sources
from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.completeness import complete_until as until_of
from retailpulse_kernel.catalogue.completeness import served_until
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry, catalogue_of
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import ms_of
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.fold import fold
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.checkpoint.progress import READERS, complete_until
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan, write_plan
from tests.memory import MemoryStore

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
DELAY = timedelta(minutes=10)
DELAY_MS = 600_000


def committed(epoch: str, batch: int, watermark: datetime | None, *, done: bool = True) -> None:
    """What Spark leaves of a micro-batch."""
    watermark_ms = 0 if watermark is None else ms_of(watermark)
    for name in ("offsets", "commits") if done else ("offsets",):
        (Path(epoch) / name).mkdir(exist_ok=True)
        content = f'v1\n{{"batchWatermarkMs":{watermark_ms}}}\n{{"retail.events":{{"0":5}}}}'
        (Path(epoch) / name / str(batch)).write_text(content)


def told(epoch: str, *, bounded: bool, began: datetime) -> None:
    """What a run leaves before it starts."""
    (Path(epoch) / READERS).write_text(json.dumps({"0": {"bounded": bounded, "began_ms": ms_of(began)}}))


class TestOfACheckpoint:
    def test_a_continuous_run_is_complete_until_its_watermark(self, tmp_path: Path) -> None:
        epoch = new_epoch(str(tmp_path)).path
        told(epoch, bounded=False, began=LATER)
        committed(epoch, 0, None)
        assert complete_until(str(tmp_path)) == datetime(1970, 1, 1, tzinfo=UTC)
        committed(epoch, 1, NOON)
        assert complete_until(str(tmp_path)) == NOON
        committed(epoch, 2, LATER, done=False)
        assert complete_until(str(tmp_path)) == NOON, "a batch that is under way has not written all of its rows"

    def test_windows_that_are_shown_before_they_close_are_ahead_of_the_watermark(self, tmp_path: Path) -> None:
        epoch = new_epoch(str(tmp_path)).path
        committed(epoch, 0, None)
        assert complete_until(str(tmp_path), ahead_ms=DELAY_MS) == datetime(1970, 1, 1, tzinfo=UTC)
        committed(epoch, 1, NOON)
        assert complete_until(str(tmp_path), ahead_ms=DELAY_MS) == NOON + DELAY

    def test_a_bounded_run_is_complete_until_it_began(self, tmp_path: Path) -> None:
        epoch = new_epoch(str(tmp_path)).path
        told(epoch, bounded=True, began=NOON)
        assert complete_until(str(tmp_path)) is None, "it has not written anything yet"
        committed(epoch, 0, None)
        assert complete_until(str(tmp_path)) == NOON
        committed(epoch, 1, LATER)
        assert complete_until(str(tmp_path)) == LATER, "the watermark of the run before it holds as well"

    def test_the_newest_epoch_counts(self, tmp_path: Path) -> None:
        committed(new_epoch(str(tmp_path)).path, 0, LATER)
        committed(new_epoch(str(tmp_path)).path, 0, NOON)
        assert complete_until(str(tmp_path)) == NOON

    def test_without_a_checkpoint_nothing_is_known(self, tmp_path: Path) -> None:
        assert complete_until(str(tmp_path / "none")) is None
        epoch = new_epoch(str(tmp_path)).path
        (Path(epoch) / "epoch.json").unlink()
        assert complete_until(str(tmp_path)) is None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_complete")


def ran(settings: Settings, watermark: datetime, output: str = "change") -> None:
    """A job that writes the table which is served."""
    epoch = new_epoch(f"{settings.checkpoints}/sales").path
    plan = Plan("sales", "retail.events", "event_id", DELAY_MS, (), output, "publish",
                tables=(TablePlan.describing(CATEGORY, "cassandra"),))  # fmt: skip
    write_plan(epoch, plan)
    committed(epoch, 0, watermark)


class TestOfATable:
    def test_the_clock_bounds_what_the_job_has_passed(self, settings: Settings) -> None:
        assert served_until(settings, NOON) == NOON, "no job has written the table here"
        ran(settings, NOON)
        assert served_until(settings, LATER) == NOON + DELAY, "as far as the partitions have come"
        assert served_until(settings, NOON - timedelta(hours=1)) == NOON - timedelta(hours=1)

    def test_what_is_written_when_it_closes_is_complete_until_the_watermark(self, settings: Settings) -> None:
        ran(settings, NOON, "close")
        assert served_until(settings, LATER) == NOON

    def test_of_several_tables_the_slowest_counts(self) -> None:
        reached = {"fast": LATER, "slow": NOON, "unknown": None}
        entries = [TableEntry(TablePlan.describing(CATEGORY, "s"), job, ran=job != "new") for job in (*reached, "new")]
        catalogue = Catalogue("t", "s", tuple(entries), shipped(), progress=reached.__getitem__)
        assert until_of(catalogue, entries, LATER + timedelta(days=1)) == NOON

    def test_a_table_of_rows_has_no_part_in_it(self, settings: Settings) -> None:
        ran(settings, NOON)
        assert [entry.job for entry in catalogue_of(settings).figures] == ["sales"]


@pytest.fixture
def store() -> MemoryStore:
    """A purchase in each hour from 8 to 15, the largest at 13."""
    events = [
        Event(event_id=f"p{hour}", event_type="purchase", event_time=NOON.replace(hour=hour), user_id="u",
              session_id="s", product_id="p", price=Decimal(1000 if hour == 13 else hour), order_id=f"o{hour}",
              order_line=1)
        for hour in range(8, 16)
    ]  # fmt: skip
    made = MemoryStore()
    made.create(CATEGORY)
    for grain in CATEGORY.every:
        made.write(CATEGORY, grain, fold(events, CATEGORY, grain), version=1)
    return made


def catalogue(reached: datetime | None) -> Catalogue:
    entry = TableEntry(TablePlan.describing(CATEGORY, "memory"), "sales", ran=True)
    return Catalogue("t", "memory", (entry,), shipped(), progress=lambda job: reached)


class TestOfAnswers:
    @pytest.mark.parametrize(("hour", "complete"), [(12, 4), (13, 5), (15, 7)])
    def test_a_frame_marks_what_the_job_has_not_passed(self, store: MemoryStore, hour: int, complete: int) -> None:
        reached = NOON.replace(hour=hour, minute=59)
        frame = answer(
            catalogue(reached), Asking(("revenue",), ("bucket",), every="hour"), lambda name: store  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        assert frame["complete"].tolist() == [True] * complete + [False] * (8 - complete)

    def asked(self, store: MemoryStore, reached: datetime | None, **more: str) -> list[dict[str, Any]]:
        class Here(Sources):
            @property
            def catalogue(self) -> Catalogue:
                return catalogue(reached)

        client = TestClient(create_app(store, sources=Here(store)))
        asked = {"from": "2026-03-06T08:00:00Z", "to": "2026-03-06T16:00:00Z", "by": "bucket", "grain": "hour",
                 **more}  # fmt: skip
        rows: list[dict[str, Any]] = client.get("/api/v1/figures/revenue", params=asked).json()["rows"]
        return rows

    def test_the_api_leaves_it_out_of_peaks_and_of_what_is_drawn(self, store: MemoryStore) -> None:
        rows = self.asked(store, NOON.replace(hour=13, minute=30))
        assert [row["complete"] for row in rows] == [True] * 5 + [False] * 3
        assert not any(row["peak"] for row in rows[5:]), "the hour of 13 would be one"
        assert rows[5]["complete_value"] is None and rows[5]["unfinished_value"] == 1000
        assert [row["peak"] for row in self.asked(store, None)].index(True) == 5

    def test_the_api_ends_a_range_where_the_table_is_complete(self, store: MemoryStore) -> None:
        rows = self.asked(store, NOON.replace(minute=30), complete="true")
        assert [row["bucket"][11:13] for row in rows] == ["08", "09", "10", "11", "12"]
        assert len(self.asked(store, NOON)) == 8
        assert self.asked(store, NOON.replace(hour=7), complete="true") == []
