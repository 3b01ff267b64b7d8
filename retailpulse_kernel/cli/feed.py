"""Commands that bring events in: generate, replay, topics."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    from retailpulse_kernel.generator import Generator
    from retailpulse_kernel.replay import Replay

__all__: list[str] = []


@app.command()
def generate(
    rate: Annotated[float, typer.Option(help="Messages per second, on average.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="How long; 0 is until Ctrl-C.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and start give the same messages.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="Time of the first event, with its zone.", show_default="now")
    ] = None,
    users: Annotated[int, typer.Option(help="How many different users.")] = 20_000,
    duplicates: Annotated[float, typer.Option(help="Share of messages that repeat an earlier one.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of messages that are 1 to 3 hours old.")] = 0.0,
    bad: Annotated[float, typer.Option(help="Share of messages that are no valid event.")] = 0.0,
    currencies: Annotated[
        str, typer.Option(help="Shares of users who don't pay in USD, such as EUR=0.1,GBP=0.05.")
    ] = "",
    truth: Annotated[Path | None, typer.Option(help="Write what the stream truly holds to this file, as JSON.")] = None,
    out: Annotated[str | None, typer.Option(help="Write JSONL to this file (- is stdout), not to Kafka.")] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Make events up, shaped like a real shop's, and send them to Kafka as they happen. Ctrl-C ends it."""
    from retailpulse_kernel.generator import Generator
    from retailpulse_kernel.replay import send

    settings = Settings.load(profile=profile, namespace=namespace)
    generator = Generator(
        rate=rate,
        seconds=seconds or None,
        seed=seed,
        start=_moment(start),
        users=users,
        duplicates=duplicates,
        late=late,
        bad=bad,
        currencies=_shares(currencies),
    )
    if truth:
        _check_writable(truth)
    with _interruptible() as stopped:
        if out is not None:
            done = _write(generator, out, stopped)
        else:
            with _progress(f"{rate:g}/s", as_json) as report:
                done = send(settings, generator.messages(), stop=stopped, report=report)
    if truth:
        truth.write_text(json.dumps(_about(generator) | generator.truth.as_dict(), indent=2) + "\n")
    held = generator.truth
    if as_json and out != "-":
        counts = {"accepted": held.accepted, "duplicates": held.duplicates, "late": held.late}
        print_json(done.as_dict() | counts | {"bad": held.bad.total(), "bad_by_reason": dict(held.bad)})
    else:
        parts = f"{held.accepted:,} new, {held.duplicates:,} repeated, {held.late:,} late, {held.bad.total():,} bad"
        text = f"{done.sent:,} messages sent ({parts}) in {done.seconds:.1f} s, {done.rate:,.0f}/s."
        _say(text, done, stderr=out == "-")


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL or Parquet, gzip or plain.", show_default=False)],
    format: Annotated[str, typer.Option("--format", "-f", help="retailpulse, rees46, retailrocket, ga4 or segment.")],
    speed: Annotated[float, typer.Option(help="Times faster than it happened; 0 is as fast as possible.")] = 0.0,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where rows go that are no event.", show_default="FILE.rejects.jsonl in the working folder"),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="For retailrocket: a CSV file with the columns itemid, category, price.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Start of ids for events without one.", show_default="hash of the file")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Send a file's events to Kafka. Rows that are no event go to a rejects file with line and reason."""
    from retailpulse_kernel import replay as replays

    settings = Settings.load(profile=profile, namespace=namespace)
    with _interruptible() as stopped, _progress(file.name, as_json) as report:
        done = replays.replay(
            settings,
            file,
            format,
            speed=speed,
            source=source,
            items=items,
            rejects=rejects,
            stop=stopped,
            report=report,
        )
    if as_json:
        print_json(done.as_dict())
        return
    _say(
        f"{done.sent:,} events sent, {done.rejected:,} rows rejected in {done.seconds:.1f} s, {done.rate:,.0f}/s.", done
    )
    if done.rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in done.reasons.most_common(8))
        _say(f"Rejected rows: {done.rejects} ({reasons}).")


