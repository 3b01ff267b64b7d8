"""Events that are given by hand, for the test of a job: as events, and as the messages of a topic.

A test leaves its messages as a file in the folder of its epochs. A stream that finds the file there reads the messages
in place of its topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
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
from retailpulse_kernel.streaming.intake.judging import Chunk

__all__ = ["GivenMessage", "GivenMessages", "given_events", "given_message"]

_TIME = "2026-01-01T12:00:00Z"
_TIME_MS = ms_of(datetime.fromisoformat(_TIME))
#: Values of the types that can't be 1.
_SOME = {"bool": False, "date": _TIME[:10], "timestamp": _TIME}


@dataclass(frozen=True)
class GivenMessages:
    """The messages of a topic that a test gives: one partition, with offsets from 0.

    Attributes
    ----------
    values : list of str
        The messages, as JSON.
    arrivals_ms : list of int
        The broker's time of each, in milliseconds since 1970.
    at_ms : int
        The test's present: how far the topic's clock has come behind the last message.
    """

    values: list[str]
    arrivals_ms: list[int]
    at_ms: int

    @classmethod
    def of(cls, folder: str, topic: str) -> GivenMessages | None:
        """What a test gives in place of a topic; None where no test is under way.

        Parameters
        ----------
        folder : str
            The folder of the test's epochs; it may be absent.
        topic : str
            The topic's full name.
        """
        file = Path(folder, f"{topic}.json")
        return msgspec.json.decode(file.read_bytes(), type=cls) if folder and file.is_file() else None

    def leave(self, folder: str, topic: str) -> None:
        """Let a topic's streams read these messages.

        Parameters
        ----------
        folder : str
            The folder of the test's epochs.
        topic : str
            The topic's full name.
        """
        Path(folder, f"{topic}.json").write_bytes(orjson.dumps(asdict(self)))

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """First and next offset of the one partition."""
        return {"0": (0, len(self.values))}

    def chunks(self, start: int, end: int) -> Iterator[Chunk]:
        """The messages of the offsets ``[start, end)``.

        Parameters
        ----------
        start, end : int
            The range, without its end.
        """
        values: list[bytes | None] = [text.encode() for text in self.values[start:end]]
        yield Chunk(values, list(range(start, end)), self.arrivals_ms[start:end])


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
    parse = reader_of(shop).parse
    events = []
    for number, one in enumerate(given, 1):
        if isinstance(one, Mapping):
            made = given_message(number, one, shop)
            arrival_ms = None if shop.holds_events or shop.time else made.arrival_ms or _TIME_MS
            events.append(parse(made.value, arrival_ms=arrival_ms, place=made.place))
        else:
            events.append(one)
    return events


class GivenMessage(NamedTuple):
    """A message that is made of the fields that matter.

    Attributes
    ----------
    value : bytes
        The message.
    arrival_ms : int or None
        The broker's time, where it is given as the event's time.
    place : str
        ``PARTITION-OFFSET``.
    """

    value: bytes
    arrival_ms: int | None
    place: str


def given_message(number: int, fields: Mapping[str, Any], contract: Contract) -> GivenMessage:
    """A message from the fields of an event that matter.

    Parameters
    ----------
    number : int
        Counts the events; those that lack an id or an order are told apart by it.
    fields : mapping
        The fields by name; see `given_events`.
    contract : Contract
        What an event holds. Where messages have no time, ``event_time`` is the broker's; where each counts,
        ``event_id`` is its place.

    Raises
    ------
    UnknownName
        An event has no such field.
    """
    is_timed = contract.holds_events or contract.time
    known = [
        *contract.by_name,
        *([] if is_timed else ["event_time"]),
        *(["event_id"] if contract.counts_messages else []),
    ]
    for name in fields:
        if name not in known:
            raise UnknownName("field of an event", name, known)
    message: dict[str, Any] = {}
    for name, value in (_filled(number, fields, contract) | dict(fields)).items():
        if name in contract.by_name:
            _put(message, contract.by_name[name], value)
    arrived = None if is_timed else moment_of(fields.get("event_time"))
    arrival_ms = None if arrived is None else ms_of(arrived)
    place = fields.get("event_id") if contract.counts_messages else None
    return GivenMessage(orjson.dumps(message, default=str), arrival_ms, str(place or f"0-{number - 1}"))


def _filled(number: int, fields: Mapping[str, Any], contract: Contract) -> dict[str, Any]:
    """What the fields are that are required, where they are not given."""
    if contract.holds_events:
        event: dict[str, Any] = {
            "event_id": f"e{number}", "event_type": "view", "event_time": _TIME,
            "user_id": "u1", "session_id": "s1", "product_id": "p1",
        }  # fmt: skip
        return event | ({"order_id": f"o{number}", "order_line": 1} if fields.get("event_type") in ORDER_EVENTS else {})
    filled = {one.name: _some(one) for one in contract.fields if one.required}
    if contract.time:
        filled[contract.time] = _TIME
    if contract.id:
        filled[contract.id] = f"e{number}" if contract.by_name[contract.id].type == "string" else number
    return filled


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
