"""The event: one JSON object a message, one line of an order an event.

The shipped contract (`retailpulse_kernel.shop.contract`) says which fields there are, of which type and within which
limits. `Message` and the JSON Schema in ``docs/event.schema.json`` are made from it. `parse_event` turns a message's
bytes into an `Event`, in which every default is filled in, or says in one `EventError` why it can't.

>>> event = parse_event(b'{"event_id": "e1", "event_type": "view", "event_time": "2026-01-01T10:00:00Z",'
...                     b' "user_id": "u1", "session_id": "s1", "product_id": "p1", "price": 19.90}')
>>> event.category, event.price
('unknown', Decimal('19.90'))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

import msgspec
import orjson

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.ground.spans import iso_text, ms_of
from retailpulse_kernel.shop.contract.wire import kind_of
from retailpulse_kernel.shop.currencies import CURRENCIES
from retailpulse_kernel.shop.messages import (
    EVENT_TYPES,
    ORDER_EVENTS,
    PRICE_TEXT,
    Message,
    json_schema,
    schema_text,
)

__all__ = [
    "CONTRACT",
    "EVENT_TYPES",
    "MAX_AHEAD",
    "MAX_DEPTH",
    "ORDER_EVENTS",
    "REASONS",
    "UNKNOWN_CATEGORY",
    "YEARS",
    "Event",
    "EventError",
    "Message",
    "decoded",
    "event_of",
    "fields_of",
    "json_schema",
    "message_fields",
    "message_text",
    "parse_event",
    "require_arrived",
    "schema_text",
    "to_message",
]

UNKNOWN_CATEGORY: Final = "unknown"

CONTRACT: Final = 1
"""The version of the event's shape, in each message as `schema_version`."""

MAX_AHEAD: Final = timedelta(minutes=10)
"""An event that is further ahead of the broker's time is bad: its clock is wrong."""

MAX_DEPTH: Final = 64
"""How deep a message may nest; a fixed limit, so that every job judges a message alike."""

YEARS: Final = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC))
"""When an event may be, the second excluded."""

_AMOUNT_LIMIT: Final = Decimal(10**14)  # DECIMAL(18,4) has 14 digits before the point


class Event(msgspec.Struct, frozen=True):
    """A valid event with every default filled in.

    Attributes
    ----------
    event_time : datetime
        UTC, whole milliseconds.
    category : str
        A dot path, or ``"unknown"``.
    price : Decimal or None
        Of one piece, in `currency`, exact, at most 4 decimal places.
    """

    event_id: str
    event_type: str
    event_time: datetime
    user_id: str
    session_id: str
    product_id: str
    category: str = UNKNOWN_CATEGORY
    brand: str | None = None
    price: Decimal | None = None
    quantity: int = 1
    currency: str = "USD"
    order_id: str | None = None
    order_line: int | None = None
    schema_version: int = CONTRACT


REASONS: Final = frozenset(
    {"empty", "not_utf8", "not_json", "not_object", "too_deep", "time:future", "range:amount"}
    | {f"{kind}:{field}" for kind in ("type", "missing", "range", "format") for field in Message.__struct_fields__}
    | {"unknown:event_type", "unknown:currency", "unknown:schema_version"}
)
"""Every reason that `parse_event` can give."""


