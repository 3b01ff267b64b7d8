"""Commands for promoted jobs: promote, jobs, runs, diff, rollback, pause, resume."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.jobs import end_in_order, open_lab, pair
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.promotion.manifest import Step
from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    from retailpulse_kernel.promotion.taking_over import TakingOver

__all__: list[str] = []

Name = Annotated[str, typer.Argument(help="A promoted job; `retailpulse jobs` lists them.", show_default=False)]


@app.command()
def promote(
    notebook: Annotated[Path, typer.Argument(help="An .ipynb file.", show_default=False)],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Run it with this parameter; repeatable."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="@continuous, a cron expression or preset, or asset:NAME.", show_default="what fits it"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The job's name in production.", show_default="its own")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only try it; nothing is frozen.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="Events of the live topic that it is tried on.")] = 20_000,
    told: Annotated[bool, typer.Option("--told", hidden=True, help="Tell each step as a line of JSON.")] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Take a notebook to production: try it beside the live job, and freeze it as the next version.

    Exits with 1 when a step fails; nothing is written then. The live job is not touched: the new version
    takes over at the next boundary of a run.
    """
    from retailpulse_kernel.promotion.gate import promote as pass_gate

    settings = Settings.load(profile=profile, namespace=namespace)
    console = Console(highlight=False, soft_wrap=True, stderr=as_json or told)
    # So that the shadow is removed; while the dry run lasts, it ends that first.
    end_in_order()
    # A line that turns would take stdout over where colours are asked for, as in a notebook's kernel.
    with nullcontext() if told else console.status(f"{notebook.name} is at the gate …") as status:

        def passed(step: Step) -> None:
            if told:
                print(json.dumps({"step": asdict(step)}), flush=True)
            else:
                console.print(_line(step))

        def catching_up(state: TakingOver) -> None:
            if told:
                print(json.dumps({"left": state.left, "of": state.messages}), flush=True)
            if status is None:
                return
            done = state.messages - state.left
            rate = f", {done / state.seconds:,.0f}/s" if done and state.seconds else ""
            status.update(f"catching up beside the live version: {state.left:,} of {state.messages:,} left{rate} …")

        done = pass_gate(
            settings,
            notebook,
            dict(pair(text) for text in parameters or []),
            schedule=schedule,
            name=name,
            only_try=dry_run,
            sample=sample,
            report=passed,
            catching_up=catching_up,
        )
    if told:
        print(json.dumps({"done": {**done.to_json(), "sentence": done.sentence()}}), flush=True)
    elif as_json:
        print_json(done.to_json())
    else:
        console.print(done.sentence())
    if not done.ok:
        raise typer.Exit(1)


def _line(step: Step) -> str:
    colour = "green" if step.ok and step.verdict == "ok" else "yellow" if step.ok else "red"
    width = 56
    found = escape(step.found)
    text = f"  {step.name:<12} {found:<{width}}" if step.verdict else f"  {'':<12} [dim]{found}[/]"
    return f"{text} [{colour}]{step.verdict}[/]" if step.verdict else text


@app.command()
def jobs(profile: ProfileOption = None, namespace: NamespaceOption = None, as_json: AsJson = False) -> None:
    """List the promoted jobs: version, schedule, state, how far behind they are, last run."""
    from retailpulse_kernel.promotion.overview import overview

    rows = overview(Settings.load(profile=profile, namespace=namespace))
    if as_json:
        print_json(rows)
    else:
        _print(rows, "Nothing is promoted yet: `retailpulse promote NOTEBOOK`.")


@app.command()
def runs(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    open_: Annotated[bool, typer.Option("--open", help="Open the newest one in JupyterLab, read-only.")] = False,
    port: Annotated[int, typer.Option(help="JupyterLab's port, for --open.")] = 8889,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, for --open.")] = True,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List a promoted job's runs, newest first: version, state, length, output notebook."""
    from retailpulse_kernel.promotion.overview import runs_of

    settings = Settings.load(profile=profile, namespace=namespace)
    rows = runs_of(settings, name, limit=limit)
    if open_:
        if not rows:
            raise UsageError(f"{name} has not run yet.", remedy=f"Run it: `retailpulse run {name}`.")
        newest = Path(rows[0]["output"])
        open_lab(settings, newest.parent, newest.name, port=port, browser=browser, read_only=True)
    if as_json:
        print_json(rows)
    else:
        _print(rows, f"{name} has not run yet.")


@app.command()
def diff(
    name: Name,
    old: Annotated[
        str | None, typer.Argument(help="A version, such as v3.", show_default="the one before the current")
    ] = None,
    new: Annotated[str | None, typer.Argument(help="Another version.", show_default="the current one")] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: cells, parameters, what it computes, environment, verdicts."""
    from retailpulse_kernel.promotion.diffing import diff_versions

    found = diff_versions(Settings.load(profile=profile, namespace=namespace), name, old, new)
    if as_json:
        print_json(found.to_json())
        return
    colours = {"+": "green", "-": "red", "@": "cyan"}
    console = Console(highlight=False, soft_wrap=True)
    for line in found.lines():
        colour = colours.get(line[:1])
        console.print(f"[{colour}]{escape(line)}[/]" if colour else escape(line))


@app.command()
def rollback(
    name: Name,
    version: Annotated[
        str | None, typer.Argument(help="Which one, such as v3.", show_default="the one that ran before")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the current one; it takes over at the next boundary of a run."""
    from retailpulse_kernel.promotion.switching import rollback as back

    done = back(Settings.load(profile=profile, namespace=namespace), name, version)
    if as_json:
        print_json(done)
    else:
        Console(highlight=False, soft_wrap=True).print(
            escape(f"{name} {done['from']} -> {done['to']}: {done['state']}")
        )


@app.command()
def pause(name: Name, profile: ProfileOption = None, namespace: NamespaceOption = None) -> None:
    """Hold a promoted job: a run under way ends after its micro-batch, and no new one begins."""
    _hold(profile, namespace, name, paused=True)


@app.command()
def resume(name: Name, profile: ProfileOption = None, namespace: NamespaceOption = None) -> None:
    """Let a held job go on from where it was."""
    _hold(profile, namespace, name, paused=False)


def _hold(profile: str | None, namespace: str | None, name: str, *, paused: bool) -> None:
    from retailpulse_kernel.promotion.registry import Registry

    current = Registry(Settings.load(profile=profile, namespace=namespace)).pause(name, paused=paused)
    Console(highlight=False).print(f"{name} v{current.version} {'is held' if paused else 'goes on'}.")


def _print(rows: list[dict[str, Any]], nothing: str) -> None:
    table = Table(box=None)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    # In a file or a pipe there is no edge to wrap at.
    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(table if rows else nothing)
