"""A format of a shop's records as data: a source for each field of an event.

It is frozen and becomes JSON, so that Spark's workers get it with a topic's options.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec

from retailpulse_kernel.shop.contract.paths import Step, steps_of

__all__ = ["RecordFormat", "Source"]


@dataclass(frozen=True)
class Source:
    """Where a field of an event is in a record.

    Attributes
    ----------
    paths : tuple of str
        The places, of which the first counts that has a value.
    value : str
        The value of every event, in place of a path.
    scale : int
        By how many places the decimal point moves to the left: 2 for cents, -3 for seconds that become milliseconds.
    hash : bool
        Whether a hash stands for the value, as for an e-mail address.
    once : bool
        Whether only the first line of an order has the value, so that sums are right.
    """

    paths: tuple[str, ...] = ()
    value: str = ""
    scale: int = 0
    hash: bool = False
    once: bool = False

    @cached_property
    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """The steps to each of the places."""
        return tuple(_steps(path) for path in self.paths)


@dataclass(frozen=True)
class RecordFormat:
    """A format of records, as a mapping to the fields of events.

    Attributes
    ----------
    name : str
        What the format is called.
    fields : tuple of (str, Source)
        Fields of events, from the record. Names that the standard event lacks are further fields of the message.
    lines : str
        Where the list is whose elements are events each, such as the lines of an order; empty where there is none.
    line : tuple of (str, Source)
        Fields from such an element.
    types : tuple of (str, str)
        The record's words for events, and the roles that they have. Other records are no events. Without any, the
        record's words are the roles themselves.
    fill : tuple of str
        Columns that only the first row of an order fills.
    """

    name: str
    fields: tuple[tuple[str, Source], ...]
    lines: str = ""
    line: tuple[tuple[str, Source], ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    fill: tuple[str, ...] = ()

    @cached_property
    def list_steps(self) -> tuple[Step, ...]:
        """The steps to the list; none where there is no list."""
        return _steps(self.lines) if self.lines else ()

    @property
    def version(self) -> str:
        """What changes with the mapping: a job that reads such records compares it."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=6).hexdigest()


def _steps(path: str) -> tuple[Step, ...]:
    return steps_of(path) or (path,)
