"""The two ranges of a question: as long as one another, over, and for an amount that is scaled by how much."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from retailpulse_kernel.answers.comparing import COMPARISONS, comparison_of
from retailpulse_kernel.ground.calendars import Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import iso_text, moment_of, require_range, span_text
from retailpulse_kernel.shop.windows import Grain

__all__ = ["Against", "Ranges", "ranges_of"]

#: What a range is compared with: a name, a range as ``START/END``, or its two ends.
Against = str | tuple[str | datetime, str | datetime]
#: How the earlier range is called in a sentence.
_WORDS: Final = {
    "previous": "the range before",
    "yesterday": "the same time a day before",
    "last week": "the same time a week before",
}


@dataclass(frozen=True)
class Ranges:
    """Two ranges whose figures are compared.

    Attributes
    ----------
    since, until : datetime
        The later range, UTC.
    since_before, until_before : datetime
        The earlier one.
    words : str
        The earlier one for people.
    """

    since: datetime
    until: datetime
    since_before: datetime
    until_before: datetime
    words: str

    @property
    def scale(self) -> Fraction:
        """How many times as long as the earlier range the later one is."""
        second = timedelta(seconds=1)
        return Fraction((self.until - self.since) // second, (self.until_before - self.since_before) // second)

    @property
    def spans(self) -> str:
        """How long both are, for people."""
        return f"{span_text(self.until - self.since)} and {span_text(self.until_before - self.since_before)}"


def ranges_of(
    against: Against,
    since: datetime | None,
    until: datetime | None,
    *,
    finest: Grain,
    reached: datetime,
    calendar: Calendar,
    scale: bool = False,
) -> Ranges:
    """The two ranges of a question. The later one ends with the last window that is over.

    Parameters
    ----------
    against : str or tuple
        One of `comparing.COMPARISONS`, ``START/END``, or the start and the end of the other range.
    since, until : datetime or None
        The range; both are starts of the finest windows.
    finest : Grain
        The finest windows that are read.
    reached : datetime
        Until when the figures are complete.
    calendar : Calendar
        The shop's.
    scale : bool
        Whether ranges may be of different lengths.

    Raises
    ------
    UnknownName
        There is no such comparison.
    UsageError
        Nothing of the range is over, or the ranges are not as long as one another and are not to be scaled.
    """
    other = _given(against, calendar)
    name = against if isinstance(against, str) and other is None else "previous"
    found = comparison_of(name, since, until, finest=finest, now=reached, calendar=calendar)
    if found.nothing:
        raise UsageError(f"{found.nothing}.", remedy="Ask for a longer range.")
    begin, end = found.before if other is None else other
    words = _WORDS[name] if other is None else f"the range {iso_text(begin)} to {iso_text(end)}"
    ranges = Ranges(found.since, found.until, begin, end, words)
    if ranges.scale != 1 and not scale:
        raise UsageError(
            f"The ranges are not as long as one another: {ranges.spans}. Amounts of them can't be compared.",
            remedy="Give ranges of the same length, or scale the earlier amounts by the length: scale=True.",
        )
    return ranges


def _given(against: Against, calendar: Calendar) -> tuple[datetime, datetime] | None:
    """The ends of a range that is given; None for a name."""
    if isinstance(against, str):
        if "/" not in against:
            if against not in COMPARISONS:
                raise UnknownName("comparison", against, COMPARISONS)
            return None
        first, _, second = against.partition("/")
        start, end = _pair((first, second))
    else:
        start, end = _pair(against)
    begin, stop = moment_of(start, calendar), moment_of(end, calendar)
    if begin is None or stop is None:
        raise UsageError("The range to compare with has an open end.", remedy="Give its start and its end.")
    require_range(begin, stop)
    return begin, stop


def _pair(against: tuple[str | datetime, str | datetime]) -> tuple[str | datetime, str | datetime]:
    try:
        start, end = against
    except (TypeError, ValueError):
        raise UsageError(
            f"{against!r} is not a range to compare with.", remedy="Give its start and its end: (start, end)."
        ) from None
    return start, end
