"""The demo as its user starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retailpulse_kernel.demo.worked import with_worked
from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stores.namespaces import drop
from tests.jobs import wait_until
from tests.worked import WORKED, differences, sent, shop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rees46_2019-10-01.csv"
COMMAND = [sys.executable, "-m", "retailpulse_kernel.cli"]


@pytest.fixture
def namespace(stack: Settings) -> Iterator[Settings]:
    settings = Settings.load(namespace="t_demo")
    drop(settings)
    yield settings
    drop(settings)
    shutil.rmtree(with_worked(settings).pipelines, ignore_errors=True)


def figures(*arguments: str, cwd: Path) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, *arguments, "--json"], capture_output=True, text=True, timeout=500, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_file_is_taken_to_its_end(namespace: Settings, tmp_path: Path) -> None:
    """Out of order, with duplicates and broken lines: the figures are the truth's, and rejects are kept."""
    generator = Generator(rate=100, seconds=30, seed=5, duplicates=0.05, late=0.05, currencies={"GBP": 0.5})
    lines = [message.value for message in generator.messages() if message.value is not None]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([*reversed(lines), b"{broken"]) + b"\n")

    shown = figures("demo", "--input", str(path), "--once", "--namespace", namespace.namespace.name, cwd=tmp_path)

    expected = generator.truth.as_dict()["figures_with_late"]
    assert shown["events_by_type"] == expected["events_by_type"]
    for currency, of_currency in expected["currencies"].items():
        assert Decimal(shown["currencies"][currency]["revenue"]) == Decimal(of_currency["revenue"])
        assert shown["currencies"][currency]["orders"] == of_currency["orders"]
    (reject,) = (tmp_path / "events.jsonl.rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["line"] == len(lines) + 1
    assert figures("figures", "--namespace", namespace.namespace.name, cwd=tmp_path) == shown


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not part of the project")
def test_the_real_sample(stack: Settings, tmp_path: Path) -> None:
    shown = figures("demo", "--input", str(SAMPLE), "--format", "rees46", "--once", cwd=tmp_path)
    try:
        usd = shown["currencies"]["USD"]
        assert (usd["revenue"], usd["orders"], usd["average_order_value"]) == ("27773.52", 86, "322.9479")
        assert usd["revenue_by_category"]["electronics.smartphone"] == "23204.02"
        assert usd["revenue_by_category"]["unknown"] == "1537.01"
        assert shown["events_by_type"] == {"view": 7827, "purchase": 93, "add_to_cart": 80}
    finally:
        drop(Settings.load(namespace=shown["namespace"]))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("RETAILPULSE_LONG") != "1", reason="the long form: make worked")
def test_worked_notebooks_are_promoted_and_take_a_file_to_its_end(namespace: Settings, tmp_path: Path) -> None:
    """All six, beside the shop's own jobs: each table is what a plain fold gives, and each line says its rows."""
    messages = list(shop(datetime.now(UTC) - timedelta(hours=5, minutes=10), 5 * 3_600))
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(message.value for message in messages) + b"\n")
    name = namespace.namespace.name
    command = [*COMMAND, "demo", "--worked", "--input", str(path), "--once", "--namespace", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    events = list(sent(messages))
    settings = with_worked(namespace)
    for job in WORKED:
        assert differences(settings, job, events) == []
        assert re.search(rf"{job} +[1-9][\d,]* +promoted, has taken all", done.stdout), done.stdout[-3000:]
        assert (settings.pipelines / job / "v1" / "manifest.toml").is_file()
    assert f"retailpulse tables --namespace {name}" in done.stdout


def live_demo(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A demo that hears its signals, also where the tests themselves run in the background and ignore some."""
    hears = ["env", "--default-signal=INT,HUP", *COMMAND]
    with (folder / "demo.log").open("wb") as log:
        return subprocess.Popen([*hears, "demo", *arguments], stdout=log, stderr=subprocess.STDOUT, cwd=folder)


@pytest.mark.long
def test_the_live_demo_ends_in_order(namespace: Settings, tmp_path: Path) -> None:
    """Airflow runs the jobs, figures appear, Ctrl-C ends feed and jobs, and servers that ran before go on."""
    name, log = namespace.namespace.name, tmp_path / "demo.log"
    # Its output is a file: plain lines.
    line = re.compile(r"last hour: [\d,]+ events; .*metrics [\d,]+ events/s, lag")
    demo = live_demo(tmp_path, "--airflow", "--rate", "100", "--namespace", name)
    try:
        wait_until(lambda: line.search(log.read_text()) is not None, "a line with figures", seconds=500)
        shown = figures("figures", "--namespace", name, cwd=tmp_path)
        assert shown["events_by_type"]["view"] > 0
    finally:
        os.kill(demo.pid, signal.SIGINT)
        code = demo.wait(180)
    assert code == 0, log.read_text()[-2000:]
    assert supervision.programs(namespace) == []
    assert all(service.healthy for service in supervision.status(namespace))
    assert "password in" in log.read_text()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_leaves_no_feed_and_no_job(
    namespace: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    demo = live_demo(tmp_path, "--direct", "--namespace", namespace.namespace.name)
    try:
        wait_until(lambda: len(supervision.programs(namespace)) == 5, "the feed, three jobs, corrections")
        second = subprocess.run(
            [*COMMAND, "demo", "--direct"], capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert second.returncode == 2 and "A live demo runs already" in second.stderr
        assert len(supervision.programs(namespace)) == 5 and demo.poll() is None, "the first one goes on"
    finally:
        demo.send_signal(number)
        code = demo.wait(180)
    said = (tmp_path / "demo.log").read_text()
    assert code == 128 + number and "password in" not in said, said[-2000:]
    assert supervision.programs(namespace) == []
