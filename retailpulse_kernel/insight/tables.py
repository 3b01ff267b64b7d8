"""The tables that tell why a figure moved: the one with the figure's total, and those that know its dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from retailpulse_kernel.answers.referencing import References
from retailpulse_kernel.catalogue.choosing import Choice, Question, choose
from retailpulse_kernel.catalogue.tables import Catalogue, TableEntry
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.insight.against import Ranges
from retailpulse_kernel.insight.reading import fits
from retailpulse_kernel.shop.figures import Figure, Ratio, parts_of
from retailpulse_kernel.shop.measuring.expressions import names_in
from retailpulse_kernel.shop.messages import EVENT_TYPES
from retailpulse_kernel.shop.personal import is_personal
from retailpulse_kernel.shop.tables import CATEGORY
from retailpulse_kernel.stores.frames import CATEGORIES

__all__ = ["Tables"]


@dataclass(frozen=True)
class Tables:
    """Chooses tables of the catalogue for one question.

    Attributes
    ----------
    catalogue : Catalogue
        The tables that there are.
    figure : str or Figure or Ratio
        What is asked for.
    by : tuple of str
        The dimensions that are asked for; all with few values when empty.
    where : mapping
        The values that are asked for, by dimension.
    references : References
        The columns of reference tables among the dimensions.
    since, until : datetime, optional
        The range, where each end must be the start of a window.
    span : timedelta, optional
        How long the range is, where its ends may be moved.
    table : str, optional
        The table that must answer.
    """

    catalogue: Catalogue
    figure: str | Figure | Ratio
    by: tuple[str, ...]
    where: Mapping[str, Sequence[str]]
    references: References
    since: datetime | None = None
    until: datetime | None = None
    span: timedelta | None = None
    table: str | None = None

    @cached_property
    def main(self) -> Choice:
        """The table whose total is explained: the one that the dashboards show, where it can answer."""
        if self.table is None:
            with suppress(UsageError):
                served = self._choose(*self.by[:1], table=CATEGORY.name)
                if self.catalogue.is_served(served.entry) and served.entry.ran:
                    return served
        return self._choose(*self.by[:1], table=self.table)

    @property
    def is_money(self) -> bool:
        """Whether the figure is money of several currencies, which does not add up."""
        (figure,) = self.main.figures
        return "currency" in self.main.table.by and self.main.entry.may_be_money(figure)

    def plans(self, ranges: Ranges) -> list[tuple[Choice, list[str]]]:
        """The tables to read, the main one first, and the dimensions that each tells.

        Parameters
        ----------
        ranges : Ranges
            Both ranges: windows of the tables must begin and end where these do.

        Raises
        ------
        UsageError
            No table knows a dimension that was asked for, or its windows do not fit.
        """
        found: dict[tuple[str, str], tuple[Choice, list[str]]] = {_place(self.main): (self.main, [])}
        for name in self.by or self._tried():
            try:
                choice = self._knowing(name, ranges)
            except UsageError:
                if self.by:
                    raise
                continue
            found.setdefault(_place(choice), (choice, []))[1].append(name)
        return list(found.values())

    def _choose(self, *dimensions: str, table: str | None) -> Choice:
        names = self.references.dimensions([*dimensions, *self.where])
        question = Question((self.figure,), names, since=self.since, until=self.until, span=self.span)
        return choose(self.catalogue, question, table=table)

    def _knowing(self, dimension: str, ranges: Ranges) -> Choice:
        """The main table where it knows a dimension, or else the best of the others."""
        if dimension in self.main.table.by:
            return self.main
        choice = self._choose(dimension, table=self.table)
        if not fits(choice, ranges):
            raise UsageError(
                f"The table {choice.entry.name!r} has no windows that begin and end where the ranges do.",
                remedy="Give ranges of whole windows of the table, such as whole hours or days.",
            )
        return choice

    def _tried(self) -> list[str]:
        """The dimensions with few values. Users, sessions and products are asked for by name."""
        entries = [entry for entry in self.catalogue.figures if entry.figures]
        found = [name for entry in entries for name in entry.key if self._is_tried(name, entry)]
        # One value explains nothing, what a figure counts by its own definition neither, and sums of money do not cross
        # currencies.
        fixed = {name for name, values in self.where.items() if len(values) == 1} | self._defining()
        fixed |= {"currency"} if self.is_money else set()
        return [name for name in dict.fromkeys(found) if name not in fixed]

    def _defining(self) -> set[str]:
        """The dimensions in the conditions of the figure: revenue is of purchases and refunds, whatever happens."""
        names = {name for part in parts_of(self.main.figures) if part.where for name in names_in(part.where)}
        return names | ({"event_type"} if names & {*EVENT_TYPES} else set())

    def _is_tried(self, name: str, entry: TableEntry) -> bool:
        known = self.catalogue.contract.of_topic(entry.topic).by_name.get(name)
        is_own = known is not None and known.is_own
        return (name in CATEGORIES or is_own) and not is_personal(name, self.catalogue.contract)


def _place(choice: Choice) -> tuple[str, str]:
    return choice.entry.name, choice.entry.store
