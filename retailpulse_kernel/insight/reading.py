"""The parts of a figure in two ranges, by the values of each dimension: one read of each range for each table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, cast

from retailpulse_kernel.answers.base_figures import BaseFigure, stored_parts
from retailpulse_kernel.answers.conversion import Conversion
from retailpulse_kernel.answers.corrected import corrected
from retailpulse_kernel.answers.ranges import fitting
from retailpulse_kernel.answers.reading import read_rows
from retailpulse_kernel.answers.referencing import References
from retailpulse_kernel.catalogue.choosing import Choice
from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.insight.against import Ranges
from retailpulse_kernel.insight.effects import Groups, Parts
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.tables import Row
from retailpulse_kernel.stores.base import FigureStore, Store

__all__ = ["Both", "Reader", "fits"]


@dataclass(frozen=True)
class Both:
    """The rows of two ranges.

    Attributes
    ----------
    before, after : sequence of Row
        Rows of parts, of the earlier and of the later range.
    figures : tuple of Figure
        The parts.
    """

    before: Sequence[Row]
    after: Sequence[Row]
    figures: tuple[Figure, ...]

    def by(self, dimension: str, scale: Fraction = Fraction(1)) -> tuple[Groups, Groups]:
        """The parts by the values of a dimension.

        Parameters
        ----------
        dimension : str
            A column of the rows; all rows are one group where it is empty.
        scale : Fraction
            What the earlier parts are multiplied by.
        """
        before = {
            value: {name: part * scale for name, part in parts.items()}
            for value, parts in _summed(self.before, dimension, self.figures).items()
        }
        return before, _summed(self.after, dimension, self.figures)

    def of(self, currency: str) -> Both:
        """The rows of one currency.

        Parameters
        ----------
        currency : str
            Such as ``"USD"``.
        """
        before, after = ([row for row in rows if row["currency"] == currency] for rows in (self.before, self.after))
        return replace(self, before=before, after=after)

    @property
    def currencies(self) -> list[str]:
        """The currencies that have any of the figures."""
        names = [figure.name for figure in self.figures]
        found = {row["currency"] for row in (*self.before, *self.after) if any(row[name] for name in names)}
        return sorted(found)


@dataclass
class Reader:
    """Reads the parts of a figure from tables of the catalogue.

    Attributes
    ----------
    where : mapping
        The values that rows must have, by dimension.
    references : References
        The columns of reference tables among them.
    store_of : callable
        Gives a store by its name.
    conversion : Conversion, optional
        Makes money of the base currency.
    """

    where: Mapping[str, Sequence[str]]
    references: References
    store_of: Callable[[str], Store]
    conversion: Conversion | None = field(default=None)

    def read(self, choice: Choice, parts: tuple[Figure, ...], ranges: Ranges) -> Both:
        """The rows of both ranges.

        Parameters
        ----------
        choice : Choice
            The table that answers.
        parts : tuple of Figure
            What is read.
        ranges : Ranges
            Both ranges.

        Raises
        ------
        NoSuchTable
            The table's job has not run yet.
        """
        before = self._rows(choice, parts, ranges.since_before, ranges.until_before)
        return Both(before, self._rows(choice, parts, ranges.since, ranges.until), parts)

    def _rows(self, choice: Choice, parts: tuple[Figure, ...], since: datetime, until: datetime) -> list[Row]:
        store = corrected(cast("FigureStore", self.store_of(choice.entry.store)))
        only = {name: values for name, values in self.where.items() if name not in self.references.columns}
        table = fitting(choice.table, since, until)
        try:
            rows = read_rows(
                store, table, since=since, until=until, grain=table.widest, figures=stored_parts(parts),
                only=only or None,
            )  # fmt: skip
        except NoSuchTable as error:
            raise choice.entry.absent from error
        # A store gives what lies below a category, too: which values are meant is checked here.
        kept = [
            row
            for row in self.references.joined(rows)
            if all(row[name] in values for name, values in self.where.items())
        ]
        if self.conversion is None:
            return kept
        amounts = [part.name for part in parts if isinstance(part, BaseFigure)]
        converted = self.conversion.rows(kept, parts, [grain.name for grain in choice.table.every])
        # What has no rate has no amount: its orders and units would change the average price.
        return [row for row in converted if all(row[name] is not None for name in amounts)]


def fits(choice: Choice, ranges: Ranges) -> bool:
    """Whether windows of a table begin and end where both ranges do.

    Parameters
    ----------
    choice : Choice
        The table.
    ranges : Ranges
        Both ranges.
    """
    try:
        for since, until in ((ranges.since, ranges.until), (ranges.since_before, ranges.until_before)):
            fitting(choice.table, since, until)
    except UsageError:
        return False
    return True


def _summed(rows: Iterable[Row], dimension: str, figures: Sequence[Figure]) -> dict[Any, Parts]:
    """The exact sums of rows by a dimension, without values that have nothing."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[dimension] if dimension else ""].append(row)
    sums = {
        value: {figure.name: Fraction(figure.combine(row[figure.name] for row in part) or 0) for figure in figures}
        for value, part in found.items()
    }
    return {value: parts for value, parts in sums.items() if any(parts.values())}
