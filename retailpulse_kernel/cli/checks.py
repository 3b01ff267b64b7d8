"""Commands about what is stored or computed: tables, why, test, reconcile, correct."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.jobs import pair
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, end_asked, print_json
from retailpulse_kernel.ground.errors import RetailPulseError, UsageError
from retailpulse_kernel.ground.notes import unsaid
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import span_of

if TYPE_CHECKING:
    from retailpulse_kernel.catalogue.overview import Tables
    from retailpulse_kernel.reconcile import JobCheck, Reconciliation, TableCheck, Totals
    from retailpulse_kernel.upkeep.correcting import Corrections

__all__: list[str] = []

#: Columns of a terminal from which on the tables' columns are listed, too.
_WIDE = 110
_EXIT_CODES = {"equal": 0, "differs": 1, "not checked": 3}


@app.command()
def tables(
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List the tables that jobs write: what each holds, by which keys, which job and version writes it, how fresh."""
    from retailpulse_kernel.catalogue.overview import tables_of

    found = tables_of(Settings.load(profile=profile, namespace=namespace))
    if as_json:
        print_json(found.to_json())
    else:
        console = Console(highlight=False)
        console.print(_tables_view(found, console.width))


@app.command()
def why(
    figure: Annotated[str, typer.Argument(help="The figure: revenue, orders, average_order_value ...")],
    by: Annotated[
        list[str] | None,
        typer.Option(help="A dimension that is tried; repeatable.", show_default="all with few values"),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only this value of a dimension; repeatable.", show_default=False),
    ] = None,
    last: Annotated[
        str | None, typer.Option(help="Length of the range up to --until or now, such as 1h, 7d or today.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Start of the range, instead of --last. The shop's time unless it has a zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="End of the range, not included.", show_default="now")] = None,
    against: Annotated[
        str, typer.Option(help="The range to compare with: previous, yesterday, last week, or START/END.")
    ] = "previous",
    currency: Annotated[str | None, typer.Option(help="Whose money.", show_default="the shop's currency")] = None,
    table: Annotated[str | None, typer.Option(help="The table that answers.", show_default=False)] = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="Scale the earlier amounts where the ranges are of different lengths.")
    ] = False,
    top: Annotated[int, typer.Option(help="Values that stand by themselves; the others are summed up.", min=1)] = 10,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Say why a figure moved: what each value of a dimension contributes, adding up to the change exactly."""
    from retailpulse_kernel.workbench.workbench import Workbench

    conditions: dict[str, list[str]] = {}
    for text in where or []:
        name, separator, value = text.partition("=")
        if not (name and separator):
            raise UsageError(f"{text!r} is not a condition.", remedy="Write --where NAME=VALUE.")
        conditions.setdefault(name, []).append(value)
    with unsaid():
        found = Workbench(profile=profile, namespace=namespace).why(
            figure, by=by or [], where=conditions, last=last, since=since, until=until, against=against,
            currency=currency, table=table, scale=scale, top=top,
        )  # fmt: skip
    if as_json:
        print_json(found.to_json())
    else:
        Console(highlight=False, soft_wrap=True).print(repr(found), markup=False)


@app.command()
def test(
    notebook: Annotated[Path, typer.Argument(help="The notebook of a job: an .ipynb file.", show_default=False)],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter of the notebook; repeatable."),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Run the tests of a job's notebook: its cells tagged test, and those of NAME.test.ipynb beside it.

    The tests need no server, and nothing is written. When a test fails, the exit code is 1.
    """
    from retailpulse_kernel.promotion.gate.trial import run_tests

    settings = Settings.load(profile=profile, namespace=namespace)
    found = run_tests(settings, notebook, dict(pair(text) for text in parameters or []))
    if as_json:
        print_json({"ok": found.ok, "cases": [*map(asdict, found.cases)], "failures": [*map(asdict, found.failures)]})
    else:
        console = Console(highlight=False, soft_wrap=True)
        for case in found.cases:
            console.print(case.said, markup=False)
        console.print(f"{notebook.name}: {found}{', ok' if found.cases and found.ok else ''}", markup=False)
    if not found.ok:
        raise typer.Exit(1)


def _tables_view(found: Tables, width: int) -> RenderableType:
    """The tables; what each holds only where there is room for more than a few letters a line."""
    from retailpulse_kernel.catalogue.tables import titles

    if not len(found):
        return repr(found)
    table = Table(box=None, padding=(0, 1))
    for name in ("table", "store", "kind", "by", "windows", "written by", "written (UTC)"):
        # A table is asked for by its whole name and store, and no part of a day is left out.
        least = 10 if name == "written (UTC)" else None
        table.add_column(name, no_wrap=name in ("table", "store"), min_width=least, overflow="fold")
    table.add_column("rows", justify="right")
    is_wide = width >= _WIDE
    if is_wide:
        table.add_column("holds")
    for entry, fresh in zip(found.catalogue.entries, found.freshness, strict=True):
        written = "not yet" if fresh.written is None else f"{fresh.written:%Y-%m-%d %H:%M:%S}"
        rows = "" if fresh.rows is None else f"{fresh.rows:,}"
        texts = (entry.name, entry.store, entry.kind, ", ".join(entry.key), ", ".join(entry.plan.widths), entry.writer)
        table.add_row(
            *map(escape, texts),
            written,
            rows,
            *([escape(", ".join(titles(entry, found.catalogue.contract)))] if is_wide else []),
        )
    further = [Text(found.problem, style="yellow")] if found.problem else []
    if not is_wide:
        further.append(Text("A wider terminal, --json and rp.tables() also say what each table holds.", style="dim"))
    return Group(table, *further)


@app.command()
def reconcile(
    since: Annotated[
        str | None, typer.Option(help="Compare windows from this time on, the shop's time unless it has a zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Compare windows up to this time.")] = None,
    notebook: Annotated[
        Path | None,
        typer.Option(help="The notebook of a job with tables of rows that was not promoted.", exists=True),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare the accounts and the tables of every job with a plain fold of the topic.

    Tables of rows are compared with a batch: the job's notebook runs once more over the same messages, in a namespace
    of its own.

    Exit code 1: something differs. The report names the first key that differs. Exit code 3: nothing differs, but a
    table could not be checked. The report gives the reason. Jobs may run meanwhile: only closed windows are compared.
    """
    from retailpulse_kernel.reconcile import reconcile as compare

    settings = Settings.load(profile=profile, namespace=namespace)
    with _progress() as progress:
        result = compare(settings, since, until, notebook=notebook, progress=progress)
    if as_json:
        print_json(result.to_json())
    else:
        Console(highlight=False).print(_view(result))
    if code := _EXIT_CODES[result.outcome]:
        raise typer.Exit(code)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """How far the fold is, on stderr, which leaves stdout to the result; nothing where no one looks."""
    columns = (TextColumn("folding the topic"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _view(result: Reconciliation) -> RenderableType:
    asked = " ".join(
        f"{word} {moment:%Y-%m-%dT%H:%MZ}"
        for word, moment in (("since", result.since), ("until", result.until))
        if moment
    )
    parts: list[RenderableType] = [
        f"{result.namespace}: {result.messages:,} messages folded in {result.seconds:.1f} s {asked}".rstrip(),
        "",
    ]
    if result.jobs:
        parts += [_jobs_table(result.jobs), ""]
    parts += [_checks_table(result.tables), ""]
    if result.totals:
        parts += [_totals_table(result), ""]
    parts += [Text(note, style="dim") for note in result.notes]
    parts += [Text.assemble(("✗ ", "red"), sentence) for sentence in result.differences]
    parts += [Text.assemble(("? ", "yellow"), f"Not checked: {sentence}") for sentence in result.unchecked]
    if not result.differences:
        compared = sum(check.rows for check in result.tables)
        if compared:
            parts.append(Text.assemble(("✓ ", "green"), f"Nothing differs: {compared:,} keys compared."))
        else:
            parts.append(Text("Nothing was compared: no store has a row of this range.", style="yellow"))
    return Group(*parts)


def _mark(good: bool | None) -> str:
    return "[dim]·[/]" if good is None else "[green]✓[/]" if good else "[red]✗[/]"


def _jobs_table(jobs: list[JobCheck]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("job")
    for name in ("batches", "consumed", "accepted", "duplicate", "late", "bad"):
        table.add_column(name, justify="right")
    table.add_column()
    for job in jobs:
        counts = (f"{value:,}" for value in job.reported.values())
        table.add_row(escape(job.job), f"{job.batches:,}", *counts, _mark(not job.problems))
    return table


def _checks_table(checks: list[TableCheck]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("store")
    table.add_column("table")
    table.add_column("job")
    table.add_column("keys", justify="right")
    table.add_column("differ", justify="right")
    table.add_column()
    words = {"nothing": "nothing to compare", "not run": "not run", "not checked": "not checked"}
    marks = {"equal": True, "differs": False}
    for check in checks:
        mark = f"{_mark(marks.get(check.state))} {words.get(check.state, '')}".rstrip()
        table.add_row(check.store, check.table, escape(check.job), f"{check.rows:,}", f"{check.differing:,}", mark)
    return table


def _totals_table(result: Reconciliation) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("total")
    sources = list(next(iter(result.totals[0].figures.values())))
    for source in sources:
        table.add_column(source, justify="right")
    table.add_column()
    for total in result.totals:
        for row in _total_rows(total):
            table.add_row(*row, _mark(total.equal))
    return table


def _total_rows(total: Totals) -> Iterator[tuple[str, ...]]:
    for name, by_source in total.figures.items():
        places = ".2f" if name == "revenue" else ""
        yield f"{name} {total.currency}", *("" if v is None else f"{v:,{places}}" for v in by_source.values())


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
        _show_corrections(correct_figures(settings), as_json)
        return
    seconds = span_of(every).total_seconds()
    if seconds <= 0:
        raise UsageError(f"--every {every} is no time to wait.", remedy="Give a time such as 1m.")
    end = end_asked()
    while not end.is_set():
        try:
            _show_corrections(correct_figures(settings), as_json)
        except RetailPulseError as error:  # what does not answer now is asked again
            Console(stderr=True, soft_wrap=True, highlight=False).print(str(error), markup=False)
        end.wait(seconds)


def _show_corrections(done: Corrections, as_json: bool) -> None:
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
