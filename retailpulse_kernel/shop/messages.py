"""The messages of the standard event, as the contract describes them: a struct that decodes them, and a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from retailpulse_kernel.shop.contract.loading import shipped
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.types import decimal_digits
from retailpulse_kernel.shop.contract.values import BOUNDS
from retailpulse_kernel.shop.contract.wire import TIME_TEXT, wire_type
from retailpulse_kernel.shop.currencies import CURRENCIES

__all__ = [
    "EVENT_TYPES",
    "NO_PRICE",
    "ORDER_EVENTS",
    "PRICE_TEXT",
    "Message",
    "json_schema",
    "message_struct",
    "message_type",
    "schema_text",
]

_SHIPPED: Final = shipped()

EVENT_TYPES: Final[tuple[str, ...]] = _SHIPPED.event_types.values
"""Every type of event, in the order of the funnel."""

ORDER_EVENTS: Final = frozenset({"purchase", "refund"})
"""The types that need a price, an order and its line."""

PRICE_TEXT: Final = r"^[0-9]{1,14}(\.[0-9]{1,4}0*)?$"

NO_PRICE: Final = msgspec.Raw(b"null")
"""What a message without a price has."""

#: The forms that only some roles have.
_TIME = (
    Annotated[str, Meta(max_length=64, pattern=TIME_TEXT, description="RFC 3339, with its zone")]
    | Annotated[int, Meta(ge=946_684_800_000, lt=4_133_980_800_000, description="milliseconds since 1970, UTC")]
)
# A price stays in its own characters until it becomes a Decimal: a float in between would change it.
_PRICE = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "string", "pattern": PRICE_TEXT},
                {"type": "number", "minimum": 0, "exclusiveMaximum": 10**14, "description": "at most 4 decimal places"},
                {"type": "null"},
            ]
        }
    ),
]
_DOT_PATH: Final = r"^([^.]+(\.[^.]+)*)?$"
#: Further limits of a type that a role has.
_LIMITS: Final[dict[str, dict[str, Any]]] = {
    "category": {"pattern": _DOT_PATH},
    "currency": {"extra_json_schema": {"enum": sorted(CURRENCIES)}},
}
_MESSAGE: Final = """One line of an order, or one thing that a user did in the shop.

    Null is the same as absent. Unknown fields are allowed; the archive keeps them.
    """


def message_type(field: Field, words: Sequence[str], *, limits: bool = True) -> Any:
    """The type of a standard field in a message, for msgspec.

    Parameters
    ----------
    field : Field
        A field with a role.
    words : sequence of str
        The types of events.
    limits : bool
        Whether patterns and words for the schema are part of the type. Patterns cost more than all the rest of it.
    """
    said: dict[str, Any] = {"description": field.title} if field.title and limits else {}
    match field.role:
        case "event_type":
            return Literal[tuple(words)]
        case "time":
            return _TIME if limits else str
        case "price":
            return Annotated[_PRICE, Meta(**said)] if said else msgspec.Raw
        case "version":
            known: Any = Literal[tuple(range(int(field.min or 1), int(field.max or 1) + 1))]
            plain = Annotated[int, Meta(ge=int(field.min or 1), le=int(field.max or 1))]
            return Annotated[known, Meta(**said)] if limits else plain
    if field.type == "int":
        return Annotated[int, Meta(ge=int(field.min or 0), le=BOUNDS["int"][1], **said)]
    lengths = {"min_length": field.min_length, "max_length": field.max_length}
    meta: dict[str, Any] = {name: bound for name, bound in lengths.items() if bound is not None} | said
    meta |= _LIMITS.get(field.role, {}) if limits else {}
    return Annotated[str, Meta(**meta)] if meta else str


def message_struct(name: str, fields: Sequence[Field], words: Sequence[str]) -> Any:
    """Standard fields, each under its name, as msgspec decodes and judges them.

    Parameters
    ----------
    name : str
        The struct's.
    fields : sequence of Field
        The standard fields of a contract.
    words : sequence of str
        The types of events.
    """
    described: list[Any] = []
    for field in fields:
        type_ = message_type(field, words)
        if field.required:
            described.append((field.name, type_))
        elif field.role == "price":
            described.append((field.name, type_, msgspec.field(default_factory=lambda: NO_PRICE)))
        else:
            described.append((field.name, type_ | None, None))
    return msgspec.defstruct(name, described, kw_only=True, frozen=True, namespace={"__doc__": _MESSAGE})


Message = message_struct("Message", _SHIPPED.standard, EVENT_TYPES)
"""A message of the shipped contract."""


def json_schema(contract: Contract | None = None) -> dict[str, Any]:
    """The messages of a contract as JSON Schema (2020-12).

    Parameters
    ----------
    contract : Contract, optional
        What the messages hold; the shipped one, as in ``docs/event.schema.json``, when absent.
    """
    shop = _SHIPPED if contract is None else contract
    message = message_struct("Message", shop.standard, tuple(shop.event_types.columns))
    (_,), components = msgspec.json.schema_components([message])
    schema = components["Message"]
    schema["description"] = " ".join(schema["description"].split())
    for field in shop.fields:
        if field.is_own or field.is_moved:
            said = schema["properties"].pop(field.name, None) or _own_schema(field)
            _place(schema, field, said)
    by_word = [word for word, value in shop.event_types.columns.items() if value in ORDER_EVENTS]
    flat = [name for name in ("price", "order_id", "order_line") if not shop.by_name[name].is_moved]
    # What an order needs is told of fields in their usual places only.
    order_lines = {
        "if": {"properties": {"event_type": {"enum": sorted(by_word)}}},
        "then": {"required": flat, "properties": {name: {"not": {"type": "null"}} for name in flat}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "RetailPulse event",
        **({} if shop.by_name["event_type"].is_moved else order_lines),
    }


def _own_schema(field: Field) -> dict[str, Any]:
    """A field of the shop's own; null is the same as absent."""
    if decimal_digits(field.type):
        found: dict[str, Any] = {"type": ["number", "string"]}
    else:
        found = msgspec.json.schema(wire_type(field))
    said = {"title": field.title} if field.title else {}
    return (
        {**found, **said} if field.required else {"anyOf": [found, {"type": "null"}], "default": field.default, **said}
    )


def _place(schema: dict[str, Any], field: Field, said: dict[str, Any]) -> None:
    """Put a field's schema where its path leads."""
    top, required = schema, schema.get("required", [])
    for step, further in zip(field.steps, [*field.steps[1:], None], strict=True):
        if isinstance(step, int):
            holder = schema.setdefault("prefixItems", [])
            holder.extend({} for _ in range(step + 1 - len(holder)))
        else:
            holder = schema.setdefault("properties", {})
        if further is None:
            holder[step] = said
        else:
            kind = {"type": ["array" if isinstance(further, int) else "object", "null"]}
            inner = holder[step] if isinstance(step, int) else holder.setdefault(step, {})
            inner.update(kind)
            schema = inner
    if field.name in required and field.is_moved:
        required.remove(field.name)
    elif field.required and field.is_own and len(field.steps) == 1:
        top.setdefault("required", []).append(str(field.steps[0]))


def schema_text(contract: Contract | None = None) -> str:
    """`json_schema` as it stands in ``docs/event.schema.json``.

    Parameters
    ----------
    contract : Contract, optional
        What the messages hold; the shipped one when absent.
    """
    return json.dumps(json_schema(contract), indent=2) + "\n"
