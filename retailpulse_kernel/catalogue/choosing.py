"""Which table answers a question about figures: the cheapest that keeps them by the dimensions, in windows that fit.

Tables that are written come before those of a job that has not run here, tables of all events before those of a job
that counts only some, tables with windows that are narrow enough for the range before others, and promoted ones before
drafts. Among equals, the one with the fewest keys is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from retailpulse_kernel.answers.base_figures import is_based
from retailpulse_kernel.answers.conversion import within_days
from retailpulse_kernel.answers.ranges import fitting
from retailpulse_kernel.answers.reading import chosen_figures
from retailpulse_kernel.catalogue.rates import require_rates
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UnknownName, UsageError, did_you_mean
from retailpulse_kernel.shop.figures import FIGURES, Figure, Ratio, parts_of
from retailpulse_kernel.shop.tables import CATEGORY, FigureTable, Grain
from retailpulse_kernel.stores.frames import CATEGORIES
from retailpulse_kernel.streaming.plan.data import FigurePlan

__all__ = ["Question", "choose", "choose_each"]

#: How many times as many keys a dimension makes, roughly: few categories, many users.
_FEW, _MANY = 10, 1_000
#: Parts of a range that windows may be wide: the ends of `last="1h"` are then off by a minute at most.
_PARTS = 60


@dataclass(frozen=True)
class Question:
    """What is asked of figures.

    Attributes
    ----------
    figures : tuple
        Names or definitions; those that the dashboards show when empty.
    dimensions : tuple of str
        What the answer goes by, and what it is filtered by; ``bucket`` is none.
    every : Grain, optional
        The windows of a series.
    since, until : datetime, optional
        The range, where each end must be the start of a window.
    span : timedelta, optional
        How long the range is, where its ends may be moved to the start of a window.
    """

    figures: tuple[str | Figure | Ratio, ...] = ()
    dimensions: tuple[str, ...] = ()
    every: Grain | None = None
    since: datetime | None = None
    until: datetime | None = None
    span: timedelta | None = None


@dataclass(frozen=True)
class Choice:
    """The table that answers.

    Attributes
    ----------
    entry : TableEntry
        The table, with its job.
    table : FigureTable
        The same, to be read, with those of its windows that answer.
    figures : tuple of Figure or Ratio
        What is asked, as the table keeps it.
    """

    entry: TableEntry
    table: FigureTable
    figures: tuple[Figure | Ratio, ...]

    @property
    def words(self) -> str:
        """Which table it is and who writes it, for people."""
        entry = self.entry
        only = f", which counts only events with {' and '.join(entry.conditions)}" if entry.conditions else ""
        return f"From the table {entry.name!r} in {entry.store} ({entry.writer}){only}"


def choose(catalogue: Catalogue, question: Question, *, table: str | None = None) -> Choice:
    """The table that answers a question.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    question : Question
        What is asked.
    table : str, optional
        The table that must answer.

    Raises
    ------
    UnknownName
        No table keeps such a figure, or the one that was named does not go by such a dimension.
    UsageError
        No table keeps all of it; or several keep other figures under the same name.
    """
    entries = _offered(catalogue, table, question)
    known = _ratios(entries)
    figures = tuple(known.get(one, one) if isinstance(one, str) else one for one in question.figures)
    keeping = _keeping(entries, figures)
    going = [choice for choice in keeping if set(question.dimensions) <= set(choice.table.by)]
    if not going:
        raise _not_by(keeping, question)
    going = _dated(going, catalogue)
    ranked = sorted(_fitting(going, question), key=lambda choice: _rank(catalogue, choice, question))
    _refuse_two_meanings(catalogue, ranked, question)
    return ranked[0]


def choose_each(catalogue: Catalogue, question: Question, *, table: str | None = None) -> list[Choice]:
    """The tables that answer a question: one where one keeps all figures, or else the best for each figure.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    question : Question
        What is asked.
    table : str, optional
        The table that must answer.

    Raises
    ------
    UnknownName, UsageError
        As `choose`.
    """
    try:
        return [choose(catalogue, question, table=table)]
    except UsageError as error:
        if table is not None or len(question.figures) < 2:
            raise
        try:
            each = [choose(catalogue, replace(question, figures=(figure,))) for figure in question.figures]
        except UnknownName:
            raise
        except UsageError:
            raise error from None
    found: dict[str, Choice] = {}
    for choice in each:
        place = f"{choice.entry.store}/{choice.entry.name}"
        before = found[place].figures if place in found else ()
        found[place] = replace(choice, figures=(*before, *choice.figures))
    return list(found.values())


def _offered(catalogue: Catalogue, table: str | None, question: Question) -> list[TableEntry]:
    """The tables that may answer: without a figure to look for, the one that the dashboards show."""
    kept = list(catalogue.figures)
    wanted = CATEGORY.name if table is None and not question.figures else table
    if wanted is None:
        return kept
    found = [entry for entry in kept if entry.name == wanted]
    if not found:
        raise UnknownName("table of figures", wanted, {entry.name for entry in kept})
    served = [entry for entry in found if catalogue.is_served(entry)]
    return served or found


def _ratios(entries: Iterable[TableEntry]) -> dict[str, Ratio]:
    """What is divided of two figures, by its name: any table that keeps both parts can be asked for it."""
    found = {ratio.name: ratio for entry in entries if entry.figures for ratio in entry.figures.ratios}
    return {**found, **{name: one for name, one in FIGURES.items() if isinstance(one, Ratio)}}


def _keeping(entries: Sequence[TableEntry], figures: Sequence[str | Figure | Ratio]) -> list[Choice]:
    """The tables that keep all of the figures."""
    found, refused = [], []
    for entry in entries:
        assert entry.figures is not None
        try:
            found.append(Choice(entry, entry.figures, tuple(chosen_figures(figures, entry.figures))))
        except UsageError as error:
            if len(entries) == 1:
                raise
            if not isinstance(error, UnknownName):
                refused.append(error)
    if found:
        return found
    if refused:
        raise refused[0]
    by_table = {entry.name: [one.name for one in chosen_figures((), entry.figures)] for entry in entries
                if entry.figures}  # fmt: skip
    names = [one if isinstance(one, str) else one.name for one in figures]
    everything = {name for kept in by_table.values() for name in kept}
    for name in names:
        if name not in everything:
            raise UnknownName("figure", name, everything)
    where = "; ".join(f"{name!r} is in {_listed(t for t, kept in by_table.items() if name in kept)}" for name in names)
    raise UsageError(
        f"No table keeps all of {_listed(names)}.", remedy=f"Ask for figures of one table at a time: {where}."
    )


def _dated(choices: Sequence[Choice], catalogue: Catalogue) -> list[Choice]:
    """Choices of which those with figures in the base currency read windows that lie within a business day each."""
    if not any(is_based(figure) for choice in choices for figure in choice.figures):
        return list(choices)
    require_rates(catalogue.contract)
    found: list[Choice] = []
    refused: list[UsageError] = []
    for choice in choices:
        try:
            found.append(replace(choice, table=within_days(choice.table, catalogue.contract)))
        except UsageError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _not_by(keeping: Sequence[Choice], question: Question) -> UsageError:
    """What is said where no table that keeps the figures goes by all dimensions."""
    kept = {name for choice in keeping for name in choice.table.by}
    unknown = [name for name in question.dimensions if name not in kept]
    if len(keeping) == 1 and unknown:
        return UnknownName("dimension", unknown[0], ["bucket", *keeping[0].table.by])
    names = ", ".join(one.name for one in keeping[0].figures)
    by = "; ".join(f"{choice.entry.name!r} goes by {', '.join(choice.table.by)}" for choice in keeping)
    hint = did_you_mean(unknown[0], kept) if unknown else ""
    return UsageError(f"No table keeps {names} by {' and '.join(question.dimensions)}.", remedy=f"{hint}{by}.")


def _fitting(choices: Sequence[Choice], question: Question) -> list[Choice]:
    """Choices whose windows add up to those that are wanted, and begin and end where the range does."""
    found: list[Choice] = []
    refused: list[UsageError] = []
    for choice in sorted(choices, key=lambda one: not one.entry.ran):
        try:
            table = fitting(choice.table, question.since, question.until, question.every)
        except UsageError as error:
            refused.append(error)
        else:
            found.append(replace(choice, table=table))
    # What is said of a table that has been written helps more than one that its job has not written yet.
    if not found or (any(one.entry.ran for one in choices) and not any(one.entry.ran for one in found)):
        raise refused[0]
    return found


def _rank(catalogue: Catalogue, choice: Choice, question: Question) -> tuple[Any, ...]:
    entry, table = choice.entry, choice.table
    served = catalogue.is_served(entry)
    finest = min(one.seconds for one in table.every)
    wide = question.span is not None and finest > max(60, question.span.total_seconds() / _PARTS)
    keys, contract = 1, catalogue.contract.of_topic(entry.topic)
    for name in set(table.by) - set(question.dimensions):
        own = (field := contract.by_name.get(name)) is not None and field.is_own
        keys *= _FEW if name in CATEGORIES or own else _MANY
    is_draft = not (served or entry.is_promoted)
    # A count of payments has the name of a count of events: only where no table of events can, another one answers.
    is_other = not contract.holds_events
    return is_other, not entry.ran, bool(entry.conditions), wide, is_draft, keys, len(table.by), not served, entry.name


def _refuse_two_meanings(catalogue: Catalogue, ranked: Sequence[Choice], question: Question) -> None:
    """Refuse to choose between tables that keep something else under the same name."""
    first = ranked[0]
    of_shop = [figure for figure in parts_of(first.figures) if FIGURES.get(figure.name) == figure]
    if len(of_shop) == len(parts_of(first.figures)) or not question.figures:
        return
    meaning = _meaning(first)
    for other in ranked[1:]:
        if _meaning(other) != meaning and bool(other.entry.conditions) == bool(first.entry.conditions):
            names = ", ".join(figure.name for figure in first.figures)
            raise UsageError(
                f"The tables {first.entry.name!r} and {other.entry.name!r} keep something else under the name {names}.",
                remedy="Name the table that is meant: table=...",
            )


def _meaning(choice: Choice) -> list[FigurePlan]:
    return [FigurePlan.describing(figure) for figure in parts_of(choice.figures)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
