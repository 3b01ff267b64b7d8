"""``make bench-live``: the live view in a headless Chromium, in JupyterLab, on the real stack.

How long an event takes from before it is sent until it is painted, idle and with a cell that keeps the kernel busy;
how fast controls answer meanwhile; whether memory stays flat; what a hidden tab and a reload do.
"""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.markup import escape

from bench.browser import Notebook, chromium, jupyter_lab, write_notebook
from bench.jobs import generator, primed, started
from bench.lab import Lab
from bench.live_flood import measure_flood
from bench.machine import describe
from bench.results import Figure, Target, as_json, as_table, percentile
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.producer import Sender

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

RATE = 2_000
_HZ = 4
_PROBES = 2.0
_PREFIX = "probe-"
#: Seconds that the last probes have to be painted.
_PATIENCE = 10.0
#: Growth that still counts as flat: the garbage of a moment.
_FLAT = 1.25

_WATCH = """view => {
  window.rpSeen = {};
  window.rpPaints = [];
  view.addEventListener("retailpulse:painted", ({ detail }) => requestAnimationFrame(() => {
    const now = Date.now();
    window.rpPaints.push(now);
    for (const key of detail.model.keys) {
      if (key?.[1].startsWith("probe-") && !(key[1] in window.rpSeen)) window.rpSeen[key[1]] = now;
    }
  }));
}"""
_CONTROL = """(view, [part, value]) => new Promise((resolve) => {
  const control = view.querySelector(".rp-" + part);
  const started = performance.now();
  view.addEventListener("retailpulse:painted", () => requestAnimationFrame(() => resolve(performance.now() - started)),
    { once: true });
  if (control.tagName === "BUTTON") control.click();
  else { control.value = value; control.dispatchEvent(new Event(part === "scrub" ? "input" : "change")); }
})"""
_HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


class _Probes(threading.Thread):
    """Sends events, each in a category of its own, at moments drawn by chance."""

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(name="probes", daemon=True)
        self.sent: dict[str, float] = {}
        self._settings, self._name = settings, name
        self._ended = threading.Event()

    def run(self) -> None:
        chance = random.Random(4)
        with Sender(self._settings) as sender:
            while not self._ended.wait(chance.uniform(0, 2 / _PROBES)):
                probe = f"{_PREFIX}{self._name}-{len(self.sent):04d}"
                value = {
                    "event_id": probe, "event_type": "view", "user_id": probe, "session_id": probe, "product_id": "1",
                    "event_time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "category": probe,
                }  # fmt: skip
                self.sent[probe] = time.time()
                sender.send(probe.encode(), orjson.dumps(value))
                sender.flush()

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        self.join(10)


class _View:
    """The view in its page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.watch()

    def watch(self) -> None:
        """Wait until it paints, and note from now on what it paints when."""
        self.page.wait_for_selector(".rp-view[data-frames]")
        self.page.eval_on_selector(".rp-view", _WATCH)

    def latency(self, settings: Settings, name: str, seconds: float, *, every: float | None = None) -> dict[str, Any]:
        """Seconds from sending to painting of each probe, milliseconds of each control, and pictures a second."""
        probes = _Probes(settings, name)
        self.page.evaluate("() => { window.rpPaints = []; }")
        probes.start()
        controls, end, began = [], time.monotonic() + seconds, time.time()
        chance = random.Random(5)
        while time.monotonic() < end:
            self.page.wait_for_timeout((every or 1.0) * 1000 * chance.uniform(0.5, 1.5))
            if every:
                controls.append(self.control(len(controls)))
        took = time.time() - began
        probes.end()
        self._until_seen(probes)
        seen = self.page.evaluate("() => window.rpSeen")
        paints = self.page.evaluate("() => window.rpPaints")
        waits = [seen.get(probe, math.inf) / 1000 - moment for probe, moment in probes.sent.items()]
        return {"seconds": waits, "controls": controls, "hz": len(paints) / took}

    def control(self, number: int) -> float:
        """Use one of the controls; milliseconds until its picture."""
        edge = int(self.page.get_attribute(".rp-view", "data-until") or 0)
        moves = [
            ("window", "300"), ("currency", "USD"), ("scrub", str(edge - 120)), ("window", "900"), ("live", ""),
            ("pause", ""), ("pause", ""), ("window", "3600"), ("replay", ""), ("live", ""), ("window", "900"),
        ]  # fmt: skip
        return self.page.eval_on_selector(".rp-view", _CONTROL, list(moves[number % len(moves)]))

    def _until_seen(self, probes: _Probes) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if probes.sent.keys() <= self.page.evaluate("() => window.rpSeen").keys():
                return
            self.page.wait_for_timeout(100)

    def heap(self) -> float:
        """The page's JavaScript heap after a collection, in MB."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("HeapProfiler.collectGarbage")
        used = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        session.detach()
        return used


