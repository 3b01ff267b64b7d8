"""The command that makes new notebooks from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retailpulse_kernel.cli.app import app
from retailpulse_kernel.cli.options import AsJson, print_json
from retailpulse_kernel.ground.settings import Settings

__all__: list[str] = []

new = typer.Typer(no_args_is_help=True, help="Create a new notebook from a template.")
app.add_typer(new, name="new")


@new.command()
def job(
    name: Annotated[
        str, typer.Argument(help="The job's name: lower-case letters, digits and '_'.", show_default=False)
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the files.", show_default="notebooks/jobs of the checkout")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the notebook of a new job, and its script for reviews. Existing files are not overwritten."""
    from retailpulse_kernel.scaffold.jobs import new_job

    made = new_job(Settings.load(), name, folder)
    if as_json:
        print_json({"name": made.name, "notebook": made.notebook, "script": made.script})
    else:
        typer.echo(str(made))
