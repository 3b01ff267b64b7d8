"""The command that adds late events to the figures."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import span_of

if TYPE_CHECKING:
    from retailpulse_kernel.upkeep.correcting import Corrections

__all__: list[str] = []


@app.command()
def correct(
    every: Annotated[
        str | None, typer.Option(help="Go on, and correct again after this time, such as 1m.", show_default="once")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Add late events to the figures of every table, once each, from the archive.

    The tables of the jobs stay as they are: what late events add is kept beside them. To correct twice, or to be killed
    and correct again, gives the same.
    """
    from retailpulse_kernel.upkeep.correcting import correct as correct_figures

    settings = Settings.load(profile=profile, namespace=namespace)
    if every is None:
        _show(correct_figures(settings), as_json)
        return
    seconds = span_of(every).total_seconds()
    if seconds <= 0:
        raise UsageError(f"--every {every} is no time to wait.", remedy="Give a time such as 1m.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            _show(correct_figures(settings), as_json)
        except RetailPulseError as error:  # what does not answer now is asked again
            Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        stop.wait(seconds)


def _show(done: Corrections, as_json: bool) -> None:
    if as_json:
        print_json(done.to_json())
        return
    console = Console(highlight=False, soft_wrap=True)
    for table in done.tables:
        if table.changed:
            console.print(f"{table.store} {table.table}: {table.changed:,} rows, {table.late_events:,} late events")
    if not done.changed:
        console.print(f"{done.namespace}: nothing to correct.")
    for note in done.notes:
        console.print(note, style="dim", markup=False)
