"""What metrics cost: one job through one topic, with all that measures and watches it, and with nothing of it."""

from __future__ import annotations

import contextlib
import statistics
import threading
from collections.abc import Iterator

import httpx

from bench import jobs
from bench.feed import Feed
from bench.lab import Child, Lab, free_port, processor_seconds, wait_until
from bench.notebook import UNMEASURED
from bench.results import Figure, Target, Timeline, number
from bench.throughput import filled
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.observing import prometheus_configuration

__all__ = ["measure"]

_JOB = "metrics"
#: As often as Prometheus asks in the local stack.
_SCRAPE_SECONDS = 5.0


def measure(lab: Lab, *, events: int, rounds: int) -> list[Figure]:
    """Compare the rate, and the processor's time of job, servers and monitor, round by round."""
    feed = filled(lab, events)
    runs: dict[bool, list[Timeline]] = {True: [], False: []}
    for turn in range(1, rounds + 1):
        # Who comes second finds warm disks: that is another one each time.
        for measured in (True, False) if turn % 2 else (False, True):
            runs[measured].append(_run(lab, feed, measured=measured))
            of = runs[measured][-1]
            lab.say(
                f"round {turn}: {'with' if measured else 'without'} {of.warm:,.0f}/s, {of.processor:.1f} s of cores"
            )
    lab.forget("topic")
    with_, without = runs[True], runs[False]
    lost = [1 - a.warm / b.warm for a, b in zip(with_, without, strict=True)]
    more = [a.processor / b.processor - 1 for a, b in zip(with_, without, strict=True)]
    return [
        _figure("metrics: what they take of a job's rate", lost, [t.warm for t in with_], [t.warm for t in without]),
        _figure(
            "metrics: more of the processor, job and servers", more,
            [t.processor for t in with_], [t.processor for t in without],
        ),
    ]  # fmt: skip


def _figure(title: str, shares: list[float], with_: list[float], without: list[float]) -> Figure:
    note = f"with {number(statistics.median(with_))}, without {number(statistics.median(without))}"
    percent, details = [100 * share for share in shares], {"with": with_, "without": without}
    return Figure(title, "%", percent, target=Target(2, at_most=True), note=note, details=details)


def _run(lab: Lab, feed: Feed, *, measured: bool) -> Timeline:
    servers = [status.pid for status in supervision.status(lab.settings) if status.pid]
    with _watched(lab) if measured else contextlib.nullcontext() as monitor:
        beside = [*servers, *([monitor.pid] if monitor else [])]
        before = sum(map(processor_seconds, beside))
        timeline = jobs.run_alone(lab, feed, _JOB, **({} if measured else {UNMEASURED: "1"}))
        used = timeline.processor + sum(map(processor_seconds, beside)) - before
    return Timeline(timeline.started, timeline.marks, processor=used)


@contextlib.contextmanager
def _watched(lab: Lab) -> Iterator[Child]:
    """A monitor, and someone who asks it and the servers' agents as Prometheus would."""
    port = free_port()
    monitor = lab.python("retailpulse_kernel.cli", "monitor", "--port", str(port), settings=lab.settings)
    targets = [f"127.0.0.1:{port}", *_agents(lab)]
    over = threading.Event()
    asking = threading.Thread(target=_ask, args=(targets, over))
    with lab.ended(monitor):
        wait_until(lambda: _answers(targets[0]), [monitor], seconds=60, what="the monitor")
        asking.start()
        try:
            yield monitor
        finally:
            over.set()
            asking.join()


def _agents(lab: Lab) -> list[str]:
    """Where the local servers' JVMs tell what they measure."""
    if lab.settings.profile.name != "local":
        return []
    scraped = prometheus_configuration(lab.settings)["prometheus.yml"]["scrape_configs"]
    static = [config for job in scraped for config in job["static_configs"]]
    return [target for config in static if "server" in config.get("labels", {}) for target in config["targets"]]


def _ask(targets: list[str], over: threading.Event) -> None:
    while not over.wait(_SCRAPE_SECONDS):
        for target in targets:
            _answers(target)


def _answers(target: str) -> bool:
    try:
        return httpx.get(f"http://{target}/metrics", timeout=_SCRAPE_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False
