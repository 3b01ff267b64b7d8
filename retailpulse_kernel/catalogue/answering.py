"""Figures of any range by any dimensions, from whichever table of the catalogue keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from retailpulse_kernel.answers.ranges import Extent, minutes_of
from retailpulse_kernel.answers.reading import grouped_frame, read_rows
from retailpulse_kernel.catalogue.choosing import Question, choose
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import moment_of, span_of
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.tables import grain_of
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
    """Figures as a frame, from the table that answers at the least cost.

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
    choice = choose(catalogue, Question(asking.figures, dimensions, every, since, until, last), table=asking.table)
    table = choice.table
    finest, widest = (pick(table.every, key=lambda one: one.seconds) for pick in (min, max))
    begin, end = minutes_of(asking.last, asking.since, asking.until, finest)
    grain = every or (finest if last is not None else widest)
    grouped_frame((), asking.by, table, choice.figures)  # a wrong name is told before anything is read
    if not catalogue.is_served(choice.entry) and asking.table is None:
        say(f"{choice.words}.")
    # A store may give what lies below a category, too: which values are meant is checked here.
    rows = read_rows(
        cast("FigureStore", store_of(choice.entry.store)), table, since=begin, until=end, grain=grain,
        figures=parts_of(choice.figures), only=asking.where or None,
    )  # fmt: skip
    kept = (row for row in rows if all(row[name] in values for name, values in asking.where.items()))
    frame = grouped_frame(kept, asking.by, table, choice.figures, Extent(grain, begin, end, datetime.now(UTC)))
    attributes: dict[str, Any] = {"since": begin and begin.isoformat(), "until": end and end.isoformat()}
    frame.attrs |= {**attributes, "table": choice.entry.name}
    return frame
