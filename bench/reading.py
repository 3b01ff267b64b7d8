"""How fast stored events and figures come back: `bench.reads`, each in a process of its own.

``python -m bench.reading tail|archive|figures|users|series COUNT`` times one of them; the count of `series` is of days.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta

from bench import reads
from bench.feed import fill
from bench.lab import Lab
from bench.results import Figure, Target
from retailpulse_kernel.ground.settings import Settings

__all__ = ["measure"]

_RATE = Target(300_000)
#: How many days of hours a table holds, one size after another.
_SIZES = (1, 7, 30)


def measure(lab: Lab, *, events: int, rounds: int) -> list[Figure]:
    """Fill the stores, then time each way to read in fresh processes, by turns."""
    settings = lab.namespace("reads")
    lab.say(f"reads: {events:,} events for the topic and the archive, 30 days of figures")
    feed = fill(settings, events, span=timedelta(minutes=5))
    job = lab.python("bench.notebook", "archive", feed.topic, "run=available_now", settings=settings)
    with lab.ended(job):
        job.result(timeout=300 + events / 1_000)
    rows = reads.fill_figures(settings)
    samples: dict[str, list[float]] = {name: [] for name in _READS}
    for turn in range(1, rounds + 1):
        for name, found in samples.items():
            child = lab.python("bench.reading", name, str(events), settings=settings)
            with lab.ended(child):
                found.append(child.result(timeout=300)["value"])
            lab.say(f"round {turn}: {name:<12} {found[-1]:>11,.1f}")
    lab.forget("reads")
    history = f"30 days, 200 categories, {rows:,} rows; medians of 20"
    return [
        Figure("rp.kafka.tail into a frame", "events/s", samples["tail"], target=_RATE, note=f"{events:,} events"),
        Figure("rp.hive.events into a frame", "events/s", samples["archive"], target=_RATE, note="all but raw"),
        Figure("the four figures for today", "ms", samples["figures"], target=Target(50, at_most=True), note=history),
        Figure("the same and active users", "ms", samples["users"]),
        *_by_size(lab, rounds=rounds),
    ]


def _by_size(lab: Lab, *, rounds: int) -> list[Figure]:
    """What a series costs by the size of its table: all of it, and the newest day in it."""
    settings = lab.namespace("sizes")
    figures: list[Figure] = []
    filled = rows = 0
    for size in _SIZES:
        rows += reads.fill_hours(settings, first=filled, days=size)
        filled = size
        for days in dict.fromkeys((size, 1)):
            samples = []
            for _ in range(rounds):
                child = lab.python("bench.reading", "series", str(days), settings=settings)
                with lab.ended(child):
                    samples.append(child.result(timeout=300)["value"])
            lab.say(f"series of {days} of {size} days: {samples[-1]:>11,.1f}")
            name = f"rp.figures by hour, {days} of {size} days"
            figures.append(Figure(name, "ms", samples, note=f"{rows:,} rows in the table"))
    lab.forget("sizes")
    return figures


def _tail(settings: Settings, events: int) -> float:
    reads.tail_rate(settings, limit=1_000)  # imports and connects
    return reads.tail_rate(settings, limit=events)


def _archive(settings: Settings, _: int) -> float:
    reads.archive_rate(settings)
    return reads.archive_rate(settings)


_READS: dict[str, Callable[[Settings, int], float]] = {
    "tail": _tail,
    "archive": _archive,
    "figures": lambda settings, _: reads.figures_ms(settings),
    "users": lambda settings, _: reads.figures_ms(settings, users=True),
    "series": lambda settings, days: reads.series_ms(settings, days=days),
}

if __name__ == "__main__":
    print(json.dumps({"value": _READS[sys.argv[1]](Settings.load(), int(sys.argv[2]))}))
