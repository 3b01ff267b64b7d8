"""The figures of events by a plain loop: the truth that every store is compared with.

It asks the zone of each event what the clock shows, and shares no arithmetic of windows with `windows.Grain`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.kinds import PLACES, Kind
from retailpulse_kernel.shop.sketching import buckets, sketches
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row

__all__ = ["fold"]

_EPOCH: Final = datetime(1970, 1, 1)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_WIDTHS: Final = {"second": timedelta(seconds=1), "minute": _MINUTE, "hour": _HOUR, "day": _DAY, "week": 7 * _DAY}
#: No clock is put back by more.
_MOST_BACK: Final = 3 * _HOUR
#: The decimal places of what is counted in buckets.
_QUANTILES: Final = {Kind.QUANTILE: 0, Kind.QUANTILE_DECIMAL: PLACES}
#: 4 January 1970 was a Sunday.
_FIRST_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


def fold(events: Iterable[Event], table: FigureTable, grain: Grain) -> list[Row]:
    """The rows of a figure table for some events, each event counted as often as it is given.

    Parameters
    ----------
    events : iterable of Event
        Deduplicated by the caller.
    table : FigureTable
        Which figures by which dimensions.
    grain : Grain
        In which windows.
    """
    parts: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        key = (_start(event.event_time, grain), *(getattr(event, dimension) for dimension in table.by))
        sums = parts.get(key)
        if sums is None:
            sums = parts[key] = {figure.name: _nothing(figure) for figure in table.figures}
        for figure in table.figures:
            value = figure.of_event(event)
            if value is None:
                continue
            if figure.measure.kind in (Kind.USERS, Kind.DISTINCT):
                sums[figure.name].add(value)
            elif (places := _QUANTILES.get(figure.measure.kind)) is not None:
                sums[figure.name].update(buckets.numbered([value], places).to_pylist())
            else:
                sums[figure.name] = figure.combine((sums[figure.name], value))
    return [
        {
            **dict(zip(table.key_columns(grain), key, strict=True)),
            **{figure.name: _stored(figure, sums[figure.name]) for figure in table.figures},
        }
        for key, sums in parts.items()
    ]


def _stored(figure: Figure, value: Any) -> Any:
    if (places := _QUANTILES.get(figure.measure.kind)) is not None:
        return buckets.of(value.elements(), places)
    return sketches.of(value) if isinstance(value, set) else value


def _start(moment: datetime, grain: Grain) -> datetime:
    """The start of the window that holds a moment."""
    zone = ZoneInfo(grain.calendar.zone)
    if grain.unit in ("hour", "day", "week", "month"):
        if (grain.count, grain.unit) == (1, "hour"):
            return _hour(moment, zone)
        return _since(_floor(_shown(moment, zone), grain), zone)
    return _floor(moment.astimezone(UTC).replace(tzinfo=None), grain).replace(tzinfo=UTC)


def _floor(shown: datetime, grain: Grain) -> datetime:
    """The first moment, by the clock, of the window that holds what the clock shows."""
    if grain.unit == "month":
        months = (shown.year - 1970) * 12 + shown.month - 1
        year, month = divmod(months - months % grain.count, 12)
        return datetime(1970 + year, month + 1, 1)
    origin = _EPOCH
    if grain.unit == "week":
        origin = datetime(1970, 1, 4) + _FIRST_DAYS.index(grain.calendar.week_start) * _DAY
        origin -= 7 * _DAY if origin >= datetime(1970, 1, 8) else timedelta(0)
    return shown - (shown - origin) % (grain.count * _WIDTHS[grain.unit])


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clock shows, or, where it will be put back to before that, what it will be put back to."""
    now = _local(moment, zone)
    if _local(moment + _MOST_BACK, zone) - now >= _MOST_BACK:
        return now
    whole = moment.replace(second=0, microsecond=0)
    later = (_local(whole + minutes * _MINUTE, zone) for minutes in range(1, _MOST_BACK // _MINUTE + 1))
    return min(now, *later)


@lru_cache(maxsize=10_000)
def _since(shown: datetime, zone: ZoneInfo) -> datetime:
    """The moment from which on the clock shows something or what is later."""
    first, last = (shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first > last:  # the clock skips it: until the clock was put forward, it showed less
        moment = first
        while _local(moment - _MINUTE, zone) >= shown:
            moment -= _MINUTE
        return moment
    return last if _local(last - timedelta(microseconds=1), zone) < shown else first


def _hour(moment: datetime, zone: ZoneInfo) -> datetime:
    """The start of a single hour: where the clock shows a full one, or was put forward or back."""
    ahead, now = moment.astimezone(zone).utcoffset(), _local(moment, zone)
    full = moment - (now - now.replace(minute=0, second=0, microsecond=0))
    if full.astimezone(zone).utcoffset() == ahead:
        return full.astimezone(UTC)
    start = moment.replace(second=0, microsecond=0)
    while (start - _MINUTE).astimezone(zone).utcoffset() == ahead:
        start -= _MINUTE
    return start.astimezone(UTC)


def _nothing(figure: Figure) -> Any:
    match figure.measure.kind:
        case Kind.COUNT | Kind.SUM | Kind.VALUES:
            return 0
        case Kind.MONEY:
            return Decimal(0)
        case Kind.USERS | Kind.DISTINCT:
            return set()
        case Kind.QUANTILE | Kind.QUANTILE_DECIMAL:
            return Counter()
        case _:
            return None
