"""The formats by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from retailpulse_kernel.feed.adapters.base import Adapter, Items, Rules
from retailpulse_kernel.feed.adapters.ga4 import GA4
from retailpulse_kernel.feed.adapters.rees46 import Rees46
from retailpulse_kernel.feed.adapters.retailpulse import RetailPulse
from retailpulse_kernel.feed.adapters.retailrocket import RetailRocket
from retailpulse_kernel.feed.adapters.segment import Segment
from retailpulse_kernel.ground.errors import UnknownName, UsageError

__all__ = ["ADAPTERS", "AUTO", "FORMATS", "adapt", "adapter", "recognised"]

ADAPTERS: Final[dict[str, type[Adapter]]] = {
    kind.name: kind for kind in (RetailPulse, Rees46, RetailRocket, GA4, Segment)
}
FORMATS: Final = tuple(ADAPTERS)
#: The format that is told by a file's columns.
AUTO: Final = "auto"


def adapter(format: str, *, source: str = "", items: Items | None = None, rules: Rules | None = None) -> Adapter:
    """The adapter of a format.

    Parameters
    ----------
    format : str
        One of `FORMATS`.
    source : str
        What an event id starts with where the format has none of its own.
    items : Items, optional
        Category and price by product, for a format whose events lack them (RetailRocket).
    rules : Rules, optional
        Choices where shops differ.

    Raises
    ------
    UnknownName
        There is no such format.
    """
    if format not in ADAPTERS:
        raise UnknownName("format", format, FORMATS)
    return ADAPTERS[format](source=source, items=items, rules=rules)


def recognised(columns: Sequence[str], path: Path) -> tuple[str, str]:
    """The format that has most of its columns in a file, and which columns these are.

    Parameters
    ----------
    columns : sequence of str
        Those of the file.
    path : Path
        The file, for the error.

    Raises
    ------
    UsageError
        No format has half of its columns there, or two have as many.
    """
    shares = {
        name: len(found) / len(kind.columns) for name, kind in ADAPTERS.items() if (found := _found(kind, columns))
    }
    best = max(shares.values(), default=0.0)
    likely = [name for name, share in shares.items() if share == best]
    if best < 0.5 or len(likely) > 1:
        raise UsageError(
            f"The format of {path} can't be told by its columns: {', '.join(columns[:20]) or 'it has none'}.",
            remedy=f"Name it with --format (known: {', '.join(FORMATS)}).",
        )
    return likely[0], ", ".join(_found(ADAPTERS[likely[0]], columns))


def _found(kind: type[Adapter], columns: Sequence[str]) -> list[str]:
    return [name for name in kind.columns if name in columns]


def adapt(format: str, record: dict[str, Any], *, source: str = "", row: int = 1) -> list[dict[str, Any]]:
    """Map one record, such as a topic's message, to fields of our events.

    An order's lines are counted within one call; keep an `adapter` to count them over many.

    Parameters
    ----------
    format : str
        A name of `FORMATS`, such as ``"ga4"``.
    record : dict
        Its fields by name.
    source : str
        Goes into the ids of events that have none.
    row : int
        The number of the record in its source, from 1.

    Raises
    ------
    UnknownName
        There is no such format.
    EventError
        The record is nothing that our events know.
    """
    return adapter(format, source=source).adapt(record, row)
