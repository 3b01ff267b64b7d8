"""Reading a range of time from windows of several widths, exactly and with few rows.

A day until noon is twelve hours, or the day less twelve hours. Parts of figures can be subtracted as
well as added, so each end of a range takes the way with fewer windows: of today, whose rest is empty,
that is one row a key instead of a thousand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import range_of, require_range
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, Figure
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, Grain, Row
from retailpulse_kernel.stores.base import FigureStore

__all__ = ["Extent", "SignedRead", "cover", "cover_open", "fitting", "minutes_of", "plan"]

Span = tuple[Grain, datetime, datetime]
"""Whole windows of a grain, from the start of the first to the end of the last."""


def minutes_of(
    last: str | timedelta | None,
    since: str | datetime | None,
    until: str | datetime | None,
    finest: Grain = GRAINS["minute"],
    calendar: Calendar = UTC_CALENDAR,
) -> tuple[datetime | None, datetime | None]:
    """The range ``[since, until)``; with `last` the newest span, from a whole minute on, up to `until` or this minute.

    Of a table without minutes the range goes by its finest windows.

    Parameters
    ----------
    last : str or timedelta or None
        The newest span, such as ``"1h"``, or ``"today"`` and the like; instead of `since`.
    since, until : str or datetime or None
        The range, in the calendar's time unless it has a zone; no bound where None.
    finest : Grain
        The finest windows of the table that is read.
    calendar : Calendar
        Whose days and times are meant: the shop's, or those of UTC.

    Raises
    ------
    UsageError
        As `spans.range_of`.
    """
    # Of wide windows the last one has hardly begun: the span is counted from this minute, and the window that holds its
    # beginning is taken as a whole.
    now = datetime.now(UTC)
    minute = min(finest, GRAINS["minute"], key=lambda one: one.seconds)
    begin, end = range_of(last, since, until, now=minute.end(now), calendar=calendar)
    if last is None or begin is None:
        return begin, end
    if begin != (start := finest.start(begin)):
        say(f"{_by(finest)}: this is from {start.astimezone(calendar.tzinfo):%Y-%m-%d %H:%M} ({calendar.zone}) on.")
    return start, end or finest.end(now)


def _by(finest: Grain) -> str:
    return f"Figures go by {'the' if finest.count == 1 else 'windows of'} {finest.title}"


def _require_aligned(finest: Grain, *moments: datetime) -> None:
    """Refuse the ends of a range that no windows meet."""
    for moment in moments:
        if finest.start(moment) != moment:
            what = f"on a whole {finest.unit}" if finest.count == 1 else f"the start of a window of {finest.title}"
            said = finest.calendar.text  # half past six in UTC is a whole hour in Delhi
            near = f" Near it are {said(finest.start(moment))} and {said(finest.end(moment))}."
            raise UsageError(f"{said(moment)} is not {what}.", remedy=f"{_by(finest)}.{near}")


@dataclass(frozen=True)
class Extent:
    """A range that was read by windows of some width at some moment: tells which of its windows are whole.

    Attributes
    ----------
    grain : Grain
        The windows.
    since, until : datetime or None
        The range; None where it has no end.
    now : datetime
        When it was read.
    """

    grain: Grain
    since: datetime | None
    until: datetime | None
    now: datetime

    def complete(self, start: datetime) -> bool:
        """Whether the window that begins at `start` is over and lies in the range as a whole.

        Parameters
        ----------
        start : datetime
            A window's start, UTC.
        """
        end = self.grain.end(start)
        return (
            end <= self.now
            and (self.since is None or self.since <= start)
            and (self.until is None or end <= self.until)
        )


@dataclass(frozen=True)
class Piece:
    """A part of a range: what is read for it, and what of that is taken away again."""

    start: datetime
    end: datetime
    added: list[Span]
    subtracted: list[Span] = field(default_factory=list)


def cover(since: datetime, until: datetime, grains: Sequence[Grain]) -> Iterator[Span]:
    """Split a range into whole windows of the widest grain and finer ones at its ends.

    Parameters
    ----------
    since, until : datetime
        The range; both are starts of the finest windows.
    grains : sequence of Grain
        What to use, as `FigureTable.parts` gives them: the widest first, each made of the next.

    Raises
    ------
    UsageError
        An end of the range is not where a window of the finest grain begins, or the range is empty.
    """
    require_range(since, until)
    _require_aligned(grains[-1], since, until)
    yield from _cover(since, until, grains)


def cover_open(
    since: datetime | None, until: datetime | None, grains: Sequence[Grain]
) -> Iterator[tuple[Grain, datetime | None, datetime | None]]:
    """As `cover`, of a range that may have no start or no end: the widest windows go on there.

    Parameters
    ----------
    since, until : datetime or None
        The range; each end is the start of the finest windows, or None.
    grains : sequence of Grain
        As for `cover`.

    Raises
    ------
    UsageError
        As `cover`.
    """
    if since is not None and until is not None:
        yield from cover(since, until, grains)
        return
    _require_aligned(grains[-1], *(end for end in (since, until) if end is not None))
    widest = grains[0]
    first = None if since is None else widest.start_from(since)
    last = None if until is None else widest.start(until)
    if since is not None and first is not None and since < first:
        yield from _cover(since, first, grains)
    yield widest, first, last
    if until is not None and last is not None and last < until:
        yield from _cover(last, until, grains)


def fitting(
    table: FigureTable, since: datetime | None, until: datetime | None, every: Grain | None = None
) -> FigureTable:
    """A table with those of its windows that answer for a range: the widest of which it is made, and finer ones.

    Windows of 7 minutes do not add up to weeks. A table that keeps both answers for a range of whole weeks by its
    weeks, and for any other one by the 7 minutes.

    Parameters
    ----------
    table : FigureTable
        The table.
    since, until : datetime or None
        The range; None where it has no end.
    every : Grain, optional
        The windows of the answer, which those of the table must add up to; any when absent.

    Raises
    ------
    UsageError
        No windows of the table begin where the range does and end where it ends, or none add up to those of the answer.
    """
    if every is not None:
        parts = table.parts(every)
        list(cover_open(since, until, parts))
        return replace(table, every=parts)
    if since is None and until is None:
        return table
    *wide, finest = sorted(table.every, key=lambda one: -one.seconds)
    for grain in wide:
        with suppress(UsageError):
            return fitting(table, since, until, grain)
    return fitting(table, since, until, finest)


def _cover(since: datetime, until: datetime, grains: Sequence[Grain]) -> Iterator[Span]:
    grain, *finer = grains
    first, last = grain.start_from(since), grain.start(until)
    if not finer:
        yield grain, since, until
    elif first >= last:
        yield from _cover(since, until, finer)
    else:
        if since < first:
            yield from _cover(since, first, finer)
        yield grain, first, last
        if last < until:
            yield from _cover(last, until, finer)


def plan(since: datetime, until: datetime, grains: Sequence[Grain], *, now: datetime) -> list[Piece]:
    """How to read a range with few windows of some grains; those after `now` are nearly empty.

    Parameters
    ----------
    since, until : datetime
        The range; both are starts of the finest windows.
    grains : sequence of Grain
        As for `cover`.
    now : datetime
        The present time, UTC.

    Raises
    ------
    UsageError
        As `cover`.
    """
    require_range(since, until)
    _require_aligned(grains[-1], since, until)
    first, last = grains[0].start_from(since), grains[0].start(until)
    pieces = []
    if first < last:
        pieces.append(Piece(first, last, [(grains[0], first, last)]))
    ends = [(since, until)] if first > last else [(since, first), (last, until)]
    for start, end in ends:
        if start < end:
            pieces.append(_end(start, end, grains, now))
    return pieces


def _end(start: datetime, end: datetime, grains: Sequence[Grain], now: datetime) -> Piece:
    """A part of one window: the finer windows in it, or the window less those outside."""
    grain, *finer = grains
    if not finer:
        return Piece(start, end, [(grain, start, end)])

    def windows(spans: list[Span]) -> float:
        return sum(max(min(stop, now) - begin, timedelta(0)) / width.width for width, begin, stop in spans)

    window = (grain.start(start), grain.end(start))
    inside = list(_cover(start, end, finer))
    outside = [
        span
        for begin, stop in ((window[0], start), (end, window[1]))
        if begin < stop
        for span in _cover(begin, stop, finer)
    ]
    if windows(outside) + 1 < windows(inside):
        return Piece(start, end, [(grain, *window)], outside)
    return Piece(start, end, inside)


class SignedRead:
    """Sums of additive figures over a range; the requests go out at once.

    Parameters
    ----------
    store : FigureStore
    table : FigureTable
        What to read; it counts `EVENTS`.
    pool : Executor
        What the requests run in.
    since, until : datetime
        The range; both are starts of the table's finest windows.
    grain : Grain
        The windows of the sums, which windows of the table add up to.
    figures : sequence of Figure
        Additive ones: no sketches.
    by : sequence of str
        Dimensions of the sums.
    """

    def __init__(
        self,
        store: FigureStore,
        table: FigureTable,
        pool: Executor,
        since: datetime,
        until: datetime,
        grain: Grain,
        figures: Sequence[Figure],
        by: Sequence[str],
    ) -> None:
        self._store, self._table, self._pool, self._grain, self._figures, self._by = (
            store,
            table,
            pool,
            grain,
            tuple(figures),
            tuple(by),
        )
        self._parts = table.parts(grain)
        self._pieces = plan(since, until, self._parts, now=datetime.now(UTC))
        self._requests = [
            (
                [self._request(span, self._needed(piece)) for span in piece.added],
                [self._request(span, self._needed(piece)) for span in piece.subtracted],
            )
            for piece in self._pieces
        ]

    def _needed(self, piece: Piece) -> tuple[Figure, ...]:
        # A key whose events are all taken away again has no row; where nothing is taken away, no count is needed.
        return tuple(dict.fromkeys((*self._figures, *((EVENTS,) if piece.subtracted else ()))))

    def _request(self, span: Span, figures: Sequence[Figure]) -> Future[list[Row]]:
        grain, start, end = span
        return self._pool.submit(
            self._store.read, self._table, grain, since=start, until=end, figures=figures, by=self._by
        )

    def rows(self) -> list[Row]:
        """A row for each window, under ``bucket``, and each key that has events in the range."""
        names = [figure.name for figure in self._figures]
        result: dict[tuple[Any, ...], Row] = {}
        for piece, (added, subtracted) in zip(self._pieces, self._requests, strict=True):
            sums: dict[tuple[Any, ...], Row] = {}
            counts: dict[tuple[Any, ...], int] = defaultdict(int)
            for sign, requests, spans in ((1, added, piece.added), (-1, subtracted, piece.subtracted)):
                for request, (grain, _, _) in zip(requests, spans, strict=True):
                    for row in request.result():
                        key = (self._grain.start(row[grain.name]), *(row[name] for name in self._by))
                        counts[key] += sign * row.get(EVENTS.name, 1)
                        known = sums.get(key)
                        if known is None:
                            sums[key] = {name: sign * row[name] for name in names}
                        else:
                            for name in names:
                                known[name] += sign * row[name]
            for key, values in sums.items():
                if counts[key] > 0:
                    # Several pieces may lie in one window, where it is wider than those that are read.
                    known = result.get(key)
                    result[key] = values if known is None else {name: known[name] + values[name] for name in names}
        return [
            {"bucket": key[0], **dict(zip(self._by, key[1:], strict=True)), **values} for key, values in result.items()
        ]

    def sketches(self) -> list[bytes]:
        """The sketches of the range's users, which can be united but not subtracted."""
        spans: list[Span] = []
        for piece, (_, subtracted) in zip(self._pieces, self._requests, strict=True):
            if any(request.result() for request in subtracted):
                spans += cover(piece.start, piece.end, self._parts)
            else:
                spans += piece.added
        requests = [
            self._pool.submit(
                self._store.read, self._table, grain, since=start, until=end, figures=(ACTIVE_USERS,), by=self._table.by
            )
            for grain, start, end in spans
        ]
        return [row[ACTIVE_USERS.name] for request in requests for row in request.result()]
