"""Why a figure moved: the two ranges, the tables that know its dimensions, and the dimension that explains best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.answers.base_figures import is_based
from retailpulse_kernel.answers.comparing import missing_words
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.ranges import minutes_of
from retailpulse_kernel.answers.referencing import references_of
from retailpulse_kernel.catalogue.choosing import Choice
from retailpulse_kernel.catalogue.completeness import complete_until
from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import PERIODS, range_of, span_of
from retailpulse_kernel.insight.against import Against, Ranges, ranges_of
from retailpulse_kernel.insight.breakdown import Breakdown, breakdown_of, change_between
from retailpulse_kernel.insight.effects import Decomposition
from retailpulse_kernel.insight.explanation import Explanation
from retailpulse_kernel.insight.reading import Both, Reader
from retailpulse_kernel.insight.splitting import decomposition_of, places_of
from retailpulse_kernel.insight.tables import Tables
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.stores.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Asked", "explain"]


@dataclass(frozen=True)
class Asked:
    """What `rp.why` was asked; its parameters have the same names."""

    figure: str | Figure | Ratio
    by: tuple[str, ...] = ()
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last: str | timedelta | None = None
    since: str | datetime | None = None
    until: str | datetime | None = None
    against: Against = "previous"
    currency: str | None = None
    table: str | None = None
    scale: bool = False
    top: int | None = 10


def explain(
    catalogue: Catalogue,
    asked: Asked,
    store_of: Callable[[str], Store],
    rows_of: Callable[[str], pa.Table] | None = None,
    ranges: Ranges | None = None,
) -> Explanation:
    """Why a figure moved, by the dimensions that are asked for, or by all that its tables have.

    Parameters
    ----------
    catalogue : Catalogue
        The tables that there are.
    asked : Asked
        The question.
    store_of : callable
        Gives a store by its name.
    rows_of : callable, optional
        Gives the rows of a reference table by its name.
    ranges : Ranges, optional
        Both ranges, where they are known already.

    Raises
    ------
    UnknownName
        There is no such figure, dimension, table or comparison.
    UsageError
        The figure does not add up, the ranges can't be compared, or nothing happened in them.
    """
    where = dict(asked.where) | ({} if asked.currency is None else {"currency": [asked.currency]})
    references = references_of(catalogue.contract, [*asked.by, *where], rows_of)
    span = None if asked.last is None or asked.last in PERIODS else span_of(asked.last)
    calendar = catalogue.contract.shop.calendar
    ends = (None, None) if span is not None else range_of(asked.last, asked.since, asked.until, calendar=calendar)
    tables = Tables(catalogue, asked.figure, asked.by, where, references, *ends, span, asked.table)
    (figure,) = tables.main.figures
    ranges = ranges or _ranges(catalogue, tables.main, asked)
    places = places_of(figure, is_scaled=ranges.scale != 1)
    currency = asked.currency
    notes: list[str] = []
    read: list[_Read] = []
    for choice, names in tables.plans(ranges):
        decomposition = decomposition_of(choice.figures[0], choice.table)
        # Each table has a conversion of its own, which counts what has no rate.
        conversion = catalogue.conversion() if is_based(figure) else None
        reader = Reader(where, references, store_of, conversion)
        try:
            both = reader.read(choice, decomposition.parts, ranges)
        except NoSuchTable:
            if asked.by or not read:
                raise
            continue  # its job has not run yet, and nobody asked for its dimensions
        if tables.is_money:
            currency = currency or _currency(both, catalogue, notes)
            both = both.of(currency)
        read.append(_Read(choice, tuple(names), decomposition, both, ranges.scale, places, conversion))
    first, *others = read
    before, after = _known(first.totals, figure, ranges)
    notes += _missing(first.both, ranges)
    notes += [one.doubt(first) for one in others if one.totals != first.totals]
    notes += _remarks(catalogue, tables, ranges, first.conversion)
    for note in notes:
        say(note)
    found = [one for each in read if each.totals == first.totals for one in each.breakdowns()]
    found.sort(key=lambda one: (-one.apart, len(one.movers), one.dimension))
    base = first.conversion.base if first.conversion else figure.unit
    unit = currency if tables.is_money and currency else base

    def again(by: tuple[str, ...], further: Mapping[str, Sequence[str]]) -> Explanation:
        question = replace(asked, by=by, where={**asked.where, **further}, currency=currency)
        return explain(catalogue, question, store_of, rows_of, ranges)

    return Explanation(
        figure.name, figure.title, unit, ranges, before, after, tuple(found), where, tuple(notes), asked.top, places,
        again,
    )  # fmt: skip


@dataclass(frozen=True)
class _Read:
    """What was read of one table."""

    choice: Choice
    names: tuple[str, ...]
    decomposition: Decomposition
    both: Both
    scale: Fraction
    places: int
    conversion: Conversion | None

    @cached_property
    def totals(self) -> tuple[Fraction | None, Fraction | None]:
        """The whole figure in both ranges."""
        return change_between(self.decomposition, *self.both.by("", self.scale), self.places)

    def breakdowns(self) -> list[Breakdown]:
        """The change by each dimension."""
        return [
            breakdown_of(name, self.decomposition, *self.both.by(name, self.scale), self.places) for name in self.names
        ]

    def doubt(self, main: _Read) -> str:
        """Why the table explains nothing."""
        return (
            f"The table {self.choice.entry.name!r} has another total than {main.choice.entry.name!r}, so "
            f"{', '.join(self.names)} can't explain the change."
        )


def _ranges(catalogue: Catalogue, choice: Choice, asked: Asked) -> Ranges:
    """Both ranges, in windows of the table that answers."""
    calendar = catalogue.contract.shop.calendar
    finest = choice.table.finest
    since, until = minutes_of(asked.last, asked.since, asked.until, finest, calendar)
    reached = complete_until(catalogue, [choice.entry])
    return ranges_of(
        asked.against, since, until, finest=finest, reached=reached, calendar=calendar, scale=asked.scale
    )  # fmt: skip


def _currency(both: Both, catalogue: Catalogue, notes: list[str]) -> str:
    """The currency that is explained: the only one, or the shop's. A note names the others."""
    found, base = both.currencies, catalogue.contract.shop.currency
    if len(found) > 1 and base not in found:
        raise UsageError(
            f"There is money in {', '.join(found)}, which does not add up.", remedy="Name one: currency=..."
        )
    chosen = base if base in found or not found else found[0]
    others = [one for one in found if one != chosen]
    if others:
        notes.append(f"This is {chosen}. There is also money in {', '.join(others)}: name it with currency=...")
    return chosen


