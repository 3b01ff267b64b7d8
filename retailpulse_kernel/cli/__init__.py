"""The command `retailpulse`: the library's verbs in a terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from retailpulse_kernel.errors import RetailPulseError

__all__ = ["app", "main"]

app = typer.Typer(
    name="retailpulse",
    help="A workbench for a live e-commerce event stream.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _global(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    ctx.obj = {"debug": debug}


def main(argv: list[str] | None = None) -> None:
    """Run the command line; errors become one sentence and an exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # --debug may stand anywhere: people add it at the end of the line that just failed.
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        app(args=_jobs.with_pairs(arguments))
    except RetailPulseError as error:
        if debug:
            raise
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)


from retailpulse_kernel.cli import feed as _feed, jobs as _jobs, stack as _stack  # noqa: E402, F401
