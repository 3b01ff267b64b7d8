"""Windows of time: how wide they are, where each begins and ends.

All arithmetic of windows is in `Grain`, for one time, for arrays and in Spark SQL. It is in UTC: a zone would come in
here, and nowhere else. Windows of seconds to days are counted from 1970-01-01 00:00, as Spark's ``window`` counts
them, also those that do not divide a day, such as 7 minutes. Weeks begin on Monday. Months are those of the calendar,
and several months are counted from January 1970, so that 3 months are a quarter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Final

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
#: The seconds after 1970-01-01 from which windows of a unit are counted: the first Monday.
_ORIGINS: Final = {"week": 4 * _DAY}
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
    """

    count: int
    unit: str

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

    # -- one time ---------------------------------------------------------------------------

    def start(self, moment: datetime) -> datetime:
        """The start of the window that holds a moment.

        Parameters
        ----------
        moment : datetime
            Any time with a zone.
        """
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
        return _ORIGINS.get(self.unit, 0)

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
        if self.unit == "month":
            return self._months(times, 0, per_second)
        width, origin = self.seconds * per_second, self._origin * per_second
        return (times - origin) // width * width + origin

    def ends(self, times: Times, *, per_second: int = 1_000_000) -> Times:
        """The ends of the windows that hold some times.

        Parameters
        ----------
        times : numpy.ndarray
            As for `starts`.
        per_second : int
            As for `starts`.
        """
        if self.unit == "month":
            return self._months(times, self.count, per_second)
        return self.starts(times, per_second=per_second) + self.seconds * per_second

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
        if self.unit != "month":
            after = f"pmod({second} - {self._origin}L, {self.seconds}L)"
            return f"timestamp_seconds({second} - {after} + {self.seconds}L)"
        day = f"date_from_unix_date(CAST(floor({second} / {_DAY}L) AS INT))"
        months = f"((year({day}) - 1970) * 12 + month({day}) - 1)"
        end = f"add_months(date_from_unix_date(0), {months} - pmod({months}, {self.count}) + {self.count})"
        return f"timestamp_seconds(unix_date({end}) * {_DAY}L)"

    # -- widths among one another -----------------------------------------------------------

    def divides(self, other: Grain) -> bool:
        """Whether each window of another width is made of whole windows of this one.

        Parameters
        ----------
        other : Grain
            The other width.
        """
        return common((self, other)) == self


#: The widths of the shop's own tables.
GRAINS: Final = {unit: Grain(1, unit) for unit in ("minute", "hour", "day")}


def grain_of(text: str) -> Grain:
    """The width behind ``"minute"``, ``"5 minutes"``, ``"15m"``, ``"2 hours"``, ``"1 week"`` or ``"1 month"``.

    Parameters
    ----------
    text : str
        A whole number of seconds, minutes, hours, days, weeks or months, or a grain's name.

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
    return _canonical(int(count or 1), _UNITS[unit], text)


def _canonical(count: int, unit: str, text: str) -> Grain:
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
    grain = Grain(count, unit)
    return GRAINS.get(grain.name, grain)


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
    units = {grain.unit for grain in found}
    if len(units) == 1 and units & {"week", "month"}:  # windows of these are counted from a start of their own
        return _canonical(gcd(*(grain.count for grain in found)), units.pop(), "common")
    parts = [part for grain in found for part in (_DAY if grain.unit == "month" else grain.seconds, grain._origin)]
    return _canonical(gcd(*parts), "second", "common")
