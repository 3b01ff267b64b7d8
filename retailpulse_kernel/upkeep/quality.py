"""The stream's quality: what share of it is bad, late or of no category, and which type of event fell silent."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import sqrt
from typing import Any

from retailpulse_kernel.answers.reading import read_rows
from retailpulse_kernel.ground.errors import CheckFailed, NoSuchTable
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.shop.events import UNKNOWN_CATEGORY
from retailpulse_kernel.shop.figures import EVENTS
from retailpulse_kernel.shop.tables import CATEGORY, GRAINS
from retailpulse_kernel.stores.registry import serving_store
from retailpulse_kernel.streaming.checkpoint.accounts import Account, read_accounts
from retailpulse_kernel.streaming.plan.finding import writer_of

__all__ = ["Expectation", "Limits", "judge", "quality", "require", "usual_share"]

_MINUTE = timedelta(minutes=1)
#: A type of event may be silent for so many times its longest silence of the time before.
_PATIENCE = 2
#: A type that came in fewer minutes than this is too rare to say when it falls silent.
FEWEST_MINUTES = 20
#: Fewer events than this, judged or before, are not enough to compare two shares.
FEWEST = 1_000
#: Standard errors by which a share may differ by chance.
_CHANCE = 3


@dataclass(frozen=True)
class Limits:
    """What is expected of a stream.

    Attributes
    ----------
    bad, late : float
        The largest shares: of messages that are bad or late.
    unknown : float
        How far the share of events without a category may be above the usual one, that of the time before. The
        usual share differs from shop to shop: it is a third in the REES46 sample, and nearly all in others.
    silence : timedelta
        How long a type of event may be silent, unless it was silent for half as long before.
    """

    bad: float
    late: float
    unknown: float
    silence: timedelta


@dataclass(frozen=True)
class Expectation:
    """One thing that was expected, and what was found.

    Attributes
    ----------
    name, found, expected : str
        For people.
    ok : bool
        Whether it is so.
    """

    name: str
    found: str
    expected: str
    ok: bool


def quality(
    settings: Settings, limits: Limits, *, until: datetime, last: timedelta, before: timedelta
) -> list[Expectation]:
    """Judge the newest part of a stream by what the job left that writes the table `CATEGORY`.

    Parameters
    ----------
    settings : Settings
        Which servers, which namespace.
    limits : Limits
        What is expected.
    until : datetime
        Up to when, UTC.
    last : timedelta
        What is judged.
    before : timedelta
        What silences and the share of events without a category are compared with: the time before that.
    """
    until = GRAINS["minute"].start(until.astimezone(UTC)) + _MINUTE
    begin = until - last - before
    try:
        rows = read_rows(
            serving_store(settings), CATEGORY, since=begin, until=until, grain=GRAINS["minute"], figures=[EVENTS]
        )
    except NoSuchTable:
        rows = []
    plan = writer_of(settings, CATEGORY.name)
    accounts = [account for account in read_accounts(settings) if plan is not None and account.job == plan.job]
    return judge(accounts, rows, limits, until=until, last=last)


def judge(
    accounts: Iterable[Account], rows: Iterable[dict[str, Any]], limits: Limits, *, until: datetime, last: timedelta
) -> list[Expectation]:
    """The expectations, from a job's accounts and the figures by minute; ``bucket`` is a row's minute.

    Parameters
    ----------
    accounts : iterable of Account
        Of one job.
    rows : iterable of dict
        Figures by minute; a row's minute is under ``bucket``.
    limits : Limits
        What is still good.
    until : datetime
        The end of what is judged, UTC.
    last : timedelta
        How long before `until` it begins.
    """
    since = until - last
    messages: Counter[str] = Counter()
    for account in accounts:
        finished = moment_at(account.finished_ms)
        if since <= finished < until:
            messages.update({name: getattr(account, name) for name in ("events", "bad", "late")})
    judged, usual = _Part(), _Part()
    minutes: defaultdict[str, set[datetime]] = defaultdict(set)
    for row in rows:
        minutes[row["event_type"]].add(row["bucket"])
        (judged if row["bucket"] >= since else usual).add(row)
    active = sorted(set().union(*minutes.values()))
    return [
        _share("bad messages", messages["bad"], messages["events"], limits.bad),
        _share("late events", messages["late"], messages["events"], limits.late),
        _no_category(judged, usual, limits.unknown),
        *(_silence(kind, sorted(seen), limits.silence, active) for kind, seen in sorted(minutes.items())),
    ]


@dataclass
class _Part:
    """The events of a part of the stream."""

    events: int = 0
    unknown: int = 0

    def add(self, row: dict[str, Any]) -> None:
        self.events += row["events"]
        self.unknown += row["events"] * (row["category"] == UNKNOWN_CATEGORY)


def _share(name: str, part: int, whole: int, most: float) -> Expectation:
    share = part / whole if whole else 0.0
    return Expectation(name, f"{share:.2%}, {part:,} of {whole:,}", f"at most {most:.2%}", share <= most)


def _no_category(judged: _Part, usual: _Part, more: float) -> Expectation:
    return usual_share("events of no category", (judged.unknown, judged.events), (usual.unknown, usual.events), more)


def usual_share(name: str, judged: tuple[int, int], usual: tuple[int, int], more: float) -> Expectation:
    """Whether a share is not much above the usual one, or too little is known to tell.

    Parameters
    ----------
    name : str
        What it is the share of.
    judged, usual : tuple of (int, int)
        A part and the whole: now, and in the time before.
    more : float
        How far the share may be above the usual one, beside what it differs by chance.
    """
    (part, whole), (part_before, whole_before) = judged, usual
    share = part / whole if whole else 0.0
    found = f"{share:.2%}, {part:,} of {whole:,}"
    if min(whole, whole_before) < FEWEST:
        # Short, as pandas cuts a cell of a table at 50 characters.
        return Expectation(name, found, f"not judged below {FEWEST:,}, here and before", ok=True)
    p = part_before / whole_before
    most = p + more + _CHANCE * sqrt(p * (1 - p) / whole)
    return Expectation(name, found, f"at most {most:.2%}, as {p:.2%} is usual", share <= most)


def _silence(kind: str, seen: Sequence[datetime], least: timedelta, active: Sequence[datetime]) -> Expectation:
    """How long a type is silent, in minutes in which others came: an outage of the whole stream is not its silence."""

    def others(after: datetime, before: datetime) -> int:
        return bisect_right(active, before) - bisect_right(active, after)

    silent = others(seen[-1], active[-1]) * _MINUTE
    if len(seen) < FEWEST_MINUTES:
        expected = f"not judged below {FEWEST_MINUTES} minutes with one, {len(seen)} so far"
        return Expectation(f"silence of {kind}", _minutes(silent), expected, ok=True)
    longest = max((others(one, later - _MINUTE) for one, later in pairwise(seen)), default=0)
    most = max(least, _PATIENCE * longest * _MINUTE)
    return Expectation(f"silence of {kind}", _minutes(silent), f"at most {_minutes(most)}", silent <= most)


def _minutes(span: timedelta) -> str:
    return f"{span / _MINUTE:.0f} min"


def require(expectations: Iterable[Expectation]) -> None:
    """End the run as failed where something is not as expected.

    Parameters
    ----------
    expectations : iterable of Expectation
        As `judge` gives them.

    Raises
    ------
    CheckFailed
        With everything that is not.
    """
    failed = [f"{one.name}: {one.found}, expected {one.expected}" for one in expectations if not one.ok]
    if failed:
        raise CheckFailed(
            f"{len(failed)} expectations do not hold: {'; '.join(failed)}.",
            remedy="`%kafka retail.events.dlq` shows bad messages with their reasons, `retail.events.late` late ones. "
            "`retailpulse tables` says how fresh each table is.",
        )
