"""When a version that catches up beside the live one becomes current, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.promotion import taking_over
from retailpulse_kernel.promotion.manifest import Environment, Manifest
from retailpulse_kernel.promotion.moving import Compared
from retailpulse_kernel.promotion.registry import Registry, Version
from retailpulse_kernel.promotion.taking_over import take_over
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.checkpoint import Epoch, LoggedBatch, new_epoch
from retailpulse_kernel.streaming.plan import FigurePlan, Plan, TablePlan, write_plan

EVENTS, UNITS = FigurePlan("events", "count", "1", ""), FigurePlan("units", "sum", "quantity", "purchase")
SHELF = TablePlan("shelf", "cassandra", ("day",), ("category",), (EVENTS,))
OLD = Plan("metrics", "retail.events", "event_id", 600_000, (), "change", "publish", (SHELF,))
MORE = replace(OLD, tables=(replace(SHELF, figures=(EVENTS, UNITS)),))
FILTERED = replace(OLD, conditions=("quantity > 1",))


class Beside:
    """What is seen of a run beside, one look after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lags: list[int | None], compared: Compared | Exception) -> None:
        self.lags, self.compared, self.looks, self.ended = lags, compared, 0, False
        batch = LoggedBatch(7, 0, {"retail.events": {"0": 10}})
        monkeypatch.setattr(taking_over, "committed_batch", lambda path: batch)
        monkeypatch.setattr(taking_over, "made", lambda *_: Epoch(1, 1, "beside"))
        monkeypatch.setattr(taking_over, "behind", lambda *_: self.lags[min(self.looks, len(self.lags)) - 1])
        monkeypatch.setattr(taking_over, "compare_closed", self.compare)
        monkeypatch.setattr(taking_over, "follow", self.follow)

    def compare(self, *_: object) -> Compared:
        if isinstance(self.compared, Exception):
            raise self.compared
        return self.compared

    def follow(self, *_: object, stop_when: object, **__: object) -> None:
        for _ in self.lags:
            self.looks += 1
            if stop_when():  # type: ignore[operator]
                self.ended = True
                return


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_taking")


def frozen(settings: Settings, tmp_path: Path, plan: Plan) -> Version:
    """The first version runs; the second one is frozen and not current."""
    source = tmp_path / "metrics.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), source)
    registry = Registry(settings)
    for number, of in ((1, OLD), (2, plan)):
        manifest = Manifest(
            "metrics", number, "metrics.ipynb", "", "stream", "@continuous", "", "", {}, Environment("", ""), plan=of
        )
        version = registry.freeze(source, manifest, switch=number == 1)
    write_plan(new_epoch(f"{settings.checkpoints}/metrics").path, OLD)
    return version


def test_it_becomes_current_once_it_has_caught_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, current = frozen(settings, tmp_path, MORE), []
    beside = Beside(monkeypatch, [50_000, 20_000, 9_000, 0], Compared(40))
    done = take_over(settings, version, lambda _: current.append(Registry(settings).current("metrics").version))
    assert done is not None and done.switched and not done.problem
    assert (done.messages, done.left) == (50_000, 9_000)
    assert current == [1, 1, 1, 2] and beside.looks == 4, "it goes on following until the live one has ended"


@pytest.mark.parametrize(
    ("plan", "compared", "version", "words"),
    [
        (MORE, Compared(40, 1, "shelf_day a: events 2 -> 3"), 1, "what has not changed is not the same: 1 of 40"),
        (FILTERED, Compared(40, 30, "shelf_day a: events 2 -> 1"), 2, ""),  # that is what it was changed for
        (MORE, StoreUnavailable("cassandra", "Cassandra is away"), 1, "Cassandra is away"),
    ],
)
def test_what_both_have_must_be_equal_unless_it_was_changed(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plan: Plan,
    compared: Compared | Exception,
    version: int,
    words: str,
) -> None:
    beside = Beside(monkeypatch, [5, 0], compared)
    done = take_over(settings, frozen(settings, tmp_path, plan))
    assert done is not None and words in done.problem and bool(done.problem) == bool(words)
    assert Registry(settings).current("metrics").version == version
    assert beside.ended == bool(words)


def test_who_ends_it_early_changes_nothing(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Beside(monkeypatch, [50_000, 40_000], Compared())
    done = take_over(settings, frozen(settings, tmp_path, MORE))
    assert done is not None and "ended before" in done.problem
    assert Registry(settings).current("metrics").version == 1


def test_without_a_new_epoch_it_is_current_at_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Beside(monkeypatch, [], Compared())
    assert take_over(settings, frozen(settings, tmp_path, replace(OLD, watermark_ms=1))) is None
    assert Registry(settings).current("metrics").version == 2
