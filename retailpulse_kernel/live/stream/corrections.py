"""What late events have added to the windows that a live view shows, and when.

A correction writes beside the job's rows, which are never late themselves: so what it adds is one more number
for a window, and joins neither with the tail nor with the batches of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from retailpulse_kernel.live.stream.tail import Key, Parts

__all__ = ["Addition", "Corrections"]


class Addition(NamedTuple):
    """What late events added to a key of one window.

    Attributes
    ----------
    window : int
        The window's start, epoch seconds.
    key : Key
        The dimensions' values.
    parts : Parts
        How much of each figure was added.
    at : int
        When the window was corrected last, epoch seconds.
    """

    window: int
    key: Key
    parts: Parts
    at: int


class Corrections:
    """The additions of the minutes and of the hours before them, as they were read last.

    Attributes
    ----------
    minutes, hours : list of Addition
        By the width of their windows.
    version : int
        Grows with each reading that found something else.
    """

    def __init__(self) -> None:
        self.minutes: list[Addition] = []
        self.hours: list[Addition] = []
        self.version = 0

    def __iter__(self) -> Iterator[list[Addition]]:
        return iter((self.minutes, self.hours))

    def read(self, minutes: Callable[[], list[Addition]], hours: Callable[[], list[Addition]]) -> None:
        """Take what the store has now.

        Parameters
        ----------
        minutes, hours : callable
            Read the additions of one width.
        """
        found = minutes(), hours()
        if found != (self.minutes, self.hours):
            self.minutes, self.hours = found
            self.version += 1
