"""The live view at a rate that no view can fold: it follows the stored figures, says so, and comes back."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psutil

from bench.lab import Lab, wait_until
from bench.results import Figure, Target, percentile
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["RATE", "measure_flood"]

RATE = 50_000
#: Seconds that the job has to catch up afterwards.
_PATIENCE = 300


def measure_flood(lab: Lab, settings: Settings, view: Any, kernel: psutil.Process, seconds: float) -> list[Figure]:
    """Send 50,000 events/s, or what this machine can beside the view, and look at the view meanwhile."""
    page, chance = view.page, random.Random(6)
    lab.say(f"{RATE:,} events/s for {seconds:g} s")
    before = _messages(settings)
    flood = lab.python("bench.flood", str(RATE), f"{seconds:g}", settings=settings)
    page.wait_for_selector(".rp-view[data-folding='false']", timeout=seconds * 1000)
    said, fastest = "", 0
    page.evaluate("() => { window.rpPaints = []; }")
    began, controls = time.monotonic(), []
    processors = _seconds(kernel)
    while flood.running:
        page.wait_for_timeout(1_500 * chance.uniform(0.5, 1.5))
        controls.append(view.control(len(controls)))
        rate = int(page.inner_text(".rp-rate").replace(",", "") or 0)
        if rate >= fastest:
            said, fastest = page.inner_text(".rp-note"), rate
    took = time.monotonic() - began
    processors = [(after - first) / took for after, first in zip(_seconds(kernel), processors, strict=True)]
    paints = page.evaluate("() => window.rpPaints.length") / took
    done = flood.result(60)
    sent, ended = _messages(settings) - before, time.monotonic()
    uses = f"{len(controls)} uses, max {max(controls):.0f} ms"
    figures = [
        Figure("events sent beside the view", "/s", [sent / done["seconds"]], note=f"{RATE:,} asked; it said: {said}"),
        Figure("pictures, at that rate", "/s", [paints]),
        Figure("a control answered, at that rate, p95", "ms", [percentile(controls, 0.95)],
               target=Target(300, at_most=True), note=uses),
        Figure("processors of the kernel, at that rate", "", [processors[0]]),
        Figure("processors of what follows the stream, at that rate", "", [processors[1]]),
    ]  # fmt: skip
    lab.say("until every event is followed again")
    wait_until(
        lambda: page.get_attribute(".rp-view", "data-folding") == "true" or page.wait_for_timeout(100),
        [],
        seconds=_PATIENCE,
        what="the view to follow single events again",
    )
    figures.append(Figure("until single events are followed again", "s", [time.monotonic() - ended]))
    return [*figures, _differs(settings, view)]


def _messages(settings: Settings) -> int:
    store = KafkaStore(settings)
    try:
        return sum(end for _, end in store.offsets().values())
    finally:
        store.close()


def _seconds(kernel: psutil.Process) -> tuple[float, float]:
    """Processor time of the kernel, and of the process below it that follows the stream."""
    (follower,) = (p for p in kernel.children() if "retailpulse_kernel.live.stream.follower" in p.cmdline())
    times = [process.cpu_times() for process in (kernel, follower)]
    return times[0].user + times[0].system, times[1].user + times[1].system


def _differs(settings: Settings, view: Any) -> Figure:
    """Whether the view's sums of a range that is over, the flood's among it, are others than those of `rp.figures`."""
    page = view.page
    page.click(".rp-live")
    page.select_option(".rp-window", "900")
    edge = int(page.get_attribute(".rp-view", "data-until") or 0)
    deadline = time.monotonic() + _PATIENCE
    rp = Workbench(settings.profile_name, settings.namespace.name)
    while True:
        page.eval_on_selector(
            ".rp-scrub", "(s, to) => { s.value = to; s.dispatchEvent(new Event('input')); }", str(edge - 120)
        )
        data = page.eval_on_selector(".rp-view", "v => ({ ...v.dataset })")
        since, until = (datetime.fromtimestamp(int(data[end]), UTC) for end in ("since", "until"))
        stored = rp.figures("revenue", "events", by="currency", since=since, until=until).set_index("currency")
        shown = Decimal(data["revenue"].replace(",", "")), int(data["events"])
        expected = stored.loc["USD", "revenue"], int(stored["events"].sum())
        if shown == expected or time.monotonic() > deadline:
            note = (
                f"{shown[1]:,} events and {shown[0]:,} USD in both" if shown == expected else f"{shown} and {expected}"
            )
            return Figure("figures that differ from the stored ones", "", [float(shown != expected)],
                          target=Target(0, at_most=True), note=note)  # fmt: skip
        page.wait_for_timeout(500)
