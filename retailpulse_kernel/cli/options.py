"""Options that several commands share, written once."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any

import typer

__all__ = ["AsJson", "NamespaceOption", "ProfileOption", "print_json"]

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="Which servers: local, compose, cluster, or a .toml file.", show_default="local"),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", help="Which set of topics and tables.", show_default="retailpulse"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_json(value: Any) -> None:
    """Print a value as JSON; money (Decimal) and times become strings."""
    typer.echo(json.dumps(value, indent=2, default=lambda v: format(v, "f") if isinstance(v, Decimal) else str(v)))
