"""The rows of figure tables, summed over many events: `retailpulse_kernel.shop.fold` for long topics.

What an event adds to a figure comes from the figure's definition (`Figure.of_event`) and is looked up
where an event of the same type, price and quantity has been seen before. Arrow adds it up by key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import PLACES, Value
from retailpulse_kernel.shop.messages import EVENT_TYPES
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.shop.windows import common

__all__ = ["LIMITS", "TIME", "Facts", "Key", "Limits", "TableSums"]

#: The start of a window in epoch milliseconds, then the dimensions.
Key = tuple[Any, ...]

#: The column of an event's time, later of its window's start, in epoch milliseconds.
TIME: Final = "time_ms"
#: The column of how often there is a value in a sketch that counts; no figure has such a name.
_TIMES: Final = "#times"

#: Of what an event adds: decimals with room for sums, times as `TIME` has them. Sketches prepare values of their own.
_TYPES: Final = {
    Value.WHOLE: pa.int64(),
    Value.DECIMAL: pa.decimal128(38, PLACES),
    Value.TIME: pa.timestamp("ms", tz="UTC"),
}


class Limits(NamedTuple):
    """How much is kept in memory at most.

    Attributes
    ----------
    events : int
        Events that are summed at once.
    shapes : int
        Sorts of event that are remembered with what they add: prices could be as many as events.
    waiting : int
        Rows that wait before they are combined with the others of their keys.
    """

    events: int = 20_000
    shapes: int = 50_000
    waiting: int = 500_000


#: What fits into the memory of a small machine.
LIMITS: Final = Limits()


class Facts:
    """Makes Arrow columns of events: time, dimensions, and what each event adds to each figure.

    Parameters
    ----------
    tables : iterable of FigureTable
        Whose dimensions and figures.
    limits : Limits
        How many sorts of event are remembered.
    """

    def __init__(self, tables: Iterable[FigureTable], limits: Limits = LIMITS) -> None:
        self._limits = limits
        tables = list(tables)
        figures = list({figure.name: figure for table in tables for figure in table.figures}.values())
        self._dimensions = sorted({dimension for table in tables for dimension in table.by})
        self._additive = [figure for figure in figures if figure.rules.is_added]
        self._others = [figure for figure in figures if not figure.rules.is_added]
        self._shape_of = _getter(_columns_of(self._additive))
        self._shapes: dict[Key, int] = {}
        self._adds: list[list[Any]] = [[] for _ in self._additive]

    def __call__(self, events: Sequence[Event], times_ms: Sequence[int]) -> pa.Table:
        """The columns of some events."""
        times = pa.array(times_ms, pa.int64())
        columns = {TIME: times}
        columns |= {name: pa.array([getattr(e, name) for e in events], pa.string()) for name in self._dimensions}
        shapes = pa.array(self._shapes_of(events), pa.int32())
        for figure, adds in zip(self._additive, self._adds, strict=True):
            columns[figure.name] = pa.array(adds, _TYPES[figure.rules.value]).take(shapes)
        for figure in self._others:
            if figure.rules.value is Value.TIME and not figure.where and figure.measure.of == "event_time":
                columns[figure.name] = times.cast(_TYPES[figure.rules.value])
            else:
                adds = [figure.of_event(e) for e in events]
                sketch, type_ = figure.rules.sketch, _TYPES.get(figure.rules.value)
                columns[figure.name] = pa.array(adds, type_) if sketch is None else sketch.prepared(adds)
        columns[_TIMES] = pa.repeat(pa.scalar(1, pa.int64()), len(times))
        return pa.table(columns)

    def _shapes_of(self, events: Sequence[Event]) -> list[int]:
        if len(self._shapes) > self._limits.shapes:
            self._shapes.clear()
            for adds in self._adds:
                adds.clear()
        known, shape_of, places = self._shapes, self._shape_of, []
        for event in events:
            shape = shape_of(event)
            place = known.get(shape)
            if place is None:
                place = known[shape] = len(known)
                for figure, adds in zip(self._additive, self._adds, strict=True):
                    adds.append(figure.of_event(event) or 0)
            places.append(place)
        return places


class TableSums:
    """The rows of one figure table.

    Parameters
    ----------
    table : FigureTable
        Which figures by which dimensions in which windows.
    limits : Limits
        How many rows wait.
    """

    def __init__(self, table: FigureTable, limits: Limits = LIMITS) -> None:
        self.table, self._limits = table, limits
        self._finest = common(table.every)
        self._users = [figure for figure in table.figures if figure.rules.value is Value.SKETCH]
        self._figures = [figure for figure in table.figures if figure not in self._users]
        #: By figure of users (None: all others), the parts that are to be combined.
        self._parts: dict[Figure | None, list[pa.Table]] = {None: [], **{figure: [] for figure in self._users}}

    def add(self, facts: pa.Table) -> None:
        """Add events, in the columns of `Facts`.

        Parameters
        ----------
        facts : pyarrow.Table
            What `Facts` gave for some events.
        """
        facts = _windowed(facts, self._finest)
        for users, parts in self._parts.items():
            parts.append(self._combined(facts, users))
            # The first part is what was combined before: each row is gone through a few times only.
            if sum(part.num_rows for part in parts[1:]) > max(self._limits.waiting, parts[0].num_rows):
                parts[:] = [self._combined(pa.concat_tables(parts), users)]

    def rows(self, grain: Grain, start_ms: int | None = None, end_ms: int | None = None) -> dict[Key, tuple[Any, ...]]:
        """The figures by key, of the windows of one grain that lie within a range; users as a sketch.

        Parameters
        ----------
        grain : Grain
            How long the windows are: a width of the table's.
        start_ms, end_ms : int, optional
            The range, without its end, in milliseconds since 1970; None is not a bound.
        """
        columns: dict[str, Any] = {}
        keys: list[Key] = []
        for users, parts in self._parts.items():
            if not parts:
                return {}
            wide = _within(_windowed(pa.concat_tables(parts), grain), grain, start_ms, end_ms)
            combined = self._combined(wide, users)
            found = list(zip(*(combined[name].to_pylist() for name in self._key), strict=True))
            if users is None:
                keys = found
                columns = {figure.name: combined[figure.name].to_pylist() for figure in self._figures}
            else:
                sketch, names = users.rules.sketching, defaultdict(list)
                times = combined[_TIMES].to_pylist() if sketch.is_counted else repeat(1)
                for key, name, often in zip(found, combined[users.name].to_pylist(), times, strict=False):
                    names[key].append(repeat(name, often))
                columns[users.name] = [sketch.of(chain.from_iterable(names[key])) for key in keys]
        values = zip(*(columns[figure.name] for figure in self.table.figures), strict=True)
        return dict(zip(keys, values, strict=True))

    @property
    def _key(self) -> list[str]:
        return [TIME, *self.table.by]

    def _combined(self, facts: pa.Table, users: Figure | None) -> pa.Table:
        """One row for each key, or for each key and what a sketch tells apart."""
        if users is not None:
            told_apart = facts.filter(pc.is_valid(facts[users.name]))
            counted = told_apart.group_by([*self._key, users.name])
            if not users.rules.sketching.is_counted:
                return counted.aggregate([])
            summed = counted.aggregate([(_TIMES, "sum")])
            return summed.rename_columns([*self._key, users.name, _TIMES])
        # Users are told apart instead, as a part of the key.
        how = [(figure.name, str(figure.rules.combination)) for figure in self._figures]
        combined = facts.group_by(self._key).aggregate(how)
        return combined.select([*self._key, *(f"{name}_{by}" for name, by in how)]).rename_columns(
            [*self._key, *(name for name, _ in how)]
        )


def _windowed(facts: pa.Table, grain: Grain) -> pa.Table:
    """Times as the starts of their windows."""
    starts = grain.starts(_times(facts), per_second=1000)
    return facts.set_column(facts.column_names.index(TIME), TIME, pa.array(starts))


def _times(facts: pa.Table) -> Any:
    return facts[TIME].combine_chunks().to_numpy(zero_copy_only=False)


def _within(facts: pa.Table, grain: Grain, start_ms: int | None, end_ms: int | None) -> pa.Table:
    """Only windows that lie within a range."""
    if start_ms is not None:
        facts = facts.filter(pc.greater_equal(facts[TIME], start_ms))
    if end_ms is not None:
        facts = facts.filter(pa.array(grain.ends(_times(facts), per_second=1000) <= end_ms))
    return facts


def _getter(columns: Iterable[str]) -> Callable[[Event], Key]:
    """The columns of an event as a tuple, however many they are."""
    names = tuple(columns)
    if len(names) < 2:
        return lambda event: tuple(getattr(event, name) for name in names)
    return attrgetter(*names)


def _columns_of(figures: Iterable[Figure]) -> list[str]:
    """The event's columns on which what it adds depends."""
    names = {name for figure in figures for name in figure.names}
    # What is not a column is an event type.
    return sorted({"event_type" if name in EVENT_TYPES else name for name in names})
