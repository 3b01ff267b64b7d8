"""The benchmark's own sums: rates, ratios, targets, tables. What it measures is measured by running it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import MEASUREMENTS
from bench.competitors import COMPETITORS, verdict
from bench.growth import decile, seconds_per_million
from bench.jobs import together
from bench.notebook import MEASURING
from bench.results import Figure, Target, Timeline, as_json, as_table, number, percentile
from retailpulse_kernel.ground.addresses import project_root
from retailpulse_kernel.streaming.checkpoint.accounts import Account


def test_a_rate_is_warm_after_the_first_mark_and_cold_from_the_start() -> None:
    timeline = Timeline(100.0, [(250, 110.0), (500, 112.0), (1000, 115.0)])
    assert timeline.warm == (1000 - 250) / (115 - 110)
    assert timeline.cold == 1000 / 15


def test_one_mark_alone_has_no_warm_part() -> None:
    assert math.isnan(Timeline(0.0, [(100, 1.0)]).warm)


def test_medians_and_ratios_are_of_rounds_and_not_of_each_other() -> None:
    figure = Figure("a", "events/s", [10.0, 30.0, 20.0], [0.5, 0.4, 0.9], Target(0.5, of_ratio=True))
    assert (figure.median, figure.ratio, figure.met) == (20.0, 0.5, True)


@pytest.mark.parametrize(
    ("samples", "target", "met"),
    [
        ([2.0], Target(2.0), True),
        ([1.9], Target(2.0), False),
        ([2.0], Target(2.0, at_most=True), True),
        ([2.1], Target(2.0, at_most=True), False),
        ([math.inf], Target(2.0, at_most=True), False),
        ([], Target(2.0, at_most=True), False),  # what was not measured is no success
        ([2.0], None, None),
    ],
)
def test_a_target_is_met_or_not(samples: list[float], target: Target | None, met: bool | None) -> None:
    assert Figure("a", "s", samples, target=target).met is met


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)]
)  # of 1 .. 20: the nearest rank, never a value that was not measured
def test_percentiles_are_measured_values(share: float, value: int) -> None:
    assert percentile(list(range(20, 0, -1)), share) == value


def test_numbers_are_short() -> None:
    assert [number(v) for v in (1234567.8, 99.96, 0.12345, math.nan)] == ["1,234,568", "100", "0.123", "?"]


def test_jobs_together_begin_with_the_last_first_batch_and_end_with_the_last_batch() -> None:
    fast = Timeline(0.0, [(250, 10.0), (500, 14.0), (1000, 20.0)])
    slow = Timeline(1.0, [(250, 15.0), (1000, 40.0)])
    both = together([fast, slow], 1000)
    assert both.started == 0.0
    assert both.marks == [((500 + 250) / 2, 15.0), (1000, 40.0)]


def _accounts(*batches: tuple[int, int]) -> list[Account]:
    """Accounts of (messages, end in seconds)."""
    nothing = dict.fromkeys(("accepted", "duplicate", "late", "bad", "rows", "watermark_ms", "started_ms"), 0)
    return [
        Account(job="a", epoch=1, batch=i, offsets={}, consumed=count, finished_ms=end * 1000, **nothing)
        for i, (count, end) in enumerate(batches)
    ]


def test_growth_compares_whole_batches_of_a_tenth() -> None:
    accounts = _accounts(*((50, 10 + 2 * i) for i in range(20)))
    assert decile(accounts, 1) == [2, 3]
    assert decile(accounts, 9) == [18, 19]
    assert seconds_per_million(accounts, [2, 3]) == pytest.approx(4 / 100 * 1e6)


def test_growth_takes_the_nearest_batch_and_never_the_first() -> None:
    accounts = _accounts((250, 10), (250, 12), (250, 14), (250, 16))
    assert (decile(accounts, 1), decile(accounts, 9)) == ([1], [3])


def _figures(revenue: str, orders: int) -> dict[str, object]:
    return {"currencies": {"USD": {"revenue": revenue, "orders": orders}}}


@pytest.mark.parametrize(
    ("events", "revenue", "said"),
    [
        (105, "12.50", "result right"),
        (100, "10.00", "result right, late events left out"),
        (106, "12.50", "result WRONG (events +1)"),
        (105, "12.49", "result WRONG (revenue -0.01)"),
    ],
)
def test_a_competitor_is_held_to_the_truth(events: int, revenue: str, said: str) -> None:
    truth = {
        "accepted": 100,
        "late": 5,
        "figures": _figures("10.00", 2),
        "figures_with_late": _figures("12.50", 2),
    }
    assert verdict({"events": events, "revenue": Decimal(revenue), "orders": 2}, truth) == said


def test_the_table_shows_a_miss_and_what_was_not_measured() -> None:
    console = Console(width=160, record=True, quiet=True)
    figures = [
        Figure("slow", "s", [3.0, 4.0, 5.0], target=Target(2.0, at_most=True)),
        Figure("absent", "events/s", [], note="can't be installed"),
    ]
    with console.capture() as shown:
        console.quiet = False
        console.print(as_table(figures))
    text = shown.get()
    assert "4 s" in text and "3 .. 5" in text and "missed" in text
    assert "not measured" in text and "can't be installed" in text
    kept = as_json(figures)
    assert (kept[0]["met"], kept[1]["median"]) == (False, None)


def test_every_measurement_and_competitor_is_described() -> None:
    root = project_root()
    assert root is not None
    readme = (root / "bench" / "README.md").read_text()
    assert [name for name in MEASUREMENTS if f"`{name}`" not in readme] == []
    assert [c.program for c in COMPETITORS.values() if not (root / "bench" / "competing" / c.program).is_file()] == []
    # The versions that are stated are those that are locked.
    locked = (root / "bench" / "requirements-competitors.txt").read_text()
    for pin in (
        "bytewax==0.21.1",
        "pathway==0.33.0",
        "quixstreams==3.28.0",
        "polars==2.1.0",
        "confluent-kafka==2.12.2",
    ):
        assert f"\n{pin} " in locked


#: A job's metrics, as a run makes them.
_RUN = """
from pathlib import Path
from retailpulse_kernel.telemetry.jobs import JobMetrics
from retailpulse_kernel.telemetry.recording import recording
from retailpulse_kernel.ground.settings import Settings

with recording(Settings.load(home=Path("."), namespace="shop"), "job", "metrics", job_name="metrics") as recorder:
    JobMetrics(recorder, "retail.events", None).retried("cassandra")
"""


def test_a_job_that_is_timed_tells_what_measuring_took(tmp_path: Path) -> None:
    prepared = f"import sys; sys.path.insert(0, {str(project_root())!r}); from bench.notebook import time_the_measuring"
    begin = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", f"{prepared}\ntime_the_measuring()\n{_RUN}"], cwd=tmp_path, check=True, timeout=120
    )
    (recorded,) = tmp_path.rglob("*.json")
    content = json.loads(recorded.read_bytes())
    assert 0 < content[MEASURING] < time.monotonic() - begin
