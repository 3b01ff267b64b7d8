"""A record as JSON: read with all digits of its numbers, and an event's fields written as a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.values import is_cut
from retailpulse_kernel.shop.events import message_text, parse_event
from retailpulse_kernel.shop.messages import ORDER_EVENTS, Message

__all__ = ["Mapped", "assumed", "is_event", "json_of", "message_of", "record_of"]

#: The fields of an event, or why a part of a record is none.
Mapped = dict[str, Any] | EventError

# Numbers keep all their digits: a float in between would change them.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def record_of(text: bytes) -> dict[str, Any]:
    """The fields of a record.

    Parameters
    ----------
    text : bytes
        A JSON object.

    Raises
    ------
    EventError
        It is something else.
    """
    try:
        found = _decode(message_text(text))
    except (ValueError, RecursionError) as error:
        raise EventError("not_json", str(error)[:200]) from None
    if not isinstance(found, dict):
        raise EventError("not_object", "the record is not a JSON object")
    return found


def json_of(part: Any) -> orjson.Fragment:
    """A part of a record as it was, to be put into a message.

    Parameters
    ----------
    part : object
        A value that `record_of` gave.
    """
    return orjson.Fragment(_encode(part))


def message_of(fields: Mapped) -> bytes | EventError:
    """An event's fields as a message; the reason why there is none, as where JSON has no form of one of the values.

    Parameters
    ----------
    fields : dict or EventError
        As `Adapter.adapt` gives them.
    """
    if isinstance(fields, EventError):
        return fields
    try:
        parts = {name: json_of(value) for name, value in fields.items() if isinstance(value, dict | list | Decimal)}
        return orjson.dumps(fields | parts)
    except (TypeError, ValueError) as error:
        return EventError("not_utf8" if "UTF-8" in str(error) else "not_json", str(error)[:200])


def is_event(fields: Mapped) -> bool:
    """Whether mapped fields are a standard event; the shop's own fields are not looked at.

    Parameters
    ----------
    fields : dict or EventError
        As `Adapter.adapt` gives them.
    """
    if isinstance(fields, EventError):
        return False
    message = message_of({name: value for name, value in fields.items() if name in Message.__struct_fields__})
    try:
        return not isinstance(message, EventError) and parse_event(message) is not None
    except EventError:
        return False


def assumed(given: Mapping[str, Any], event_type: Any, price: Any) -> Iterator[str]:
    """What the contract assumes or cuts, where an amount or a time depends on it.

    Parameters
    ----------
    given : mapping
        What a record says of the quantity, the currency and the time.
    event_type, price : object
        Those of the event.
    """
    if event_type in ORDER_EVENTS and given.get("quantity") is None:
        yield "defaulted:quantity"
    if price is not None and given.get("currency") is None:
        yield "defaulted:currency"
    if is_cut(given.get("event_time")):
        yield "cut:event_time"