@app.command()
def topics(
    create: Annotated[bool, typer.Option("--create", help="Make the topics that are absent.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Of a new topic of events.")] = 4,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List the namespace's topics: partitions, messages, first and next offsets."""
    from retailpulse_kernel.topics import ensure_topics, topic_states

    settings = Settings.load(profile=profile, namespace=namespace)
    made = ensure_topics(settings, partitions=partitions) if create else []
    states = topic_states(settings)
    if as_json:
        print_json(
            [
                {
                    "topic": state.name,
                    "exists": state.exists,
                    "partitions": state.partitions,
                    "messages": state.messages,
                    "begin": state.begin,
                    "end": state.end,
                    "created": state.name in made,
                }
                for state in states
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    for column in ("partitions", "messages", "begin", "end"):
        table.add_column(column, justify="right")
    for state in states:
        if state.exists:
            begin, end = (" ".join(map(str, offsets.values())) for offsets in (state.begin, state.end))
            table.add_row(state.name, str(state.partitions), f"{state.messages:,}", begin, end)
        else:
            table.add_row(state.name, "-", "absent", "", "")
    Console().print(table)
    if not all(state.exists for state in states):
        _say("Make the absent ones with `retailpulse topics --create`.")


def _write(generator: Generator, out: str, stopped: Callable[[], bool]) -> Replay:
    """Write the messages as lines, without waiting for their time."""
    import time

    from retailpulse_kernel.replay import Replay

    done, begin = Replay(), time.monotonic()
    try:
        with open(sys.stdout.fileno() if out == "-" else out, "wb", closefd=out != "-") as file:
            for message in generator.messages():
                file.write(message.value + b"\n")
                done.sent += 1
                if done.sent % 1000 == 0 and stopped():
                    done.stopped = True
                    break
    except BrokenPipeError:
        done.stopped = True
    except OSError as error:
        raise UsageError(f"The file {out} can't be written: {error.strerror}.") from error
    done.seconds = time.monotonic() - begin
    return done


def _about(generator: Generator) -> dict[str, Any]:
    return {
        "seed": generator.seed,
        "start": generator.start.isoformat(timespec="milliseconds"),
        "rate": generator.rate,
        "seconds": generator.seconds,
        "users": generator.users,
    }


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time.", remedy="Write it as 2026-01-01T10:00:00Z.") from None


def _shares(text: str) -> dict[str, float]:
    """``EUR=0.1,GBP=0.05`` as shares by currency, the rest in US dollars."""
    from retailpulse_kernel.iso4217 import CURRENCIES

    shares: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            shares[name] = -1.0
        if name not in CURRENCIES or not 0 < shares[name] <= 1:
            raise UsageError(f"{part!r} is not a share of a currency.", remedy="Write EUR=0.1,GBP=0.05.")
    if sum(shares.values()) > 1:
        raise UsageError("The shares of currencies are more than 1 together.")
    return {"USD": 1 - sum(shares.values())} | shares


def _check_writable(path: Path) -> None:
    """Say before a long run, and not after it, that its result can't be written."""
    try:
        path.open("a").close()
    except OSError as error:
        raise UsageError(f"The file {path} can't be written: {error.strerror}.") from error


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
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


@contextmanager
def _progress(what: str, as_json: bool) -> Iterator[Callable[[Replay, float], None]]:
    """A bar on stderr, where someone is there to see it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, counts="")

        def report(done: Replay, fraction: float) -> None:
            counts = f"{done.sent:,} sent, {done.rate:,.0f}/s" + (
                f", {done.rejected:,} rejected" if done.rejected else ""
            )
            bar.update(task, total=1.0 if fraction else None, completed=fraction, counts=counts)

        yield report


def _say(text: str, done: Replay | None = None, *, stderr: bool = False) -> None:
    """A sentence of the summary."""
    if done and done.first_event and done.last_event:
        text += f" Event time: {done.first_event:%Y-%m-%d %H:%M:%S} to {done.last_event:%Y-%m-%d %H:%M:%S} UTC."
    if done and done.stopped:
        text += " Stopped before its end."
    Console(stderr=stderr, highlight=False, soft_wrap=True).print(text, markup=False)
