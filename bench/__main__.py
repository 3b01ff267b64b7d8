"""``python -m bench``: measure, and show the figures."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bench import competitors, floor, jobs
from bench.feed import Feed, fill
from bench.lab import Lab
from bench.machine import QUIET_SHARE, describe
from bench.results import Figure, Target, Timeline, as_json, as_table, number
from retailpulse_kernel.errors import RetailPulseError, UnknownName
from retailpulse_kernel.settings import Settings

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Contestant = Callable[[Lab, Feed], Timeline]

#: What goes through the topic in every round, in this order; the floor is the measure of all others.
CONTESTANTS: dict[str, tuple[str, Contestant, Target | None]] = {
    "floor": ("floor: Kafka → from_json → nothing", partial(floor.run, name="floor"), None),
    "naive": ("naive Spark: + dedup, 1-minute windows → nothing", partial(floor.run, name="naive"), None),
    "metrics": ("job metrics, whole", partial(jobs.run_alone, job="metrics"), Target(0.6, of_ratio=True)),
    "engagement": ("job engagement, whole", partial(jobs.run_alone, job="engagement"), None),
    "archive": ("job archive, whole", partial(jobs.run_alone, job="archive"), None),
    "all": ("all three jobs, each event through all", jobs.run_all, Target(0.3, of_ratio=True)),
    **{name: (c.title, partial(competitors.run, name=name), None) for name, c in competitors.COMPETITORS.items()},
}

#: Event time that the topic spans: several windows, and late events come only after 30 s of it.
_SPAN = timedelta(minutes=5)
#: Batches a topic is cut into: one to get warm, three to measure.
_BATCHES = 4
_WIDTH = 140


@app.command()
def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure only this; may be given several times.")] = None,
    events: Annotated[int, typer.Option(min=10_000, help="Messages in the topic.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, by turns.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the results in this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="100,000 messages, one round: only a try.")] = False,
) -> None:
    """Measure rates, latencies and costs on this machine; medians of rounds, ratios to the floor of the same round."""
    if quick:
        events, rounds = min(events, 100_000), 1
    for name in only or ():
        if name not in CONTESTANTS:
            raise UnknownName("measurement", name, CONTESTANTS)
    console = Console(stderr=True, highlight=False)
    machine = describe()
    console.print_json(json.dumps(machine))
    if machine["busy_before"] > QUIET_SHARE:
        console.print(f"[yellow]The machine is not quiet: {machine['busy_before']:.0%} of its cores are in use.[/]")
    figures: list[Figure] = []
    with Lab(Settings.load(), console) as lab:
        chosen = [name for name in CONTESTANTS if name == "floor" or not only or name in only]
        figures += _throughput(lab, chosen, events, rounds)
    _print(figures)
    if json_file:
        content = {"machine": machine, "events": events, "rounds": rounds, "figures": as_json(figures)}
        json_file.write_text(json.dumps(content, indent=2) + "\n")


def _print(figures: list[Figure]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH  # a file or a pipe has none of its own
    console.print(as_table(figures))


def _throughput(lab: Lab, names: list[str], events: int, rounds: int) -> list[Figure]:
    """Rates of everything that goes through the topic, in rounds, each in fresh processes."""
    lab.say(f"sending {events:,} events")
    feed = fill(lab.namespace("topic"), events, span=_SPAN, batch=events // _BATCHES)
    timelines: dict[str, list[Timeline]] = defaultdict(list)
    failures: dict[str, str] = {}
    for turn in range(1, rounds + 1):
        for name in names:
            try:
                timeline = CONTESTANTS[name][1](lab, feed)
            except RetailPulseError as error:
                if name not in competitors.COMPETITORS:
                    raise
                lab.say(f"[yellow]{name}:[/] {escape(str(error))}")
                failures[name] = str(error)
                continue
            timelines[name].append(timeline)
            lab.say(f"round {turn}: {name:<12} {timeline.warm:>9,.0f} warm {timeline.cold:>9,.0f} cold")
    return [_rate(name, timelines[name], timelines["floor"], failures.get(name, "")) for name in names]


def _rate(name: str, own: list[Timeline], floors: list[Timeline], failure: str) -> Figure:
    title, _, target = CONTESTANTS[name]
    if failure:
        return Figure(title, "events/s", [], note=failure)
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


if __name__ == "__main__":
    try:
        app(standalone_mode=True)
    except RetailPulseError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
