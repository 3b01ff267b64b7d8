"""Where the fold stands in one partition of the topic: who takes its next messages, and by what they are late."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import NamedTuple

from retailpulse_kernel.shop.lateness import UNSTAMPED, PartitionClock, held_back
from retailpulse_kernel.streaming.checkpoint.batches import FURTHER_EVENTS, Batch

__all__ = ["Partition"]


class _Rule(NamedTuple):
    """By what some jobs judge lateness within a stretch of a partition."""

    watermark_ms: int
    clock: PartitionClock | None
    takers: int


class _Judging(NamedTuple):
    """A clock that some jobs share: its delay, whether the broker's time holds it back, and where it stands."""

    delay_ms: int
    held: bool
    at_ms: int | None


class Partition:
    """Where the fold stands in one partition.

    Within a stretch of offsets, up to `until`, the same batches of the same jobs take the messages.

    Attributes
    ----------
    takers : int
        The bits of the jobs that take the messages of this stretch.
    bad, further : int
        Events of this stretch so far that are none, and that are not the first of their message.
    """

    def __init__(self, spans: dict[int, deque[tuple[int, int, Batch]]]) -> None:
        self._spans = spans
        self._batches: dict[int, Batch] = {}
        # The clock, and the one of accounts from before the broker's time held clocks back.
        self._clock, self._free = PartitionClock(0), PartitionClock(0)
        self._held, self._unheld = [self._clock], [self._free]
        self._former = 0
        self._began: dict[int, int] = {}
        self.until: float = 0
        self.takers = 0
        self.rules: list[_Rule] = []
        self.bad = self.further = 0
        self.verdicts: Counter[tuple[int, int, int]] = Counter()

    def move_to(self, offset: int, arrival_ms: int) -> None:
        """Begin the stretch that holds an offset, whose message came at some time.

        Parameters
        ----------
        offset : int
            That of the next message.
        arrival_ms : int
            When this message came, in milliseconds since 1970.
        """
        self.hand_out()
        self._batches = {}
        self.until = float("inf")
        for bit, spans in self._spans.items():
            while spans and spans[0][1] <= offset:
                spans.popleft()
            if spans:
                start, end, batch = spans[0]
                if start <= offset:
                    self._batches[bit] = batch
                self.until = min(self.until, end if start <= offset else start)
        self.takers = sum(self._batches)
        together: defaultdict[tuple[int, _Judging | None], int] = defaultdict(int)
        for bit, batch in self._batches.items():
            account = batch.account
            judging = _Judging(account.delay_ms, account.held, self._clock_of(bit, account.held, arrival_ms))
            together[account.watermark_ms, None if account.bounded else judging] |= bit
        running = {of: PartitionClock(of.delay_ms, of.at_ms) for _, of in together if of is not None}
        self.rules = [_Rule(mark, running.get(of), bits) for (mark, of), bits in together.items()]  # type: ignore[arg-type]
        self._held = [self._clock, *(clock for of, clock in running.items() if of.held)]
        self._unheld = [self._free, *(clock for of, clock in running.items() if not of.held)]

    def _clock_of(self, bit: int, held: bool, arrival_ms: int) -> int | None:
        """Where a job's clock stands at the beginning of a stretch, whose first message came at some time."""
        if not held:
            self._former |= bit
            return self._free.at_ms
        if self._former & bit:
            # The job went on from a clock that may have been ahead (`intake.Stretch.held`).
            self._former &= ~bit
            if self._free.at_ms is not None:
                self._began[bit] = held_back(self._free.at_ms, arrival_ms)
        return max((at for at in (self._clock.at_ms, self._began.get(bit)) if at is not None), default=None)

    def advance(self, event_ms: int, arrival_ms: int) -> None:
        """Take a valid event's time.

        Parameters
        ----------
        event_ms, arrival_ms : int
            When the event happened, and when its message came, in milliseconds since 1970.
        """
        for clock in self._held:
            clock.advance(event_ms, arrival_ms)
        for clock in self._unheld:
            clock.advance(event_ms, UNSTAMPED)

    def hand_out(self) -> None:
        """Give the batches of this stretch their counts."""
        for bit, batch in self._batches.items():
            found = Counter(bad=self.bad)
            for (late, new, refused), count in self.verdicts.items():
                timely = "bad" if refused & bit else "accepted" if new & bit else "duplicate"
                found["late" if late & bit else timely] += count
            for name, count in found.items():
                batch.found[name] += count
            batch.found["consumed"] += found.total() - self.further
            batch.found[FURTHER_EVENTS] += self.further
        self.bad = self.further = 0
        self.verdicts.clear()