def _remarks(catalogue: Catalogue, tables: Tables, ranges: Ranges, conversion: Conversion | None) -> list[str]:
    """What should be known of the answer."""
    found = []
    if tables.table is None and not catalogue.is_served(tables.main.entry):
        found.append(f"{tables.main.words}.")
    if conversion is not None and conversion.words:
        found.append(conversion.words)
    if ranges.scale != 1:
        found.append(f"The ranges are {ranges.spans} long: the earlier amounts are scaled by {ranges.scale}.")
    return found


def _known(totals: tuple[Any, Any], figure: Figure | Ratio, ranges: Ranges) -> tuple[Any, Any]:
    """The whole figure in both ranges, which a ratio without anything to divide by does not have."""
    for value, since, until in (
        (totals[0], ranges.since_before, ranges.until_before), (totals[1], ranges.since, ranges.until),
    ):  # fmt: skip
        if value is None:
            assert isinstance(figure, Ratio), "a sum is always known"
            raise UsageError(
                f"There is no {figure.name} from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} (UTC): "
                f"{figure.under.name} is 0.",
                remedy="Ask for a longer range, or compare with another one.",
            )
    return totals


def _missing(both: Both, ranges: Ranges) -> list[str]:
    """What is said of an earlier range without figures, or without any at its beginning."""
    if not (both.before or both.after):
        raise UsageError(
            f"There is no {both.figures[0].name} in either range.",
            remedy="Ask for a longer range, or for other values in `where`.",
        )
    first = min((row["bucket"] for row in both.before), default=None)
    words = missing_words(ranges.since_before, ranges.until_before, first)
    return [f"{words}."] if words else []
