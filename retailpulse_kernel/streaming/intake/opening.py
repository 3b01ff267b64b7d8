"""The events in a chunk of messages: one each where they are JSON of the contract, else what their format holds.

Everything behind goes by events. An event knows the message that it came from: its offset, the broker's time, and
which one of the message's events it is.
"""

from __future__ import annotations

from typing import NamedTuple

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.formats.opening import Opener, events_in, place_of

__all__ = ["Chunk", "Opened", "opened"]


class Chunk(NamedTuple):
    """Messages of one partition in the order of their offsets; `arrivals_ms` is the broker's time."""

    values: list[bytes | None]
    offsets: list[int]
    arrivals_ms: list[int]


class Opened(NamedTuple):
    """The events of a chunk, in the order of their messages.

    Attributes
    ----------
    values : list of bytes or None
        What is judged: JSON as the contract has it. None for a message without a value, and where one is refused.
    offsets, arrivals_ms : list of int
        Those of each event's message.
    messages : list of bytes or None
        Each event's message as it is in the topic.
    numbers : list of int
        Which one of its message's events each is, from 1.
    refused : dict of int to EventError
        Why there is no event, by its place: the message can't be opened, or a part of it can't be mapped.
    """

    values: list[bytes | None]
    offsets: list[int]
    arrivals_ms: list[int]
    messages: list[bytes | None]
    numbers: list[int]
    refused: dict[int, EventError]

    @property
    def further(self) -> int:
        """How many events are not the first of their message."""
        return len(self.numbers) - self.numbers.count(1)

    def places(self, partition: int) -> list[str]:
        """Where each event is, see `place_of`.

        Parameters
        ----------
        partition : int
            That of the messages.
        """
        return [place_of(partition, *place) for place in zip(self.offsets, self.numbers, strict=True)]

    def has_several(self, place: int) -> bool:
        """Whether the message of an event holds more than one.

        Parameters
        ----------
        place : int
            The event's place among the events.
        """
        return any(number > 1 for number in self.numbers[place : place + 2])


def opened(chunk: Chunk, partition: int, opener: Opener | None) -> Opened:
    """Open the messages of a chunk.

    Parameters
    ----------
    chunk : Chunk
        The messages.
    partition : int
        Where they are.
    opener : Opener, optional
        That of the topic's format; None where the messages are JSON of the contract.

    Raises
    ------
    StoreUnavailable
        What is needed to open them does not answer.
    """
    if opener is None:
        return Opened(*chunk, chunk.values, [1] * len(chunk.values), {})
    found = Opened([], [], [], [], [], {})
    for message, offset, arrival_ms in zip(*chunk, strict=True):
        for number, event in enumerate(events_in(opener, message, partition, offset), start=1):
            if isinstance(event, EventError):
                found.refused[len(found.values)] = event
            found.values.append(None if isinstance(event, EventError) else event)
            found.offsets.append(offset)
            found.arrivals_ms.append(arrival_ms)
            found.messages.append(message)
            found.numbers.append(number)
    return found
