"""The command `retailpulse`: the library's verbs in a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape

from retailpulse_kernel.cli import (
    checks,
    contract,
    dashboards,
    epochs,
    feed,
    jobs,
    new,
    promotion,
    serve,
    stack,
    topics,
)
from retailpulse_kernel.cli.app import app
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.stores.connection import close_all

__all__ = [
    "app",
    "checks",
    "contract",
    "dashboards",
    "epochs",
    "feed",
    "jobs",
    "main",
    "new",
    "promotion",
    "serve",
    "stack",
    "topics",
]


def main(argv: list[str] | None = None) -> None:
    """Run the command line; errors become one sentence and an exit code.

    Parameters
    ----------
    argv : list of str, optional
        Words after the program's name; those of this process when absent.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # --debug may stand anywhere: people add it at the end of the line that just failed.
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        app(args=jobs.with_pairs(arguments))
    except RetailPulseError as error:
        if debug:
            raise
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
    finally:
        close_all()
