"""When a message is late: a rule of its topic alone, so that every job, replay and fold agree.

The clock of a Kafka partition at an offset is the greatest event time of the valid events at
smaller offsets. An event is late when it is not after the clock less the job's delay. A bounded
run has no clock: no order of a file makes an event late.
"""

from __future__ import annotations

__all__ = ["PartitionClock"]


class PartitionClock:
    """The event time that one partition has reached, message by message in order of offset.

    Parameters
    ----------
    delay_ms : int
        How far event time may run ahead of an event before it is late: the job's watermark, in milliseconds.
    at_ms : int, optional
        Where the clock stands, in epoch milliseconds; None before the first valid event.

    Examples
    --------
    >>> clock = PartitionClock(delay_ms=600_000)
    >>> clock.advance(1_000_000)
    >>> clock.is_late(400_000), clock.is_late(400_001)
    (True, False)
    """

    __slots__ = ("_late_until_ms", "at_ms", "delay_ms")

    def __init__(self, delay_ms: int, at_ms: int | None = None) -> None:
        self.delay_ms = delay_ms
        self.at_ms = at_ms
        self._late_until_ms: float = float("-inf") if at_ms is None else at_ms - delay_ms

    def is_late(self, event_ms: int) -> bool:
        """Whether an event that stands here is late. Ask before its own time advances the clock."""
        return event_ms <= self._late_until_ms

    def advance(self, event_ms: int) -> None:
        """Take a valid event's time; one that is not ahead of the clock changes nothing."""
        if self.at_ms is None or event_ms > self.at_ms:
            self.at_ms = event_ms
            self._late_until_ms = event_ms - self.delay_ms

    def __repr__(self) -> str:
        return f"PartitionClock(delay_ms={self.delay_ms}, at_ms={self.at_ms})"
