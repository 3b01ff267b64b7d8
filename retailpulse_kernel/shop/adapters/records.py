"""A record as JSON: read with all digits of its numbers, and an event's fields written as a message."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.events import message_text

__all__ = ["message_of", "record_of"]

# Numbers keep all their digits: a float in between would change them.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


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


def message_of(fields: Mapping[str, Any]) -> bytes:
    """An event's fields as a message.

    Parameters
    ----------
    fields : mapping
        As `Adapter.adapt` gives them.

    Raises
    ------
    EventError
        JSON has no form of one of the values.
    """
    try:
        return orjson.dumps(fields)
    except TypeError as error:
        reason = "not_utf8" if "UTF-8" in str(error) else "not_json"
        raise EventError(reason, str(error)[:200]) from None
