"""The view's JavaScript: it parses, its pure parts are right, and it asks nobody but the kernel."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from retailpulse_kernel.answers.reading import over_time
from retailpulse_kernel.live import assets
from retailpulse_kernel.live.plotting import CONFIG

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("live/js", "api/web") for path in (ROOT / "retailpulse_kernel" / folder).glob("*.mjs")
)
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")


def node(*arguments: str, **env: str) -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, *arguments], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@needs_node
def test_every_module_parses() -> None:
    for source in SOURCES:
        node("--check", str(source))


@needs_node
def test_the_pure_parts(tmp_path: Path) -> None:
    """Sums, ranges, texts; and totals and peaks as Python has them."""
    chance = random.Random(3)
    cases = []
    for count, running in ((0, 0), (1, 0), (1, 1), (2, 1), (30, 0), (30, 1), (200, 2)):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        amounts = [Decimal(chance.randrange(-10_000, 5_000_000)) / 10_000 for _ in range(count)]
        by_bucket = {start + timedelta(minutes=i): amount for i, amount in enumerate(amounts)}
        over = start + timedelta(minutes=count - running)
        buckets = over_time(by_bucket, lambda moment, over=over: moment < over)
        cases.append(
            {
                "buckets": [[int(b.start.timestamp()), str(int(b.revenue.scaleb(4))), b.complete] for b in buckets],
                "expected": [[int(b.start.timestamp()), str(int(b.running_total.scaleb(4))), b.peak] for b in buckets],
            }
        )
    peaks = tmp_path / "peaks.json"
    peaks.write_text(json.dumps(cases))
    node("--test", "tests/js/", RETAILPULSE_PEAKS=str(peaks))


@pytest.mark.parametrize("name", ["live.mjs", "explore.mjs", "canvas.mjs", "table.mjs"])
def test_a_widget_is_one_module_and_asks_no_network(name: str) -> None:
    text = assets.module(name)
    assert not re.search(r'from "\.', text)
    held = [base64.b64decode(part).decode() for part in re.findall(r"base64,([\w+/=]+)", text)]
    for part in [text, *held]:
        assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket", part)


@needs_node
def test_charts_behave_alike_in_views_and_notebooks() -> None:
    assert NODE is not None
    script = "import('./retailpulse_kernel/live/js/charts.mjs').then((m) => console.log(JSON.stringify(m.CONFIG)))"
    done = subprocess.run([NODE, "-e", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout) == CONFIG


def test_plotly_is_the_package_s_own_file() -> None:
    assert b"plotly.js v" in assets.plotly_js()[:200]
    assert not list((ROOT / "retailpulse_kernel").rglob("plotly*.js")), "no copy of it is kept"
