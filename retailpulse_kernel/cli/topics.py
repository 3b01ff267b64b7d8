"""Commands about topics: list, make and judge them; and the report that `replay --check` shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

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
from retailpulse_kernel.ground.settings import Settings

if TYPE_CHECKING:
    from retailpulse_kernel.feed.checking import Check

__all__ = [
    "CurrencyOption",
    "FormatOption",
    "PricesOption",
    "UsersOption",
    "checked_counts",
    "counted",
    "show_check",
]

topics_app = typer.Typer()
app.add_typer(topics_app, name="topics")

FormatOption = Annotated[
    str,
    typer.Option("--format", "-f", help="Format of the events, such as rees46 or ga4. auto: detected by the columns."),
]
CurrencyOption = Annotated[str, typer.Option(help="Currency of an amount without a currency.")]
PricesOption = Annotated[
    str,
    typer.Option(
        help="Which prices with more than 4 decimal places are rounded. computed: those with 15 digits or more. "
        "exact: none. round: all."
    ),
]
UsersOption = Annotated[
    str,
    typer.Option(
        help="What happens to a GA4 hit without a user's id. own: the hit gets a user of its own. "
        "reject: the hit is rejected."
    ),
]


@topics_app.callback(invoke_without_command=True)
def topics(
    context: typer.Context,
    create: Annotated[
        bool, typer.Option("--create", help="Create the missing topics, also those that the contract names.")
    ] = False,
    broker_time: Annotated[
        bool,
        typer.Option(
            "--broker-time", help="Change topics that carry the producer's time: new messages carry the broker's time."
        ),
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Number of partitions of a new topic of events.")] = 4,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List the topics of the namespace and of its contract: format, partitions, messages, first and next offsets.

    `retailpulse topics check` validates the messages of a topic.
    """
    if context.invoked_subcommand:
        return
    from retailpulse_kernel.shop.contract.loading import contract_of
    from retailpulse_kernel.shop.formats.opening import JSON
    from retailpulse_kernel.stores.kafka.topics import ensure_topics, set_broker_time, topic_states

    settings = Settings.load(profile=profile, namespace=namespace)
    formats = {settings.namespace.topic(one.topic): one.format for one in contract_of(settings).topics}
    names = list(dict.fromkeys((*settings.namespace.topics, *formats)))
    made = ensure_topics(settings, names, partitions=partitions) if create else []
    changed = set_broker_time(settings) if broker_time else []
    states = topic_states(settings, names, absent=True)
    if as_json:
        print_json(
            [
                {
                    "topic": state.name,
                    "format": formats.get(state.name, JSON),
                    "exists": state.exists,
                    "partitions": state.partitions,
                    "messages": state.messages,
                    "begin": state.begin,
                    "end": state.end,
                    "created": state.name in made,
                    "broker_time_set": state.name in changed,
                }
                for state in states
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("format")
    for column in ("partitions", "messages", "begin", "end"):
        table.add_column(column, justify="right")
    for state in states:
        if state.exists:
            begin, end = (" ".join(map(str, offsets.values())) for offsets in (state.begin, state.end))
            counts = (str(state.partitions), f"{state.messages:,}")
            table.add_row(state.name, formats.get(state.name, JSON), *counts, begin, end)
        else:
            table.add_row(state.name, formats.get(state.name, JSON), "-", "absent", "", "")
    Console().print(table)
    if not all(state.exists for state in states):
        say(f"Make the absent ones with `retailpulse topics --create{settings.namespace.option}`.")
    if broker_time:
        say(
            f"New messages carry the broker's time from now on in {', '.join(changed)}."
            if changed
            else "All topics carry the broker's time already."
        )


@topics_app.command()
def check(
    topic: Annotated[
        str | None,
        typer.Argument(
            help="Name of the topic, in full or within the namespace.", show_default="the namespace's topic of events"
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="Format of the records.", show_default="that which the contract gives to the topic"
        ),
    ] = "",
    currency: CurrencyOption = "USD",
    prices: PricesOption = "computed",
    users: UsersOption = "own",
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Validate the messages that a topic holds now, as a job would. Exit code 1 when one was rejected."""
    from retailpulse_kernel.feed.adapters import Rules
    from retailpulse_kernel.feed.checking import check_topic

    settings = Settings.load(profile=profile, namespace=namespace)
    rules = Rules(currency=currency, prices=prices, users=users)
    with interruptible() as stopped, progress_bar(topic or settings.namespace.events_topic, as_json) as bar:
        found = check_topic(settings, topic, format, rules=rules, stop=stopped, report=checked_counts(bar))
    show_check(found, as_json)


def checked_counts(bar: Callable[[str, float], None]) -> Callable[[Check, float], None]:
    """What the bar shows of a check.

    Parameters
    ----------
    bar : callable
        Shows counts in words, and the fraction done.
    """
    return lambda found, fraction: bar(f"{found.rows:,} rows, {found.rejected.total():,} rejected", fraction)


def counted(counts: Counter[str]) -> str:
    """The most frequent of some counts, in a sentence.

    Parameters
    ----------
    counts : Counter
        Counts by name.
    """
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(8))


def show_check(found: Check, as_json: bool) -> NoReturn:
    """Print a check's report, and end with its exit code.

    Parameters
    ----------
    found : Check
        What was read.
    as_json : bool
        Whether to print JSON.
    """
    code = 1 if found.rejected else 0
    if as_json:
        print_json(found.as_dict())
        raise typer.Exit(code)
    if found.known_by:
        say(f"Format {found.format}, known by the columns {found.known_by}.")
    table = Table(box=None, pad_edge=False, show_header=False)
    if found.topic:
        table.add_row("topic", found.topic)
    table.add_row("rows", f"{found.rows:,}")
    table.add_row("events", f"{found.events:,}" + (f" ({counted(found.by_type)})" if found.by_type else ""))
    for currency in sorted({*found.revenue, *(+found.orders)}):
        revenue, orders = found.revenue.get(currency, 0), found.orders[currency]
        table.add_row(f"revenue {currency}", f"{revenue:,} in {orders:,} order{'s' if orders != 1 else ''}")
    if found.by_type or not found.events:
        table.add_row("users", f"{found.users:,}")
    if found.since and found.until:
        table.add_row("event time", f"{found.since:%Y-%m-%d %H:%M:%S} to {found.until:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("ids that repeat", f"{found.repeated_ids:,}")
    if found.conflicting_ids:
        table.add_row(
            "", f"{found.conflicting_ids:,} of them say something else than the event before: only that counts"
        )
    if found.fields:
        table.add_row("fields with a value", ", ".join(f"{name} {count:,}" for name, count in found.fields.items()))
    if found.changed:
        table.add_row("changed on the way in", counted(found.changed))
    if found.ignored:
        table.add_row("columns not read", ", ".join(found.ignored))
    table.add_row("rejected", f"{found.rejected.total():,}")
    Console().print(table)
    if found.rejected:
        Console().print(_rejects(found))
    raise typer.Exit(code)


def _rejects(found: Check) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("reason", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("first")
    table.add_column("why", overflow="fold")
    for reason, count in found.rejected.most_common():
        first = found.first[reason]
        table.add_row(reason, f"{count:,}", first.place, first.detail)
    return table
