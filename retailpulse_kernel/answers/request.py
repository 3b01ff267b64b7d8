"""What a request asks for, checked: the range on whole minutes, its windows, its dimensions, its filters.

A filter that is given once is a list with commas, as Grafana writes the values of a variable: ``a,b``, ``{a,b}``, and
``all`` for no filter. A filter that is given several times has one value each time, as it is: a value with a comma, or
the value ``all``, is given twice where it is the only one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.answers.ranges import fitting
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import moment_at, moment_of, range_of, require_range, span_of
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, FigureTable, Grain, grain_of

__all__ = ["Asked", "asked", "fitted", "values_of"]

#: Windows that one answer holds at most.
MOST_BUCKETS = 2_000
#: Windows that a line still shows well: `grain=auto` takes the finest grain with no more.
_FINE_BUCKETS = 400
#: The longest range, whatever the windows: each day is a request to Cassandra.
_LONGEST = timedelta(days=1_100)
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: What Grafana writes for "all" in a variable.
_ALL = {"", "all", "$__all"}


@dataclass(frozen=True)
class Asked:
    """A checked request; equal requests within a minute are equal.

    Attributes
    ----------
    since, until : datetime
        UTC, whole minutes.
    grain : Grain
        The windows behind ``bucket``.
    by : tuple of str
        ``bucket`` or dimensions.
    where : tuple of (str, frozenset of str)
        The values that a dimension may have; a dimension that is absent may have all.
    shift : timedelta
        How much earlier is read than is shown: a week, to lay last week under today.
    limit : int
        Rows at most, the largest first; 0 for all.
    any_grain : bool
        Whether the windows were chosen here, so that a table with wider ones will do.
    calendar : Calendar
        The shop's, in whose time the answer is written.
    """

    since: datetime
    until: datetime
    grain: Grain
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    shift: timedelta = timedelta(0)
    limit: int = 0
    any_grain: bool = False
    calendar: Calendar = UTC_CALENDAR

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What the answer goes by and is filtered by; ``bucket`` is none."""
        return tuple(name for name in dict.fromkeys((*self.by, *(name for name, _ in self.where))) if name != "bucket")

    def only(self, dimension: str) -> frozenset[str]:
        """The values that a dimension may have; all when empty.

        Parameters
        ----------
        dimension : str
            Its name.
        """
        return dict(self.where).get(dimension, frozenset())


def asked(
    *,
    since: str = "",
    until: str = "",
    last: str = "",
    grain: str = "auto",
    by: str = "",
    only: Mapping[str, Sequence[str]] | None = None,
    shift: str = "",
    limit: int = 0,
    now: datetime,
    dimensions: Iterable[str] = CATEGORY.by,
    calendar: Calendar = UTC_CALENDAR,
) -> Asked:
    """Check the texts of a request.

    Parameters
    ----------
    since, until : str
        ISO 8601, or milliseconds since 1970 as Grafana gives them; widened to whole minutes. Today up to `now` when
        empty.
    last : str
        The newest span instead of `since`, such as ``7d``, or a period such as ``yesterday``.
    grain : str
        ``minute``, ``hour``, ``day``, any width that these add up to, such as ``15m``, or ``auto`` for the finest
        that a line still shows well.
    by : str
        Several with commas.
    only : mapping of str to sequence of str, optional
        The texts of each filter, by its dimension; see `values_of`.
    shift : str
        A span such as ``7d``.
    limit : int
        See `Asked`.
    now : datetime
        The present.
    dimensions : iterable of str
        Those that there are.
    calendar : Calendar
        The shop's: whose days are meant, and whose time where a text has no zone.

    Raises
    ------
    UnknownName
        There is no such grain or dimension.
    UsageError
        The range is empty or too long.
    """
    end = _widened(_moment(until, calendar) if until else now)
    day = GRAINS["day"].within(calendar)
    if last:
        start, end = _newest(last, since, until, end, calendar)
    else:
        start = GRAINS["minute"].start(_moment(since, calendar)) if since else day.start(end - timedelta(minutes=1))
    _check(start, end)
    known, wanted = tuple(dimensions), _listed(by)
    for name in wanted:
        if name not in ("bucket", *known):
            raise UnknownName("dimension", name, ("bucket", *known))
    for name in only or {}:
        if name not in known:
            raise UnknownName("dimension", name, known)
    try:
        back = span_of(shift) if shift else timedelta(0)
    except OverflowError:
        back = timedelta(-1)
    if not timedelta(0) <= back <= _LONGEST or back % timedelta(minutes=1):
        raise UsageError(f"A shift of {shift!r} can't be read.", remedy="Give whole minutes, hours or days, as in 7d.")
    is_open = grain.lower() == "auto"
    filters = ((name, values_of(texts)) for name, texts in sorted((only or {}).items()))
    return Asked(
        start, end, _fitting(end - start).within(calendar) if is_open else grain_of(grain, calendar),
        tuple(dict.fromkeys(wanted)), tuple((name, values) for name, values in filters if values), back, limit,
        is_open, calendar,
    )  # fmt: skip