def _kernel() -> psutil.Process:
    """The kernel below this process."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a process of the browser that has just ended
            if "ipykernel_launcher" in " ".join(process.cmdline()):
                return process
    raise RetailPulseError("There is no kernel below this process.")


@contextmanager
def _opened(settings: Settings, folder: Path, busy: float) -> Iterator[tuple[Any, Any, _View]]:
    folder.mkdir(parents=True, exist_ok=True)
    cells = [f"view = rp.live(window='15m', currency='USD', hz={_HZ})\nview",
             f"import time\nend = time.time() + {busy:g}\nwhile time.time() < end:\n    pass"]  # fmt: skip
    write_notebook(folder / "live.ipynb", cells)
    with jupyter_lab(settings, folder) as lab, chromium() as context:
        notebook = Notebook(context, lab, "live.ipynb")
        notebook.run(0)
        yield lab, context, _View(notebook)


def measure(lab: Lab, figures: list[Figure], *, warm_up: float, seconds: float, soak: float, flood: float) -> None:
    """Run the job "metrics" at 2,000 events/s, look at the live view, and note how it fares."""
    settings = lab.namespace("live")
    total = warm_up + 3 * seconds + soak + 240 + 10 * flood
    with started(lab, settings, ["metrics"], topic=settings.namespace.events_topic) as running:
        primed(lab, settings, running)
        with (
            lab.ended(generator(lab, settings, rate=RATE, seconds=total)),
            _opened(settings, lab.folder / "notebooks", seconds + 5) as (server, context, view),
        ):
            lab.say(f"live view: {warm_up:g} s to warm up at {RATE:,} events/s")
            time.sleep(warm_up)
            lab.say(f"an idle kernel, {seconds:g} s")
            figures += _latency("an idle kernel", view.latency(settings, "idle", seconds, every=3.0))
            lab.say(f"a kernel that runs a cell, {seconds:g} s")
            view.notebook.run(1, wait=False)
            figures += _latency("a cell running", view.latency(settings, "busy", seconds, every=1.5), controls=True)
            figures += _hidden(view, settings)
            lab.say(f"memory over {soak:g} s")
            figures += _memory(view, soak)
            figures += _reload(view)
            figures.append(_two(view, Notebook(context, server, "live.ipynb")))
            if flood:
                figures += measure_flood(lab, settings, view, _kernel(), flood)
            for problem in (*view.notebook.errors, *view.notebook.requests):
                raise RetailPulseError(f"The page complained, or asked another machine: {problem}")
    lab.forget("live")


def _latency(when: str, found: dict[str, Any], *, controls: bool = False) -> list[Figure]:
    seconds = found["seconds"]
    missing = seconds.count(math.inf)
    note = f"{len(seconds)} probes, max {max(seconds):.2f} s" + (f", {missing} never painted" if missing else "")
    figures = [
        Figure(f"sent to painted, {when}, p50", "s", [percentile(seconds, 0.5)]),
        Figure(f"sent to painted, {when}, p95", "s", [percentile(seconds, 0.95)], target=Target(1.5, at_most=True),
               note=note, details={"seconds": seconds}),
        Figure(f"pictures, {when}", "/s", [found["hz"]], note=f"{_HZ} asked for, controls' own come on top"),
    ]  # fmt: skip
    answers = found["controls"]
    note = f"{len(answers)} uses, max {max(answers):.0f} ms"
    figures.append(
        Figure(f"a control answered, {when}, p95", "ms", [percentile(answers, 0.95)],
               target=Target(300, at_most=True) if controls else None, note=note, details={"ms": answers})
    )  # fmt: skip
    return figures


def _hidden(view: _View, settings: Settings) -> list[Figure]:
    """Hide the page for a while: what comes then is painted once, at once."""
    view.page.evaluate(_HIDE, True)
    view.page.evaluate("() => { window.rpPaints = []; }")
    probes = _Probes(settings, "hidden")
    probes.start()
    view.page.wait_for_timeout(20_000)
    probes.end()
    view.page.wait_for_timeout(1_500)
    painted = view.page.evaluate("() => window.rpPaints.length")
    shown = time.time()
    view.page.evaluate(_HIDE, False)
    view._until_seen(probes)
    last = max(view.page.evaluate("() => window.rpSeen")[probe] for probe in probes.sent) / 1000
    note = f"{painted} pictures while hidden for 20 s"
    return [Figure("newest shown after a hidden tab is looked at", "s", [last - shown], note=note)]


def _memory(view: _View, soak: float) -> list[Figure]:
    """Memory of page and kernel at the end of a time over that at its beginning."""
    kernel = _kernel()
    before = view.heap(), kernel.memory_info().rss / 2**20
    view.page.evaluate("() => { window.rpPaints = []; }")
    end, painted = time.monotonic() + soak, 0
    while time.monotonic() < end:
        view.page.wait_for_timeout(min(5_000, max(100, (end - time.monotonic()) * 1000)))
        painted += view.page.evaluate("() => { const n = window.rpPaints.length; window.rpPaints = []; return n; }")
    after = view.heap(), kernel.memory_info().rss / 2**20
    figures = [Figure("pictures over that time", "/s", [painted / soak])]
    for name, first, last in zip(("browser's heap", "kernel's memory"), before, after, strict=True):
        note = f"{first:.0f} MB before, {last:.0f} MB after {soak:g} s"
        figures.append(
            Figure(f"{name}, end over start", "x", [last / first], target=Target(_FLAT, at_most=True), note=note)
        )
    return figures


def _reload(view: _View) -> list[Figure]:
    view.notebook.save()
    started_at = time.monotonic()
    view.notebook.open()
    ready = time.monotonic()
    view.watch()
    painted = time.monotonic()
    note = f"JupyterLab itself and its notebook took {ready - started_at:.1f} s of it"
    return [
        Figure("reload to painted", "s", [painted - started_at], note=note),
        Figure("notebook open to painted", "s", [painted - ready], target=Target(3.0, at_most=True)),
    ]


def _two(view: _View, other: Notebook) -> Figure:
    """How far two browsers' figures are apart once both have shown a range that is over."""
    second = _View(other)
    edge = int(view.page.get_attribute(".rp-view", "data-until") or 0) - 120
    numbers = []
    for one in (view, second):
        one.page.wait_for_selector(".rp-view[data-loaded='true']")
        one.page.eval_on_selector(".rp-view", _CONTROL, ["scrub", str(edge)])
        numbers.append(
            one.page.eval_on_selector(".rp-view", "v => [v.dataset.until, v.dataset.revenue, v.dataset.events]")
        )
    other.page.close()
    same = numbers[0] == numbers[1]
    note = f"{numbers[0][2]} events, {numbers[0][1]} USD in both" if same else str(numbers)
    return Figure("two browsers that differ", "", [float(not same)], target=Target(0, at_most=True), note=note)


@app.command(help="Measure the live view on this machine.")
def main(
    soak: Annotated[float, typer.Option(min=0.1, help="Minutes over which memory is watched.")] = 60.0,
    flood: Annotated[float, typer.Option(min=0, help="Seconds of 50,000 events/s; 0 leaves them out.")] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the results in this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes in all: only a try.")] = False,
) -> None:
    """Measure, print the table, keep the results."""
    console = Console(stderr=True, highlight=False)
    machine = describe()
    lengths = {"warm_up": 60.0, "seconds": 60.0, "soak": soak * 60, "flood": flood}
    if quick:
        lengths = {"warm_up": 10.0, "seconds": 20.0, "soak": 60.0, "flood": 20.0}
    figures: list[Figure] = []
    try:
        with Lab(Settings.load(), console) as lab:
            measure(lab, figures, **lengths)
    finally:
        # What was measured before something failed is not thrown away.
        out = Console(highlight=False)
        if not out.is_terminal:
            out.width = 140
        out.print(as_table(figures))
        if json_file:
            json_file.write_text(json.dumps({"machine": machine, "figures": as_json(figures)}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        app()
    except RetailPulseError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
