"""Commands for the local servers: doctor, up, down, status, logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, NamespaceOption, ProfileOption, print_json
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings

if TYPE_CHECKING:
    from retailpulse_kernel.stack.supervision import ServiceStatus

__all__: list[str] = []

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def _complete_service(incomplete: str) -> list[str]:
    from retailpulse_kernel.stack.observers import OBSERVERS
    from retailpulse_kernel.stack.services import SERVICES

    return [name for name in (*SERVICES, "airflow", *OBSERVERS) if name.startswith(incomplete)]


def _complete_log(incomplete: str) -> list[str]:
    return [name for name in _logs(Settings.load()) if name.startswith(incomplete)]


def _logs(settings: Settings) -> list[str]:
    """Everything that has, or will have, a log."""
    from retailpulse_kernel.stack.services import SERVICES

    return sorted({*SERVICES, *(path.stem for path in (settings.home / "logs").glob("*.log"))})


def _console() -> Console:
    """A pipe has no width of its own: give it room, so that names are not cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@app.command()
def doctor(
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the hash of every downloaded artifact again.")
    ] = False,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: Java, memory, disk, ports, artifacts, topics. Exit code 1 on a problem."""
    from retailpulse_kernel.stack.doctor import diagnose

    checks = diagnose(Settings.load(profile=profile, namespace=namespace), verify=verify)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for check in checks:
            text = escape(check.detail) + (f" [italic]{escape(check.remedy)}[/]" if check.remedy else "")
            table.add_row(check.name, f"[{_STYLES[check.verdict]}]{check.verdict}[/]", text)
        _console().print(table)
    if any(check.verdict == "problem" for check in checks):
        raise typer.Exit(1)


@app.command()
def up(
    services: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SERVICE]...",
            help="Start only these servers, and the servers that they need.",
            autocompletion=_complete_service,
        ),
    ] = None,
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Start the servers and wait until each answers. Data is kept. Servers that run already are not restarted.

    `retailpulse up airflow` starts Airflow's four processes, which run the promoted jobs. airflow, registry, api,
    monitor, prometheus and alertmanager start only when named.
    """
    require_extra("stack")

    from retailpulse_kernel.monitoring import setup as observing
    from retailpulse_kernel.stack import supervision
    from retailpulse_kernel.stack.airflow import login

    settings = Settings.load(profile=profile, namespace=namespace)
    console = _console()
    servers, watchers = observing.split(services or [])
    if servers or not watchers:
        supervision.up(settings, servers, console=console)
    observing.up(settings, watchers, console=console)
    if any("airflow" in name for name in servers):
        place = login(settings)
        console.print(f"Airflow: {place.url}  user {place.user}, its password is in {place.passwords}", soft_wrap=True)


@app.command()
def down(
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SERVICE]...", help="Stop only these.", autocompletion=_complete_service),
    ] = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also delete all data, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Stop the servers even while a live demo uses them.")] = False,
    profile: ProfileOption = None,
) -> None:
    """Stop all servers and the other programs that the supervisor runs, or only the named ones.

    Refused with exit code 2 while a live demo runs.
    """
    from retailpulse_kernel.demo.servers import refuse_under_a_demo
    from retailpulse_kernel.stack import supervision
    from retailpulse_kernel.stores.confinement import require_free

    settings = Settings.load(profile=profile)
    require_free(settings, "Stopping servers")  # before a demo is looked for: a trial may not open its lock
    if not force:
        refuse_under_a_demo(settings)
    if wipe and not yes:
        typer.confirm(f"Delete {settings.home} with all topics, tables, checkpoints and logs?", abort=True)
    if services and wipe:
        raise UsageError("Data is deleted as a whole.", remedy="Leave the services out, or --wipe.")
    supervision.down(settings, wipe=wipe, names=services)
    _console().print(
        f"{', '.join(services) if services else 'all'} stopped" + (f", {settings.home} deleted" if wipe else "")
    )


@app.command()
def status(profile: ProfileOption = None, namespace: NamespaceOption = None, as_json: AsJson = False) -> None:
    """Send a real request to every server, and show the answers and the memory of each process.

    Exit code 1 if a server is not healthy.
    """
    from retailpulse_kernel.stack import supervision

    found = supervision.status(Settings.load(profile=profile, namespace=namespace))
    if as_json:
        print_json([asdict(entry) for entry in found])
    else:
        _console().print(_status_table(found))
    if not all(entry.healthy for entry in found):
        raise typer.Exit(1)


def _status_table(found: list[ServiceStatus]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "state", "healthy", "address"):
        table.add_column(column, no_wrap=True)
    for column in ("pid", "uptime", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for entry in found:
        table.add_row(
            entry.name,
            entry.state,
            "[green]yes[/]" if entry.healthy else "[bold red]no[/]",
            entry.address,
            str(entry.pid or ""),
            _duration(entry.uptime_s),
            f"{entry.memory_mb:.0f} MB" if entry.memory_mb else "",
            escape(entry.detail),
        )
    total = sum(entry.memory_mb or 0 for entry in found)
    table.add_row("", "", "", "", "", "", f"[bold]{total:.0f} MB[/]", "")
    return table


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@app.command()
def logs(
    service: Annotated[str, typer.Argument(metavar="SERVICE", autocompletion=_complete_log)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Number of last lines to show.")] = 50,
) -> None:
    """Show the log of a server, or of another program that the supervisor runs."""
    from retailpulse_kernel.machine.daemon import log_path, tail

    settings = Settings.load()
    known = _logs(settings)
    if service not in known:
        raise UnknownName("service", service, known)
    if text := tail(settings, service, lines):
        typer.echo(text)
    if follow:
        try:
            for line in _follow(log_path(settings, service)):
                typer.echo(line, nl=False)
        except KeyboardInterrupt:
            pass


def _follow(path: Path) -> Iterator[str]:
    """Lines as they come, across rotations and even before the file exists."""
    file = path.open(errors="replace") if path.exists() else None
    if file:
        file.seek(0, 2)
    while True:
        if file and (line := file.readline()):
            yield line
            continue
        time.sleep(0.2)
        rotated = file is None or (
            path.exists() and path.stat().st_ino != Path(f"/dev/fd/{file.fileno()}").stat().st_ino
        )
        if rotated and path.exists():
            if file:
                file.close()
            file = path.open(errors="replace")
