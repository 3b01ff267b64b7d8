"""Made-up events, shaped like a real shop's, the same for the same seed.

Sessions look at products and sometimes put them into a cart, buy and give back; the mix, the lengths
of sessions, the pauses within them, prices and popularity follow a real sample (see `catalogue`).
The generator only makes messages; `retailpulse_kernel.feed.replay` sends them.

>>> generator = Generator(rate=1000, seconds=2, seed=7)
>>> len(list(generator.messages())), generator.truth.sent
(2000, 2000)
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from retailpulse_kernel.feed.bad_messages import spoil
from retailpulse_kernel.feed.invented_shop import CATEGORIES, Catalogue, Product
from retailpulse_kernel.feed.truth import Truth
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.spans import ms_of

__all__ = ["LATE_AFTER", "OWN_LATE_AGE", "Generator", "Message", "intensity"]

LATE_AFTER: Final = timedelta(seconds=30)
"""Late events only come after this much of the stream, when every partition has seen newer ones."""

OWN_LATE_AGE: Final = timedelta(minutes=12)
"""Least age of a late event that lies within the stream's own time: more than the watermark of the shipped jobs."""

_LATE_AGES = (timedelta(hours=1), timedelta(hours=3))
_MAX_SESSIONS = 50_000  # open at once; more would only cost memory
_BLOCK = 4096  # messages drawn at once, at least
_LONGEST = 31 * 86_400
_RECENT = 512  # a duplicate repeats one of so many last events

# Shape of a session, measured on the sample: 44 % have one view, the mean is 3, the longest 34.
_LENGTH = (0.526, 0.208)  # negative binomial, plus one
_PAUSE = (math.log(31_000), 0.92)  # log-normal, milliseconds: half of all pauses are below 31 s
_BUYERS = 0.032
_CLICKS, _CARTS, _UNCARTS, _STAYS, _CART_FIRST, _REFUNDS = 0.02, 0.007, 0.2, 0.8, 0.3, 0.05
_LINES = (1,) * 17 + (2, 2, 3)
_QUANTITIES = (1,) * 19 + (2,)

_DEVICES = {"phone": 0.6, "desktop": 0.32, "tablet": 0.08}
_CAMPAIGNS = {"": 0.5, "newsletter": 0.22, "search": 0.18, "spring": 0.1}


class Message(NamedTuple):
    """One message to send.

    Attributes
    ----------
    kind : str
        ``"event"``, ``"duplicate"``, ``"late"`` or ``"bad"``.
    at : float
        When to send it, in seconds since the stream's start.
    """

    key: bytes
    value: bytes
    kind: str
    at: float


class _Step(NamedTuple):
    pause: int  # milliseconds after the step before
    event_type: str
    product: Product
    order: str = ""
    line: int = 0
    quantity: int = 1


class _Session(NamedTuple):
    user: str
    currency: str
    name: str
    steps: list[_Step]  # the next one last


