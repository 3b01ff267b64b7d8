"""The command for Grafana's dashboards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import NamespaceOption, ProfileOption
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings

__all__: list[str] = []


class _Verb(StrEnum):
    BUILD = "build"
    CHECK = "check"
    PUSH = "push"


@app.command()
def dashboards(
    verb: Annotated[
        _Verb,
        typer.Argument(
            help="build writes the files. check compares the files with the definitions. "
            "push sends the dashboards to a Grafana."
        ),
    ],
    root: Annotated[Path, typer.Option(help="The checkout that holds the files.")] = Path(),
    profile: ProfileOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Build Grafana's dashboards, alerts and the table of metrics from their definitions, or check them.

    The files are in the zone of the shop's contract, with a variable for each of its dimensions.

    With GRAFANA_URL, check and push work on the Grafana that runs there; GRAFANA_TOKEN says where its token is found.
    Both include a dashboard for each promoted job of the namespace. `retailpulse monitor` writes these as files, too.
    """
    from retailpulse_kernel.dashboards.pushing import Grafana, GrafanaSettings
    from retailpulse_kernel.dashboards.writing import dashboards as shop_dashboards
    from retailpulse_kernel.dashboards.writing import job_dashboards, stale, write

    settings = GrafanaSettings()
    whose = Settings.load(profile=profile, namespace=namespace)
    if verb is _Verb.BUILD:
        for path in write(root, whose):
            typer.echo(path)
        return
    if verb is _Verb.PUSH:
        grafana = Grafana(settings.require())
        for line in grafana.push(job_dashboards(whose), shop_dashboards(whose)):
            typer.echo(line)
        return
    if differing := stale(root, whose):
        raise RetailPulseError(
            f"These files differ from the code: {', '.join(differing)}.", remedy="Run `retailpulse dashboards build`."
        )
    if not settings.url:
        return
    if differing := Grafana(settings.require()).differing(job_dashboards(whose), shop_dashboards(whose)):
        raise RetailPulseError(
            f"These dashboards differ in {settings.url}: {', '.join(differing)}.",
            remedy="Run `retailpulse dashboards push`.",
        )
