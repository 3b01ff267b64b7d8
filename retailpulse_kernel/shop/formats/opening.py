"""The opener of a topic's messages, by the name of their format.

A function ``opener(format, options)`` makes the opener of a format. Its module is imported where a topic has the
format: a job whose topic holds JSON loads none of them.
"""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, Protocol

from retailpulse_kernel.ground.errors import EventError, UnknownName
from retailpulse_kernel.shop.contract.model import TOOLS

__all__ = ["FORMATS", "JSON", "MAPPING", "Opener", "events_in", "opener_of", "place_of"]

#: Messages that are JSON objects as the contract has them.
JSON: Final = "json"

#: The option that holds a format of the shop's own, as JSON.
MAPPING: Final = "mapping"

_RECORDS: Final = "retailpulse_kernel.shop.formats.records:opener"
#: What makes the opener of a format.
_OPENERS: Final = {
    **dict.fromkeys(TOOLS, _RECORDS),
    "avro": "retailpulse_kernel.shop.formats.avro:opener",
    "json_schema": "retailpulse_kernel.shop.formats.json_schema:opener",
    "protobuf": "retailpulse_kernel.shop.formats.protobuf:opener",
}

#: All formats of a topic's messages.
FORMATS: Final = (JSON, *sorted(_OPENERS))


#: An event as JSON, or why there is none.
Held = bytes | None | EventError


class Opener(Protocol):
    """Turns a message into messages of JSON as the contract has them."""

    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes | EventError]:
        """What a message holds, in its order: one or several events, or why a part of it is none.

        The same message at the same place gives the same result, whenever it is opened and whatever came before: a
        micro-batch that is done again takes the same events. Ids of events differ within a message.

        Parameters
        ----------
        message : bytes
            As it is in the topic.
        partition, offset : int
            Where it is: the id of an event whose record has none.

        Raises
        ------
        EventError
            The message can't be opened; it goes to the dead letters with the reason.
        StoreUnavailable
            What is needed to open it does not answer. Nothing is skipped: the micro-batch is done again.
        """


def opener_of(format: str, options: Mapping[str, str], changed: Counter[str] | None = None) -> Opener | None:
    """What opens the messages of a topic; None where they are JSON of the contract.

    A process has one opener of a format and its options: what an opener has learned lasts as long as the process.

    Parameters
    ----------
    format : str
        One of `FORMATS`, or one of the shop's own, whose mapping is in the options.
    options : mapping of str to str
        What the format needs to know: the shop's rules, an address.
    changed : Counter, optional
        Counts the messages in which a value was changed for the event, by what was done. Only records of other tools
        are mapped, and have such values.

    Raises
    ------
    UnknownName
        There is no such format.
    """
    if format == JSON:
        return None
    if format not in _OPENERS and MAPPING not in options:
        raise UnknownName("format", format, FORMATS)
    if changed is not None and _OPENERS.get(format, _RECORDS) == _RECORDS:
        counting: Opener = pkgutil.resolve_name(_RECORDS)(format, options, changed)
        return counting
    return _opener(format, tuple(sorted(options.items())))


@cache
def _opener(format: str, options: tuple[tuple[str, str], ...]) -> Opener:
    return pkgutil.resolve_name(_OPENERS.get(format, _RECORDS))(format, dict(options))


def events_in(opener: Opener | None, message: bytes | None, partition: int, offset: int) -> Sequence[Held]:
    """What a message holds: one event at least, so that each message is accounted for.

    Parameters
    ----------
    opener : Opener or None
        That of the topic's format; None where the message is JSON.
    message : bytes or None
        As it is in the topic. One without a value is not opened.
    partition, offset : int
        Where it is.

    Returns
    -------
    sequence of bytes, None or EventError
        The events as JSON of the contract, in their order. Or why the message can't be opened, or holds none.

    Raises
    ------
    StoreUnavailable
        What is needed to open it does not answer.
    """
    if opener is None or message is None:
        return (message,)
    try:
        return opener.open(message, partition, offset) or (EventError("not_mapped", "the message holds no event"),)
    except EventError as error:
        return (error,)


def place_of(partition: int, offset: int, number: int = 1) -> str:
    """Where an event is in its topic, as a text that no other event of the topic has.

    Parameters
    ----------
    partition, offset : int
        Where the message is.
    number : int
        Which one of the message's events it is, from 1.
    """
    return f"{partition}-{offset}" if number == 1 else f"{partition}-{offset}-{number}"
