"""Messages as events of a contract, one by one: the standard event with the shop's own fields, or another shape.

This is the truth that `retailpulse_kernel.streaming.intake.parsing` is compared with, which reads thousands at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.spans import moment_at, ms_of
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step, path_text
from retailpulse_kernel.shop.contract.wire import OwnField
from retailpulse_kernel.shop.events import (
    REASONS,
    YEARS,
    Event,
    decoded,
    event_of,
    message_fields,
    message_text,
    parse_event,
    require_arrived,
)
from retailpulse_kernel.shop.messages import message_struct

__all__ = ["ARRIVALS_MS", "reader_of"]

#: Broker's times that can be the time of an event, [from, to): those of the years 2000 to 2100.
ARRIVALS_MS: Final = tuple(map(ms_of, YEARS))

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Reader:
    """Reads the messages of a contract.

    Parameters
    ----------
    contract : Contract
        Which fields there are, and where.

    Attributes
    ----------
    contract : Contract
        The contract.
    event : type
        The class of its events.
    own : tuple of OwnField
        The fields that are not the standard event's.
    """

    #: Every reason that a message of any fields may be bad for.
    _ANYWAY: frozenset[str]

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.event = event_class(contract)
        self.own = tuple(map(OwnField, contract.own))

    @property
    def reasons(self) -> frozenset[str]:
        """Every reason that `parse` can give."""
        kinds = ("type", "missing", "range", "format", "unknown")
        return self._ANYWAY | {f"{kind}:{own.field.name}" for own in self.own for kind in kinds}

    def parse(self, value: bytes | None, *, arrival_ms: int | None = None, place: str = "") -> Any:
        """The event that a message holds.

        Parameters
        ----------
        value : bytes or None
            The message as it came; any bytes at all.
        arrival_ms : int, optional
            The broker's time of the message, in milliseconds since 1970. Without it no event is too far ahead.
        place : str
            Where the message is, ``PARTITION-OFFSET``: the id of a message that has none of its own.

        Raises
        ------
        EventError
            The message is not a valid event; nothing else is ever raised. Its `reason` is one of `reasons`.
        """
        raise NotImplementedError


class EventReader(Reader):
    """Reads standard events, with the shop's own fields.

    Parameters
    ----------
    contract : Contract
        One that holds events.
    """

    _ANYWAY = REASONS

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self._words = contract.event_types.columns
        self._message = msgspec.json.Decoder(
            message_struct("Message", contract.standard, contract.event_types.values),
        )

    def parse(self, value: bytes | None, *, arrival_ms: int | None = None, place: str = "") -> Any:
        """See `Reader.parse`.

        Parameters
        ----------
        value : bytes or None
            The message.
        arrival_ms : int, optional
            The broker's time.
        place : str
            Not looked at: each event has an id.
        """
        if self.contract.is_plain:
            return parse_event(value, arrival_ms=arrival_ms)
        found = _Found(message_fields(message_text(value)))
        standard = {field.name: raw for field in self.contract.standard if (raw := found.at(field)) is not None}
        event = event_of(decoded(self._with_role(standard), self._message), arrival_ms)
        if not self.own:
            return event
        own = [own.read(found.at(own.field)) for own in self.own]
        return self.event(*msgspec.structs.astuple(event), *own)

    def _with_role(self, fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """The fields with the role of the event's word in place of the word."""
        name = self.contract.by_role["event_type"].name
        try:
            word = msgspec.json.decode(fields[name], type=str)
        except (KeyError, ValueError):
            return fields  # absent, or not a text: the decoder says so
        role = self._words.get(word, word)
        return fields if role == word else fields | {name: msgspec.Raw(msgspec.json.encode(role))}


class ShapeReader(Reader):
    """Reads messages of another shape than the standard event's.

    Parameters
    ----------
    contract : Contract
        That of a topic with fields of its own.
    """

    _ANYWAY = frozenset(
        {"empty", "not_utf8", "not_json", "not_object", "too_deep"}
        | {"time:future", "missing:event_time", "range:event_time"}
    )

    def parse(self, value: bytes | None, *, arrival_ms: int | None = None, place: str = "") -> Any:
        """See `Reader.parse`.

        Parameters
        ----------
        value : bytes or None
            The message.
        arrival_ms : int, optional
            The broker's time, which is the event time of a message without one.
        place : str
            Where the message is.
        """
        contract = self.contract
        found = _Found(message_fields(message_text(value)))
        values = {own.field.name: own.read(found.at(own.field)) for own in self.own}
        if contract.time:
            moment = values[contract.time]
            time = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            require_arrived(time, arrival_ms)
        else:
            time = _arrived(arrival_ms)
        return self.event(str(values[contract.id]) if contract.id else place, time, **values)


def _arrived(arrival_ms: int | None) -> datetime:
    """The broker's time as the event time."""
    if arrival_ms is None or arrival_ms < 0:
        raise EventError("missing:event_time", "the broker gave the message no time")
    if not ARRIVALS_MS[0] <= arrival_ms < ARRIVALS_MS[1]:
        raise EventError("range:event_time", "the broker's time of the message is not within 2000 and 2100")
    return moment_at(arrival_ms)


class _Found:
    """What a message has along paths; each object on the way is opened once."""

    def __init__(self, fields: Mapping[str, msgspec.Raw]) -> None:
        self._opened: dict[tuple[Step, ...], Any] = {(): fields}

    def at(self, field: Field) -> msgspec.Raw | None:
        """What a field has; None for nothing and for null."""
        return self._raw(field.steps, field.name)

    def _raw(self, steps: tuple[Step, ...], name: str) -> msgspec.Raw | None:
        *way, step = steps
        holder = self._open(tuple(way), type(step), name)
        if holder is None:
            return None
        raw = holder.get(step) if isinstance(step, str) else next(iter(holder[step : step + 1]), None)
        return None if raw is None or bytes(raw) == b"null" else raw

    def _open(self, steps: tuple[Step, ...], inner: type[Step], name: str) -> Any:
        """The object or list at a path, opened; None where the message has nothing there."""
        if steps in self._opened:
            return self._opened[steps]
        raw = self._raw(steps, name)
        try:
            opened = None if raw is None else (_ELEMENTS if inner is int else _OBJECT).decode(raw)
        except msgspec.ValidationError:
            what = "a list" if inner is int else "an object"
            raise EventError(f"type:{name}", f"{path_text(steps)} is not {what}") from None
        except ValueError as error:
            raise EventError("not_json", str(error)[:200]) from None
        self._opened[steps] = opened
        return opened


def event_class(contract: Contract) -> Any:
    """The class of a contract's events: `Event` itself where the shop has no fields of its own.

    Events of another shape have an `event_id` and an `event_time`, and then their fields.

    Parameters
    ----------
    contract : Contract
        Its own fields become attributes.
    """
    if not contract.own:
        return Event
    if not contract.holds_events:
        shape = [(field.name, Any) for field in contract.columns]
        return msgspec.defstruct("Event", shape, frozen=True)
    own = [(field.name, Any, None) for field in contract.own]
    return msgspec.defstruct("Event", own, bases=(Event,), frozen=True, namespace={"__doc__": Event.__doc__})


@cache
def reader_of(contract: Contract) -> Reader:
    """The reader of a contract's messages.

    Parameters
    ----------
    contract : Contract
        Contracts that are equal have one reader.
    """
    return EventReader(contract) if contract.holds_events else ShapeReader(contract)
