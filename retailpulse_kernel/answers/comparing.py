"""Figures beside those of an earlier range: the same part of it, window by window and group by group.

Both ranges end where the last of the finest windows is over, so that a running day is compared with the part of
the earlier day that had passed at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.answers.ranges import Extent
from retailpulse_kernel.answers.reading import figure_frame
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.figures import Figure, Ratio
from retailpulse_kernel.shop.kinds import Value
from retailpulse_kernel.shop.tables import Grain, Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COMPARISONS",
    "Comparison",
    "change_of",
    "compared",
    "compared_frame",
    "comparison_of",
    "missing_words",
    "none_of",
]

#: How much earlier each comparison reads; None is as much as the range is long.
COMPARISONS: Final[Mapping[str, timedelta | None]] = {
    "previous": None, "yesterday": timedelta(days=1), "last week": timedelta(days=7),
}  # fmt: skip
#: The part of a range that may be without figures at its beginning before that is said.
_SILENT: Final = 10

#: The rows of an answer by their keys.
Keyed = Mapping[tuple[Any, ...], Row]


@dataclass(frozen=True)
class Comparison:
    """A range, and how much earlier the one is that it is compared with.

    Attributes
    ----------
    since, until : datetime
        The part of the range that is over.
    shift : timedelta
        How much earlier the other range is.
    calendar : Calendar
        Whose clock shows the same time at both, where the shift is of whole days.
    nothing : str
        Why the range is empty: a day has no window that is over in its first minute. Empty where it has some.
    """

    since: datetime
    until: datetime
    shift: timedelta
    calendar: Calendar = UTC_CALENDAR
    nothing: str = ""

    @property
    def before(self) -> tuple[datetime, datetime]:
        """The earlier range."""
        since, until = (self.calendar.shifted(end, -self.shift) for end in (self.since, self.until))
        return since, until

    def missing(self, first: datetime | None) -> str:
        """What is said where there is nothing to compare, or not in all of the earlier range; empty otherwise.

        Parameters
        ----------
        first : datetime or None
            The start of its first window with figures; None where there is none.
        """
        return self.nothing or missing_words(*self.before, first)


def missing_words(since: datetime, until: datetime, first: datetime | None) -> str:
    """What is said of a range to compare with that has no figures, or none at its beginning; empty otherwise.

    Parameters
    ----------
    since, until : datetime
        The range.
    first : datetime or None
        The start of its first window with figures; None where there is none.
    """
    if first is None:
        return f"There are no figures from {iso_text(since)} to {iso_text(until)} to compare with"
    if first - since > (until - since) / _SILENT:
        return f"The figures to compare with begin at {iso_text(first)}, and the range at {iso_text(since)}"
    return ""


def comparison_of(
    name: str,
    since: datetime | None,
    until: datetime | None,
    *,
    finest: Grain,
    windows: Grain | None = None,
    now: datetime,
    calendar: Calendar = UTC_CALENDAR,
) -> Comparison:
    """The ranges of a comparison.

    Parameters
    ----------
    name : str
        One of `COMPARISONS`.
    since, until : datetime or None
        The range; both are starts of the finest windows. Up to now where it has no end.
    finest : Grain
        The finest windows that are read.
    windows : Grain, optional
        Those of a series.
    now : datetime
        The present, UTC.
    calendar : Calendar
        The shop's.

    Raises
    ------
    UnknownName
        There is no such comparison.
    UsageError
        The range has no beginning, or windows of the series do not lie over earlier ones.
    """
    if name not in COMPARISONS:
        raise UnknownName("comparison", str(name), COMPARISONS)
    if since is None:
        raise UsageError("A range without a beginning has none before it.", remedy="Give `last` or `since`.")
    over = finest.start(now)
    end = max(over if until is None else min(until, over), since)
    reached = f"No window of {finest.words} since {calendar.text(since)} is over: figures are complete until "
    nothing = f"{reached}{calendar.text(now)}, so there is nothing to compare"
    earlier = COMPARISONS[name]
    shift = (until or end) - since if earlier is None else earlier
    start = None if windows is None else calendar.shifted(windows.start(since), -shift)
    if windows is not None and start is not None and windows.start(start) != start:
        raise UsageError(
            f"Windows of {windows.words} do not lie over those of the range that is {shift} earlier.",
            remedy="Choose narrower windows with `every`, or a range of whole windows.",
        )
    return Comparison(since, end, shift, calendar, nothing if end == since else "")


def compared(
    rows: Keyed, before: Keyed, keys: Sequence[str], figures: Sequence[Figure | Ratio], comparison: Comparison
) -> list[Row]:
    """Rows with the earlier value of each figure beside it, under ``NAME_before``.

    A group that has no row is nothing where its window has others: 0 of what is added up. A window without any row is
    not known.

    Parameters
    ----------
    rows, before : mapping
        Grouped rows by their keys; the earlier ones where they were.
    keys : sequence of str
        What they go by.
    figures : sequence of Figure or Ratio
        What they hold.
    comparison : Comparison
        Says how much later the earlier ones are shown.
    """
    place = keys.index("bucket") if "bucket" in keys else None
    moved = {_moved(key, place, comparison): row for key, row in before.items()}
    none = {figure.name: none_of(figure) for figure in figures}
    known, known_before = ({_window(key, place) for key in found} for found in (rows, moved))
    result = []
    for key in sorted({*rows, *moved}):
        window = _window(key, place)
        row = rows.get(key, none if window in known else {})
        earlier = moved.get(key, none if window in known_before else {})
        values = {figure.name: row.get(figure.name) for figure in figures}
        values |= {f"{figure.name}_before": earlier.get(figure.name) for figure in figures}
        result.append(dict(zip(keys, key, strict=True)) | values)
    return result


def compared_frame(
    rows: Iterable[Row], keys: Sequence[str], figures: Sequence[Figure | Ratio], extent: Extent
) -> pd.DataFrame:
    """A frame of compared rows: each figure, then its earlier value, its change, and that in percent.

    Parameters
    ----------
    rows : iterable of Row
        As `compared` gives them.
    keys : sequence of str
        The first columns.
    figures : sequence of Figure or Ratio
        The other columns. The change of a single figure is called ``change``, that of one of several ``NAME_change``.
    extent : Extent
        What was read, for the column ``complete``.

    Raises
    ------
    UsageError
        Two columns would have one name.
    """
    columns: list[Figure | Ratio] = []
    numbers = []
    for figure in figures:
        columns += [figure, replace(figure, name=f"{figure.name}_before")]
        if not (isinstance(figure, Figure) and figure.rules.value is Value.TIME):
            change = "change" if len(figures) == 1 else f"{figure.name}_change"
            numbers.append((figure.name, change))
            columns.append(replace(figure, name=change))
    found = [one | _changes(one, numbers) for one in rows]
    names = [*keys, *(column.name for column in columns), *(f"{change}_percent" for _, change in numbers)]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f"The comparison would have two columns {twice!r}.", remedy="Ask for fewer figures at a time.")
    frame = figure_frame(found, keys, columns, extent)
    for _, change in numbers:
        place = frame.columns.get_loc(change) + 1
        values = [None if row[f"{change}_percent"] is None else float(row[f"{change}_percent"]) for row in found]
        frame.insert(place, f"{change}_percent", values)
        frame[f"{change}_percent"] = frame[f"{change}_percent"].astype("float64")
    return frame


def change_of(value: Any, before: Any) -> tuple[Any, Decimal | None]:
    """How much a number has changed, and that in percent of the earlier one with two decimal places.

    Parameters
    ----------
    value, before : object
        Numbers; None where one is not known. There is no percentage of nothing.

    >>> change_of(150, 200), change_of(5, 0)
    ((-50, Decimal('-25.00')), (5, None))
    """
    if value is None or before is None:
        return None, None
    change = value - before
    percent = (100 * Decimal(change) / abs(Decimal(before))).quantize(Decimal("0.01")) if before else None
    return change, percent


def none_of(figure: Figure | Ratio) -> Any:
    """What a group without events has: 0 of what is counted or added up, None of anything else.

    Parameters
    ----------
    figure : Figure or Ratio
        Any.
    """
    return None if isinstance(figure, Ratio) else figure.rules.shown(figure.combine(()))


def _changes(row: Row, numbers: Sequence[tuple[str, str]]) -> Row:
    found: Row = {}
    for name, change in numbers:
        found[change], found[f"{change}_percent"] = change_of(row[name], row[f"{name}_before"])
    return found


def _moved(key: tuple[Any, ...], place: int | None, comparison: Comparison) -> tuple[Any, ...]:
    if place is None:
        return key
    return (*key[:place], comparison.calendar.shifted(key[place], comparison.shift), *key[place + 1 :])


def _window(key: tuple[Any, ...], place: int | None) -> Any:
    return None if place is None else key[place]
