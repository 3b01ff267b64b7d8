"""What a request asks for, checked: the range on whole minutes, its windows, its dimensions, its filters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.spans import moment_at, moment_of, require_range, span_of
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS, Grain, grain_of

__all__ = ["Asked", "asked"]

#: Windows that one answer holds at most.
MOST_BUCKETS = 2_000
#: Windows that a line still shows well: `grain=auto` takes the finest grain with no more.
_FINE_BUCKETS = 400
#: The longest range, whatever the windows: each day is a request to Cassandra.
_LONGEST = timedelta(days=1_100)
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_DIMENSIONS = ("bucket", *CATEGORY.by)
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
        ``bucket`` or dimensions of `CATEGORY`.
    currencies, categories : frozenset of str
        Only these; all when empty.
    shift : timedelta
        How much earlier is read than is shown: a week, to lay last week under today.
    limit : int
        Rows at most, the largest first; 0 for all.
    """

    since: datetime
    until: datetime
    grain: Grain
    by: tuple[str, ...] = ()
    currencies: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    shift: timedelta = timedelta(0)
    limit: int = 0


def asked(
    *,
    since: str = "",
    until: str = "",
    grain: str = "auto",
    by: str = "",
    currency: str = "",
    category: str = "",
    shift: str = "",
    limit: int = 0,
    now: datetime,
) -> Asked:
    """Check the texts of a request.

    Parameters
    ----------
    since, until : str
        ISO 8601, or milliseconds since 1970 as Grafana gives them; widened to whole minutes. Today up to `now` when
        empty.
    grain : str
        ``minute``, ``hour``, ``day``, any width that these add up to, such as ``15m``, or ``auto`` for the finest
        that a line still shows well.
    by, currency, category : str
        Several with commas.
    shift : str
        A span such as ``7d``.
    limit : int
        See `Asked`.
    now : datetime
        The present.

    Raises
    ------
    UnknownName
        There is no such grain or dimension.
    UsageError
        The range is empty, too long, or has too many windows.
    """
    end = _widened(_moment(until) if until else now)
    start = GRAINS["minute"].start(_moment(since)) if since else GRAINS["day"].start(end - timedelta(minutes=1))
    _check(start, end)
    dimensions = _listed(by)
    for name in dimensions:
        if name not in _DIMENSIONS:
            raise UnknownName("dimension", name, _DIMENSIONS)
    try:
        back = span_of(shift) if shift else timedelta(0)
    except OverflowError:
        back = timedelta(-1)
    if not timedelta(0) <= back <= _LONGEST or back % timedelta(minutes=1):
        raise UsageError(f"A shift of {shift!r} can't be read.", remedy="Give whole minutes, hours or days, as in 7d.")
    chosen = _fitting(end - start) if grain.lower() == "auto" else grain_of(grain)
    CATEGORY.parts(chosen)  # refuses what its windows do not add up to
    windows = (end - start) / chosen.width
    if "bucket" in dimensions and windows > MOST_BUCKETS:
        width = f"a {chosen.unit}" if chosen.count == 1 else chosen.title
        raise UsageError(
            f"{windows:,.0f} windows of {width} are more than the {MOST_BUCKETS:,} that one answer holds.",
            remedy="Ask for a shorter range or a coarser grain.",
        )
    return Asked(
        start, end, chosen, tuple(dict.fromkeys(dimensions)), frozenset(_listed(currency)),
        frozenset(_listed(category)), back, limit,
    )  # fmt: skip


def _moment(text: str) -> datetime:
    number = text.removeprefix("-")
    try:
        if number.isascii() and number.isdigit():
            moment = moment_at(int(text))
        else:
            found = moment_of(text)
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
