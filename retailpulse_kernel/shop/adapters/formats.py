"""The formats by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.shop.adapters.base import Adapter, Rules
from retailpulse_kernel.shop.adapters.declared import declared, shipped_formats
from retailpulse_kernel.shop.adapters.ga4 import GA4
from retailpulse_kernel.shop.adapters.records import Mapped
from retailpulse_kernel.shop.adapters.rees46 import Rees46
from retailpulse_kernel.shop.adapters.retailpulse import RetailPulse
from retailpulse_kernel.shop.adapters.retailrocket import RetailRocket
from retailpulse_kernel.shop.adapters.segment import Segment
from retailpulse_kernel.shop.adapters.snowplow import Snowplow
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat
from retailpulse_kernel.shop.contract.mapping.items import Items

__all__ = ["FORMATS", "adapt", "adapter", "adapters_of"]

KINDS: Final[tuple[type[Adapter], ...]] = (RetailPulse, Rees46, RetailRocket, GA4, Segment, Snowplow)

_ADAPTERS: Final = {kind.name: kind for kind in (*KINDS, *map(declared, shipped_formats()))}
FORMATS: Final = tuple(_ADAPTERS)


def adapters_of(own: Sequence[RecordFormat]) -> dict[str, type[Adapter]]:
    """The adapters of all formats by name.

    Parameters
    ----------
    own : sequence of RecordFormat
        The formats that a shop's contract describes.
    """
    return _ADAPTERS | {one.name: declared(one) for one in own}


def adapter(
    format: str,
    *,
    source: str = "",
    items: Items | None = None,
    rules: Rules | None = None,
    alone: bool = False,
    own: Sequence[RecordFormat] = (),
) -> Adapter:
    """The adapter of a format.

    Parameters
    ----------
    format : str
        One of `FORMATS`, or one of the shop's own.
    source : str
        What an event id starts with where the format has none of its own.
    items : Items, optional
        Category and price by product, for a format whose events lack them (RetailRocket).
    rules : Rules, optional
        Choices where shops differ.
    alone : bool
        Whether nothing is known of the records before one.
    own : sequence of RecordFormat
        The formats that the shop's contract describes.

    Raises
    ------
    UnknownName
        There is no such format.
    """
    known = adapters_of(own)
    if format not in known:
        raise UnknownName("format", format, known)
    return known[format](source=source, items=items, rules=rules, alone=alone)


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
