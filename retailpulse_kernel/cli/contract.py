"""The commands about a shop's contract: check it, see what a change means, propose one from messages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json, say
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.ground.settings import Settings

__all__: list[str] = []

#: Messages that `init` looks at.
_LOOKS_AT = 10_000

contract = typer.Typer(no_args_is_help=True, help="Check the shop's contract, compare two, or propose one.")
app.add_typer(contract, name="contract")


@contract.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The contract.", show_default="that of the profile, else the shipped one")
    ] = None,
    profile: ProfileOption = None,
    as_json: AsJson = False,
) -> None:
    """Check a contract, and the files of its reference tables.

    Each fault is told with its line, the reason and a remedy. Exit code 2 when there is one.
    """
    from retailpulse_kernel.shop.contract.loading import SHIPPED, load_contract, shipped

    path = file or Settings.load(profile=profile).contract
    found = shipped() if path is None else load_contract(path, thoroughly=True)
    if as_json:
        print_json({"contract": str(path or SHIPPED), **found.plain()})
        return
    parts = [
        _counted(len(found.fields), "field") + (f" ({len(found.own)} yours)" if found.own else ""),
        _counted(len(found.topics), "topic"),
        _counted(len(found.tables), "reference table"),
    ]
    line = f"{(path or SHIPPED).name}: {', '.join(part for part in parts if not part.startswith('0 '))}"
    typer.echo(f"{line:<75} ok")


@contract.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The contract of before.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="The contract that is to be.", show_default=False)],
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what a change of the contract means: for messages, for the archive, and for each job of the namespace."""
    from retailpulse_kernel.shop.contract.comparing import changes
    from retailpulse_kernel.shop.contract.loading import load_contract
    from retailpulse_kernel.streaming.plan.finding import plans
    from retailpulse_kernel.streaming.run.changes import Effect, compare
    from retailpulse_kernel.streaming.run.planning import under

    before, after = load_contract(old), load_contract(new)
    found = changes(before, after)
    jobs: list[dict[str, Any]] = []
    for plan in plans(Settings.load(profile=profile, namespace=namespace)):
        differences = compare(under(plan, before), under(plan, after))
        effect = max((difference.effect for difference in differences), default=Effect.RESUME)
        verdict = "new epoch" if effect is Effect.EPOCH else "resumes"
        jobs.append({"job": plan.job, "verdict": verdict, "reasons": [difference.reason for difference in differences]})
    if as_json:
        print_json({"changes": [{"what": change.what, "said": change.said} for change in found], "jobs": jobs})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for change in found:
        table.add_row(change.what, change.said)
    for job in jobs if found else ():
        table.add_row("job", f"{job['job']}: {job['verdict']}" + "".join(f"; {reason}" for reason in job["reasons"]))
    if found:
        Console(highlight=False, markup=False).print(table)
    else:
        typer.echo("Both contracts say the same.")


@contract.command()
def init(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="A file of JSON lines, or the name of a topic, in full or within the namespace.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the contract goes.")] = Path("shop.toml"),
    topic: Annotated[
        str | None,
        typer.Option(
            help="Propose a topic of this name, whose messages are not events: all their fields are its own.",
            show_default=False,
        ),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Propose a contract from up to 10,000 messages: fields with types, shares, likely dimensions and personal fields.

    A file that exists is not overwritten.
    """
    from retailpulse_kernel.shop.contract.loading import read_contract, shipped
    from retailpulse_kernel.shop.contract.proposing import proposed

    if topic is not None and not is_name(topic):
        raise UsageError(f"{topic!r} can't be the name of a topic in the contract.", remedy=NAME_RULE)
    if output.exists():
        raise UsageError(f"{output} exists.", remedy="Name another file with --output.")
    path = Path(source)
    messages = _of_file(path) if path.is_file() else _of_topic(source, profile, namespace)
    named = None
    if topic is not None:
        prefix = Settings.load(profile=profile, namespace=namespace).namespace.topic("")
        named = topic, topic if path.is_file() else source.removeprefix(prefix)
    looked_at = islice(messages, _LOOKS_AT)
    text = proposed(looked_at, shipped(), source=path.name if path.is_file() else source, topic=named)
    made = read_contract(text, name=output.name, base=shipped())
    write_whole(output, text)
    own = made.own if named is None else made.of_topic(named[1]).own
    if as_json:
        print_json({"contract": str(output), "own": [field.name for field in own]})
        return
    typer.echo(f"{output}: {_counted(len(own), 'field')} of your own proposed. Look at each line of the file.")
    say(f"Then name it in the profile, or in RETAILPULSE_CONTRACT, and run `retailpulse contract check {output}`.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _of_file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from (stripped for line in lines if (stripped := line.strip()))


def _of_topic(topic: str, profile: str | None, namespace: str | None) -> Iterator[bytes | None]:
    from retailpulse_kernel.stores.kafka.store import KafkaStore

    store = KafkaStore(Settings.load(profile=profile, namespace=namespace))
    try:
        spans = store.offsets(topic)
    except UsageError as error:
        raise UsageError(
            f"{topic!r} is neither a file nor a topic.",
            remedy="Name a file of JSON lines, or a topic of the namespace.",
        ) from error
    share = max(1, _LOOKS_AT // max(1, len(spans)))
    starts = {partition: max(begin, end - share) for partition, (begin, end) in spans.items()}
    return (message.value for message in store.messages(topic, starts=starts))
