"""Commands for jobs and their figures: run, figures, demo, lab."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, OrderlyConsole, ProfileOption, print_json
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings

__all__ = ["end_in_order", "open_lab", "pair", "with_pairs"]


@app.command()
def run(
    notebook: Annotated[
        Path, typer.Argument(help="An .ipynb file, or the name of a promoted job.", show_default=False)
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter of the notebook; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the executed copy.", show_default="a file in the home's runs/"),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Execute a notebook with parameters, as production does. Ctrl-C stops a job after its micro-batch.

    Given the name of a promoted job, the command runs the current version once, with the promoted parameters.
    """
    from retailpulse_kernel.notebooks.running import run_notebook
    from retailpulse_kernel.promotion.cutover.production import run_current

    settings = Settings.load(profile=profile, namespace=namespace)
    given = dict(pair(text) for text in parameters or [])
    if notebook.suffix or notebook.exists():
        done = run_notebook(settings, notebook, given, output=output)
    elif given or output:
        raise UsageError(
            "A promoted job has the parameters that it was promoted with.", remedy="Promote it with others."
        )
    else:
        done = run_current(settings, str(notebook))
    if as_json:
        seconds = round(done.seconds, 1)
        print_json({"notebook": done.notebook, "output": done.output, "seconds": seconds, "jobs": done.reports})
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{notebook.name} ran for {done.seconds:.1f} s: {done.output}")
    for report in done.reports:
        console.print(f"{report['job']}: {_counts(report)}")


def _counts(report: Mapping[str, Any]) -> str:
    """What a run of a job did, in a line."""
    from retailpulse_kernel.streaming.run.report import sum_of

    lag = "" if report["lag"] is None else f"; {report['lag']:,} left in the topic"
    batches = f"{report['batches']:,} micro-batch{'' if report['batches'] == 1 else 'es'}"
    done = f"{batches}, {report['messages']['rows']:,} rows written"
    return f"{done}; messages {sum_of(report['messages'])}{lag}"