def parse_event(value: bytes | None, *, arrival_ms: int | None = None) -> Event:
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
        The message is not a valid event; nothing else is ever raised. Its `reason` is one of `REASONS`.
    """
    text = message_text(value)
    try:
        message = _DECODER.decode(text)
    except msgspec.ValidationError:
        message = decoded(message_fields(text), _DECODER)
    except (ValueError, RecursionError) as error:
        raise EventError("not_json", _short(error)) from None
    return event_of(message, arrival_ms)


def message_text(value: bytes | None) -> str:
    """A message's text, which is not too deep.

    Parameters
    ----------
    value : bytes or None
        The message as it came.

    Raises
    ------
    EventError
        There is none, it is not UTF-8, or it nests too deep.
    """
    if not value:
        raise EventError("empty", "the message has no value")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise EventError("not_utf8", f"byte {error.start} is not UTF-8") from None
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise EventError("too_deep", f"the message nests deeper than {MAX_DEPTH}")
    return text


def message_fields(text: str) -> dict[str, msgspec.Raw]:
    """The fields of a message by their names, of several with one name the last.

    Parameters
    ----------
    text : str
        What `message_text` gave.

    Raises
    ------
    EventError
        It is not JSON, or not an object.
    """
    try:
        return _FIELDS.decode(text)
    except msgspec.ValidationError:
        raise EventError("not_object", "the message is not a JSON object") from None
    except (ValueError, RecursionError) as error:
        raise EventError("not_json", _short(error)) from None


def decoded(fields: Mapping[str, msgspec.Raw], decoder: msgspec.json.Decoder[Any]) -> Any:
    """A message from the standard fields, judged by their types.

    Parameters
    ----------
    fields : mapping of str to msgspec.Raw
        By name; others are not looked at. Null is the same as absent.
    decoder : msgspec.json.Decoder
        Of what `retailpulse_kernel.shop.messages.message_struct` made.

    Raises
    ------
    EventError
        A field is missing, or can't have its value.
    """
    names = decoder.type.__struct_fields__
    given = {name: raw for name, raw in fields.items() if name not in names or bytes(raw) != b"null"}
    try:
        return decoder.decode(msgspec.json.encode(given))
    except msgspec.ValidationError as error:
        raise _reason(str(error)) from None


def event_of(message: Any, arrival_ms: int | None) -> Event:
    """An event from its decoded message, by the rules that need more than one field, or more than a type.

    Parameters
    ----------
    message : object
        What `decoded` gave.
    arrival_ms : int, optional
        The broker's time of the message.

    Raises
    ------
    EventError
        A rule is broken.
    """
    event_time = _time(message.event_time)
    require_arrived(event_time, arrival_ms)
    quantity = message.quantity or 1
    price = _price(message.price)
    if price is not None and quantity > 1 and _EXACT.multiply(price, quantity) >= _AMOUNT_LIMIT:
        raise EventError("range:amount", "price times quantity does not fit DECIMAL(18,4)")
    currency = "USD" if message.currency is None else message.currency
    if currency not in CURRENCIES:
        raise EventError("unknown:currency", f"{currency} is not in ISO 4217")
    if message.event_type in ORDER_EVENTS:
        if price is None:
            raise EventError("missing:price", f"a {message.event_type} needs a price")
        if message.order_id is None:
            raise EventError("missing:order_id", f"a {message.event_type} needs an order_id")
        if message.order_line is None:
            raise EventError("missing:order_line", f"a {message.event_type} needs an order_line")
    return Event(
        message.event_id,
        message.event_type,
        event_time,
        message.user_id,
        message.session_id,
        message.product_id,
        message.category or UNKNOWN_CATEGORY,
        message.brand or None,
        price,
        quantity,
        currency,
        message.order_id,
        message.order_line,
    )


def require_arrived(event_time: datetime, arrival_ms: int | None) -> None:
    """Refuse an event that is further ahead of the broker's time than `MAX_AHEAD`.

    Parameters
    ----------
    event_time : datetime
        The event's time.
    arrival_ms : int, optional
        The broker's time of the message, in milliseconds since 1970; without it, or below 0, nothing is refused.

    Raises
    ------
    EventError
        The event is too far ahead.
    """
    if arrival_ms is not None and arrival_ms >= 0:
        ahead = ms_of(event_time) - arrival_ms
        if ahead > _MAX_AHEAD_MS:
            raise EventError("time:future", f"{ahead / 60_000:.0f} min ahead of the broker's time")


def _time(value: str | int) -> datetime:
    """UTC, cut to milliseconds."""
    try:
        if isinstance(value, int):
            return _EPOCH + timedelta(milliseconds=value)
        # Python cuts a fraction after its sixth digit, and so never rounds up into the next window.
        time = datetime.fromisoformat(value.upper())
        if time.tzinfo is not UTC:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise EventError("format:event_time", "there is no such date and time") from None
    if not YEARS[0] <= time < YEARS[1]:
        raise EventError("range:event_time", f"the year {time.year} is not within 2000 and 2100")
    over = time.microsecond % 1000
    return time.replace(microsecond=time.microsecond - over) if over else time


def _price(raw: msgspec.Raw) -> Decimal | None:
    """The exact decimal of a JSON number, or of a string that holds one in plain digits."""
    if plain := _PLAIN_LITERAL.fullmatch(raw):
        return Decimal(plain[1].decode())
    literal = bytes(raw).decode()
    if literal == "null":
        return None
    if literal[0] == '"':
        text = msgspec.json.decode(literal)
        if not _PLAIN_TEXT.fullmatch(text):
            raise _bad_price(text)
    elif literal[0] in "-0123456789":
        text = literal
    else:
        raise EventError("type:price", "a price is a number, or a string that holds one")
    try:
        price = Decimal(text)
        exact = _EXACT.quantize(price, _SMALLEST)
    except InvalidOperation:
        raise _bad_price(text) from None
    if exact != price or not 0 <= price < _AMOUNT_LIMIT:
        raise _bad_price(text)
    return abs(exact)


def _bad_price(text: str) -> EventError:
    kind = "range" if _NUMBER.fullmatch(text) else "format"
    return EventError(f"{kind}:price", f"{text[:40]!r} is not an amount of 0 or more with at most 4 decimal places")


def _depth(text: str) -> int:
    """How deep brackets nest outside of strings."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        if bracket in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "}]":
            depth -= 1
    return deepest


