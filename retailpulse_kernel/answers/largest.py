"""The largest groups of an answer, and all others together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Final

from retailpulse_kernel.answers.reading import grouped
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.tables import FigureTable, Row

__all__ = ["Largest"]

#: What the group of all others is called.
_OTHER: Final = "other"

Group = tuple[Any, ...]


class Largest:
    """The groups that have most of a figure in a whole range; the first rows that are merged decide which.

    The events of all other groups are one group. So every figure of that group is exact, or as good an estimate as any
    other: sums are added up, averages divided of sums, users counted once. Currencies are ranked each by itself.

    Parameters
    ----------
    top : int
        How many groups are kept.
    by : sequence of str
        What the answer goes by; a group has a value of each but ``bucket`` and ``currency``.

    Raises
    ------
    UsageError
        There is nothing to rank, or no number of groups.
    """

    def __init__(self, top: int, by: Sequence[str]) -> None:
        given: Any = top  # numpy's whole numbers are such, too
        if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
            raise UsageError(f"{top!r} is not a number of groups.", remedy="Give a whole number from 1 on: top=10.")
        self._top = int(top)
        self._by = tuple(name for name in by if name not in ("bucket", "currency"))
        if not self._by:
            raise UsageError(
                "There is nothing to rank: the answer goes by no dimension but the currency.",
                remedy="Name a dimension in `by`, such as by='category', or leave `top` away.",
            )
        self._places: dict[str, dict[Group, int]] | None = None
        self._by_currency = False
        self._name = _OTHER
        #: How many groups are in the last one, of all currencies.
        self.others = 0

    def merged(self, rows: Sequence[Row], table: FigureTable, figures: Sequence[Figure | Ratio]) -> list[Row]:
        """Rows in which the groups that are not among the largest have one name.

        Parameters
        ----------
        rows : sequence of Row
            As they were read.
        table : FigureTable
            Where they are from.
        figures : sequence of Figure or Ratio
            What they hold; the first one decides.
        """
        if self._places is None:
            totals = grouped(rows, self._by, table, figures[:1])
            self._by_currency = any("currency" in row for row in totals)
            self._places = self._ranked(totals, figures[0].name)
        rest = dict.fromkeys(self._by, self._name)
        return [row if self._group(row) in self._places.get(self._currency(row), {}) else row | rest for row in rows]

    def order(self, row: Row) -> tuple[Any, ...]:
        """What rows are sorted by: the window, the currency, the place; all others are the last.

        Parameters
        ----------
        row : Row
            One of the answer.
        """
        places = (self._places or {}).get(self._currency(row), {})
        return str(row.get("bucket", "")), self._currency(row), places.get(self._group(row), len(places))

    def _ranked(self, totals: Iterable[Row], figure: str) -> dict[str, dict[Group, int]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in totals:
            found[self._currency(row)].append(row)
        places = {}
        for currency, rows in found.items():
            known = sorted((row for row in rows if row[figure] is not None), key=lambda row: row[figure], reverse=True)
            kept = [*known, *(row for row in rows if row[figure] is None)][: self._top]
            places[currency] = {self._group(row): place for place, row in enumerate(kept)}
            self.others += len(rows) - len(kept)
        taken = {value for groups in places.values() for group in groups for value in group}
        while self._name in taken:
            self._name = f"all {self._name}"
        return places

    def _group(self, row: Row) -> Group:
        return tuple(row[name] for name in self._by)

    def _currency(self, row: Row) -> str:
        """The currency whose groups a row is ranked among; empty for figures that go over all currencies."""
        return row.get("currency", "") if self._by_currency else ""
