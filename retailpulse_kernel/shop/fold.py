"""The figures of events by a plain loop: the truth that every store is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from retailpulse_kernel.shop import sketches
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import Kind
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row

__all__ = ["fold"]


def fold(events: Iterable[Event], table: FigureTable, grain: Grain) -> list[Row]:
    """The rows of a figure table for some events, each event counted as often as it is given.

    Parameters
    ----------
    events : iterable of Event
        Deduplicated by the caller.
    table : FigureTable
        Which figures by which dimensions.
    grain : Grain
        In which windows.
    """
    parts: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        key = (grain.start(event.event_time), *(getattr(event, dimension) for dimension in table.by))
        sums = parts.get(key)
        if sums is None:
            sums = parts[key] = {figure.name: _nothing(figure) for figure in table.figures}
        for figure in table.figures:
            value = figure.of_event(event)
            if value is None:
                continue
            if figure.measure.kind in (Kind.USERS, Kind.DISTINCT):
                sums[figure.name].add(value)
            else:
                sums[figure.name] = figure.combine((sums[figure.name], value))
    return [
        {
            **dict(zip(table.key_columns(grain), key, strict=True)),
            **{name: sketches.of(value) if isinstance(value, set) else value for name, value in sums.items()},
        }
        for key, sums in parts.items()
    ]


def _nothing(figure: Figure) -> Any:
    match figure.measure.kind:
        case Kind.COUNT | Kind.SUM | Kind.VALUES:
            return 0
        case Kind.MONEY:
            return Decimal(0)
        case Kind.USERS | Kind.DISTINCT:
            return set()
        case _:
            return None
