"""Commands for promoted jobs: promote, jobs, runs, diff, rollback, pause, resume, retire."""

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
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.settings import Settings

if TYPE_CHECKING:
    from retailpulse_kernel.promotion.cutover.catch_up import CatchUp
    from retailpulse_kernel.promotion.registry.manifest import Step

__all__: list[str] = []

Name = Annotated[str, typer.Argument(help="A promoted job; `retailpulse jobs` lists them.", show_default=False)]


@app.command()
def promote(
    notebook: Annotated[Path, typer.Argument(help="The notebook to promote: an .ipynb file.", show_default=False)],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter of the notebook; repeatable."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="@continuous, a cron expression or preset, or asset:NAME.",
            show_default="chosen from the notebook's run mode",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the job in production.", show_default="the name of the notebook's job")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run the gate, but freeze no version.")] = False,
    sample: Annotated[int, typer.Option(min=1, help="Number of events of the live topic for the dry run.")] = 20_000,
    told: Annotated[bool, typer.Option("--told", hidden=True, help="Tell each step as a line of JSON.")] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Promote a notebook: try the notebook on live data, and freeze it as the job's next version.

    The live job runs on during the trial. The new version takes over after the present micro-batch. When a step
    fails, nothing is written and the exit code is 1.
    """
    from retailpulse_kernel.promotion.cutover.overview import who_runs
    from retailpulse_kernel.promotion.gate.gate import promote as pass_gate

    settings = Settings.load(profile=profile, namespace=namespace)
    console = Console(highlight=False, soft_wrap=True, stderr=as_json or told)
    # So that a signal ends the dry run first, and removes the shadow namespace.
    end_in_order()
    # A line that turns would take stdout over where colours are asked for, as in a notebook's kernel.
    with nullcontext() if told else console.status(f"{notebook.name} is at the gate …") as status:

        def passed(step: Step) -> None:
            if told:
                print(json.dumps({"step": asdict(step)}), flush=True)
            else:
                console.print(_line(step))

        def catching_up(state: CatchUp) -> None:
            if told:
                print(json.dumps({"left": state.left, "of": state.messages}), flush=True)
            if status is None:
                return
            done = state.messages - state.left
            rate = f", {done / state.seconds:,.0f}/s" if done and state.seconds else ""
            status.update(f"the staged epoch catches up: {state.left:,} of {state.messages:,} messages left{rate} …")

        done = pass_gate(
            settings,
            notebook,
            dict(pair(text) for text in parameters or []),
            schedule=schedule,
            name=name,
            only_try=dry_run,
            sample=sample,
            report=passed,
            on_catch_up=catching_up,
        )
    sentence = done.sentence()
    if done.ok and done.version is not None:
        sentence += f". {who_runs(settings, done.version)}"
    if told:
        print(json.dumps({"done": {**done.to_json(), "sentence": sentence}}), flush=True)
    elif as_json:
        print_json(done.to_json())
    else:
        console.print(sentence, markup=False)
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
    """List the promoted jobs: version, schedule, state, lag in messages, last run."""
    from retailpulse_kernel.promotion.cutover.overview import overview, waits_for

    settings = Settings.load(profile=profile, namespace=namespace)
    rows = overview(settings)
    if as_json:
        print_json(rows)
        return
    _print(rows, "Nothing is promoted yet: `retailpulse promote NOTEBOOK`.")
    if any(row["state"] == "waiting" for row in rows) and (reason := waits_for(settings)):
        say(reason)


@app.command()
def runs(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many runs, newest first.")] = 20,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the newest output notebook in JupyterLab, read-only.")
    ] = False,
    port: Annotated[int, typer.Option(help="JupyterLab's port, for --open.")] = 8889,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, for --open.")] = True,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """List a promoted job's runs, newest first: version, state, length, output notebook."""
    from retailpulse_kernel.promotion.cutover.overview import runs_of

    settings = Settings.load(profile=profile, namespace=namespace)
    found = runs_of(settings, name, limit=limit + 1)
    rows = found[:limit]
    if open_:
        if not rows:
            raise UsageError(f"{name} has not run yet.", remedy=f"Run the job: `retailpulse run {name}`.")
        newest = Path(rows[0]["output"])
        open_lab(settings, newest.parent, newest.name, port=port, browser=browser, read_only=True)
    if as_json:
        print_json(rows)
    else:
        _print(rows, f"{name} has not run yet.")
    if len(found) > limit:
        say(f"These are the newest {limit} runs. There are more: use --limit.")


@app.command()
def diff(
    name: Name,
    old: Annotated[
        str | None, typer.Argument(help="A version, such as v3.", show_default="the version before the other one")
    ] = None,
    new: Annotated[str | None, typer.Argument(help="Another version.", show_default="the current version")] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: cells, parameters, figures, environment, verdicts."""
    from retailpulse_kernel.promotion.registry.diffing import diff_versions

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
        str | None, typer.Argument(help="A version, such as v3.", show_default="the version that ran before")
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the current one. The version takes over after the present micro-batch."""
    from retailpulse_kernel.promotion.cutover.versions import rollback as back

    done = back(Settings.load(profile=profile, namespace=namespace), name, version)
    if as_json:
        print_json(done)
    else:
        Console(highlight=False, soft_wrap=True).print(
            escape(f"{name} {done['from']} -> {done['to']}: {done['state']}")
        )


@app.command()
def pause(name: Name, profile: ProfileOption = None, namespace: NamespaceOption = None) -> None:
    """Hold a promoted job. A run under way ends after its micro-batch, and no new run starts."""
    _hold(profile, namespace, name, paused=True)


@app.command()
def resume(name: Name, profile: ProfileOption = None, namespace: NamespaceOption = None) -> None:
    """Resume a held job: its runs start again, and a stream continues from its checkpoint."""
    _hold(profile, namespace, name, paused=False)


@app.command()
def retire(
    name: Annotated[
        str, typer.Argument(help="A promoted job, or a job with a checkpoint in the namespace.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_tables: Annotated[bool, typer.Option("--keep-tables", help="Leave its tables with their figures.")] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Remove a job for good: its tables, checkpoint, accounts, metrics, promoted versions and DAG.

    The command asks first. A promoted job that runs is held and ends after its micro-batch. Tables that another job
    writes stay. After a crash, the same command removes the rest.
    """
    from retailpulse_kernel.promotion.cutover.retirement import retirement_of
    from retailpulse_kernel.promotion.cutover.retiring import retire as remove

    settings = Settings.load(profile=profile, namespace=namespace)
    console = Console(highlight=False, soft_wrap=True)
    what = retirement_of(settings, name, keep_tables=keep_tables)
    console.print(f"Retiring {name} in the namespace {settings.namespace.name} removes for good:")
    for line in what.lines():
        console.print(f"  {escape(line)}")
    if not yes:
        typer.confirm("Remove all of it?", abort=True)
    remove(settings, name, keep_tables=keep_tables, report=lambda line: console.print(escape(line)))
    console.print(f"{name} is retired.")


def _hold(profile: str | None, namespace: str | None, name: str, *, paused: bool) -> None:
    from retailpulse_kernel.promotion.registry.registry import Registry

    current = Registry(Settings.load(profile=profile, namespace=namespace)).pause(name, paused=paused)
    Console(highlight=False).print(f"{name} v{current.version} {'is held' if paused else 'is resumed'}.")


def _print(rows: list[dict[str, Any]], nothing: str) -> None:
    table = Table(box=None)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    # In a file or a pipe there is no edge to wrap at.
    Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(table if rows else nothing)
