"""The opener of a topic's messages, by the name of their format.

A function ``opener(format, options)`` makes the opener of a format. Its module is imported where a topic has the
format: a job whose topic holds JSON loads none of them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, Protocol

from retailpulse_kernel.ground.errors import EventError, UnknownName

__all__ = ["FORMATS", "JSON", "Opener", "messages_in", "opener_of"]

#: Messages that are JSON objects as the contract has them.
JSON: Final = "json"

_RECORDS: Final = "retailpulse_kernel.shop.formats.records:opener"
#: What makes the opener of a format.
_OPENERS: Final = {
    "avro": "retailpulse_kernel.shop.formats.avro:opener",
    "ga4": _RECORDS,
    "json_schema": "retailpulse_kernel.shop.formats.json_schema:opener",
    "protobuf": "retailpulse_kernel.shop.formats.protobuf:opener",
    "rees46": _RECORDS,
    "retailrocket": _RECORDS,
    "segment": _RECORDS,
}

#: All formats of a topic's messages.
FORMATS: Final = (JSON, *sorted(_OPENERS))


class Opener(Protocol):
    """Turns a message into messages of JSON as the contract has them."""

    def open(self, message: bytes, partition: int, offset: int) -> Sequence[bytes]:
        """What a message holds, in its order: one or several events. A message without any can't be opened.

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


def opener_of(format: str, options: Mapping[str, str]) -> Opener | None:
    """What opens the messages of a topic; None where they are JSON of the contract.

    A process has one opener of a format and its options: what an opener has learned lasts as long as the process.

    Parameters
    ----------
    format : str
        One of `FORMATS`.
    options : mapping of str to str
        What the format needs to know: the shop's rules, an address.

    Raises
    ------
    UnknownName
        There is no such format.
    """
    if format == JSON:
        return None
    if format not in _OPENERS:
        raise UnknownName("format", format, FORMATS)
    return _opener(format, tuple(sorted(options.items())))


@cache
def _opener(format: str, options: tuple[tuple[str, str], ...]) -> Opener:
    return pkgutil.resolve_name(_OPENERS[format])(format, dict(options))


def messages_in(opener: Opener, message: bytes, partition: int, offset: int) -> Sequence[bytes]:
    """The messages of JSON in a message: one at least, so that each message is accounted for.

    Parameters
    ----------
    opener : Opener
        That of the topic's format.
    message : bytes
        As it is in the topic.
    partition, offset : int
        Where it is.

    Raises
    ------
    EventError
        The message can't be opened, or holds no event.
    StoreUnavailable
        What is needed to open it does not answer.
    """
    found = opener.open(message, partition, offset)
    if not found:
        raise EventError("not_mapped", "the message holds no event")
    return found
