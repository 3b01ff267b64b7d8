"""Messages that are not events, of every kind that a shop's topic has seen, and why.

The reason is written here by hand and not asked of the parser, so that it can check the parser.
"""

from __future__ import annotations

import random
from typing import Any, Final

import orjson

__all__ = ["BAD_REASONS", "spoil"]

_GONE: Final = object()
_BAD_FIELDS: Final[dict[str, tuple[str, Any]]] = {
    "missing:event_id": ("event_id", _GONE),
    "missing:user_id": ("user_id", None),
    "missing:event_time": ("event_time", _GONE),
    "range:event_id": ("event_id", ""),
    "type:price": ("price", True),
    "range:price": ("price", -19.9),
    "format:price": ("price", "free"),
    "range:quantity": ("quantity", 0),
    "type:quantity": ("quantity", "two"),
    "format:event_time": ("event_time", "yesterday"),
    "time:future": ("event_time", "2099-01-01T00:00:00Z"),
    "unknown:event_type": ("event_type", "teleport"),
    "unknown:currency": ("currency", "XYZ"),
    "unknown:schema_version": ("schema_version", 99),
}
BAD_REASONS: Final = (*_BAD_FIELDS, "not_utf8", "not_json", "not_object", "missing:order_id", "empty")
"""Why the messages are bad, in the parser's words."""


def spoil(good: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Make a bad message of a good one.

    Parameters
    ----------
    good : bytes
        A valid event.
    chance : random.Random
        Decides what goes wrong.

    Returns
    -------
    tuple of str and bytes
        One of `BAD_REASONS`, and the message.
    """
    reason = chance.choice(BAD_REASONS)
    match reason:
        case "not_utf8":
            # No line ends, so that a stream can be written as lines, too.
            return reason, b"\xff" + chance.randbytes(40).translate(None, b"\r\n")
        case "not_json":
            return reason, good[: len(good) // 2]
        case "not_object":
            return reason, b"[" + good + b"]"
        case "empty":
            return reason, b""
    fields = orjson.loads(good)
    if reason == "missing:order_id":
        fields |= {"event_type": "purchase", "order_id": None}
    else:
        name, value = _BAD_FIELDS[reason]
        fields[name] = value
    return reason, orjson.dumps({name: value for name, value in fields.items() if value is not _GONE})
