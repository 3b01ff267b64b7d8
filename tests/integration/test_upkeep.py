"""The platform's own notebooks, top to bottom on the real servers, after a day of events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.truth import Truth
from retailpulse_kernel.ground.errors import CheckFailed
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.running import run_notebook
from retailpulse_kernel.stores.hive.store import HiveStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics
from retailpulse_kernel.stores.namespaces import drop
from tests.jobs import produce, run_here

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BATCH = Path(__file__).resolve().parents[2] / "notebooks" / "batch"
NOW = datetime.now(UTC)
#: Five minutes of yesterday, which is over.
YESTERDAY = (NOW - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Iterator[Settings]:
    made = Settings.load(namespace="t_upkeep")
    drop(made)
    ensure_topics(made)
    yield made
    drop(made)


@pytest.fixture(scope="module")
def truth(settings: Settings) -> Truth:
    """The jobs have taken a shop's events; what these truly hold."""
    generator = Generator(rate=10, seconds=300, seed=11, start=YESTERDAY, duplicates=0.03, bad=0.02)
    produce(settings, [(message.key, message.value) for message in generator.messages()])
    for name in ("metrics", "archive"):
        run_here(settings, name)
    return generator.truth


def run(settings: Settings, name: str, tmp_path: Path, **given: str) -> str:
    done = run_notebook(settings, BATCH / f"{name}.ipynb", given, output=tmp_path / f"{name}.ipynb")
    cells = nbformat.read(done.output, as_version=4).cells
    return "\n".join(str(o.get("text") or o.get("data")) for cell in cells for o in cell.get("outputs", []))


def test_a_day_is_closed_once(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    day = YESTERDAY.date().isoformat()
    # Yesterday may have ended minutes ago: no time to settle.
    assert f"To close: {day}." in run(settings, "close_day", tmp_path, settle="0s")
    (total,) = (
        HiveStore(settings)
        .query(
            "select sum(events) events, sum(revenue) revenue, sum(orders) orders from daily where dt = :day",
            {"day": day},
        )
        .itertuples(index=False)
    )
    expected = truth.with_late.as_dict()
    assert int(total.events) == sum(expected["events_by_type"].values()) == truth.accepted + truth.late
    assert total.revenue == sum(Decimal(c["revenue"]) for c in expected["currencies"].values())
    assert int(total.orders) == sum(c["orders"] for c in expected["currencies"].values())
    assert "To close: nothing." in run(settings, "close_day", tmp_path, settle="0s")

    before = (
        HiveStore(settings).query("select * from daily order by currency, category, event_type").drop(columns="closed")
    )
    run(settings, "close_day", tmp_path, day=day)
    after = (
        HiveStore(settings).query("select * from daily order by currency, category, event_type").drop(columns="closed")
    )
    assert before.equals(after), "closing it again gives the same rows"


def test_the_hourly_ones_run(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    assert "files before" in run(settings, "compact", tmp_path)
    assert "category_minute" in run(settings, "reconcile", tmp_path)


def test_quality_fails_the_run_and_says_why(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    # The messages came now; their events are of yesterday, and no type of them ended before the others did.
    shown = run(settings, "quality", tmp_path, before="3d", bad="0.5")
    assert f"{truth.bad.total():,} of {truth.sent:,}" in shown
    with pytest.raises(CheckFailed, match=rf"bad messages: .*{truth.bad.total()} of ") as caught:
        run(settings, "quality", tmp_path, before="3d", bad="0.001")
    assert "late events" not in str(caught.value), "what is as expected is not named"


def test_retention_lets_go_only_what_is_closed(settings: Settings, truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="has not taken"):
        _behind(settings, tmp_path)
    shown = run(settings, "retention", tmp_path, topics="3d", minutes="30d")
    assert "no day left the archive" in shown
    store = HiveStore(settings)
    assert int(store.query("select count(*) n from events")["n"][0]) > 0
    shown = run(settings, "retention", tmp_path, topics="3d", archive="1m")
    assert YESTERDAY.date().isoformat() in shown
    assert int(store.query("select count(*) n from events")["n"][0]) == 0
    assert int(store.query("select sum(events) n from daily")["n"][0]) == truth.accepted + truth.late, "its truth stays"


def _behind(settings: Settings, tmp_path: Path) -> None:
    """Messages that no job has taken, and a retention under which they would go at once."""
    produce(settings, [("a", b"{}")])
    run(settings, "retention", tmp_path, topics="0s")


def test_the_platform_s_notebooks_are_these() -> None:
    assert {path.stem for path in BATCH.glob("*.ipynb")} == {
        "close_day",
        "compact",
        "correct",
        "quality",
        "reconcile",
        "retention",
    }
