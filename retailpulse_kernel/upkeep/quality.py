"""The stream's quality: what share of it is bad, late or of no category, and which type of event fell silent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from retailpulse_kernel.errors import JobError, NoSuchTable
from retailpulse_kernel.events import UNKNOWN_CATEGORY
from retailpulse_kernel.figures import read_rows
from retailpulse_kernel.metrics import EVENTS
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.streaming.accounts import Account, read_accounts
from retailpulse_kernel.tables import CATEGORY, GRAINS

__all__ = ["Expectation", "Limits", "judge", "quality", "require"]

_MINUTE = timedelta(minutes=1)
#: A type of event may be silent for so many times its longest silence of the time before.
_PATIENCE = 2


@dataclass(frozen=True)
class Limits:
    """What is expected of a stream.

    Attributes
    ----------
    bad, late, unknown : float
        The largest shares: of messages that are bad or late, of events without a category.
    silence : timedelta
        How long a type of event may be silent, unless it was silent for half as long before.
    """

    bad: float
    late: float
    unknown: float
    silence: timedelta


@dataclass(frozen=True)
class Expectation:
    """One thing that was expected, and what was found."""

    name: str
    found: str
    expected: str
    ok: bool


def quality(
    settings: Settings, limits: Limits, *, until: datetime, last: timedelta, before: timedelta
) -> list[Expectation]:
    """Judge the newest part of a stream by what the job "metrics" left.

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
        What silences are compared with: the time before that.
    """
    until = GRAINS["minute"].start(until.astimezone(UTC)) + _MINUTE
    begin = until - last - before
    try:
        rows = read_rows(
            CassandraStore(settings), CATEGORY, since=begin, until=until, grain=GRAINS["minute"], figures=[EVENTS]
        )
    except NoSuchTable:
        rows = []
    return judge(read_accounts(settings), rows, limits, until=until, last=last)


def judge(
    accounts: Iterable[Account], rows: Iterable[dict[str, Any]], limits: Limits, *, until: datetime, last: timedelta
) -> list[Expectation]:
    """The expectations, from the job's accounts and the figures by minute; ``bucket`` is a row's minute."""
    since = until - last
    messages: Counter[str] = Counter()
    for account in accounts:
        finished = datetime.fromtimestamp(account.finished_ms / 1000, UTC)
        if account.job == "metrics" and since <= finished < until:
            messages.update({name: getattr(account, name) for name in ("consumed", "bad", "late")})
    events: Counter[str] = Counter()
    minutes: defaultdict[str, set[datetime]] = defaultdict(set)
    for row in rows:
        minutes[row["event_type"]].add(row["bucket"])
        if row["bucket"] >= since:
            events["all"] += row["events"]
            events["unknown"] += row["events"] * (row["category"] == UNKNOWN_CATEGORY)
    return [
        _share("bad messages", messages["bad"], messages["consumed"], limits.bad),
        _share("late events", messages["late"], messages["consumed"], limits.late),
        _share("events of no category", events["unknown"], events["all"], limits.unknown),
        *(_silence(kind, sorted(seen), limits.silence, until) for kind, seen in sorted(minutes.items())),
    ]


def _share(name: str, part: int, whole: int, most: float) -> Expectation:
    share = part / whole if whole else 0.0
    return Expectation(name, f"{share:.2%}, {part:,} of {whole:,}", f"at most {most:.2%}", share <= most)


def _silence(kind: str, seen: list[datetime], least: timedelta, until: datetime) -> Expectation:
    longest = max((later - one - _MINUTE for one, later in pairwise(seen)), default=timedelta())
    silent, most = until - seen[-1] - _MINUTE, max(least, _PATIENCE * longest)
    return Expectation(f"silence of {kind}", _minutes(silent), f"at most {_minutes(most)}", silent <= most)


def _minutes(span: timedelta) -> str:
    return f"{span / _MINUTE:.0f} min"


def require(expectations: Iterable[Expectation]) -> None:
    """End the run as failed where something is not as expected.

    Raises
    ------
    JobError
        With everything that is not.
    """
    failed = [f"{one.name}: {one.found}, expected {one.expected}" for one in expectations if not one.ok]
    if failed:
        raise JobError(
            f"{len(failed)} of the stream's expectations do not hold: {'; '.join(failed)}.",
            remedy="`%kafka retail.events.dlq` shows bad messages with their reasons, `retail.events.late` late ones.",
        )
