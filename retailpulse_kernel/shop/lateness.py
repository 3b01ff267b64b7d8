"""When a message is late: a rule of its topic alone, so that every job, replay and fold agree.

The clock of a Kafka partition at an offset is the greatest min(event time, append time) of the valid
events at smaller offsets. An event is late when it is not after the clock less the job's delay. The append
time is the broker's, so a producer whose clock is fast can't move a partition's clock ahead of the broker's.
A bounded run has no clock: no order of a file makes an event late.

The rule stands here twice: for one message at a time, and for a column of them. A test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["UNSTAMPED", "PartitionClock", "held_back", "leads", "running_clocks"]

UNSTAMPED: Final = -1
"""Kafka's time of a message that has none. The event's own time moves the clock then."""


class PartitionClock:
    """The time that one partition has reached, message by message in order of offset.

    Parameters
    ----------
    delay_ms : int
        How far the clock may run ahead of an event before the event is late: the job's watermark, in milliseconds.
    at_ms : int, optional
        Where the clock stands, in epoch milliseconds; None before the first valid event.

    Examples
    --------
    >>> clock = PartitionClock(delay_ms=600_000)
    >>> clock.advance(1_000_000, arrival_ms=1_000_500)
    >>> clock.is_late(400_000), clock.is_late(400_001)
    (True, False)

    An event that is ahead of the broker's time moves the clock as far as the broker's time:

    >>> clock.advance(1_300_000, arrival_ms=1_001_000)
    >>> clock.at_ms
    1001000
    """

    __slots__ = ("_late_until_ms", "at_ms", "delay_ms")

    def __init__(self, delay_ms: int, at_ms: int | None = None) -> None:
        self.delay_ms = delay_ms
        self.at_ms = at_ms
        self._late_until_ms: float = float("-inf") if at_ms is None else at_ms - delay_ms

    def is_late(self, event_ms: int) -> bool:
        """Whether an event that stands here is late. Ask before its own time advances the clock.

        Parameters
        ----------
        event_ms : int
            The event's time, milliseconds since 1970.
        """
        return event_ms <= self._late_until_ms

    def advance(self, event_ms: int, arrival_ms: int) -> None:
        """Take a valid event's time and its message's append time; the clock never goes back.

        Parameters
        ----------
        event_ms : int
            The event's time, milliseconds since 1970.
        arrival_ms : int
            The broker's append time of the message, milliseconds since 1970.
        """
        to_ms = held_back(event_ms, arrival_ms)
        if self.at_ms is None or to_ms > self.at_ms:
            self.at_ms = to_ms
            self._late_until_ms = to_ms - self.delay_ms

    def __repr__(self) -> str:
        return f"PartitionClock(delay_ms={self.delay_ms}, at_ms={self.at_ms})"


def held_back(event_ms: int, arrival_ms: int) -> int:
    """How far an event may move its partition's clock: to its own time, and not beyond the broker's.

    Parameters
    ----------
    event_ms : int
        The event's time, milliseconds since 1970.
    arrival_ms : int
        The broker's append time of the message, milliseconds since 1970.
    """
    return event_ms if arrival_ms < 0 else min(event_ms, arrival_ms)


def running_clocks(
    times_ms: npt.NDArray[np.int64], arrivals_ms: npt.NDArray[np.int64], at_ms: int | None = None
) -> npt.NDArray[np.int64]:
    """Where a partition's clock stands before each of some valid events, and after the last one.

    Parameters
    ----------
    times_ms, arrivals_ms : array of int
        The events' times and their messages' append times, in order of offset.
    at_ms : int, optional
        Where the clock stood before. None, before the first valid event, stands as a time before all others.
    """
    import numpy as np

    held = np.where(arrivals_ms < 0, times_ms, np.minimum(times_ms, arrivals_ms))
    before = np.iinfo(np.int64).min // 2 if at_ms is None else at_ms
    return np.maximum.accumulate(np.concatenate([[before], held]))


def leads(times_ms: npt.NDArray[np.int64], arrivals_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """By how much each event is ahead of the broker's time, in milliseconds; 0 for one that is not.

    Parameters
    ----------
    times_ms : numpy.ndarray of int64
        The events' times, milliseconds since 1970.
    arrivals_ms : numpy.ndarray of int64
        The broker's append time of each message, milliseconds since 1970.
    """
    import numpy as np

    return np.where(arrivals_ms < 0, 0, np.maximum(times_ms - arrivals_ms, 0))
