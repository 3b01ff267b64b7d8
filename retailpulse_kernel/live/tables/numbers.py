"""The numbers of a reading that a view shows: which rows count for each, and the big ones as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from retailpulse_kernel.live.tables.picture import exact, readable
from retailpulse_kernel.live.tables.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Number", "currencies_of", "drawn_by", "numbers_of", "tiles"]

#: Big numbers, and columns that are drawn, at most.
_TILES, _NUMBERS = 8, 4


def currencies_of(reading: Reading) -> list[str]:
    """The currencies of a reading, that of most rows first; none where its rows have no currency.

    Parameters
    ----------
    reading : Reading
        What was read.
    """
    if reading.by == "currency" or "currency" not in reading.totals.columns:
        return []
    # Events without a price have none.
    return [str(name) for name in reading.totals["currency"].value_counts().index if str(name)]


@dataclass(frozen=True)
class Number:
    """A column that is drawn: of one currency, or of all where it is no money and can be added up.

    Attributes
    ----------
    name : str
        The column's.
    title : str
        Its name for people.
    unit : str
        The currency of money; empty otherwise.
    additive : bool
        Whether values can be added up.
    currency : str
        The currency of the rows that count; empty for all.
    """

    name: str
    title: str
    unit: str
    additive: bool
    currency: str

    def of(self, frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
        """The rows of a frame that count, one for each value of the keys.

        Parameters
        ----------
        frame : pandas.DataFrame
            Totals or series of a reading.
        *keys : str
            Columns that are drawn apart.
        """
        if self.currency:
            return frame[frame["currency"] == self.currency]
        if "currency" not in frame.columns or "currency" in keys or not self.additive:
            return frame
        kept = [name for name in (*keys, "complete", "corrected") if name in frame.columns]
        if not kept:
            return frame[[self.name]].sum().to_frame().T
        return frame.groupby(kept, observed=True, sort=False, dropna=False)[self.name].sum().reset_index()


def numbers_of(reading: Reading, currency: str) -> list[Number]:
    """The columns that are drawn, a few at most.

    Parameters
    ----------
    reading : Reading
        What was read.
    currency : str
        The currency that is drawn; empty where there is none.
    """
    found = []
    for name, title in list(reading.numbers.items())[:_NUMBERS]:
        is_money, additive = name in reading.money, name in reading.additive
        own = currency if is_money or not additive else ""
        shown = f"{title} of events in {own}" if own and not is_money else title
        found.append(Number(name, shown, currency if is_money else "", additive, own))
    return found


def tiles(reading: Reading, chart: str, currency: str) -> list[dict[str, str]]:
    """The big numbers, where a number has one value, or where they are asked for.

    Parameters
    ----------
    reading : Reading
        What was read.
    chart : str
        What was asked for.
    currency : str
        The currency that is drawn; empty where there is none.
    """
    if chart not in ("auto", "number") or (chart == "auto" and reading.by) or not len(reading.totals):
        return []
    found = []
    for number in numbers_of(reading, currency):
        rows = number.of(reading.totals, *drawn_by(reading))
        if chart == "auto" and len(rows) > 1:
            continue
        for _, row in rows.head(_TILES).iterrows():
            title = f"{number.title}, {exact(row[reading.by])}" if reading.by else number.title
            found.append({"title": title, "text": readable(row[number.name], number.unit)})
    return found[:_TILES]


def drawn_by(reading: Reading) -> list[str]:
    """The column that is drawn apart, if any.

    Parameters
    ----------
    reading : Reading
        What was read.
    """
    return [reading.by] if reading.by else []
