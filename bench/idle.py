"""What the whole stack costs while little happens: three jobs at 200 events/s."""

from __future__ import annotations

import time

import psutil

from bench.jobs import JOBS, generator, primed, started
from bench.lab import Lab, processor_seconds
from bench.results import Figure, Target
from retailpulse_kernel.stack import supervision

__all__ = ["measure"]

RATE = 200


def measure(lab: Lab, *, windows: int = 3, warm_up: float = 60, seconds: float = 60) -> list[Figure]:
    """Count the processor time of servers and jobs over some windows.

    What sends the events is not part of the stack; it is counted beside it.
    """
    settings = lab.namespace("idle")
    with started(lab, settings, JOBS, topic=settings.namespace.events_topic) as running:
        primed(lab, settings, running)
        lab.say(f"idle cost: {warm_up:g} s to warm up, then {windows} times {seconds:g} s")
        with lab.ended(feed := generator(lab, settings, rate=RATE, seconds=warm_up + windows * seconds + 5)):
            time.sleep(warm_up)
            roots = {
                "servers": [service.pid for service in supervision.status(settings) if service.pid],
                "jobs": [child.pid for child in running.children.values()],
                "generator": [feed.pid],
            }
            cores = [_cores(roots, seconds) for _ in range(windows)]
            for child in (*running.children.values(), feed):
                child.require()
    lab.forget("idle")
    stack = [window["servers"] + window["jobs"] for window in cores]
    middle = cores[sorted(range(windows), key=lambda i: stack[i])[windows // 2]]
    note = f"jobs {middle['jobs']:.2f}, servers {middle['servers']:.2f}; beside them the generator "
    note += f"{middle['generator']:.2f}, the whole machine {middle['machine']:.2f}"
    title = f"servers and three jobs at {RATE} events/s"
    return [Figure(title, "cores", stack, target=Target(1.5, at_most=True), note=note, details={"windows": cores})]


def _cores(roots: dict[str, list[int]], seconds: float) -> dict[str, float]:
    """Cores in use by each group of processes and by the machine, over some seconds."""
    before, machine, begin = _cpu_seconds(roots), _machine_seconds(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = _cpu_seconds(roots), time.monotonic() - begin
    used = {name: (after[name] - before[name]) / elapsed for name in roots}
    return used | {"machine": (_machine_seconds() - machine) / elapsed}


def _cpu_seconds(roots: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(map(processor_seconds, pids)) for name, pids in roots.items()}


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