class Generator:
    """A stream of made-up events.

    Parameters
    ----------
    rate : float
        Messages per second, on average; the time of day and short rushes move it.
    seconds : float or None
        How long the stream lasts; None is for ever. It has ``rate * seconds`` messages.
    seed : int
        The same seed, start and knobs give the same messages.
    start : datetime, optional
        Time of the first event, with a zone; now when absent.
    users : int
        How many different users there are.
    duplicates, late, bad : float
        The share of messages that repeat an earlier one a moment later, that are 1 to 3 hours old when
        they come, and that are not valid events.
    currencies : mapping of str to float, optional
        Share of users by currency; all pay in US dollars when absent.
    late_within : bool
        Whether late events lie within the stream's own time: 12 minutes to 3 hours old, and never before `start`. So
        the first 12 minutes of the stream have none.
    context : bool
        Whether messages also say with which device a user comes, and by which campaign: ``context.device`` and
        ``context.campaign.name``. The events are the same either way.

    Attributes
    ----------
    truth : Truth
        What the messages given so far hold.
    """

    def __init__(
        self,
        *,
        rate: float = 100.0,
        seconds: float | None = 60.0,
        seed: int = 0,
        start: datetime | None = None,
        users: int = 20_000,
        duplicates: float = 0.0,
        late: float = 0.0,
        bad: float = 0.0,
        currencies: Mapping[str, float] | None = None,
        late_within: bool = False,
        context: bool = False,
    ) -> None:
        _check(rate, seconds, users, duplicates, late, bad)
        start = start or datetime.now(UTC)
        if start.tzinfo is None:
            raise UsageError("The start of a stream needs a time zone.", remedy="Write it with one: 2026-01-01T00:00Z.")
        self.rate, self.seconds, self.seed, self.users = rate, seconds, seed, users
        self.start = start.astimezone(UTC).replace(microsecond=start.microsecond // 1000 * 1000)
        self.duplicates, self.late, self.bad = duplicates, late, bad
        self.currencies = dict(currencies or {"USD": 1.0})
        self.late_within = late_within
        self.context = context
        self.truth = Truth()
        self._start_ms = ms_of(self.start)
        self._chance = random.Random(seed)
        self._numbers = np.random.default_rng([seed, 2])
        self._catalogue = Catalogue(seed)
        self._categories: list[int] = []
        self._lengths: list[int] = []
        self._pauses: list[int] = []
        self._run = f"{seed:x}-{self._start_ms:x}-"
        self._made = 0
        self._clock = _Clock()

    def messages(self) -> Iterator[Message]:
        """The stream, in the order of sending."""
        chance, truth = self._chance.random, self.truth
        waiting: list[tuple[int, int, _Session]] = []
        for session in self._under_way():
            heapq.heappush(waiting, (self._start_ms + int(chance() * 60_000), self._next(), session))
        recent: deque[tuple[bytes, bytes]] = deque(maxlen=_RECENT)
        shortest, longest = (int(age.total_seconds() * 1000) for age in _LATE_AGES)
        late_from = self._start_ms + int(LATE_AFTER.total_seconds() * 1000)
        if self.late_within:
            shortest = int(OWN_LATE_AGE.total_seconds() * 1000)
            late_from = self._start_ms + shortest
        spoiled, repeated, belated = self.bad, self.bad + self.duplicates, self.bad + self.duplicates + self.late
        for moment in self._moments():
            at = (moment - self._start_ms) / 1000
            lot = chance()
            if lot < spoiled:
                session = self._session()
                reason, value = spoil(self._value(session, session.steps[-1], moment), self._chance)
                truth.bad[reason] += 1
                yield Message(self._user(chance()).encode(), value, "bad", at)
                continue
            if spoiled <= lot < repeated and recent:
                key, value = recent[int(chance() * len(recent))]
                truth.duplicates += 1
                yield Message(key, value, "duplicate", at)
                continue
            late = repeated <= lot < belated and moment >= late_from
            if waiting and (waiting[0][0] <= moment or len(waiting) >= _MAX_SESSIONS):
                session = heapq.heappop(waiting)[2]
            else:
                session = self._session()
            step = session.steps.pop()
            if session.steps:
                heapq.heappush(waiting, (moment + session.steps[-1].pause, self._next(), session))
            oldest = min(longest, moment - self._start_ms) if self.late_within else longest
            time = moment - shortest - int((oldest - shortest) * chance()) if late else moment
            key, value = session.user.encode(), self._value(session, step, time)
            cents = step.product.cents * step.quantity if step.line else 0
            truth.add(
                step.event_type,
                session.user,
                step.product.category,
                -cents if step.event_type == "refund" else cents,
                session.currency,
                step.line,
                late=late,
            )
            if not late:
                recent.append((key, value))
            yield Message(key, value, "late" if late else "event", at)

    def _value(self, session: _Session, step: _Step, time: int) -> bytes:
        order = f',"order_id":"{step.order}","order_line":{step.line}' if step.line else ""
        return (
            f'{{"event_id":"{self._run}{self._next():x}","event_type":"{step.event_type}",'
            f'"event_time":"{self._clock.text(time)}","user_id":"{session.user}","session_id":"{session.name}",'
            f'{step.product.json},"quantity":{step.quantity},"currency":"{session.currency}"{order}'
            f'{_context(self.seed, session.user) if self.context else ""},"schema_version":1}}'
        ).encode()

    def _next(self) -> int:
        self._made += 1
        return self._made

    def _moments(self) -> Iterator[int]:
        """When messages are sent: epoch milliseconds, rising."""
        for begin, count, width in self._seconds():
            # Blocks keep numpy's cost per message small at any rate.
            yield from (begin + np.sort(self._numbers.integers(0, width, count))).tolist()

    def _seconds(self) -> Iterator[tuple[int, int, int]]:
        """Begin, number of messages and length (ms) of each second of the stream; the sum is exact."""
        begin, owed, step = self._start_ms, 0.0, 0
        total = None if self.seconds is None else round(self.rate * self.seconds)
        scale = 1.0 if self.seconds is None else self.seconds / self._load(self.seconds)
        sent = 0
        while self.seconds is None or step < self.seconds:
            part = 1.0 if self.seconds is None else min(1.0, self.seconds - step)
            owed += self.rate * part * scale * intensity(self.seed, begin / 1000 + step)
            last = self.seconds is not None and step + 1 >= self.seconds
            count = (total - sent) if last and total is not None else round(owed) - sent
            if count > 0:
                yield begin + step * 1000, count, max(1, round(part * 1000))
                sent += count
            step += 1

    def _load(self, seconds: float) -> float:
        begin = self._start_ms / 1000
        return sum(intensity(self.seed, begin + s) * min(1.0, seconds - s) for s in range(math.ceil(seconds)))

    def _under_way(self) -> Iterator[_Session]:
        """The sessions that are open when the stream starts, so that its first minute is like any other."""
        for _ in range(min(_MAX_SESSIONS, int(self.rate * 32))):
            session = self._session()
            for _ in range(int(self._chance.random() * len(session.steps))):
                if session.steps[-1].line or len(session.steps) == 1:
                    break
                session.steps.pop()
            yield session

    def _user(self, lot: float) -> str:
        return str(510_000_000 + int(lot * self.users) * 37)

    def _session(self) -> _Session:
        """A new session with all that will happen in it."""
        chance = self._chance
        user = self._user(chance.random())
        category = self._category()
        steps = []
        product = self._catalogue.pick(category)
        for view in range(self._length()):
            if view:
                if chance.random() > _STAYS:
                    category = self._category()
                product = self._catalogue.pick(category)
            lot = chance.random()
            steps.append(_Step(self._pause(), "click" if lot < _CLICKS else "view", product))
            if lot > 1 - _CARTS:
                steps.append(_Step(self._pause(), "add_to_cart", product))
                if chance.random() < _UNCARTS:
                    steps.append(_Step(self._pause(), "remove_from_cart", product))
        name = f"{chance.getrandbits(64):016x}"
        if chance.random() < _BUYERS * CATEGORIES[category].buys:
            steps += self._order(name, category, product)
        steps.reverse()
        return _Session(user, self._currency(user), name, steps)

    def _order(self, session: str, category: int, product: Product) -> list[_Step]:
        chance = self._chance
        steps = []
        if chance.random() < _CART_FIRST:
            steps.append(_Step(self._pause(), "add_to_cart", product))
        order, pause = f"o-{session}", self._pause()
        for line in range(1, chance.choice(_LINES) + 1):
            steps.append(_Step(pause, "purchase", product, order, line, chance.choice(_QUANTITIES)))
            product, pause = self._catalogue.pick(category), 0
        if chance.random() < _REFUNDS:
            steps.append(steps[-1]._replace(pause=10 * self._pause(), event_type="refund"))
        return steps

    def _currency(self, user: str) -> str:
        if len(self.currencies) == 1:
            return next(iter(self.currencies))
        # By user and not by chance: a user pays in one currency.
        names, shares = list(self.currencies), list(self.currencies.values())
        return random.Random(f"{self.seed}/{user}").choices(names, shares)[0]

    def _category(self) -> int:
        if not self._categories:
            self._categories = self._numbers.choice(len(CATEGORIES), size=_BLOCK, p=_CATEGORY_SHARES).tolist()
        return self._categories.pop()

    def _length(self) -> int:
        if not self._lengths:
            self._lengths = (1 + self._numbers.negative_binomial(*_LENGTH, size=_BLOCK)).tolist()
        return self._lengths.pop()

    def _pause(self) -> int:
        if not self._pauses:
            self._pauses = self._numbers.lognormal(*_PAUSE, size=_BLOCK).astype(int).tolist()
        return self._pauses.pop()


@lru_cache(maxsize=_MAX_SESSIONS)
def _context(seed: int, user: str) -> str:
    """What a message says of the way on which its user comes; half of all users come by no campaign."""
    # By user and not by the stream's own chance: the other fields are the same without it.
    chance = random.Random(f"{seed}/{user}/context")
    (device,) = chance.choices(list(_DEVICES), list(_DEVICES.values()))
    (campaign,) = chance.choices(list(_CAMPAIGNS), list(_CAMPAIGNS.values()))
    named = f',"campaign":{{"name":"{campaign}"}}' if campaign else ""
    return f',"context":{{"device":"{device}"{named}}}'


_CATEGORY_SHARES = np.array([category.share for category in CATEGORIES]) / sum(c.share for c in CATEGORIES)


class _Clock:
    """RFC 3339 text of epoch milliseconds; most messages share the second of the one before."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, milliseconds: int) -> str:
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._text}{rest:03d}Z"


def intensity(seed: int, second: float) -> float:
    """How busy the shop is at a second since 1970, relative to its mean day.

    The day has its low before dawn and peaks at noon and in the evening (UTC); every ten minutes
    a rush of 20 to 60 seconds comes on top.

    Parameters
    ----------
    seed : int
        The generator's.
    second : float
        Seconds since 1970.
    """
    hour = second % 86_400 / 3600
    day = 0.45 + 0.75 * _bell(hour, 12.5, 3.0) + 1.05 * _bell(hour, 20.0, 2.2)
    begin, length, height = _rush(seed, int(second // 600))
    busy = 1 + height if begin <= second % 600 < begin + length else 1.0
    return day * busy


@lru_cache(maxsize=16)
def _rush(seed: int, window: int) -> tuple[float, float, float]:
    """Begin, length (s) and height of the rush in a window of ten minutes."""
    chance = random.Random(f"{seed}/{window}")
    return chance.uniform(60, 480), chance.uniform(20, 60), chance.uniform(0.5, 1.5)


def _bell(hour: float, peak: float, width: float) -> float:
    distance = min(abs(hour - peak), 24 - abs(hour - peak))
    return math.exp(-0.5 * (distance / width) ** 2)


def _check(rate: float, seconds: float | None, users: int, duplicates: float, late: float, bad: float) -> None:
    if not 0 < rate <= 10**7 or users < 1:
        raise UsageError("The rate and the users of a stream are greater than 0.")
    if seconds is not None and not 0 < seconds <= _LONGEST:
        raise UsageError("A stream lasts more than 0 seconds and at most 31 days.", remedy="Or leave its end open.")
    shares = (duplicates, late, bad)
    if not all(0 <= share <= 1 for share in shares) or sum(shares) >= 1:
        raise UsageError("The shares of duplicates, late and bad messages lie between 0 and 1, together below 1.")
