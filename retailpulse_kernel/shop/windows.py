"""Windows of time: how wide they are, where each begins and ends.

All arithmetic of windows is in `Grain`, for one time, for arrays and in Spark SQL. Windows of seconds to days are
counted from 1970-01-01 00:00, as Spark's ``window`` counts them, also those that do not divide a day, as 7 minutes.
Months are those of the calendar, and several months are counted from January 1970, so that 3 months are a quarter.

Windows of seconds and minutes are counted in UTC. Those of hours, days, weeks and months are counted by the clock of
the grain's calendar: that of UTC, or of the shop's zone. `ground.calendars` says where they begin when the clock is
put forward or back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from math import gcd
from typing import TYPE_CHECKING, Final

from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Times = npt.NDArray[np.int64]

__all__ = ["GRAINS", "Grain", "common", "grain_of", "grain_with"]

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)
_DAY, _HOUR = 86_400, 3_600

#: The seconds of each unit; of a month the mean ones of the calendar, by which widths are put in order.
_SECONDS: Final = {
    "second": 1, "minute": 60, "hour": _HOUR, "day": _DAY, "week": 7 * _DAY, "month": 2_629_746,
}  # fmt: skip
#: How a unit is written in the name of a stored table.
_SHORT: Final = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w", "month": "mo"}
#: Every way to write a unit.
_UNITS: Final = {
    **{text: unit for unit in _SECONDS for text in (unit, f"{unit}s", _SHORT[unit])},
    "sec": "second", "min": "minute", "mins": "minute", "hr": "hour", "hrs": "hour",
}  # fmt: skip

_WIDTH = re.compile(r"(\d{0,12})\s*([a-z]+)", re.ASCII)
_NAME = re.compile(r"([a-z]+)_(\d{1,12})", re.ASCII)
#: The widest windows; and the longest end of a stored table's name that every store takes.
_MOST_SECONDS, _MOST_MONTHS, _MOST_DIGITS = 366 * _DAY, 12, 5


@dataclass(frozen=True)
class Grain:
    """A width of time windows. `grain_of` makes one, in the widest unit that divides it: 60 minutes are an hour.

    Attributes
    ----------
    count : int
        How many of the unit.
    unit : str
        ``second``, ``minute``, ``hour``, ``day``, ``week`` or ``month``.
    calendar : Calendar
        By whose clock hours, days, weeks and months are counted: what `Calendar.meant_by` says of the unit.
    """

    count: int
    unit: str
    calendar: Calendar = UTC_CALENDAR

    @cached_property
    def name(self) -> str:
        """Its name in plans, and the column of a window's start: ``minute``, ``minutes_5``, ``week``."""
        return self.unit if self.count == 1 else f"{self.unit}s_{self.count}"

    @cached_property
    def suffix(self) -> str:
        """The end of a stored table's name: ``minute``, ``5m``, ``week``, ``3mo``."""
        return self.unit if self.count == 1 else f"{self.count}{_SHORT[self.unit]}"

    @cached_property
    def title(self) -> str:
        """Its name for people: ``minute``, ``5 minutes``."""
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    @cached_property
    def words(self) -> str:
        """One such width for people: ``an hour``, ``5 minutes``."""
        article = "an" if self.unit == "hour" else "a"
        return f"{article} {self.unit}" if self.count == 1 else self.title

    @cached_property
    def seconds(self) -> int:
        """The width; of months the mean one, by which widths are put in order and windows are estimated."""
        return self.count * _SECONDS[self.unit]

    @property
    def width(self) -> timedelta:
        """`seconds` as a time span. Where a window ends is said by `end`."""
        return timedelta(seconds=self.seconds)

    @cached_property
    def bucket(self) -> Grain:
        """The windows that are kept together, as a partition of Cassandra: some hundred at most, of a day or less.

        A window of a day or more is kept by itself: it may hold every user of the shop.
        """
        if self.unit == "month" or self.seconds >= _DAY:
            return self
        if self.seconds < 10:
            return GRAINS["minute"]
        return GRAINS["hour"] if self.seconds < 300 else GRAINS["day"]

    def within(self, calendar: Calendar) -> Grain:
        """The same width by the clock of another calendar.

        Parameters
        ----------
        calendar : Calendar
            Such as the shop's.
        """
        return _grain(self.count, self.unit, calendar)

    # -- one time ---------------------------------------------------------------------------

    def start(self, moment: datetime) -> datetime:
        """The start of the window that holds a moment.

        Parameters
        ----------
        moment : datetime
            Any time with a zone.
        """
        if not self.calendar.is_utc:
            return _EPOCH + _bounds(self, (moment - _EPOCH) // _SECOND)[0]
        if self.unit == "month":
            return self._month(moment, 0)
        seconds = (moment - _EPOCH) // _SECOND - self._origin
        return _EPOCH + timedelta(seconds=seconds // self.seconds * self.seconds + self._origin)

    def end(self, moment: datetime) -> datetime:
        """The end of the window that holds a moment: the start of the next one.

        Parameters
        ----------
        moment : datetime
            Any time with a zone.
        """
        if not self.calendar.is_utc:
            return _EPOCH + _bounds(self, (moment - _EPOCH) // _SECOND)[1]
        return self._month(moment, self.count) if self.unit == "month" else self.start(moment) + self.width

    def start_from(self, moment: datetime) -> datetime:
        """The start of the first window that begins at a moment or later.

        Parameters
        ----------
        moment : datetime
            Any time with a zone.
        """
        start = self.start(moment)
        return start if start == moment else self.end(moment)

    def _month(self, moment: datetime, more: int) -> datetime:
        utc = moment.astimezone(UTC)
        months = (utc.year - 1970) * 12 + utc.month - 1
        years, month = divmod(months // self.count * self.count + more, 12)
        return datetime(1970 + years, month + 1, 1, tzinfo=UTC)

    @property
    def _origin(self) -> int:
        return self.calendar.first_week if self.unit == "week" else 0

    # -- many times -------------------------------------------------------------------------

    def starts(self, times: Times, *, per_second: int = 1_000_000) -> Times:
        """The starts of the windows that hold some times.

        Parameters
        ----------
        times : numpy.ndarray
            Whole numbers of 64 bits: microseconds since 1970, UTC, or another part of a second.
        per_second : int
            How many of that part a second has.
        """
        if not self.calendar.is_utc:
            return self._zoned(times // per_second)[0] * per_second
        return self._plain(times, 0, per_second)

    def ends(self, times: Times, *, per_second: int = 1_000_000) -> Times:
        """The ends of the windows that hold some times.

        Parameters
        ----------
        times : numpy.ndarray
            As for `starts`.
        per_second : int
            As for `starts`.
        """
        if not self.calendar.is_utc:
            return self._zoned(times // per_second)[1] * per_second
        return self._plain(times, 1, per_second)

    def _zoned(self, seconds: Times) -> tuple[Times, Times]:
        """Starts and ends by the clock of a zone."""
        clock = self.calendar.clock
        if self.name == "hour":
            return clock.hours(seconds)
        shown = clock.shown(seconds)
        return clock.moments(self._plain(shown, 0, 1)), clock.moments(self._plain(shown, 1, 1))

    def _plain(self, times: Times, later: int, per_second: int) -> Times:
        """The starts of windows, or of the windows so many later, by a clock that is never put forward or back."""
        if self.unit == "month":
            return self._months(times, later * self.count, per_second)
        width, origin = self.seconds * per_second, self._origin * per_second
        return ((times - origin) // width + later) * width + origin

    def _months(self, times: Times, more: int, per_second: int) -> Times:
        import numpy as np

        months = (times // (_DAY * per_second)).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        first = (months // self.count * self.count + more).astype("datetime64[M]")
        return first.astype("datetime64[D]").astype(np.int64) * (_DAY * per_second)

    def end_sql(self, column: str) -> str:
        """Spark SQL for the end of the window that holds a time, whatever the session's zone is.

        Parameters
        ----------
        column : str
            A column of timestamps, or an expression.
        """
        second = f"unix_seconds({column})"
        if self.calendar.is_utc:
            return f"timestamp_seconds({self._end_sql(second)})"
        clock = self.calendar.clock
        if self.name == "hour":
            return f"timestamp_seconds({clock.hour_end_sql(second)})"
        return f"timestamp_seconds({clock.end_sql(second, self._end_sql)})"

    def _end_sql(self, second: str) -> str:
        if self.unit != "month":
            after = f"pmod({second} - {self._origin}L, {self.seconds}L)"
            return f"{second} - {after} + {self.seconds}L"
        day = f"date_from_unix_date(CAST(floor({second} / {_DAY}L) AS INT))"
        months = f"((year({day}) - 1970) * 12 + month({day}) - 1)"
        end = f"add_months(date_from_unix_date(0), {months} - pmod({months}, {self.count}) + {self.count})"
        return f"unix_date({end}) * {_DAY}L"

    # -- widths among one another -----------------------------------------------------------

    def divides(self, other: Grain) -> bool:
        """Whether each window of another width is made of whole windows of this one.

        Parameters
        ----------
        other : Grain
            The other width.
        """
        return common((self, other)) == self


@lru_cache(maxsize=10_000)
def _bounds(grain: Grain, second: int) -> tuple[timedelta, timedelta]:
    """The start and the end of the window that holds a moment, by the clock of a zone."""
    start, end = grain._zoned(second)  # type: ignore[arg-type]
    return timedelta(seconds=int(start)), timedelta(seconds=int(end))


#: The widths of the shop's own tables, in UTC.
GRAINS: Final = {unit: Grain(1, unit) for unit in ("minute", "hour", "day")}


def grain_of(text: str, calendar: Calendar = UTC_CALENDAR) -> Grain:
    """The width behind ``"minute"``, ``"5 minutes"``, ``"15m"``, ``"2 hours"``, ``"1 week"`` or ``"1 month"``.

    Parameters
    ----------
    text : str
        A whole number of seconds, minutes, hours, days, weeks or months, or a grain's name.
    calendar : Calendar
        By whose clock hours, days, weeks and months are counted.

    Raises
    ------
    UnknownName
        There is no such unit of time.
    UsageError
        The width is 0, or wider than can be kept.
    """
    plain = text.strip().lower() if isinstance(text, str) else ""
    if match := _NAME.fullmatch(plain):
        unit, count = match[1], match[2]
    elif match := _WIDTH.fullmatch(plain):
        unit, count = match[2], match[1]
    else:
        raise UnknownName("grain", str(text), _SECONDS)
    if unit not in _UNITS:
        raise UnknownName("grain", text, _SECONDS)
    return _canonical(int(count or 1), _UNITS[unit], text, calendar)


def _canonical(count: int, unit: str, text: str, calendar: Calendar = UTC_CALENDAR) -> Grain:
    remedy = f"Take whole seconds, minutes, hours, days or weeks up to 366 days, or months up to {_MOST_MONTHS}."
    if count < 1:
        raise UsageError(f"{text!r} is not a width of windows: windows of no length hold nothing.", remedy=remedy)
    if unit != "month":
        seconds = count * _SECONDS[unit]
        unit = next(name for name in ("week", "day", "hour", "minute", "second") if not seconds % _SECONDS[name])
        count = seconds // _SECONDS[unit]
    most = _MOST_MONTHS if unit == "month" else _MOST_SECONDS // _SECONDS[unit]
    if count > most:
        raise UsageError(f"Windows of {text!r} are too wide.", remedy=remedy)
    if len(str(count)) > _MOST_DIGITS:
        raise UsageError(
            f"Windows of {text!r} can't be kept: {count} {unit}s make the name of a table too long for the stores.",
            remedy="Take whole minutes or hours.",
        )
    return _grain(count, unit, calendar)


def _grain(count: int, unit: str, calendar: Calendar) -> Grain:
    grain = Grain(count, unit, calendar.meant_by(unit, count))
    known = GRAINS.get(grain.name)
    return known if known == grain else grain


def grain_with(suffix: str) -> Grain | None:
    """The width that a stored table's name ends with; None where the end is not one.

    Parameters
    ----------
    suffix : str
        What follows the last ``_``: ``minute``, ``5m``.
    """
    try:
        grain = grain_of(suffix)
    except UsageError:
        return None
    return grain if grain.suffix == suffix else None


def common(grains: Iterable[Grain]) -> Grain:
    """The widest windows of which all windows of some widths are made.

    Parameters
    ----------
    grains : iterable of Grain
        At least one.

    >>> common([grain_of("10m"), grain_of("15m")]).title, common([grain_of("week"), grain_of("month")]).title
    ('5 minutes', 'day')
    """
    found: Sequence[Grain] = list(grains)
    zones = {grain.calendar.zone for grain in found}
    if len(zones) > 1:  # of different clocks only windows of UTC are made
        parts = [part for grain in found for part in _parts(grain, in_utc=True)]
        return _canonical(gcd(*parts), "second", "common")
    meanings = {(grain.unit, grain.calendar) for grain in found}
    if len(meanings) == 1 and found[0].unit in ("week", "month"):  # these are counted from a start of their own
        return _canonical(gcd(*(grain.count for grain in found)), found[0].unit, "common", found[0].calendar)
    parts = [part for grain in found for part in _parts(grain)]
    return _canonical(gcd(*parts), "second", "common", Calendar(zones.pop()))


def _parts(grain: Grain, *, in_utc: bool = False) -> Iterator[int]:
    """Seconds, of whose common divisor windows are made: those of UTC, or of the clock by which they are counted."""
    if in_utc and not grain.calendar.is_utc:
        yield grain.calendar.clock.step
    else:
        yield _DAY if grain.unit == "month" else grain.seconds
        yield grain._origin
