"""``python -m bench``: measure, and show the figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bench import compaction, competitors, growth, idle, latency, overhead, reading, shapes, throughput, viewers
from bench.lab import Lab
from bench.machine import QUIET_SHARE, describe
from bench.results import Figure, as_json, as_table
from retailpulse_kernel.ground.errors import RetailPulseError, UnknownName
from retailpulse_kernel.ground.settings import Settings

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

MEASUREMENTS = (
    *throughput.CONTESTANTS, "shapes", "latency", "reads", "idle", "overhead", "growth", "compaction", "viewers",
)  # fmt: skip

_QUICK_EVENTS = 100_000
#: Events of the long run, as a multiple of the others' topic.
_GROWTH = 5
#: Messages of each form that is decoded.
_SHAPES = 100_000
_WIDTH = 140


@app.command(help=f"Measure this machine. Known measurements: {', '.join(MEASUREMENTS)}.")
def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure only these; commas between, or given again.")] = None,
    events: Annotated[int, typer.Option(min=10_000, help="Messages in the topic.")] = 2_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, by turns.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the results in this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few messages, one round: only a try.")] = False,
) -> None:
    """Measure, print the table, keep the results."""
    wanted = [name for names in only for name in names.split(",")] if only else list(MEASUREMENTS)
    for name in wanted:
        if name not in MEASUREMENTS:
            raise UnknownName("measurement", name, MEASUREMENTS)
    if quick:
        events, rounds = min(events, _QUICK_EVENTS), 1
    brief = {"warm_up": 20.0, "seconds": 20.0} if quick else {}
    console = Console(stderr=True, highlight=False)
    machine = describe()
    _introduce(machine, console)
    figures: list[Figure] = []
    try:
        if "shapes" in wanted:  # needs no servers
            figures += shapes.measure(console, events=min(events, _SHAPES), rounds=rounds)
        if wanted == ["shapes"]:
            return
        with Lab(Settings.load(), console) as lab:
            # The floor is the measure of all rates, and is measured with any of them.
            rates = [name for name in throughput.CONTESTANTS if name in wanted]
            if rates:
                names = list(dict.fromkeys(["floor", *rates]))
                figures += throughput.measure(lab, names, events=events, rounds=rounds)
            if "reads" in wanted:
                figures += reading.measure(lab, events=events, rounds=rounds)
            if "latency" in wanted:
                figures += latency.measure(lab, **brief)
            if "idle" in wanted:
                figures += idle.measure(lab, windows=rounds, **brief)
            if "overhead" in wanted:
                figures += overhead.measure(lab, windows=rounds, **brief)
            if "growth" in wanted:
                figures += growth.measure(lab, _GROWTH * events)
            if "compaction" in wanted:
                figures += compaction.measure(lab)
            if "viewers" in wanted:
                figures += viewers.measure(lab, rounds=rounds, seconds=20 if quick else 60)
    finally:
        # What was measured before something failed is not thrown away.
        _show(figures, [name for name in wanted if name in competitors.COMPETITORS])
        if json_file:
            content = {"machine": machine, "events": events, "rounds": rounds, "figures": as_json(figures)}
            json_file.write_text(json.dumps(content, indent=2) + "\n")


def _introduce(machine: dict[str, Any], console: Console) -> None:
    for name, value in machine.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        console.print(f"{name:<12} {shown}")
    if machine["busy_before"] > QUIET_SHARE:
        console.print(
            f"[bold yellow]warning:[/] the machine is not quiet: {machine['busy_before']:.0%} of its cores are in use. "
            "Rates will be too low, and ratios will be off."
        )


def _show(figures: list[Figure], others: list[str]) -> None:
    if not figures:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH  # a file or a pipe has none of its own
    console.print(as_table(figures))
    if others:
        console.print(competitors.as_table(others))


if __name__ == "__main__":
    try:
        app()
    except RetailPulseError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