def _reason(said: str) -> EventError:
    """Msgspec's sentence as a stable code."""
    if missing := _MISSING.search(said):
        return EventError(f"missing:{missing[1]}", "the field is required")
    at = _AT.search(said)
    field = at[1] if at else "event"
    return EventError(f"{kind_of(said)}:{field}", _short(said.split(" - at")[0]))


def _short(text: object) -> str:
    return str(text)[:200]


def to_message(event: Event) -> bytes:
    """The event as canonical JSON, UTF-8; its Kafka key is ``event.user_id``.

    Fields that are None are left out, a price is a string, a time ends in ``Z``.

    Parameters
    ----------
    event : Event
        A valid one; nothing is checked here.
    """
    return orjson.dumps(fields_of(event))


def fields_of(event: Event) -> dict[str, Any]:
    """The fields of an event's message, as `to_message` writes them.

    Parameters
    ----------
    event : Event
        A valid one.
    """
    fields: dict[str, Any] = {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "event_time": iso_text(event.event_time, "milliseconds"),
        "user_id": event.user_id,
        "session_id": event.session_id,
        "product_id": event.product_id,
        "category": event.category,
    }
    if event.brand is not None:
        fields["brand"] = event.brand
    if event.price is not None:
        fields["price"] = format(event.price, "f")
    fields["quantity"] = event.quantity
    fields["currency"] = event.currency
    if event.order_id is not None:
        fields["order_id"] = event.order_id
    if event.order_line is not None:
        fields["order_line"] = event.order_line
    fields["schema_version"] = event.schema_version
    return fields


_DECODER = msgspec.json.Decoder(Message)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_AHEAD_MS = MAX_AHEAD.total_seconds() * 1000
_SMALLEST = Decimal("0.0001")
_EXACT = Context(prec=64)
# Most prices: no quotes can be missing here, since the decoder has seen the whole literal.
_PLAIN_LITERAL = re.compile(rb'"?([0-9]{1,14}(?:\.[0-9]{1,4})?)"?')
_PLAIN_TEXT = re.compile(PRICE_TEXT, re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", re.ASCII)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)
_MISSING = re.compile(r"missing required field `(\w+)`")
_AT = re.compile(r"at `\$\.(\w+)")
