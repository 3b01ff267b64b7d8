"""Times and time spans, as people and Spark write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from retailpulse_kernel.ground.calendars import UTC_CALENDAR, WEEKDAYS, Calendar
from retailpulse_kernel.ground.errors import UsageError

__all__ = [
    "MOMENT",
    "PERIODS",
    "SPAN",
    "iso_text",
    "milliseconds",
    "moment_at",
    "moment_of",
    "ms_of",
    "range_of",
    "require_minutes",
    "require_range",
    "span_of",
    "span_text",
]

#: How a span and a time are written, as a remedy.
SPAN, MOMENT = "Write a time span as 30s, 10m, 2h or 1d.", "Write a time as 2026-01-31 or 2026-01-31T10:00."

#: The spans of the shop's days, weeks and months that a range may be.
PERIODS = ("today", "yesterday", "this week", "last week", "this month", "last month")

_SPAN = re.compile(r"(\d{1,40}(?:\.\d{1,18})?)\s*(ms|[smhdw])", re.ASCII)
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_UNITS = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6, "w": 7 * 86_400 * 10**6}


def span_of(text: str | timedelta) -> timedelta:
    """The time span behind ``"10m"``, ``"2h"``, ``"1d"``, ``"30s"``, ``"500ms"``, ``"2w"``, exact to the microsecond.

    Parameters
    ----------
    text : str or timedelta
        A number and a unit: ``ms``, ``s``, ``m``, ``h``, ``d`` or ``w``. A `timedelta` is returned as it is.

    Raises
    ------
    UsageError
        The text is not a span.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str):
        raise UsageError(f"{text!r} is not a time span.", remedy=f"{SPAN} A timedelta will do, too.")
    match = _SPAN.fullmatch(text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a time span.", remedy=SPAN)
    microseconds = Decimal(match[1]) * _UNITS[match[2]]
    if microseconds != microseconds.to_integral_value():
        raise UsageError(f"{text!r} is finer than a microsecond.", remedy=SPAN)
    try:
        return timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise UsageError(f"{text!r} is longer than a time span can be.", remedy=SPAN) from None


def span_text(span: timedelta) -> str:
    """A span as `span_of` reads it.

    >>> span_text(timedelta(minutes=10)), span_text(timedelta(hours=36)), span_text(timedelta(seconds=0.5))
    ('10m', '36h', '0.5s')

    Parameters
    ----------
    span : timedelta
        Not negative.
    """
    whole = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
    unit = next((unit for unit, width in whole.items() if span and not span % width), None)
    if unit:
        return f"{span // whole[unit]}{unit}"
    seconds = Decimal(span // timedelta(microseconds=1)) / 10**6
    return f"{seconds.normalize() + 0:f}s"


def moment_of(text: str | datetime | None, calendar: Calendar = UTC_CALENDAR) -> datetime | None:
    """The time behind ``"2026-01-31"``, ``"2026-01-31T10:00"``, ``"today"`` or ``"monday"``, as UTC; None for None.

    Parameters
    ----------
    text : str or datetime or None
        ISO 8601; or ``today``, ``yesterday`` or a weekday, for the beginning of the last such day.
    calendar : Calendar
        Whose time it is, unless it has a zone: the shop's, or UTC.

    Raises
    ------
    UsageError
        The text is not a time.
    """
    if text is None:
        return None
    if isinstance(text, str) and (day := _named_day(text.strip().lower(), calendar)) is not None:
        return calendar.midnight(day)
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        raise UsageError(f"{text!r} is not a time.", remedy=MOMENT) from None
    return calendar.moment(moment) if moment.tzinfo is None else moment.astimezone(UTC)


def _named_day(name: str, calendar: Calendar) -> date | None:
    today = calendar.day_of(datetime.now(UTC))
    if name in WEEKDAYS:
        return _last_weekday(name, today)
    return {"today": today, "yesterday": today - timedelta(days=1)}.get(name)


def _last_weekday(name: str, today: date) -> date:
    return today - timedelta(days=(today.weekday() - WEEKDAYS.index(name)) % len(WEEKDAYS))


def _period(name: str, calendar: Calendar) -> tuple[datetime, datetime | None]:
    """The range behind one of `PERIODS`; one that is not over has no end."""
    today = calendar.day_of(datetime.now(UTC))
    week = _last_weekday(calendar.week_start, today)
    month = today.replace(day=1)
    days = {
        "today": (today, None),
        "yesterday": (today - timedelta(days=1), today),
        "this week": (week, None),
        "last week": (week - timedelta(days=7), week),
        "this month": (month, None),
        "last month": ((month - timedelta(days=1)).replace(day=1), month),
    }
    begin, end = days[name]
    return calendar.midnight(begin), None if end is None else calendar.midnight(end)


def range_of(
    last: str | timedelta | None,
    since: str | datetime | None,
    until: str | datetime | None,
    *,
    now: datetime | None = None,
    calendar: Calendar = UTC_CALENDAR,
) -> tuple[datetime | None, datetime | None]:
    """The range ``[since, until)``, or the newest span up to `until` or to now; no bound where none is given.

    Parameters
    ----------
    last : str or timedelta or None
        The newest span, such as ``"1h"``, or one of `PERIODS`; instead of `since`.
    since, until : str or datetime or None
        The bounds, in the calendar's time unless they have a zone.
    now : datetime, optional
        The end of `last` where there is no `until`; the present time when absent.
    calendar : Calendar
        Whose days and times are meant: the shop's, or those of UTC.

    Raises
    ------
    UsageError
        `last` and `since` are both given, or one of them can't be read.
    """
    if last is None:
        return moment_of(since, calendar), moment_of(until, calendar)
    if since is not None:
        raise UsageError("`last` and `since` are both given.", remedy="Use one of them.")
    if isinstance(last, str) and last in PERIODS:
        if until is not None:
            raise UsageError(f"`last={last!r}` and `until` are both given.", remedy="Use one of them.")
        return _period(last, calendar)
    end = moment_of(until, calendar)
    return (end or now or datetime.now(UTC)) - span_of(last), end


def require_range(begin: datetime | None, end: datetime | None) -> None:
    """Refuse a range ``[begin, end)`` that holds nothing.

    Parameters
    ----------
    begin, end : datetime or None
        The range's ends; None is no bound.

    Raises
    ------
    UsageError
        It ends before it begins, or there.
    """
    if begin is not None and end is not None and begin >= end:
        raise UsageError(
            f"The range is empty: {iso_text(begin)} is not before {iso_text(end)}.", remedy="Give a later end."
        )


def require_minutes(*moments: datetime | None) -> None:
    """Refuse the ends of a range of figures that are not on whole minutes.

    Parameters
    ----------
    *moments : datetime
        Ends of a range.

    Raises
    ------
    UsageError
        One is not.
    """
    for moment in moments:
        if moment is not None and (moment.second or moment.microsecond):
            raise UsageError(f"{iso_text(moment)} is not on a whole minute.", remedy="Figures go by the minute.")


def milliseconds(span: timedelta) -> int:
    """A span in whole milliseconds, as Spark counts watermarks.

    Parameters
    ----------
    span : timedelta
        What is below a millisecond is dropped.
    """
    return span // _MILLISECOND


def moment_at(ms: int) -> datetime:
    """The time, UTC, that is so many milliseconds after 1970.

    Parameters
    ----------
    ms : int
        Milliseconds since 1970, UTC.
    """
    return _EPOCH + timedelta(milliseconds=ms)


def ms_of(moment: datetime) -> int:
    """A time as milliseconds since 1970; what is finer is cut off.

    Parameters
    ----------
    moment : datetime
        With its zone.
    """
    return (moment - _EPOCH) // _MILLISECOND


def iso_text(moment: datetime, timespec: str = "auto") -> str:
    """A time as `moment_of`, JSON's readers and JavaScript read it: RFC 3339, UTC.

    Parameters
    ----------
    moment : datetime
        With a zone.
    timespec : str
        The finest part: ``"minutes"``, ``"seconds"``, ``"milliseconds"``; as fine as the time is when ``"auto"``.

    >>> iso_text(moment_at(0)), iso_text(moment_at(1_500), "seconds")
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:01Z')
    """
    return moment.astimezone(UTC).isoformat(timespec=timespec).removesuffix("+00:00") + "Z"
