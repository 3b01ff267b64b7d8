"""The formats by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.shop.adapters.base import Adapter, Items, Mapped, Rules
from retailpulse_kernel.shop.adapters.ga4 import GA4
from retailpulse_kernel.shop.adapters.rees46 import Rees46
from retailpulse_kernel.shop.adapters.retailpulse import RetailPulse
from retailpulse_kernel.shop.adapters.retailrocket import RetailRocket
from retailpulse_kernel.shop.adapters.segment import Segment

__all__ = ["ADAPTERS", "FORMATS", "adapt", "adapter"]

ADAPTERS: Final[dict[str, type[Adapter]]] = {
    kind.name: kind for kind in (RetailPulse, Rees46, RetailRocket, GA4, Segment)
}
FORMATS: Final = tuple(ADAPTERS)


def adapter(
    format: str,
    *,
    source: str = "",
    items: Items | None = None,
    rules: Rules | None = None,
    alone: bool = False,
) -> Adapter:
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
    alone : bool
        Whether nothing is known of the records before one.

    Raises
    ------
    UnknownName
        There is no such format.
    """
    if format not in ADAPTERS:
        raise UnknownName("format", format, FORMATS)
    return ADAPTERS[format](source=source, items=items, rules=rules, alone=alone)


def adapt(format: str, record: dict[str, Any], *, source: str = "", row: int = 1) -> Sequence[Mapped]:
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