def pair(text: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``.

    Parameters
    ----------
    text : str
        What was given to ``-p``.

    Raises
    ------
    UsageError
        It has another form.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise UsageError(f"{text!r} is not a parameter.", remedy="Write -p NAME VALUE or -p NAME=VALUE.")
    return name, value


@app.command()
def figures(
    since: Annotated[
        str | None,
        typer.Option(help="Start of the range. The shop's time unless it has a zone.", show_default="the first event"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="End of the range, not included.", show_default="the last event")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option(help="Length of the range up to --until or now, such as 1h, 7d or today. Replaces --since."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Keys of the rows: currency, category, event_type, bucket. Separate several keys with commas."
        ),
    ] = None,
    grain: Annotated[
        str | None,
        typer.Option(
            help="Length of the time windows, such as minute, 15m, day or week.", show_default="fits the range"
        ),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Show revenue per category, event distribution, revenue over time and average order value."""
    from retailpulse_kernel.answers.corrected import corrected
    from retailpulse_kernel.answers.ranges import Extent, minutes_of
    from retailpulse_kernel.answers.reading import grouped, read_rows, summarise
    from retailpulse_kernel.catalogue.completeness import served_until
    from retailpulse_kernel.demo.terminal import figures_view
    from retailpulse_kernel.shop.contract.loading import contract_of
    from retailpulse_kernel.shop.tables import CATEGORY, grain_of
    from retailpulse_kernel.stores.registry import serving_store

    settings = Settings.load(profile=profile, namespace=namespace)
    store = corrected(serving_store(settings))
    if last is not None and since is not None:
        raise UsageError("--last and --since are both given.", remedy="Use one of them.")
    calendar = contract_of(settings).shop.calendar
    first, end = minutes_of(last, since, until, calendar=calendar)
    reached = served_until(settings)
    try:
        summary = summarise(store, since=first, until=end, grain=grain, now=reached, calendar=calendar)
    except NoSuchTable as error:
        raise NoSuchTable(
            f"There are no figures in the namespace {settings.namespace.name!r} yet.",
            remedy=f"The job that writes the table {CATEGORY.name!r} makes them: `retailpulse run NOTEBOOK"
            f"{settings.namespace.option}`, or `retailpulse demo`. `retailpulse tables{settings.namespace.option}` "
            "lists those of other jobs.",
        ) from error
    if by is None:
        if as_json:
            print_json({"namespace": settings.namespace.name, **summary.to_json()})
        else:
            Console().print(figures_view(summary))
        return
    chosen = grain_of(grain, calendar) if grain else summary.grain
    dimensions = [name.strip() for name in by.split(",")]
    found = (
        read_rows(store, CATEGORY.within(calendar), since=summary.since, until=summary.until, grain=chosen)
        if summary.events_by_type
        else []
    )
    rows = grouped(found, dimensions)
    if "bucket" in dimensions:
        extent = Extent(chosen, summary.since, summary.until, reached)
        rows = [{**row, "complete": extent.complete(row["bucket"])} for row in rows]
    if as_json:
        print_json(rows)
    else:
        _print_rows(rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None)
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right" if _is_number(rows[0][name]) else "left")
    for row in rows:
        table.add_row(*(f"{v:,}" if _is_number(v) else "" if v is None else str(v) for v in row.values()))
    Console().print(table if rows else "No figures in this range.")


@app.command()
def demo(
    input: Annotated[
        Path | None, typer.Option("--input", help="Replay this file instead of generated events.", show_default=False)
    ] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="Format of the file.")] = "retailpulse",
    once: Annotated[bool, typer.Option("--once", help="Process the whole file, print its figures, and stop.")] = False,
    speed: Annotated[
        float, typer.Option(help="Replay speed: 2 is twice as fast as the events happened. 0: as fast as possible.")
    ] = 0.0,
    rate: Annotated[float, typer.Option(help="Generated events per second.")] = 200.0,
    seconds: Annotated[float, typer.Option(help="Stop after so many seconds. 0: on Ctrl-C.")] = 0.0,
    airflow: Annotated[
        bool | None,
        typer.Option(
            "--airflow/--direct",
            help="--airflow: Airflow runs the promoted jobs. --direct: the jobs run without Airflow and start sooner. "
            "Default: Airflow, where the demo runs until Ctrl-C and enough memory is free.",
            show_default=False,
        ),
    ] = None,
    worked: Annotated[
        bool,
        typer.Option(
            "--worked",
            help="Also promote the six notebooks of notebooks/worked/, run them beside the three jobs, and show the "
            "rows that each has written. All jobs run without Airflow, in the namespace worked.",
        ),
    ] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Start the servers, feed events, run the three jobs, and show the live figures. Ctrl-C stops everything.

    A file is replayed into a namespace of its own, named after its content, so that the times of the file
    do not mix with those of the live stream.
    """
    require_extra("stack")

    from retailpulse_kernel.demo import demo as demos
    from retailpulse_kernel.demo.jobs import CLI, demo_jobs
    from retailpulse_kernel.demo.servers import airflow_fits
    from retailpulse_kernel.demo.worked import NAMESPACE, Worked, where_to_look, with_worked
    from retailpulse_kernel.feed.adapters import read

    if once and airflow:
        raise UsageError("Airflow runs jobs that go on.", remedy="Leave --once or --airflow out.")
    if worked and airflow:
        raise UsageError(
            "Airflow runs only the jobs that the project ships.", remedy="Leave --worked or --airflow out."
        )
    if once and input is None:
        raise UsageError("--once needs a file.", remedy="Add --input FILE --format FORMAT.")
    if once and as_json:
        console = OrderlyConsole(stderr=True, highlight=False)
    elif as_json:
        raise UsageError("A live view has no JSON.", remedy="Add --once, or use `retailpulse figures --json`.")
    else:
        console = OrderlyConsole(highlight=False)
    own = None
    if input is not None:
        read(input, format)  # a wrong file or format is known before anything starts
        own = namespace is None
        namespace = namespace or f"{NAMESPACE if worked else 'demo'}_{_content_hash(input)}"
    settings = Settings.load(profile=profile, namespace=namespace or (NAMESPACE if worked else None))
    beside = None
    if worked:
        settings = with_worked(settings)
        beside = Worked(settings)
    end_in_order()
    if airflow is None:
        airflow = input is None and not seconds and not worked and airflow_fits(settings, console)
    if not once:
        if input is None:
            # As in a shop, a few events are late: the correction that runs beside the jobs adds them.
            late = ["--late", "0.002", "--late-within"]
            feed = [*CLI, "generate", "--rate", f"{rate:g}", "--seconds", "0", "--seed", "1", *late]
            feed += ["--context"] if worked else []
        else:
            feed = [*CLI, "replay", str(input.resolve()), "--format", format, "--speed", f"{speed:g}"]
        name = "generator" if input is None else "replay"
        demos.demo_live(
            settings,
            feed=feed,
            feed_name=name,
            seconds=seconds or None,
            console=console,
            airflow=airflow,
            worked=beside,
        )
        return
    assert input is not None
    outcome = demos.demo_file(settings, input, format, speed=speed, fresh=bool(own), console=console, worked=beside)
    if as_json:
        print_json({"namespace": outcome.namespace, **outcome.figures.to_json()})
        return
    from retailpulse_kernel.demo.terminal import figures_view, jobs_view

    console.print(figures_view(outcome.figures))
    jobs = demo_jobs()
    console.print(jobs_view(outcome.accounts, dict.fromkeys(jobs, 0), dict.fromkeys(jobs, 0.0)))
    if beside is not None:
        console.print(beside)
        where_to_look(settings, console, servers_stopped=outcome.servers_stopped)
    again = f"retailpulse figures --namespace {outcome.namespace}"
    if outcome.servers_stopped:
        again = f"retailpulse up && {again}"
        console.print("The servers are stopped; the figures stay on this machine until `retailpulse down --wipe`.")
    console.print(f"To see the figures again: {again}", soft_wrap=True)


def end_in_order() -> None:
    """Terminated, or with its terminal closed, a command ends what it started, and clears up, as on Ctrl-C."""

    def end(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            # Nobody reads what it still says, and it must not fail over that.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)


def _content_hash(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:10]


#: A socket's path has 103 characters at most on macOS, 107 on Linux; a kernel's file in that folder takes 52.
_LONGEST_RUNTIME_DIR = 50
#: The notebook that JupyterLab opens on.
START = "notebooks/00_start_here.ipynb"


@app.command()
def lab(
    port: Annotated[int, typer.Option(help="JupyterLab's port.")] = 8888,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Open JupyterLab on notebooks/00_start_here.ipynb, with the kernel RetailPulse.

    JupyterLab listens on this machine only.
    """
    from retailpulse_kernel.ground.addresses import project_root

    settings = Settings.load(profile=profile, namespace=namespace)
    root = project_root() or Path.cwd()
    open_lab(settings, root, START if (root / START).is_file() else None, port=port, browser=browser)


def open_lab(
    settings: Settings, root: Path, notebook: str | None, *, port: int, browser: bool, read_only: bool = False
) -> NoReturn:
    """Become JupyterLab on a folder, showing one notebook of it.

    Parameters
    ----------
    settings : Settings
        Handed to kernels through the environment.
    root : Path
        The folder that JupyterLab shows.
    notebook : str or None
        A path below `root`; JupyterLab's own start page for None.
    port : int
        The first that is tried.
    browser : bool
        Open one.
    read_only : bool
        Let nothing be saved.
    """
    require_extra("lab")

    from jupyter_core.paths import jupyter_runtime_dir

    from retailpulse_kernel.ground.settings import environment

    command = [
        sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={root}",
    ]  # fmt: skip
    # No question about news at the start, and no look at other machines for updates.
    command.append(f"--LabApp.app_settings_dir={Path(__file__).parents[1] / 'lab'}")
    if len(jupyter_runtime_dir()) <= _LONGEST_RUNTIME_DIR:
        # Kernels on sockets that only this user may open, not on ports that all users of the machine reach.
        command.append("--KernelManager.transport=ipc")
    if notebook is not None:
        command.append(f"--LabApp.default_url=/lab/tree/{notebook}")
    if read_only:
        command.append("--ServerApp.contents_manager_class=retailpulse_kernel.lab.readonly.ReadOnlyContents")
    if not browser:
        command.append("--no-browser")
    if os.geteuid() == 0:
        # In containers and cloud machines people are root; it listens on this machine only.
        command.append("--allow-root")
    os.execve(sys.executable, command, {**os.environ, **environment(settings)})


def with_pairs(arguments: list[str]) -> list[str]:
    """Arguments in which ``-p NAME VALUE`` has become ``-p NAME=VALUE``, as papermill users write it.

    >>> with_pairs(["run", "a.ipynb", "-p", "rate", "5"])
    ['run', 'a.ipynb', '-p', 'rate=5']

    Parameters
    ----------
    arguments : list of str
        Words after the program's name.
    """
    if not {"run", "promote", "test"} & set(arguments[:2]):
        return arguments
    joined, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word in ("-p", "--parameter") and len(rest) >= 2 and re.fullmatch(r"[A-Za-z_]\w*", rest[0]):
            joined.append(f"{rest.pop(0)}={rest.pop(0)}")
    return joined
