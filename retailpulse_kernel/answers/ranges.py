"""Reading a range of time from windows of several widths, exactly and with few rows.

A day until noon is twelve hours, or the day less twelve hours. Parts of figures can be subtracted as
well as added, so each end of a range takes the way with fewer windows: of today, whose rest is empty,
that is one row a key instead of a thousand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from retailpulse_kernel.ground.notes import say
from retailpulse_kernel.ground.spans import range_of, require_minutes, require_range
from retailpulse_kernel.shop.figures import ACTIVE_USERS, EVENTS, Figure
from retailpulse_kernel.shop.tables import GRAINS, FigureTable, Grain, Row
from retailpulse_kernel.stores.base import FigureStore

__all__ = ["Extent", "SignedRead", "cover", "minutes_of", "plan"]

_FINER = {"day": GRAINS["hour"], "hour": GRAINS["minute"]}

Span = tuple[Grain, datetime, datetime]
"""Whole windows of a grain, from the start of the first to the end of the last."""


def minutes_of(
    last: str | timedelta | None, since: str | datetime | None, until: str | datetime | None
) -> tuple[datetime | None, datetime | None]:
    """The range ``[since, until)``; with `last` the newest span, from a whole minute on, up to `until` or this minute.

    Parameters
    ----------
    last : str or timedelta or None
        The newest span, such as ``"1h"``; instead of `since`.
    since, until : str or datetime or None
        The range, UTC unless it has a zone; no bound where None.

    Raises
    ------
    UsageError
        As `spans.range_of`.
    """
    minute = GRAINS["minute"]
    present = minute.start(datetime.now(UTC)) + minute.width
    begin, end = range_of(last, since, until, now=present)
    if last is None or begin is None:
        return begin, end
    if begin != (start := minute.start(begin)):  # figures go by the minute
        say(f"Figures go by the minute: this is from {start:%Y-%m-%d %H:%M} (UTC) on.")
    return start, end or present


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
        end = start + self.grain.width
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


def cover(since: datetime, until: datetime, grain: Grain) -> Iterator[Span]:
    """Split a range into whole windows of `grain` and finer ones at its ends.

    Parameters
    ----------
    since, until : datetime
        The range, on whole minutes.
    grain : Grain
        The coarsest grain to use.

    Raises
    ------
    UsageError
        An end of the range is not on a whole minute, or the range is empty.
    """
    require_range(since, until)
    require_minutes(since, until)
    first, last = grain.start(since + grain.width - timedelta(microseconds=1)), grain.start(until)
    finer = _FINER.get(grain.name)
    if finer is None:
        yield grain, since, until
    elif first >= last:
        yield from cover(since, until, finer)
    else:
        if since < first:
            yield from cover(since, first, finer)
        yield grain, first, last
        if last < until:
            yield from cover(last, until, finer)


def plan(since: datetime, until: datetime, grain: Grain, *, now: datetime) -> list[Piece]:
    """How to read a range with few windows of `grain` and finer ones; those after `now` are nearly empty.

    Parameters
    ----------
    since, until : datetime
        The range, on whole minutes.
    grain : Grain
        The coarsest grain to use.
    now : datetime
        The present time, UTC.

    Raises
    ------
    UsageError
        As `cover`.
    """
    require_range(since, until)
    require_minutes(since, until)
    first, last = grain.start(since + grain.width - timedelta(microseconds=1)), grain.start(until)
    pieces = []
    if first < last:
        pieces.append(Piece(first, last, [(grain, first, last)]))
    ends = [(since, until)] if first > last else [(since, first), (last, until)]
    for start, end in ends:
        if start < end:
            pieces.append(_end(start, end, grain, now))
    return pieces


def _end(start: datetime, end: datetime, grain: Grain, now: datetime) -> Piece:
    """A part of one window: the finer windows in it, or the window less those outside."""
    finer = _FINER.get(grain.name)
    if finer is None:
        return Piece(start, end, [(grain, start, end)])

    def windows(spans: list[Span]) -> float:
        return sum(max(min(stop, now) - begin, timedelta(0)) / width.width for width, begin, stop in spans)

    window = grain.start(start)
    inside = list(cover(start, end, finer))
    outside = [
        span
        for begin, stop in ((window, start), (end, window + grain.width))
        if begin < stop
        for span in cover(begin, stop, finer)
    ]
    if windows(outside) + 1 < windows(inside):
        return Piece(start, end, [(grain, window, window + grain.width)], outside)
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
        The range, on whole minutes.
    grain : Grain
        The windows of the sums.
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
        self._pieces = plan(since, until, grain, now=datetime.now(UTC))
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
        result = []
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
            result += [
                {"bucket": key[0], **dict(zip(self._by, key[1:], strict=True)), **values}
                for key, values in sums.items()
                if counts[key] > 0
            ]
        return result

    def sketches(self) -> list[bytes]:
        """The sketches of the range's users, which can be united but not subtracted."""
        spans: list[Span] = []
        for piece, (_, subtracted) in zip(self._pieces, self._requests, strict=True):
            if any(request.result() for request in subtracted):
                spans += cover(piece.start, piece.end, self._grain)
            else:
                spans += piece.added
        requests = [
            self._pool.submit(
                self._store.read, self._table, grain, since=start, until=end, figures=(ACTIVE_USERS,), by=self._table.by
            )
            for grain, start, end in spans
        ]
        return [row[ACTIVE_USERS.name] for request in requests for row in request.result()]
