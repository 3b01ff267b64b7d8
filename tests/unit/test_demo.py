"""The demo, as far as it needs no server: what it shows, and what it says when it can't go on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import filelock
import pytest
from rich.console import Console, RenderableType
from typer.main import get_command

from retailpulse_kernel.answers.reading import Bucket, CurrencySummary, Summary
from retailpulse_kernel.cli import app, main
from retailpulse_kernel.demo import demo
from retailpulse_kernel.demo import worked as module
from retailpulse_kernel.demo.demo import demo_live, stopped_programs
from retailpulse_kernel.demo.jobs import worked_jobs
from retailpulse_kernel.demo.terminal import figures_line, figures_view, jobs_view, rates_of, sparkline
from retailpulse_kernel.demo.worked import Worked, where_to_look, with_worked
from retailpulse_kernel.ground.errors import JobError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.streaming.checkpoint.accounts import Account

USD = CurrencySummary(Decimal("8980.49"), 12, 14, Decimal("748.3742"), {"electronics": Decimal("8980.49")}, [])
FIGURES = Summary(None, None, GRAINS["minute"], {"USD": USD}, {"view": 900, "purchase": 12}, 40)


def printed(view: RenderableType) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(view)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_figures_say_of_what_span_they_are() -> None:
    live = printed(figures_view(FIGURES, span="last hour"))
    assert "Revenue, last hour 8,980.49 USD" in live and "Total" not in live
    assert "Revenue per category, USD, last hour" in live and "Event distribution, last hour" in live
    whole = printed(figures_view(FIGURES))
    assert "Total revenue 8,980.49 USD" in whole and "last" not in whole


def test_a_window_that_runs_is_not_drawn_as_a_fall() -> None:
    buckets = [
        Bucket(datetime(2026, 1, 1, 12, minute, tzinfo=UTC), Decimal(amount), Decimal(0), complete=minute < 2)
        for minute, amount in enumerate((5, 5, 0))
    ]
    figures = replace(FIGURES, currencies={"USD": replace(USD, revenue_over_time=buckets)})
    assert "Revenue by minute ██…" in printed(figures_view(figures))
    figures = replace(FIGURES, currencies={"USD": replace(USD, revenue_over_time=buckets[:2])})
    assert "Revenue by minute ██ " in printed(figures_view(figures))


@pytest.mark.parametrize("count", [59, 60, 61, 119, 121, 300])
def test_a_line_of_equal_values_is_level_at_both_ends(count: int) -> None:
    line = sparkline([Decimal(7)] * count)
    assert len(line) <= 60 and set(line) == {"█"}


def test_a_log_gets_the_figures_in_a_line() -> None:
    said = figures_line(FIGURES, {"metrics": 1234, "archive": None}, {"metrics": 199.6}, "last hour")
    assert said == (
        "last hour: 912 events; 12 orders, revenue 8,980.49 USD; metrics 200 events/s, lag 1,234; archive starting"
    )
    assert figures_line(None, {"metrics": None}, {}, "") == "no figures yet; metrics starting"


def account(job: str, batch: int, finished_ms: int) -> Account:
    return Account(job, 1, batch, {}, 400, 400, 0, 0, 0, 40, 0, finished_ms - 1000, finished_ms)


def test_a_job_that_has_finished_no_batch_since_the_demo_began_is_starting() -> None:
    """A namespace keeps the accounts of earlier demos."""
    accounts = [account("metrics", 7, 99_000), account("archive", 7, 99_000), account("metrics", 8, 101_000)]
    lags: dict[str, int | None] = {"metrics": 80, "archive": 5_400, "engagement": None}
    rates = rates_of(accounts, began_ms=100_000, now_ms=105_000)
    assert rates == {"metrics": 20}
    assert figures_line(None, lags, rates, "") == (
        "no figures yet; metrics 20 events/s, lag 80; archive starting, lag 5,400; engagement starting"
    )
    shown = [line.split() for line in printed(jobs_view(accounts, lags, rates)).splitlines()]
    assert {line[1]: line[7:-1] for line in shown[2:-1]} == {
        "metrics": ["20", "80"],
        "archive": ["starting", "5,400"],
        "engagement": ["starting"],
    }
    assert rates_of(accounts, began_ms=100_000, now_ms=900_000) == {"metrics": 0}, "it works, and has nothing to do"


def test_a_second_live_demo_is_refused(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home")
    (settings.home / "locks").mkdir(parents=True)
    with filelock.FileLock(settings.home / "locks" / "demo.lock"), pytest.raises(UsageError, match="runs already"):
        demo_live(settings, feed=["false"], feed_name="generator", seconds=None, console=Console(file=StringIO()))
    assert Supervisor(settings).pid() is None, "nothing was started"


def test_servers_are_not_stopped_under_a_live_demo(
    supervised: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RETAILPULSE_HOME", str(supervised.home))
    supervision.start_program(supervised, "generator", ["sleep", "600"])
    (supervised.home / "locks").mkdir()
    lock = filelock.FileLock(supervised.home / "locks" / "demo.lock")
    with lock:
        for options in ([], ["kafka"], ["--wipe", "--yes"]):
            assert down(*options) == 2
            assert "Ctrl-C in its terminal" in " ".join(capsys.readouterr().err.split())
        assert supervision.programs(supervised) == ["generator"]
        assert down("--force") == 0
        assert supervision.programs(supervised) == []
    assert down() == 0


def down(*options: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["down", *options])
    return int(caught.value.code or 0)


def test_the_jobs_that_are_waited_for_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "job_command", lambda name, **_: [sys.executable, "-c", "pass"])
    console = Console(file=StringIO(), width=120, force_terminal=True)
    demo._run_to_end(Settings.load(home=tmp_path / "home"), console)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    assert "waiting for metrics, engagement, archive" in said
    assert not re.search(r"waiting for +\(", said)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings.load(home=tmp_path / "home")
    yield settings
    Supervisor(settings).shutdown()


def test_what_of_the_demo_does_not_run_is_said(supervised: Settings) -> None:
    names = ["job-metrics", "job-archive"]
    for name in names:
        supervision.start_program(supervised, name, ["sleep", "600"])
    supervision.start_program(supervised, "replay", ["sleep", "600"], autorestart=False)
    assert stopped_programs(supervised, "replay", names) == []
    supervision.stop_program(supervised, "job-archive")
    assert stopped_programs(supervised, "replay", names) == [
        "job-archive does not run (stopped): `retailpulse logs job-archive` shows why."
    ]
    supervision.start_program(supervised, "replay", ["true"], autorestart=False)
    deadline = time.monotonic() + 60
    while "The feed has sent all of its events." not in stopped_programs(supervised, "replay", names):
        assert time.monotonic() < deadline, Supervisor(supervised).processes()
    for name in ("replay", "job-metrics"):
        supervision.stop_program(supervised, name)
    with pytest.raises(JobError, match="stopped from elsewhere"):
        stopped_programs(supervised, "replay", names)


@pytest.fixture
def worked(tmp_path: Path) -> Worked:
    return Worked(with_worked(Settings.load(home=tmp_path / "home", namespace="worked")))


def test_worked_notebooks_have_their_contract_and_versions_beside_those_that_airflow_runs(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home", namespace="worked")
    assert settings.contract is None
    made = with_worked(settings)
    assert made.contract is not None and made.contract.name == "shop.toml" and made.contract.is_file()
    assert tmp_path in made.pipelines.parents and settings.contract is None
    console = Console(file=StringIO(), width=60)
    where_to_look(made, console, servers_stopped=True)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue()
    assert f"export RETAILPULSE_CONTRACT={made.contract}\n" in said
    assert "retailpulse up\n" in said and "retailpulse tables --namespace worked\n" in said
    assert 'rp.table("margin")' in said


def test_each_worked_notebook_has_a_line(worked: Worked) -> None:
    names = {path.stem for path in (Path(__file__).parents[2] / "notebooks" / "worked").glob("*.ipynb")}
    assert {line.split(":")[0].strip() for line in worked.lines()} == names
    assert all("0 rows written, waits for the gate" in line for line in worked.lines())
    assert names <= set(printed(worked).split())


def test_a_worked_notebook_that_the_gate_refuses_is_not_started(
    worked: Worked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLI", (sys.executable, "-c", "raise SystemExit('the tests failed')"))
    worked.promote_and_start(threading.Event())
    assert worked.programs == []
    assert "  basket: 0 rows written, was not promoted: `retailpulse logs promote-basket` shows why" in worked.lines()
    with pytest.raises(JobError, match="'abandoned' failed: the tests failed") as caught:
        worked.promote_and_run(Console(file=StringIO()))
    assert caught.value.remedy == "See `retailpulse logs promote-abandoned`."


def test_worked_notebooks_that_pass_the_gate_are_supervised(
    supervised: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = "import sys, time; time.sleep(600 * (sys.argv[1] == 'run'))"
    monkeypatch.setattr(module, "CLI", (sys.executable, "-c", passes))
    worked = Worked(with_worked(supervised))
    worked.promote_and_start(threading.Event())
    assert worked.programs == [f"job-{name}" for name in worked_jobs()] == sorted(supervision.programs(supervised))
    assert all(line.endswith("0 rows written, promoted, runs") for line in worked.lines())
    assert stopped_programs(supervised, "job-basket", worked.programs) == []


def test_the_demo_s_end_leaves_the_gate(worked: Worked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLI", (sys.executable, "-c", "import time; time.sleep(600)"))
    over = threading.Event()
    over.set()
    worked.promote_and_start(over)  # the time limit of the test says that it has ended
    assert worked.programs == []


def test_an_end_before_any_worked_notebook_runs(supervised: Settings) -> None:
    supervision.start_program(supervised, "generator", ["sleep", "600"])
    demo._stop(supervised, [])
    assert supervision.programs(supervised) == ["generator"]
    demo._stop(supervised, ["generator", "job-basket"])
    assert supervision.programs(supervised) == []


def test_worked_notebooks_run_without_airflow(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--worked", "--airflow"])
    assert caught.value.code == 2
    assert "Leave --worked or --airflow out." in " ".join(capsys.readouterr().err.split())


PIPED = """
from retailpulse_kernel.cli.options import OrderlyConsole
console = OrderlyConsole()
try:
    while not console.quiet:
        console.print("a line")
finally:
    console.print("one more")
    open("ended", "w").close()
"""


def test_a_demo_whose_reader_is_gone_still_clears_up(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    writer = subprocess.Popen([sys.executable, "-c", PIPED], stdout=subprocess.PIPE, cwd=tmp_path, env=environment)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.wait(60) == 0 and (tmp_path / "ended").exists()


def test_every_dimension_of_the_figures_is_in_the_help() -> None:
    (option,) = (option for option in get_command(app).commands["figures"].params if option.name == "by")
    assert "currency, category, event_type, bucket" in option.help
    assert all(name in option.help for name in CATEGORY.by)
