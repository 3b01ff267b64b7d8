"""Figures of any range by any dimensions, from whichever table of the catalogue keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from retailpulse_kernel.answers.base_figures import is_based, stored_parts
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.ranges import Extent, minutes_of
from retailpulse_kernel.answers.reading import figure_frame, grouped, keys_of, read_rows
from retailpulse_kernel.catalogue.choosing import Choice, Question, choose_each
from retailpulse_kernel.catalogue.completeness import complete_until
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import moment_of, span_of
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.tables import Grain, Row, grain_of
from retailpulse_kernel.stores.base import FigureStore, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Asking", "answer"]


@dataclass(frozen=True)
class Asking:
    """What `rp.figures` was asked; its parameters have the same names."""

    figures: tuple[str | Figure | Ratio, ...] = ()
    by: tuple[str, ...] = ("category",)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last: str | timedelta | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    every: str | None = None
    table: str | None = None


def answer(catalogue: Catalogue, asking: Asking, store_of: Callable[[str], Store]) -> pd.DataFrame:
    """Figures as a frame, from the table that answers at the least cost, or from several where none keeps them all.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    asking : Asking
        What is asked.
    store_of : callable
        Gives a store by its name.

    Raises
    ------
    UnknownName
        There is no such figure, dimension or table.
    UsageError
        No table answers, or the range is empty or does not fit its windows.
    """
    every = grain_of(asking.every) if asking.every else None
    dimensions = tuple(name for name in dict.fromkeys((*asking.by, *asking.where)) if name != "bucket")
    last = None if asking.last is None else span_of(asking.last)
    since, until = (None, None) if last is not None else (moment_of(asking.since), moment_of(asking.until))
    question = Question(asking.figures, dimensions, every, since, until, last)
    choices = choose_each(catalogue, question, table=asking.table)
    keys = _same_keys(choices, asking.by)
    conversion = catalogue.conversion() if any(map(is_based, _in_order(choices, ()))) else None
    # Windows in which all tables can begin and end.
    finest = max((_width(choice, min) for choice in choices), key=lambda one: one.seconds)
    widest = min((_width(choice, max) for choice in choices), key=lambda one: one.seconds)
    begin, end = minutes_of(asking.last, asking.since, asking.until, finest)
    grain = every or (finest if last is not None else max(finest, widest, key=lambda one: one.seconds))
    rows: dict[tuple[Any, ...], Row] = {}
    for choice in choices:
        if asking.table is None and not catalogue.is_served(choice.entry):
            say(f"{choice.words}.")
        store = cast("FigureStore", store_of(choice.entry.store))
        for row in _read(store, choice, asking, keys, grain, begin, end, conversion):
            rows.setdefault(tuple(row[key] for key in keys), {}).update(row)
    figures = _in_order(choices, asking.figures)
    entries = [choice.entry for choice in choices]
    extent = Extent(grain, begin, end, complete_until(catalogue, entries)) if "bucket" in keys else None
    frame = figure_frame([rows[key] for key in sorted(rows)], keys, figures, extent)
    names = ", ".join(choice.entry.name for choice in choices)
    frame.attrs |= {"since": begin and begin.isoformat(), "until": end and end.isoformat(), "table": names}
    if conversion is not None:
        frame.attrs |= conversion.attributes
        if conversion.words:
            say(conversion.words)
    return frame


def _read(
    store: FigureStore, choice: Choice, asking: Asking, keys: Sequence[str], grain: Grain, begin: datetime | None,
    end: datetime | None, conversion: Conversion | None,
) -> list[Row]:  # fmt: skip
    """The figures of one table, summed up."""
    try:
        rows = read_rows(
            store, choice.table, since=begin, until=end, grain=grain, figures=stored_parts(choice.figures),
            only=asking.where or None,
        )  # fmt: skip
    except NoSuchTable as error:
        raise choice.entry.absent from error
    # A store gives what lies below a category, too: which values are meant is checked here.
    kept: Iterable[Row] = (row for row in rows if all(row[name] in values for name, values in asking.where.items()))
    if conversion is not None:
        kept = conversion.rows(kept, choice.figures, [grain.name for grain in choice.table.every])
    return grouped(kept, keys, choice.table, choice.figures)


def _same_keys(choices: Sequence[Choice], by: Sequence[str]) -> list[str]:
    """The keys of the answer; tables that have others can't stand in one frame."""
    first, *others = choices
    figures = _in_order(choices, ())
    keys = keys_of(by, first.table, figures)
    for other in others:
        if keys_of(by, other.table, figures) != keys:
            raise UsageError(
                f"The tables {first.entry.name!r} and {other.entry.name!r} can't answer together: only one of them "
                "goes by currency.",
                remedy="Ask for the figures of each table by themselves.",
            )
    return keys


def _width(choice: Choice, pick: Callable[..., Grain]) -> Grain:
    return pick(choice.table.every, key=lambda one: one.seconds)


def _in_order(choices: Sequence[Choice], asked: Sequence[str | Figure | Ratio]) -> list[Figure | Ratio]:
    """The figures in the order in which they were asked for."""
    found = {figure.name: figure for choice in choices for figure in choice.figures}
    names = [one if isinstance(one, str) else one.name for one in asked] or list(found)
    return [found[name] for name in dict.fromkeys(names)]
