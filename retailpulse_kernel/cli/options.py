"""Options, progress and output that several commands share."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from retailpulse_kernel.feed.replay import Replay

__all__ = [
    "AsJson",
    "NamespaceOption",
    "OrderlyConsole",
    "ProfileOption",
    "end_asked",
    "interruptible",
    "print_json",
    "progress_bar",
    "say",
]

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Profile: which servers to use. local, compose, cluster, or a .toml file.",
        show_default="local",
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace", help="Namespace: an isolated set of topics, tables and checkpoints.", show_default="retailpulse"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """Print a value as JSON; money (Decimal) and times become strings.

    Parameters
    ----------
    value : object
        Of plain types, decimals and times.
    """
    typer.echo(json.dumps(value, indent=2, default=lambda v: format(v, "f") if isinstance(v, Decimal) else str(v)))


class OrderlyConsole(Console):
    """A console of a command that has something to end: a reader that is gone silences it, and does not end it.

    `tee` in a pipe is gone with the first Ctrl-C.
    """

    def on_broken_pipe(self) -> None:
        """Say no more."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a wish to stop; the second one is an ordinary one again."""
    wish = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wish.is_set
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: object) -> None:
        wish.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield wish.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_asked() -> threading.Event:
    """The event that Ctrl-C or SIGTERM sets from now on, for a command that goes on until then."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    return asked


@contextmanager
def progress_bar(what: str, as_json: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, where someone is there to see it; told the counts in words, and the fraction done.

    Parameters
    ----------
    what : str
        Names what goes on.
    as_json : bool
        Whether JSON is printed, so that no bar is.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, counts="")

        def report(counts: str, fraction: float) -> None:
            bar.update(task, total=1.0 if fraction else None, completed=fraction, counts=counts)

        yield report


def say(text: str, done: Replay | None = None, *, stderr: bool = False) -> None:
    """Print a sentence of the summary, with the range of event time.

    Parameters
    ----------
    text : str
        The sentence.
    done : Replay, optional
        What was sent: its range of time follows the sentence.
    stderr : bool
        Whether stdout belongs to something else.
    """
    if done and done.first_event and done.last_event:
        text += f" Event time: {done.first_event:%Y-%m-%d %H:%M:%S} to {done.last_event:%Y-%m-%d %H:%M:%S} UTC."
    if done and done.stopped:
        text += " Stopped before its end."
    Console(stderr=stderr, highlight=False, soft_wrap=True).print(text, markup=False)
