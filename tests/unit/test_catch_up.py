"""When a version that catches up in a staged epoch becomes current, and when it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from retailpulse_kernel.ground.errors import StoreUnavailable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.notebooks.environment import Environment
from retailpulse_kernel.promotion.cutover.catch_up import catch_up
from retailpulse_kernel.promotion.registry.manifest import Manifest
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.shop.comparison import Compared
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch
from retailpulse_kernel.streaming.plan.data import FigurePlan, Plan, TablePlan, write_plan

EVENTS, UNITS = FigurePlan("events", "count", "1", ""), FigurePlan("units", "sum", "quantity", "purchase")
SHELF = TablePlan("shelf", "cassandra", ("day",), ("category",), (EVENTS,))
OLD = Plan("metrics", "retail.events", "event_id", 600_000, (), "change", "publish", (SHELF,))
MORE = replace(OLD, tables=(replace(SHELF, figures=(EVENTS, UNITS)),))
FILTERED = replace(OLD, conditions=("quantity > 1",))


class Staged:
    """A new epoch whose lag and comparison a test decides, one check after the other."""

    def __init__(self, lags: list[int | None], compared: Compared | Exception) -> None:
        self.lags, self.outcome, self.checks, self.ended = lags, compared, 0, False

    def left(self) -> int | None:
        return self.lags[self.checks - 1]

    def has_started(self) -> bool:
        return True

    def compared(self) -> Compared:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def compared_rows(self) -> Compared:
        return Compared(9, 8)  # never holds a promotion up

    def follow(self, stop_when: Callable[[], bool]) -> None:
        for _ in self.lags:
            self.checks += 1
            if stop_when():
                self.ended = True
                return


class Scheduled(Staged):
    """One whose run ends by itself before anybody looks."""

    def follow(self, stop_when: Callable[[], bool]) -> None:
        self.checks = 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(home=tmp_path / "home", pipelines=tmp_path / "pipelines", namespace="t_catching")


def frozen(settings: Settings, tmp_path: Path, plan: Plan) -> Version:
    """The first version runs; the second one is frozen and not current."""
    source = tmp_path / "metrics.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), source)
    registry = Registry(settings)
    for number, of in ((1, OLD), (2, plan)):
        manifest = Manifest(
            "metrics", number, "metrics.ipynb", "", "stream", "@continuous", "", "", {}, Environment("", ""), plan=of
        )
        version = registry.freeze(source, manifest, activate=number == 1)
    live = Path(new_epoch(f"{settings.checkpoints}/metrics").path)
    write_plan(str(live), OLD)
    for log, content in (("offsets", '{"batchWatermarkMs": 0}\n{"retail.events": {"0": 10}}'), ("commits", "{}")):
        (live / log).mkdir(parents=True)
        (live / log / "0").write_text(f"v1\n{content}\n")
    return version


def test_it_becomes_current_once_it_has_caught_up(settings: Settings, tmp_path: Path) -> None:
    version, current = frozen(settings, tmp_path, MORE), []
    staged = Staged([50_000, 20_000, 9_000, 0], Compared(40))
    done = catch_up(
        settings,
        version,
        lambda _: current.append(Registry(settings).current("metrics").version),
        staged=lambda *_: staged,
    )
    assert done is not None and done.activated and not done.problem
    assert (done.messages, done.left, done.rows) == (50_000, 9_000, Compared(9, 8))
    assert current == [1, 1, 1, 2] and staged.checks == 4, "it goes on following until the live one has ended"


@pytest.mark.parametrize(
    ("plan", "compared", "version", "words"),
    [
        (MORE, Compared(40, 1, "shelf_day a: events 2 -> 3"), 1, "the figures that have not changed differ: 1 of 40"),
        (FILTERED, Compared(40, 30, "shelf_day a: events 2 -> 1"), 2, ""),  # that is what it was changed for
        (MORE, StoreUnavailable("cassandra", "Cassandra is away"), 1, "Cassandra is away"),
    ],
)
def test_what_both_have_must_be_equal_unless_it_was_changed(
    settings: Settings,
    tmp_path: Path,
    plan: Plan,
    compared: Compared | Exception,
    version: int,
    words: str,
) -> None:
    staged = Staged([5, 0], compared)
    done = catch_up(settings, frozen(settings, tmp_path, plan), staged=lambda *_: staged)
    assert done is not None and words in done.problem and bool(done.problem) == bool(words)
    assert Registry(settings).current("metrics").version == version
    assert staged.ended == bool(words)


def test_ended_early_it_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    staged = Staged([50_000, 40_000], Compared())
    done = catch_up(settings, frozen(settings, tmp_path, MORE), staged=lambda *_: staged)
    assert done is not None and "ended before its end" in done.problem
    assert Registry(settings).current("metrics").version == 1


@pytest.mark.parametrize(("left", "current"), [(0, 2), (1, 1)])
def test_a_run_that_ended_between_two_looks_is_looked_at_once_more(
    settings: Settings, tmp_path: Path, left: int, current: int
) -> None:
    staged = Scheduled([left], Compared(40))
    done = catch_up(settings, frozen(settings, tmp_path, MORE), staged=lambda *_: staged)
    assert done is not None and done.activated == (left == 0) and bool(done.problem) == (left > 0)
    assert Registry(settings).current("metrics").version == current


def test_without_a_new_epoch_it_is_current_at_once(settings: Settings, tmp_path: Path) -> None:
    assert catch_up(settings, frozen(settings, tmp_path, replace(OLD, watermark_ms=1))) is None
    assert Registry(settings).current("metrics").version == 2
