"""Figures as a live view reads them: by their dimensions, and over time by one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from retailpulse_kernel.catalogue.answering import Asking, answer
from retailpulse_kernel.catalogue.choosing import Choice, Question, choose_each
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.live.tables.reading import ROWS, Reading, reach_of, since_words, span_words
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.kinds import Combination, Value
from retailpulse_kernel.shop.personal import is_personal, shows_personal
from retailpulse_kernel.shop.tables import FigureTable, Grain, grain_of
from retailpulse_kernel.stores.base import Store

__all__ = ["FigureSource"]

#: Windows that a line has at most, and widths that a line may have beside those that are stored.
_WINDOWS = 200
_WIDTHS = tuple(map(grain_of, ("minute", "5 minutes", "15 minutes", "hour", "6 hours", "day", "week")))
#: Columns of a frame that say something of a window, and are neither a key nor a figure.
_OF_WINDOWS = ("complete", "corrected")
_NOT_PERSONAL = "Ask for a number of values instead, or read the table with `rp.table`."


@dataclass(frozen=True)
class FigureSource:
    """Figures of whichever table answers; all figures and dimensions of a table where `rows` is set.

    Attributes
    ----------
    asking : Asking
        What is asked; its `by` are the dimensions of a row.
    choices : tuple of Choice
        The tables that answer.
    catalogue : callable
        Gives the tables that there are now.
    store_of : callable
        Gives a store by its name.
    rows : bool
        Whether the view's table shows single windows.
    """

    asking: Asking
    choices: tuple[Choice, ...]
    catalogue: Callable[[], Catalogue] = field(repr=False)
    store_of: Callable[[str], Store] = field(repr=False)
    rows: bool = False

    @classmethod
    def of(
        cls, asking: Asking, catalogue: Callable[[], Catalogue], store_of: Callable[[str], Store], *, rows: bool = False
    ) -> FigureSource:
        """The source of a question, checked before anything is read.

        Parameters
        ----------
        asking : Asking
            What is asked. With `rows`, no `by` stands for all dimensions of the table that it names.
        catalogue : callable
            Gives the tables that there are.
        store_of : callable
            Gives a store by its name.
        rows : bool
            Whether the view's table shows single windows.

        Raises
        ------
        UnknownName
            There is no such figure, dimension or table.
        UsageError
            No table answers, or the figure shows values of a personal field.
        """
        known = catalogue()
        every = grain_of(asking.every, known.contract.shop.calendar) if asking.every else None
        asked = tuple(dict.fromkeys((*asking.by, *asking.where)))
        span = None if asking.last is None else span_of(asking.last)
        choices = tuple(choose_each(known, Question(asking.figures, asked, every, span=span), table=asking.table))
        for name in asked:
            if is_personal(name, known.contract):
                raise UsageError(f"A live view does not show the personal field {name!r}.", remedy=_NOT_PERSONAL)
        if rows:
            kept = (one for one in choices[0].figures if not shows_personal(one, known.contract))
            by = (name for name in asking.by or choices[0].table.by if not is_personal(name, known.contract))
            asking = replace(asking, figures=tuple(one.name for one in kept), by=tuple(by))
            choices = tuple(choose_each(known, Question(asking.figures, asked, every, span=span), table=asking.table))
        for figure in (one for choice in choices for one in choice.figures):
            if shows_personal(figure, known.contract):
                raise UsageError(f"The figure {figure.name!r} shows values of a personal field.", remedy=_NOT_PERSONAL)
        return cls(asking, choices, catalogue, store_of, rows)

    @property
    def title(self) -> str:
        """The figures or the table, and who writes them."""
        names = ", ".join(figure.title for figure in self._figures)
        by = f" by {' and '.join(self.asking.by)}" if self.asking.by and not self.rows else ""
        what = self.choices[0].entry.name if self.rows else f"{names}{by}"
        last = f", last {span_words(self.asking.last)}" if self.asking.last is not None else ""
        where = "; ".join(
            f"{choice.entry.name} in {choice.entry.store}, by {choice.entry.writer}" for choice in self.choices
        )
        return f"{what}{last} ({where})"

    @property
    def dimensions(self) -> Sequence[str]:
        """Those of a row, without the currency: money of different currencies is never added up."""
        return tuple(name for name in self.asking.by if name != "currency")

    @property
    def reach(self) -> timedelta:
        """A day, or 24 times what is shown."""
        return reach_of(None if self.asking.last is None else span_of(self.asking.last))

    @property
    def _figures(self) -> list[Figure | Ratio]:
        return [figure for choice in self.choices for figure in choice.figures]

    @property
    def _finest(self) -> Grain:
        """Windows in which all tables can begin and end."""
        return max((choice.table.finest for choice in self.choices), key=lambda one: one.seconds)

    @property
    def _line(self) -> Grain:
        """The windows of a line: the finest of which there are not too many."""
        if self.asking.every is not None:
            return grain_of(self.asking.every, self.catalogue().contract.shop.calendar)
        tables = [choice.table for choice in self.choices]
        offered = sorted({self._finest, *_WIDTHS, *(one for table in tables for one in table.every)},
                         key=lambda one: one.seconds)  # fmt: skip
        fitting = [grain for grain in offered if all(_adds_up(table, grain) for table in tables)] or [self._finest]
        if self.asking.last is None:
            return fitting[-1]
        span = span_of(self.asking.last)
        return next((grain for grain in fitting if span / grain.width <= _WINDOWS), fitting[-1])

    def read(self, by: str | None, until: datetime | None) -> Reading:
        """Read the figures by their dimensions, and over time by one of them.

        Parameters
        ----------
        by : str, optional
            The dimension that is drawn; none when empty, the first when absent.
        until : datetime, optional
            The end of the range; now when absent.
        """
        by = next(iter(self.dimensions), "") if by is None else by
        catalogue, line = self.catalogue(), self._line
        asking = self._moved(until)
        # The whole answer has one currency a row, if any.
        drawn = tuple(name for name in (by,) if name)
        totals = answer(catalogue, replace(asking, by=drawn, every=None), self.store_of)
        series = answer(catalogue, replace(asking, by=("bucket", *drawn), every=line.name), self.store_of)
        if self.rows:
            windows = asking.every or self._finest.name
            frame = answer(catalogue, replace(asking, by=("bucket", *asking.by), every=windows), self.store_of)
            frame = frame.sort_values("bucket", ascending=False, kind="stable", ignore_index=True)
        else:
            frame = totals if self.asking.by == drawn else answer(catalogue, asking, self.store_of)
        figures, found = self._figures, [(choice.entry, one) for choice in self.choices for one in choice.figures]
        keys = [name for name in frame.columns if name not in {one.name for one in figures} and name not in _OF_WINDOWS]
        notes = [f"The newest {ROWS:,} of {len(frame):,} rows."] if len(frame) > ROWS else []
        if words := totals.attrs.get("conversion"):
            notes.append(words)
        if late := totals.attrs.get("late"):
            notes.append(f"Late events that were added: {late['events']:,}, the last at {late['corrected_at']}.")
        if not len(frame):
            notes.append(f"No events{since_words(self.asking.last)}.")
        return Reading(
            frame=frame.head(ROWS),
            key=tuple(keys),
            totals=totals,
            series=series,
            time="bucket",
            by=by,
            numbers={
                one.name: f"{one.title} (estimated)" if entry.is_estimated(one) else one.title for entry, one in found
            },
            money=frozenset(one.name for entry, one in found if entry.may_be_money(one)),
            additive=frozenset(one.name for one in figures if _is_additive(one)),
            width=line.width,
            dimensions=tuple(self.dimensions),
            notes=tuple(notes),
        )

    def _moved(self, until: datetime | None) -> Asking:
        """What is asked of an earlier range, which ends where windows do."""
        if until is None:
            return self.asking
        line = self._line
        finest = max((choice.table.parts(line)[-1] for choice in self.choices), key=lambda one: one.seconds)
        end = finest.start(until)
        start = None if self.asking.last is None else finest.start(end - span_of(self.asking.last))
        return replace(self.asking, last=None, since=start, until=end)


def _is_additive(figure: Figure | Ratio) -> bool:
    if isinstance(figure, Ratio):
        return False
    rules = figure.rules
    return rules.combination is Combination.SUM and rules.value in (Value.WHOLE, Value.DECIMAL)


def _adds_up(table: FigureTable, grain: Grain) -> bool:
    try:
        table.parts(grain)
    except UsageError:
        return False
    return True
