"""Commands that bring events in: generate, replay."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import (
    AsJson,
    NamespaceOption,
    ProfileOption,
    interruptible,
    print_json,
    progress_bar,
    say,
)
from retailpulse_kernel.cli.topics import (
    CurrencyOption,
    FormatOption,
    PricesOption,
    UsersOption,
    checked_counts,
    counted,
    show_check,
)
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.paths import require_apart
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import iso_text

if TYPE_CHECKING:
    from retailpulse_kernel.feed.generator import Generator
    from retailpulse_kernel.feed.replay import Replay

__all__: list[str] = []


@app.command()
def generate(
    rate: Annotated[float, typer.Option(help="Average number of messages per second.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="How many seconds to run. 0: until Ctrl-C.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and start give the same messages.")] = 0,
    start: Annotated[
        str | None, typer.Option(help="Time of the first event, with a time zone.", show_default="now")
    ] = None,
    users: Annotated[int, typer.Option(help="Number of users.")] = 20_000,
    duplicates: Annotated[float, typer.Option(help="Share of messages that repeat an earlier one.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of messages that are 1 to 3 hours old.")] = 0.0,
    late_within: Annotated[
        bool,
        typer.Option("--late-within", help="Late events are 12 minutes to 3 hours old, and never before the start."),
    ] = False,
    bad: Annotated[float, typer.Option(help="Share of messages that are not valid events.")] = 0.0,
    currencies: Annotated[
        str, typer.Option(help="Shares of users who don't pay in USD, such as EUR=0.1,GBP=0.05.")
    ] = "",
    context: Annotated[
        bool, typer.Option("--context", help="Also send each user's device and campaign, as the worked notebooks read.")
    ] = False,
    truth: Annotated[
        Path | None, typer.Option(help="Write the exact figures of the stream to this file, as JSON.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Write JSONL to this file instead of Kafka, all at once. -: stdout.")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Generate events like those of a real shop, and send them to Kafka in real time. Ctrl-C stops the command."""
    from retailpulse_kernel.feed.generator import Generator
    from retailpulse_kernel.feed.replay import send

    settings = Settings.load(profile=profile, namespace=namespace)
    generator = Generator(
        rate=rate,
        seconds=seconds or None,
        seed=seed,
        start=_moment(start),
        users=users,
        duplicates=duplicates,
        late=late,
        late_within=late_within,
        bad=bad,
        currencies=_shares(currencies),
        context=context,
    )
    if truth:
        require_apart({"the truth": truth, "the messages": None if out == "-" else out})
        _check_writable(truth)
    with interruptible() as stopped:
        if out is not None:
            done = _write(generator, out, stopped)
        else:
            with progress_bar(f"{rate:g}/s", as_json) as bar:
                done = send(settings, generator.messages(), stop=stopped, report=_counts(bar))
    if truth:
        write_whole(truth, json.dumps(_about(generator) | generator.truth.as_dict(), indent=2) + "\n")
    held = generator.truth
    if as_json and out != "-":
        counts = {"accepted": held.accepted, "duplicates": held.duplicates, "late": held.late}
        print_json(done.as_dict() | counts | {"bad": held.bad.total(), "bad_by_reason": dict(held.bad)})
    else:
        parts = f"{held.accepted:,} new, {held.duplicates:,} repeated, {held.late:,} late, {held.bad.total():,} bad"
        text = f"{done.sent:,} messages sent ({parts}) in {done.seconds:.1f} s, {done.rate:,.0f}/s."
        say(text, done, stderr=out == "-")


@app.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON, JSONL or Parquet, plain or packed (gzip, zstd, bzip2, xz, zip of one file).",
            show_default=False,
        ),
    ],
    format: FormatOption = "auto",
    check: Annotated[bool, typer.Option("--check", help="Read and validate the file. Nothing is sent.")] = False,
    speed: Annotated[
        float, typer.Option(help="Replay speed: 2 is twice as fast as the events happened. 0: as fast as possible.")
    ] = 0.0,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="File for the rows that are not events.", show_default="FILE.rejects.jsonl in the working folder"
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="For retailrocket: a CSV file with the columns itemid, category, price.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Prefix of the ids that events without an id get.", show_default="hash of the file"),
    ] = None,
    currency: CurrencyOption = "USD",
    prices: PricesOption = "computed",
    users: UsersOption = "own",
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Send the events of a file to Kafka. Rows that are not events go to a rejects file with line and reason.

    With --check nothing is sent or written. The report shows the numbers that a replay would give. Exit code 1 when a
    row was rejected.
    """
    from retailpulse_kernel.feed.adapters import Rules

    rules = Rules(currency=currency, prices=prices, users=users)
    if check:
        from retailpulse_kernel.feed.checking import check_file
        from retailpulse_kernel.shop.contract.loading import contract_of

        contract = contract_of(Settings.load(profile=profile, namespace=namespace))
        with interruptible() as stopped, progress_bar(file.name, as_json) as bar:
            found = check_file(
                file,
                format,
                source=source,
                items=items,
                rules=rules,
                contract=contract,
                stop=stopped,
                report=checked_counts(bar),
            )
        show_check(found, as_json)
    from retailpulse_kernel.feed import replay as replays

    settings = Settings.load(profile=profile, namespace=namespace)
    with interruptible() as stopped, progress_bar(file.name, as_json) as bar:
        done = replays.replay(
            settings,
            file,
            format,
            speed=speed,
            source=source,
            items=items,
            rules=rules,
            rejects=rejects,
            stop=stopped,
            report=_counts(bar),
        )
    if as_json:
        print_json(done.as_dict())
        return
    if done.known_by:
        say(f"Format {done.format}, known by the columns {done.known_by}.")
    say(
        f"{done.sent:,} events sent, {done.rejected:,} rows rejected in {done.seconds:.1f} s, {done.rate:,.0f}/s.", done
    )
    if done.changed:
        say(f"Changed on the way in: {counted(done.changed)}.")
    if done.ignored:
        say(f"Columns that were not read: {', '.join(done.ignored)}.")
    if done.rejects:
        say(f"Rejected rows: {done.rejects} ({counted(done.reasons)}).")


def _counts(bar: Callable[[str, float], None]) -> Callable[[Replay, float], None]:
    def report(done: Replay, fraction: float) -> None:
        rejected = f", {done.rejected:,} rejected" if done.rejected else ""
        bar(f"{done.sent:,} sent, {done.rate:,.0f}/s{rejected}", fraction)

    return report


def _write(generator: Generator, out: str, stopped: Callable[[], bool]) -> Replay:
    """Write the messages as lines, without waiting for their time."""
    import time

    from retailpulse_kernel.feed.replay import Replay

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
        "start": iso_text(generator.start, "milliseconds"),
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
    from retailpulse_kernel.shop.currencies import CURRENCIES

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
