"""The rows of a figure table, summed event by event: `retailpulse_kernel.fold` for long topics.

The same definitions (`Figure.of_event`, `Figure.combine`), with two savings: what an event adds is
looked up where an event of the same type, price and quantity has been seen before, and only the
finest windows are summed from events; the wider ones are combined from them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any

from retailpulse_kernel import sketches
from retailpulse_kernel.events import Event
from retailpulse_kernel.metrics import Figure, Kind
from retailpulse_kernel.tables import FigureTable, Grain

__all__ = ["Key", "TableSums"]

#: The start of a window in epoch milliseconds, then the dimensions.
Key = tuple[Any, ...]

_ADDITIVE = (Kind.COUNT, Kind.SUM, Kind.MONEY)
#: Different events that are remembered with what they add; prices could be as many as events.
_MOST_SHAPES = 100_000


class TableSums:
    """The rows of one figure table.

    Parameters
    ----------
    table : FigureTable
        Which figures by which dimensions in which windows.
    """

    def __init__(self, table: FigureTable) -> None:
        self.table = table
        self._finest = min(table.every, key=lambda grain: grain.seconds)
        self._width_ms = self._finest.seconds * 1000
        self._rows: dict[Key, list[Any]] = {}
        self._dimensions = _getter(table.by)
        additive = [f for f in table.figures if f.measure.kind in _ADDITIVE]
        self._additive = [(i, f) for i, f in enumerate(table.figures) if f in additive]
        self._others = [(i, f, _column(f)) for i, f in enumerate(table.figures) if f not in additive]
        self._shape = _getter(_columns_of(additive))
        self._adds: dict[Key, list[tuple[int, Any]]] = {}
        self._names: dict[str, str] = {}

    def add(self, event: Event, event_ms: int) -> None:
        """Count one event; `event_ms` is its time in epoch milliseconds."""
        key = (event_ms - event_ms % self._width_ms, *self._dimensions(event))
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._nothing()
        shape = self._shape(event)
        adds = self._adds.get(shape)
        if adds is None:
            adds = self._adds_of(event, shape)
        for i, value in adds:
            row[i] += value
        for i, figure, column in self._others:
            value = column(event) if column else figure.of_event(event)
            if value is None:
                continue
            if figure.measure.kind is Kind.USERS:
                row[i].append(self._names.setdefault(value, value))
            else:
                row[i] = value if row[i] is None else _EXTREME[figure.measure.kind](row[i], value)

    def rows(self, grain: Grain, start_ms: int | None = None, end_ms: int | None = None) -> dict[Key, tuple[Any, ...]]:
        """The figures by key, of the windows of one grain that lie within a range; users as a sketch."""
        width_ms = grain.seconds * 1000
        wide: dict[Key, list[Any]] = {}
        for (moment, *dimensions), values in self._rows.items():
            start = moment - moment % width_ms
            if (start_ms is not None and start < start_ms) or (end_ms is not None and start + width_ms > end_ms):
                continue
            key = (start, *dimensions)
            if key in wide:
                self._take_in(wide[key], values)
            else:
                wide[key] = [[*value] if isinstance(value, list) else value for value in values]
        return {key: tuple(sketches.of(v) if isinstance(v, list) else v for v in row) for key, row in wide.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def _take_in(self, row: list[Any], more: list[Any]) -> None:
        for i, figure in enumerate(self.table.figures):
            if figure.measure.kind is Kind.USERS:
                row[i].extend(more[i])
            else:
                row[i] = figure.combine((row[i], more[i]))

    def _adds_of(self, event: Event, shape: Key) -> list[tuple[int, Any]]:
        if len(self._adds) >= _MOST_SHAPES:
            self._adds.clear()
        adds = [(i, value) for i, figure in self._additive if (value := figure.of_event(event))]
        self._adds[shape] = adds
        return adds

    def _nothing(self) -> list[Any]:
        return [_NOTHING[f.measure.kind] if f.measure.kind is not Kind.USERS else [] for f in self.table.figures]


_NOTHING: dict[Kind, Any] = {
    Kind.COUNT: 0, Kind.SUM: 0, Kind.MONEY: Decimal(0), Kind.FIRST: None, Kind.LAST: None,
}  # fmt: skip
_EXTREME = {Kind.FIRST: min, Kind.LAST: max}


def _getter(columns: Iterable[str]) -> Callable[[Event], Key]:
    """The columns of an event as a tuple, however many they are."""
    names = tuple(columns)
    if len(names) < 2:
        return lambda event: tuple(getattr(event, name) for name in names)
    return attrgetter(*names)


def _columns_of(figures: Iterable[Figure]) -> list[str]:
    """The event's columns on which what it adds depends."""
    texts = [text for figure in figures for text in (figure.measure.of, figure.where) if text]
    names = {node.id for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    # What is no column is an event type.
    return sorted({name if name in Event.__struct_fields__ else "event_type" for name in names})


def _column(figure: Figure) -> Callable[[Event], Any] | None:
    """A direct way to the column that a figure is about; None where it takes more than that."""
    return attrgetter(figure.measure.of) if not figure.where and figure.measure.of.isidentifier() else None
