"""Events that are given by hand, for the test of a job's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.ground.spans import moment_of, ms_of
from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step
from retailpulse_kernel.shop.contract.types import element_of
from retailpulse_kernel.shop.decoding import reader_of
from retailpulse_kernel.shop.events import Event
from retailpulse_kernel.shop.messages import ORDER_EVENTS

__all__ = ["given_events"]

_TIME = "2026-01-01T12:00:00Z"
#: Values of the types that can't be 1.
_SOME = {"bool": False, "date": _TIME[:10], "timestamp": _TIME}


def given_events(given: Iterable[Event | Mapping[str, Any]], contract: Contract | None = None) -> list[Event]:
    """Events from the fields that matter; the parser of all messages judges them.

    Parameters
    ----------
    given : iterable of Event or mapping
        The fields of an event by name. A field that is absent and required is filled in: a view of product ``p1`` by
        user ``u1`` in session ``s1`` on 2026-01-01 at 12:00 UTC, with an event id and an order of its own. Of another
        shape each required field gets a value that it can have.
    contract : Contract, optional
        What an event holds; the shipped one when absent.

    Raises
    ------
    UnknownName
        An event has no such field.
    EventError
        A field can't have this value.
    """
    shop = shipped() if contract is None else contract
    make = _event if shop.holds_events else _of_another_shape
    return [make(shop, number, one) if isinstance(one, Mapping) else one for number, one in enumerate(given, 1)]


def _event(contract: Contract, number: int, fields: Mapping[str, Any]) -> Event:
    for name in fields:
        if name not in contract.by_name:
            raise UnknownName("field of an event", name, contract.by_name)
    filled: dict[str, Any] = {
        "event_id": f"e{number}", "event_type": "view", "event_time": _TIME,
        "user_id": "u1", "session_id": "s1", "product_id": "p1",
    }  # fmt: skip
    if fields.get("event_type") in ORDER_EVENTS:
        filled |= {"order_id": f"o{number}", "order_line": 1}
    message: dict[str, Any] = {}
    for name, value in (filled | dict(fields)).items():
        _put(message, contract.by_name[name], value)
    return reader_of(contract).parse(orjson.dumps(message, default=str))


def _of_another_shape(contract: Contract, number: int, fields: Mapping[str, Any]) -> Any:
    """An event of a topic's own fields; where the messages have no id or no time, these can be given, too."""
    place = {"event_id": f"0-{number - 1}"} if contract.counts_messages else {}
    arrival = {} if contract.time else {"event_time": _TIME}
    known = {**contract.by_name, **place, **arrival}
    for name in fields:
        if name not in known:
            raise UnknownName("field of the topic", name, known)
    filled = {one.name: _some(one) for one in contract.fields if one.required}
    if contract.time:
        filled[contract.time] = _TIME
    if contract.id:
        filled[contract.id] = f"e{number}" if contract.by_name[contract.id].type == "string" else number
    said, message = {**place, **arrival, **filled, **fields}, dict[str, Any]()
    for name in said.keys() & contract.by_name.keys():
        _put(message, contract.by_name[name], said[name])
    moment = moment_of(said["event_time"]) if arrival else None
    return reader_of(contract).parse(
        orjson.dumps(message, default=str),
        arrival_ms=None if moment is None else ms_of(moment),
        place=str(said.get("event_id", "")),
    )


def _some(field: Field) -> Any:
    """A value that a field can have."""
    for value in (*field.allowed, field.min, field.max):
        if value is not None:
            return value
    if element_of(field.type):
        return []
    return _SOME.get(field.type, 1) if field.type != "string" else "x" * max(1, field.min_length or 0)


def _put(message: dict[str, Any], field: Field, value: Any) -> None:
    """Put a value where the contract has its field."""
    holder: Any = message
    for step, further in zip(field.steps, [*field.steps[1:], None], strict=True):
        if isinstance(step, int):
            holder.extend([None] * (step + 1 - len(holder)))
        if further is None:
            holder[step] = value
        elif (inner := _inner(holder, step)) is None:
            holder[step] = inner = [] if isinstance(further, int) else {}
        holder = None if further is None else inner


def _inner(holder: Any, step: Step) -> Any:
    return holder[step] if isinstance(step, int) else holder.get(step)
