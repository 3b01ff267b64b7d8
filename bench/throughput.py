"""Rates: everything that goes through one topic, by turns, each time in fresh processes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from rich.markup import escape

from bench import competitors, floor, jobs
from bench.feed import Feed, fill
from bench.lab import Lab
from bench.results import Figure, Target, Timeline, number
from retailpulse_kernel.ground.errors import RetailPulseError

__all__ = ["CONTESTANTS", "filled", "measure"]

Contestant = Callable[[Lab, Feed], Timeline]

#: What goes through the topic in every round, in this order; the floor is the measure of all others.
CONTESTANTS: dict[str, tuple[str, Contestant, Target | None]] = {
    "floor": ("floor: Kafka → from_json → nothing", partial(floor.run, name="floor"), None),
    "naive": ("naive Spark: dedup, 1-minute windows → nothing", partial(floor.run, name="naive"), None),
    "metrics": ("job metrics, whole", partial(jobs.run_alone, job="metrics"), Target(0.6, of_ratio=True)),
    "engagement": ("job engagement, whole", partial(jobs.run_alone, job="engagement"), None),
    "archive": ("job archive, whole", partial(jobs.run_alone, job="archive"), None),
    "all": ("all three jobs, each event through all", jobs.run_all, Target(0.3, of_ratio=True)),
    **{name: (c.title, partial(competitors.run, name=name), None) for name, c in competitors.COMPETITORS.items()},
}

#: Event time that the topic spans: several windows, and late events come only after 30 s of it.
_SPAN = timedelta(minutes=5)


def measure(lab: Lab, names: Sequence[str], *, events: int, rounds: int) -> list[Figure]:
    """Measure some contestants, the floor first in every round.

    A competitor that can't be installed or fails is shown as such; anything else that fails ends the measurement.
    """
    feed = filled(lab, events)
    timelines: dict[str, list[Timeline]] = defaultdict(list)
    failures: dict[str, str] = {}
    for turn in range(1, rounds + 1):
        for name in names:
            if name in failures:
                continue
            try:
                timeline = CONTESTANTS[name][1](lab, feed)
            except RetailPulseError as error:
                if name not in competitors.COMPETITORS:
                    raise
                failures[name] = str(error)
                lab.say(f"[yellow]{name}:[/] {escape(str(error))}")
                continue
            timelines[name].append(timeline)
            lab.say(f"round {turn}: {name:<12} {timeline.warm:>11,.0f} warm {timeline.cold:>11,.0f} cold")
    lab.forget("topic")
    return [
        Figure(CONTESTANTS[name][0], "events/s", [], note=escape(failures[name]))
        if name in failures
        else _rate(name, timelines[name], timelines["floor"])
        for name in names
    ]


def filled(lab: Lab, events: int) -> Feed:
    """The topic that everything goes through."""
    # Spark's limit rounds down in each partition: a thousandth less, and no tiny batch is left over at the end.
    events -= events // 1_000
    lab.say(f"sending {events:,} events")
    return fill(lab.namespace("topic"), events, span=_SPAN)


def _rate(name: str, own: Sequence[Timeline], floors: Sequence[Timeline]) -> Figure:
    title, _, target = CONTESTANTS[name]
    cold = [timeline.cold for timeline in own]
    return Figure(
        title,
        "events/s",
        [timeline.warm for timeline in own],
        [] if name == "floor" else [t.warm / f.warm for t, f in zip(own, floors, strict=True)],
        target,
        "; ".join(filter(None, [f"cold {number(statistics.median(cold))}", own[-1].note])),
        {"cold": cold, "started": [t.started for t in own], "marks": [t.marks for t in own]},
    )
