"""Options and fixtures of the two forms: the short one is part of `make test`, `make faults` adds the long one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retailpulse_kernel.ground.settings import Settings
from tests.faults.report import Report
from tests.faults.shop import Shop

_REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--rounds", type=int, default=24, help="How many faults the long form has; 21 are single ones.")
    group.addoption("--only", default="", help="Only the long form's faults whose names have these words.")
    group.addoption("--seed", type=int, default=4, help="Decides on the faults, their moments and the events.")
    group.addoption("--report", type=Path, help="Where the long form's table goes, as Markdown.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report(config.getoption("--seed"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if not report.rounds:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(report.table())
    if path := config.getoption("--report"):
        path.write_text(report.table() + "\n")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """The long form's table, printed at the end, also when a round fails."""
    return request.config.stash[_REPORT]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture
def shop(stack: Settings, tmp_path: Path, seed: int) -> Iterator[Shop]:
    """A namespace under load, whose jobs run."""
    with Shop.open(stack, tmp_path, seed=seed) as shop:
        shop.pipeline.start()
        shop.pipeline.await_taken(shop.load.acknowledged)
        yield shop
