"""What measuring costs: the processor's time of all that does it, of all that the stack takes under a steady load.

It is counted where it is spent. Two runs, one with metrics and one without, differ by ten percent for other reasons.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from bench.jobs import JOBS, Running, generator, primed, started
from bench.lab import Child, Lab, free_port, processor_seconds, wait_until
from bench.notebook import MEASURING, TIMED
from bench.results import Figure, Target
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.monitoring.reading import read_recorded
from retailpulse_kernel.monitoring.setup import prometheus_configuration
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.telemetry.recording import folder

__all__ = ["measure"]


RATE = 2_000
#: As often as Prometheus asks the monitor in the local stack.
_SCRAPE_SECONDS = 5.0
#: How often each agent is asked to find out what one answer costs its server.
_ASKED = 50


@dataclass(frozen=True)
class _Agent:
    """Where a server's process tells what it measures, and how often it is asked, in seconds."""

    target: str
    pid: int
    interval: float


def measure(lab: Lab, *, windows: int = 3, warm_up: float = 60, seconds: float = 60) -> list[Figure]:
    """Run servers, three jobs and a monitor, and take what measuring costs out of what all of it costs.

    Measuring is the monitor, what the jobs spend on counting and on writing it down, and what the servers' JMX agents
    take to answer. In the jobs it is the time that passes meanwhile, so that what Spark's JVM is asked counts, too.
    """
    settings = lab.namespace("overhead")
    with (
        _watched(lab, settings) as monitor,
        started(lab, settings, JOBS, topic=settings.namespace.events_topic, **{TIMED: "1"}) as running,
    ):
        primed(lab, settings, running)
        lab.say(f"overhead: {warm_up:g} s to warm up, then {windows} times {seconds:g} s at {RATE:,} events/s")
        with lab.ended(feed := generator(lab, settings, rate=RATE, seconds=warm_up + windows * seconds + 5)):
            time.sleep(warm_up)
            spent = []
            for _ in range(windows):
                before = _spent(settings, running, monitor)
                time.sleep(seconds)
                after = _spent(settings, running, monitor)
                spent.append({part: (after[part] - before[part]) / seconds for part in after})
            for child in (*running.children.values(), feed, monitor):
                child.require()
        running.stop()
        agents = _agents_cores(lab)
    lab.forget("overhead")
    return [_figure(spent, agents)]


def _figure(windows: list[dict[str, float]], agents: float) -> Figure:
    shares = [100 * (w["monitor"] + w["measuring"] + agents) / (w["stack"] + w["monitor"]) for w in windows]
    middle = windows[sorted(range(len(windows)), key=lambda i: shares[i])[len(windows) // 2]]
    note = f"of {middle['stack'] + middle['monitor']:.2f} cores: monitor {middle['monitor']:.4f}, "
    note += f"within the jobs {middle['measuring']:.4f}, JMX agents {agents:.4f}"
    return Figure(
        f"measuring, of what the stack takes at {RATE:,} events/s", "%", shares, target=Target(2, at_most=True),
        note=note, details={"windows": windows, "agents": agents},
    )  # fmt: skip


def _spent(settings: Settings, running: Running, monitor: Child) -> dict[str, float]:
    """Processor seconds so far: of servers and jobs, of the monitor, and of measuring within the jobs."""
    pids = [*(s.pid for s in supervision.status(settings) if s.pid), *(c.pid for c in running.children.values())]
    recorded = [one.content for one in read_recorded(folder(settings))]
    here = [content for content in recorded if content["namespace"] == settings.namespace.name]
    return {
        "stack": sum(map(processor_seconds, pids)),
        "monitor": processor_seconds(monitor.pid),
        "measuring": sum(content.get(MEASURING, 0.0) for content in here),
    }


@contextlib.contextmanager
def _watched(lab: Lab, settings: Settings) -> Iterator[Child]:
    """A monitor, and someone who asks it as Prometheus would."""
    port = free_port()
    monitor = lab.python("retailpulse_kernel.cli", "monitor", "--port", str(port), settings=settings)
    over = threading.Event()
    asking = threading.Thread(target=_ask, args=(f"127.0.0.1:{port}", over))
    with lab.ended(monitor):
        wait_until(lambda: _answers(f"127.0.0.1:{port}"), [monitor], seconds=60, what="the monitor")
        asking.start()
        try:
            yield monitor
        finally:
            over.set()
            asking.join()


def _agents_cores(lab: Lab) -> float:
    """Cores that the local servers' JMX agents take, asked as often as Prometheus does: found while nothing runs."""
    return sum(_seconds_an_answer(agent) / agent.interval for agent in _agents(lab))


def _seconds_an_answer(agent: _Agent) -> float:
    begin, before = time.monotonic(), processor_seconds(agent.pid)
    for _ in range(_ASKED):
        _answers(agent.target)
    elapsed, after = time.monotonic() - begin, processor_seconds(agent.pid)
    # What the server does by itself in the same time is not the agent's.
    time.sleep(elapsed)
    return max(0.0, (after - before) - (processor_seconds(agent.pid) - after)) / _ASKED


def _agents(lab: Lab) -> list[_Agent]:
    """What tells of the local servers' JVMs."""
    if lab.settings.profile.name != "local":
        return []
    pids = {status.name: status.pid for status in supervision.status(lab.settings) if status.pid}
    scraped = prometheus_configuration(lab.settings)["prometheus.yml"]["scrape_configs"]
    return [
        _Agent(target, pids[config["labels"]["server"]], float(job["scrape_interval"].removesuffix("s")))
        for job in scraped
        for config in job["static_configs"]
        if "server" in config.get("labels", {})
        for target in config["targets"]
    ]


def _ask(target: str, over: threading.Event) -> None:
    while not over.wait(_SCRAPE_SECONDS):
        _answers(target)


def _answers(target: str) -> bool:
    try:
        return httpx.get(f"http://{target}/metrics", timeout=_SCRAPE_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False
