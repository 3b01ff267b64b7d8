"""The shop's time: the zone in which its days begin, and the day on which its weeks do.

A window of hours, days, weeks or months begins when the shop's clock shows its first moment. A clock is put forward
and back, so two rules say where such a window begins:

* A window begins at the moment from which on the clock shows its first moment or a later one. Where the clock is put
  back over the beginning of a day, the day begins once, the last time. A window that the clock skips does not exist.
* A window of a single hour also begins where the clock is put forward or back. The hour that is shown twice in autumn
  is two windows, so that the day has 25 of them. Where a clock is put back by half an hour, one of the two is shorter.

So windows follow one another without gaps, each is made of whole hours, and no event lies in two of them. A clock is
looked up once, for the years of 1970 to 2100; events are of 2000 to 2100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property, lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Seconds = npt.NDArray[np.int64]

__all__ = ["UTC_CALENDAR", "WEEKDAYS", "Calendar", "clock_of"]

#: The days of a week, as `date.weekday` counts them.
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_DAY, _HOUR = 86_400, 3_600
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
#: Before and after all times.
_EVER: Final = 2**62
#: 1970-01-01 was a Thursday.
_THURSDAY: Final = 3


@dataclass(frozen=True)
class Calendar:
    """In which zone days begin, and on which day weeks do.

    Attributes
    ----------
    zone : str
        A name of the IANA database.
    week_start : str
        The first day of the week, such as ``monday``.
    """

    zone: str = "UTC"
    week_start: str = "monday"

    @property
    def is_utc(self) -> bool:
        """Whether its clock shows UTC."""
        return self.zone == "UTC"

    @property
    def clock(self) -> Clock:
        """The clock of its zone."""
        return clock_of(self.zone)

    @property
    def tzinfo(self) -> ZoneInfo | timezone:
        """Its zone, as `datetime` has it."""
        return UTC if self.is_utc else ZoneInfo(self.zone)

    @property
    def first_week(self) -> int:
        """The seconds after 1970-01-01 at which the first week begins by its clock."""
        return (WEEKDAYS.index(self.week_start) - _THURSDAY) % len(WEEKDAYS) * _DAY

    def day_of(self, moment: datetime) -> date:
        """The day that the clock shows at a moment.

        Parameters
        ----------
        moment : datetime
            With a zone.
        """
        return moment.astimezone(self.tzinfo).date()

    def midnight(self, day: date) -> datetime:
        """The moment, UTC, at which a day begins: the first of it that the clock shows.

        Parameters
        ----------
        day : date
            By the clock. A day that the clock skips begins with the next one.
        """
        if self.is_utc:
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        return _midnight(self.zone, day)

    def moment(self, shown: datetime) -> datetime:
        """The moment, UTC, at which the clock shows a time: the first of two, the next moment where it is skipped.

        Parameters
        ----------
        shown : datetime
            Without a zone. A midnight is the beginning of its day.
        """
        if shown.time() == time():
            return self.midnight(shown.date())
        found = shown.replace(tzinfo=self.tzinfo, fold=0).astimezone(UTC)
        if found.astimezone(self.tzinfo).replace(tzinfo=None) == shown:
            return found
        second = (shown - _FIRST.replace(tzinfo=None)) // timedelta(seconds=1)
        return _FIRST + timedelta(seconds=int(self.clock.moments(second)))

    def shifted(self, moment: datetime, span: timedelta) -> datetime:
        """A moment so much later. After whole days the clock shows the same time, also where one of them was longer.

        Parameters
        ----------
        moment : datetime
            With a zone.
        span : timedelta
            May be negative.
        """
        if self.is_utc or span % timedelta(days=1):
            return moment + span
        return self.moment(moment.astimezone(self.tzinfo).replace(tzinfo=None) + span)

    def text(self, moment: datetime) -> str:
        """A moment in RFC 3339, with the offset of its clock.

        Parameters
        ----------
        moment : datetime
            With a zone.
        """
        return moment.astimezone(self.tzinfo).isoformat().replace("+00:00", "Z")

    def meant_by(self, unit: str, count: int = 1) -> Calendar:
        """What of the calendar windows of a unit go by: windows that are the same in two calendars are of one.

        Parameters
        ----------
        unit : str
            As in `windows.Grain`. Windows of seconds and minutes are counted in UTC whatever the calendar is.
        count : int
            How many of the unit. Single hours are those of UTC where the zone's clock is always whole hours from it.
        """
        if unit in ("second", "minute"):
            return UTC_CALENDAR
        # The clock is looked up last, as this takes a twentieth of a second.
        if unit == "hour" and count == 1 and (self.is_utc or self.clock.step == _HOUR):
            return UTC_CALENDAR
        return self if unit == "week" else Calendar(self.zone)


UTC_CALENDAR: Final = Calendar()
"""Days of UTC, and weeks from Monday on."""


@dataclass(frozen=True)
class Clock:
    """What a zone's clock shows, in spans between the moments at which it is put forward or back.

    All are whole seconds after 1970-01-01 00:00: moments are counted in UTC, and what is shown by the clock itself.

    Attributes
    ----------
    starts : tuple of int
        The moment at which each span begins.
    offsets : tuple of int
        By how much the clock is ahead of UTC in each span.
    """

    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The moment in each span from which on the clock shows what it will show once more, after it is put back."""
        pairs = zip(self.starts[1:], self.offsets, self.offsets[1:], strict=False)
        return (*(start - max(before - after, 0) for start, before, after in pairs), _EVER)

    @cached_property
    def shown_ends(self) -> tuple[int, ...]:
        """What the clock shows at `ends`."""
        return tuple(end + offset for end, offset in zip(self.ends, self.offsets, strict=True))

    @cached_property
    def step(self) -> int:
        """The widest windows of UTC of which all hours, and so all days of the clock are made, in seconds."""
        return gcd(_HOUR, *self.offsets, *self.starts[1:])

    @cached_property
    def _arrays(self) -> tuple[Seconds, Seconds, Seconds, Seconds]:
        import numpy as np

        return tuple(  # type: ignore[return-value]
            np.array(column, dtype=np.int64) for column in (self.starts, self.offsets, self.ends, self.shown_ends)
        )

    def shown(self, moments: Any) -> Any:
        """What the clock shows, where it has been put back for the last time: a clock that never goes back.

        Parameters
        ----------
        moments : int or numpy.ndarray
            Whole seconds.
        """
        import numpy as np

        starts, offsets, ends, _ = self._arrays
        span = np.searchsorted(starts, moments, side="right") - 1
        return np.minimum(moments, ends[span]) + offsets[span]

    def moments(self, shown: Any) -> Any:
        """The moments from which on the clock shows something or what is later.

        Parameters
        ----------
        shown : int or numpy.ndarray
            Whole seconds.
        """
        import numpy as np

        starts, offsets, _, shown_ends = self._arrays
        span = np.searchsorted(shown_ends, shown, side="left")
        return np.maximum(starts[span], shown - offsets[span])

    def hours(self, moments: Any) -> tuple[Any, Any]:
        """The start and the end of the single hours that hold some moments.

        Parameters
        ----------
        moments : int or numpy.ndarray
            Whole seconds.
        """
        import numpy as np

        starts, offsets, _, _ = self._arrays
        span = np.searchsorted(starts, moments, side="right") - 1
        ends = np.append(starts[1:], _EVER)
        full = (moments + offsets[span]) // _HOUR * _HOUR - offsets[span]
        return np.maximum(full, starts[span]), np.minimum(full + _HOUR, ends[span])

    # -- in Spark SQL -----------------------------------------------------------------------

    def end_sql(self, moment: str, next_shown: Callable[[str], str]) -> str:
        """The end of a window in Spark SQL.

        Parameters
        ----------
        moment : str
            An expression of whole seconds.
        next_shown : callable
            Gives, for the name of what the clock shows, an expression for what it shows when the window is over.
        """
        spans = list(zip(self.starts, self.offsets, self.ends, strict=True))
        shown = _chosen("t < ", self.starts[1:], [f"least(t, {end}L) + {offset}L" for _, offset, end in spans])
        ends = [f"greatest({start}L, b - {offset}L)" for start, offset, _ in spans]
        end = _let("b", next_shown("w"), _chosen("b <= ", self.shown_ends[:-1], ends))
        return _let("t", moment, _let("w", shown, end))

    def hour_end_sql(self, moment: str) -> str:
        """The end of a single hour in Spark SQL.

        Parameters
        ----------
        moment : str
            An expression of whole seconds.
        """
        spans = zip((*self.starts[1:], _EVER), self.offsets, strict=True)
        ends = [f"least(t - pmod(t + {offset}L, {_HOUR}L) + {_HOUR}L, {end}L)" for end, offset in spans]
        return _let("t", moment, _chosen("t < ", self.starts[1:], ends))


