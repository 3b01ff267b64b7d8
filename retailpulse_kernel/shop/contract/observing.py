"""What is seen in messages: at which paths there are values, of which kinds, how often."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from retailpulse_kernel.shop.contract.paths import Step, steps_of

__all__ = ["Seen", "Values", "observed"]

_DECODE: Final = msgspec.json.Decoder(float_hook=Decimal).decode
#: Different values of a place that are remembered, and places.
_MOST_VALUES, _MOST_PLACES, _DEEPEST = 200, 500, 8
#: A kind with a smaller share of a place's values is rare.
_RARE: Final = 0.05
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass
class Values:
    """What messages have at a place.

    Attributes
    ----------
    steps : tuple of str or int
        The place.
    kinds : Counter
        How many values were of which kind: ``text``, ``time``, ``date``, ``bool``, ``whole``, ``point``, ``list``,
        ``object``, ``empty list``.
    elements : Counter
        The same of the elements, where the values are lists.
    nulls : int
        How many messages have null there.
    different : Counter
        Texts, and how often each comes; up to some number of different ones.
    digits, places : int
        The most digits before the point of a number, and behind it.
    longest : int
        Of the texts, in characters.
    """

    steps: tuple[Step, ...]
    kinds: Counter[str] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)
    nulls: int = 0
    different: Counter[str] = field(default_factory=Counter)
    digits: int = 0
    places: int = 0
    longest: int = 0

    @property
    def present(self) -> int:
        """How many messages have a value."""
        return self.kinds.total()

    @property
    def usual(self) -> Counter[str]:
        """The kinds without those that are rare: such values are mistakes rather than meant."""
        return Counter({kind: count for kind, count in self.kinds.items() if count >= _RARE * self.present})

    @property
    def is_whole(self) -> bool:
        """Whether every different text is remembered."""
        return len(self.different) < _MOST_VALUES

    def add(self, value: Any, kinds: Counter[str]) -> None:
        """Note a value that is not null.

        Parameters
        ----------
        value : object
            As JSON has it, numbers with a point as `Decimal`.
        kinds : Counter
            Gets its kind.
        """
        kinds[_kind(value)] += 1
        if isinstance(value, str):
            self.longest = max(self.longest, len(value))
            if value in self.different or self.is_whole:
                self.different[value] += 1
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            _, digits, exponent = Decimal(value).as_tuple()
            places = max(0, -exponent) if isinstance(exponent, int) else 0
            self.places = max(self.places, places)
            self.digits = max(self.digits, len(digits) + (int(exponent) if isinstance(exponent, int) else 0))


@dataclass
class Seen:
    """What was seen.

    Attributes
    ----------
    messages : int
        JSON objects that were looked at.
    others : int
        Messages that are not JSON objects.
    places : dict of tuple to Values
        By their steps, in the order in which they came.
    """

    messages: int = 0
    others: int = 0
    places: dict[tuple[Step, ...], Values] = field(default_factory=dict)

    def is_mixed(self, steps: tuple[Step, ...]) -> bool:
        """Whether something on the way to a place is not always of one kind.

        Parameters
        ----------
        steps : tuple of str or int
            The place.
        """
        ways = (self.places[steps[:n]] for n in range(1, len(steps)) if steps[:n] in self.places)
        return any(len(way.usual.keys() - {"empty list"}) > 1 for way in ways)


def observed(messages: Iterable[bytes | None]) -> Seen:
    """Look at messages.

    Parameters
    ----------
    messages : iterable of bytes or None
        As they came.
    """
    seen = Seen()
    for message in messages:
        try:
            fields = _DECODE(message or b"")
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            seen.others += 1
            continue
        seen.messages += 1
        for steps, value in _walk((), fields):
            place = seen.places.get(steps)
            if place is None:
                if len(seen.places) >= _MOST_PLACES:
                    continue
                place = seen.places[steps] = Values(steps)
            if value is None:
                place.nulls += 1
                continue
            place.add(value, place.kinds)
            if isinstance(value, list):
                for element in value:
                    if element is None:
                        place.elements["null"] += 1
                    else:
                        place.add(element, place.elements)
    return seen


def _walk(steps: tuple[Step, ...], value: Any) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every place of a message, objects and lists among them; of lists of objects the first element."""
    if steps:
        yield steps, value
    if len(steps) >= _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if _can_be_named(key):
                yield from _walk((*steps, key), inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for key, inner in value[0].items():
            if _can_be_named(key):
                yield from _walk((*steps, 0, key), inner)


def _can_be_named(key: str) -> bool:
    """Whether a path can name a key: not one that has dots or brackets of its own."""
    return steps_of(key) == (key,) and key.isprintable()


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "whole"
        case Decimal():
            return "point"
        case str():
            return "time" if _TIME.fullmatch(value) else "date" if _DATE.fullmatch(value) else "text"
        case dict():
            return "object"
        case []:
            return "empty list"
    return "list"
