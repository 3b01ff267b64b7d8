"""Events that are given by hand, for the test of a job's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.shop.events import ORDER_EVENTS, Event, Message, parse_event

__all__ = ["given_events"]

_TIME = "2026-01-01T12:00:00Z"


def given_events(given: Iterable[Event | Mapping[str, Any]]) -> list[Event]:
    """Events from the fields that matter; the parser of all messages judges them.

    Parameters
    ----------
    given : iterable of Event or mapping
        The fields of an event by name. A field that is absent and required is filled in: a view of product ``p1`` by
        user ``u1`` in session ``s1`` on 2026-01-01 at 12:00 UTC, with an event id and an order of its own.

    Raises
    ------
    UnknownName
        An event has no such field.
    EventError
        A field can't have this value.
    """
    return [one if isinstance(one, Event) else _event(number, one) for number, one in enumerate(given, 1)]


def _event(number: int, fields: Mapping[str, Any]) -> Event:
    for name in fields:
        if name not in Message.__struct_fields__:
            raise UnknownName("field of an event", name, Message.__struct_fields__)
    filled: dict[str, Any] = {
        "event_id": f"e{number}", "event_type": "view", "event_time": _TIME,
        "user_id": "u1", "session_id": "s1", "product_id": "p1",
    }  # fmt: skip
    if fields.get("event_type") in ORDER_EVENTS:
        filled |= {"order_id": f"o{number}", "order_line": 1}
    return parse_event(orjson.dumps(filled | dict(fields), default=str))
