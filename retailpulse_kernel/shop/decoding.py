"""Messages as events of a contract, one by one: the standard event, and the shop's own fields beside it.

This is the truth that `retailpulse_kernel.streaming.intake.parsing` is compared with, which reads thousands at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step, path_text
from retailpulse_kernel.shop.contract.types import decimal_digits, element_of
from retailpulse_kernel.shop.contract.values import exact, typed_value
from retailpulse_kernel.shop.contract.wire import wire_type
from retailpulse_kernel.shop.events import (
    REASONS,
    Event,
    decoded,
    event_of,
    kind_of,
    message_fields,
    message_text,
    parse_event,
)
from retailpulse_kernel.shop.messages import TIME_TEXT, message_struct

if TYPE_CHECKING:
    from retailpulse_kernel.ground.settings import Settings  # a tenth of a second of each worker's start

__all__ = ["OwnField", "reader_for", "reader_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Days that every store can hold.
_FIRST, _LAST = date(1900, 1, 1), date(2199, 12, 31)
_TIME: Final = re.compile(TIME_TEXT)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DIGITS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class OwnField:
    """A field of the shop's own: what a message has there becomes the event's value.

    Parameters
    ----------
    field : Field
        A field without a role.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        inner = element_of(field.type)
        self._decoder = msgspec.json.Decoder(wire_type(field))
        self._simple = _CONVERT.get(inner or field.type, _exact if decimal_digits(inner or field.type) else None)
        self._is_list = inner is not None
        self._type = inner or field.type
        self._min, self._max = (typed_value(self._type, bound) for bound in (field.min, field.max))
        self.default = typed_value(field.type, field.default)

    def read(self, raw: msgspec.Raw | None) -> Any:
        """The event's value.

        Parameters
        ----------
        raw : msgspec.Raw or None
            What the message has; None where it has nothing, or null.

        Raises
        ------
        EventError
            The value is missing, or can't be.
        """
        name = self.field.name
        if raw is None:
            if self.field.required:
                raise EventError(f"missing:{name}", "the field is required")
            return self.default
        try:
            wire = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            said = str(error)
            raise EventError(f"{kind_of(said)}:{name}", said.split(" - at")[0][:200]) from None
        except ValueError as error:
            raise EventError("not_json", str(error)[:200]) from None
        return self.of_wire(wire)

    def of_wire(self, wire: Any) -> Any:
        """The event's value of one that has its `wire_type` already; a list becomes a tuple.

        Parameters
        ----------
        wire : object
            Not None.

        Raises
        ------
        EventError
            The value can't be.
        """
        if self._simple is None:
            return tuple(wire) if self._is_list else wire
        return tuple(map(self._converted, wire)) if self._is_list else self._converted(wire)

    def _converted(self, wire: Any) -> Any:
        assert self._simple is not None
        value = self._simple(self.field.name, self._type, wire)
        if (self._min is not None and value < self._min) or (self._max is not None and value > self._max):
            raise EventError(f"range:{self.field.name}", f"{value} is not within the field's bounds")
        return value


def _exact(name: str, type_: str, raw: msgspec.Raw) -> Decimal:
    """The exact decimal of a JSON number, or of a string that holds one in plain digits."""
    literal = bytes(raw).decode()
    if literal[0] == '"':
        text = msgspec.json.decode(literal)
        if not _DIGITS.fullmatch(text):
            raise EventError(f"format:{name}", f"{text[:40]!r} is not a number in plain digits")
    elif literal[0] in "-0123456789":
        text = literal
    else:
        raise EventError(f"type:{name}", "a decimal is a number, or a string that holds one")
    digits = decimal_digits(type_)
    assert digits is not None
    try:
        found = exact(Decimal(text), digits)
    except InvalidOperation:
        found = None
    if found is None:
        raise EventError(f"range:{name}", f"{text[:40]!r} does not fit {type_}")
    return found


def _day(name: str, type_: str, text: str) -> date:
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise EventError(f"format:{name}", f"{text[:40]!r} is not a date, YYYY-MM-DD")
    if not _FIRST <= day <= _LAST:
        raise EventError(f"range:{name}", f"the year {day.year} is not within {_FIRST.year} and {_LAST.year}")
    return day


def _moment(name: str, type_: str, value: str | int) -> datetime:
    """A time in UTC, cut to microseconds."""
    try:
        if isinstance(value, int):
            moment = _EPOCH + timedelta(milliseconds=value)
        elif len(value) > 64 or not _TIME.search(value):
            raise ValueError
        else:
            moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise EventError(f"range:{name}", "the time is out of range") from None
    except ValueError:
        raise EventError(f"format:{name}", "this is not a date and time with its zone") from None
    if not _FIRST <= moment.date() <= _LAST:
        raise EventError(f"range:{name}", f"the year {moment.year} is not within {_FIRST.year} and {_LAST.year}")
    return moment


_CONVERT: Final[dict[str, Callable[[str, str, Any], Any]]] = {"date": _day, "timestamp": _moment}


class EventReader:
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
        The class of its events: `Event`, with an attribute for each field of the shop's own.
    own : tuple of OwnField
        The shop's own fields.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.event = event_class(contract)
        self.own = tuple(map(OwnField, contract.own))
        self._words = contract.event_types.columns
        self._message = msgspec.json.Decoder(
            message_struct("Message", contract.standard, contract.event_types.values),
        )

    @property
    def reasons(self) -> frozenset[str]:
        """Every reason that `parse` can give."""
        kinds = ("type", "missing", "range", "format", "unknown")
        return REASONS | {f"{kind}:{own.field.name}" for own in self.own for kind in kinds}

    def parse(self, value: bytes | None, *, arrival_ms: int | None = None) -> Event:
        """The event that a message holds.

        Parameters
        ----------
        value : bytes or None
            The message as it came; any bytes at all.
        arrival_ms : int, optional
            The broker's time of the message, in milliseconds since 1970. Without it no event is too far ahead.

        Raises
        ------
        EventError
            The message is not a valid event; nothing else is ever raised. Its `reason` is one of `reasons`.
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

    Parameters
    ----------
    contract : Contract
        Its own fields become attributes.
    """
    if not contract.own:
        return Event
    own = [(field.name, Any, None) for field in contract.own]
    return msgspec.defstruct("Event", own, bases=(Event,), frozen=True, namespace={"__doc__": Event.__doc__})


@cache
def reader_of(contract: Contract) -> EventReader:
    """The reader of a contract's messages.

    Parameters
    ----------
    contract : Contract
        Contracts that are equal have one reader.
    """
    return EventReader(contract)


def reader_for(settings: Settings) -> EventReader:
    """The reader of the messages of the shop that settings name.

    Parameters
    ----------
    settings : Settings
        Their contract is read.

    Raises
    ------
    ContractError
        The contract has faults.
    """
    return reader_of(contract_of(settings).decoding)