@lru_cache(maxsize=10_000)
def _midnight(zone: str, day: date) -> datetime:
    shown = (day - _FIRST.date()).days * _DAY
    return _FIRST + timedelta(seconds=int(clock_of(zone).moments(shown)))


@lru_cache
def clock_of(zone: str) -> Clock:
    """The clock of a zone.

    Parameters
    ----------
    zone : str
        A name of the IANA database.
    """
    spans = list(_spans(ZoneInfo(zone)))
    return Clock(tuple(start for start, _ in spans), tuple(offset for _, offset in spans))


def _spans(zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Since when the clock of a zone is so many seconds ahead of UTC."""

    def offset(second: int) -> int:
        shift = (_FIRST + timedelta(seconds=second)).astimezone(zone).utcoffset()
        assert shift is not None
        return int(shift.total_seconds())

    known = offset(0)
    yield -_EVER, known
    for day in range(0, int((_LAST - _FIRST).total_seconds()), _DAY):
        now = offset(day + _DAY)
        if now == known:
            continue
        before, after = day, day + _DAY
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if offset(middle) != known else (middle, after)
        known = now
        yield after, now


def _let(name: str, value: str, body: str) -> str:
    """SQL in which a value has a name. Spark has no other word for it than a lambda."""
    return f"transform(array({value}), {name} -> {body})[0]"


def _chosen(below: str, bounds: Sequence[int], choices: Sequence[str]) -> str:
    """SQL for the one of some choices between whose bounds a value is, found as in a sorted book: by halves."""
    if not bounds:
        return choices[0]
    middle = len(bounds) // 2
    less = _chosen(below, bounds[:middle], choices[: middle + 1])
    return f"IF({below}{bounds[middle]}L, {less}, {_chosen(below, bounds[middle + 1 :], choices[middle + 1 :])})"
