"""The command that builds Grafana's dashboards."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.errors import RetailPulseError

__all__ = ["dashboards"]


class _Verb(StrEnum):
    BUILD = "build"
    CHECK = "check"


@app.command()
def dashboards(
    verb: Annotated[
        _Verb, typer.Argument(help="build writes the files, check says whether they are those of the code.")
    ],
    folder: Annotated[Path, typer.Option(help="Where they are.")] = Path("grafana/dashboards"),
) -> None:
    """Build Grafana's dashboards from the definitions of the figures, or check that they are up to date."""
    from retailpulse_kernel.dashboards.writing import stale, write

    if verb is _Verb.BUILD:
        for path in write(folder):
            typer.echo(path)
    elif differing := stale(folder):
        raise RetailPulseError(
            f"These dashboards differ from the code: {', '.join(differing)}.",
            remedy="Run `retailpulse dashboards build`.",
        )