def fitted(asked: Asked, table: FigureTable) -> Asked:
    """The same request in windows of a table: a range that they do not make up is widened to starts of the finest.

    Parameters
    ----------
    asked : Asked
        A checked request.
    table : FigureTable
        The table that answers.

    Raises
    ------
    UsageError
        The table's windows do not add up to those of the request, or the range has too many of them.
    """
    grain = _added_up(table, asked.grain) if asked.any_grain else asked.grain
    asked, series = replace(asked, grain=grain), grain if "bucket" in asked.by else None
    windows = (asked.until - asked.since) / grain.width
    if series and windows > MOST_BUCKETS:
        raise UsageError(
            f"{windows:,.0f} windows of {grain.words} are more than the {MOST_BUCKETS:,} that one answer holds.",
            remedy="Ask for a shorter range or a coarser grain.",
        )
    with suppress(UsageError):
        fitting(table, asked.since, asked.until, series)
        return asked
    finest = table.parts(series)[-1] if series else table.finest
    return replace(asked, since=finest.start(asked.since), until=finest.start_from(asked.until))


def _added_up(table: FigureTable, grain: Grain) -> Grain:
    """Windows that those of a table add up to: of a width, or of the next wider one of whole finest windows."""
    with suppress(UsageError):
        table.parts(grain)
        return grain
    finest = table.finest
    count = finest.count * -(-grain.seconds // finest.seconds)
    return grain_of(f"{count} {finest.unit}s", finest.calendar)


def values_of(texts: Sequence[str]) -> frozenset[str]:
    """The values of a filter: of one text those of a list with commas, of several texts each as it is.

    >>> sorted(values_of(["{a,b}"])), sorted(values_of(["a,b", "all"])), sorted(values_of(["all"]))
    (['a', 'b'], ['a,b', 'all'], [])

    Parameters
    ----------
    texts : sequence of str
        What the request has under the filter's name.
    """
    return frozenset(_listed(texts[0]) if len(texts) == 1 else texts)


def _newest(last: str, since: str, until: str, end: datetime, calendar: Calendar) -> tuple[datetime, datetime]:
    """The newest span up to the end of a range, or a period of the shop's calendar."""
    try:
        start, stop = range_of(last, since or None, end if until else None, now=end, calendar=calendar)
    except OverflowError as error:
        raise UsageError(f"last={last!r} is too long.", remedy="Give a shorter span, such as 7d.") from error
    assert start is not None, "a span has a start"
    return GRAINS["minute"].start(start), _widened(end if stop is None else stop)


def _moment(text: str, calendar: Calendar) -> datetime:
    number = text.removeprefix("-")
    try:
        if number.isascii() and number.isdigit():
            moment = moment_at(int(text))
        else:
            found = moment_of(text, calendar)
            moment = _EARLIEST if found is None else found.astimezone(UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise UsageError(
            f"{text[:40]!r} is not a time.", remedy="Write ISO 8601 or milliseconds since 1970."
        ) from error
    if not _EARLIEST <= moment <= _LATEST:
        raise UsageError(f"{text[:40]!r} is not between 2000 and 2100.", remedy="Give a time within these years.")
    return moment


def _widened(moment: datetime) -> datetime:
    start = GRAINS["minute"].start(moment)
    return start if start == moment else start + timedelta(minutes=1)


def _check(start: datetime, end: datetime) -> None:
    require_range(start, end)
    if end - start > _LONGEST:
        raise UsageError(
            f"A range of {(end - start).days:,} days is more than the {_LONGEST.days:,} that are read at once.",
            remedy="Ask for a shorter range.",
        )


def _listed(text: str) -> list[str]:
    # Grafana writes several values of a variable as {a,b} where it is told nothing else.
    names = [name.strip() for name in text.strip().removeprefix("{").removesuffix("}").split(",")]
    return [name for name in names if name.lower() not in _ALL]


def _fitting(span: timedelta) -> Grain:
    return next((g for g in (GRAINS["minute"], GRAINS["hour"]) if span / g.width <= _FINE_BUCKETS), GRAINS["day"])
