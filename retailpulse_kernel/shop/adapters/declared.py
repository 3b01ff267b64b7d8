"""Formats that are one mapping: a shop's own of its contract, and those that are shipped as such (``shipped.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.adapters.base import Adapter
from retailpulse_kernel.shop.adapters.placing import at
from retailpulse_kernel.shop.adapters.records import Mapped, is_event
from retailpulse_kernel.shop.adapters.values import (
    category_path,
    decimal_of,
    digest,
    is_nothing,
    is_number,
    nested,
    text,
    whole,
)
from retailpulse_kernel.shop.contract.checking import Faults, Places
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat, Source
from retailpulse_kernel.shop.contract.mapping.reading import read_formats
from retailpulse_kernel.shop.messages import EVENT_TYPES, ORDER_EVENTS, Message

__all__ = ["declared", "shipped_formats"]

_SHIPPED: Final = Path(__file__).with_name("shipped.toml")
_COUNTS: Final = ("quantity", "order_line", "schema_version")
#: What a table must have; all else may be absent.
_NEEDED: Final = ("event_id", "event_type", "event_time", "user_id", "product_id", "order_id")
#: Longest text of a number, and its longest exponent, that is scaled.
_LONGEST: Final = 40


class Declared(Adapter):
    """A record is one event, or each element of a list in it is one.

    - Event id: what the mapping says, with the element's number behind; without any, the order and its line; and for a
      record of no order, where it comes from.
    - Order line: the element's number in the list; without a list, the rows of an order are counted in the order of the
      file. A record that is read alone is an order of its own.
    - Fields that the standard event lacks are further fields of the message.
    """

    mapping: ClassVar[RecordFormat]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._fields, self._line = dict(self.mapping.fields), dict(self.mapping.line)
        self._types = dict(self.mapping.types)
        self._once = {name: source for name, source in self._fields.items() if source.once}
        self._each = {name: source for name, source in self._fields.items() if not source.once}
        self._owing: tuple[Any, ...] = ()
        self._borne: set[tuple[Any, ...]] = set()
        self._order: str | None = None
        self._filled: dict[str, Any] = {}

    def adapt(self, record: Mapping[str, Any], row: int) -> list[Mapped]:
        """One event for the record, or one for each element of its list."""
        record = self._whole(record)
        word = text(_found(self._fields.get("event_type", Source()), record))
        event_type = self._types.get(word or "") if self._types else word
        if event_type is None:
            raise EventError("not_mapped", f"{(word or '')[:60]!r} is no event of the format {self.name}")
        list_of = self.mapping.lines
        lines = nested(at(record, self.mapping.list_steps), list, list_of) if list_of else None
        if lines:
            once = self._mapped(self._once, record)
            return self.lines(lines, lambda number, line: self._element(record, line, event_type, number, row), once)
        if list_of and event_type in ORDER_EVENTS:
            raise EventError("missing:lines", f"a {event_type} without {list_of}")
        if event_type in ORDER_EVENTS:
            return [self._of_order(record, event_type, row)]
        return [self._identified(self._mapped(self._fields, record) | {"event_type": event_type}, row)]

    def _of_order(self, record: Mapping[str, Any], event_type: str, row: int) -> dict[str, Any]:
        """A row that is a line of an order. The first of them that can be an event bears the order's own amounts."""
        once = self._mapped(self._once, record)
        order = text(_found(self._fields.get("order_id", Source()), record)), event_type
        if order != self._owing:
            self.lost += self.owed
            self._owing, self.owed = order, {}
        if order in self._borne:
            once = {}
        self.owed |= once
        fields = self._counted_in(self._mapped(self._each, record) | {"event_type": event_type}, row)
        if self.owed and is_event(fields) and not (self.alone and fields["order_line"] != 1):
            self._borne.add(order)
            self.bear(fields, self.owed)
            self.owed = {}
        return fields

    def _element(self, record: Mapping[str, Any], line: Any, event_type: str, number: int, row: int) -> dict[str, Any]:
        inner = nested(line, dict, "line") or {}
        fields = self._mapped(self._each, record) | self._mapped(self._line, inner)
        known = fields.get("event_id") or self._place(fields, event_type, row)
        fields |= {"event_type": event_type, "event_id": f"{known}-{number}", "order_line": number}
        return self._told(fields)

    def _place(self, fields: Mapping[str, Any], event_type: str, row: int) -> str:
        order = fields.get("order_id")
        return f"{order}-{event_type}" if order and event_type in ORDER_EVENTS else self.event_id(row)

    def _counted_in(self, fields: dict[str, Any], row: int) -> dict[str, Any]:
        """A row that is a line of an order."""
        order = fields.get("order_id")
        if fields.get("price") is None:  # a bad row takes no line of the order
            raise EventError("missing:price", "a line of an order needs a price")
        if fields.get("order_line") is None and order is not None:
            fields["order_line"] = self.next_line((order, fields["event_type"]))
            if self.alone:
                fields["order_id"] = fields.get("event_id") or self.event_id(row)
            elif "event_id" not in fields:
                fields["event_id"] = f"{order}-{fields['event_type']}-{fields['order_line']}"
        return self._identified(fields, row)

    def _identified(self, fields: dict[str, Any], row: int) -> dict[str, Any]:
        return self._told({"event_id": self.event_id(row)} | fields)

    def _told(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields with what every event has: a session and a currency."""
        session = self.session(fields.get("session_id"), fields.get("user_id"), fields.get("event_time"))
        return fields | {
            "session_id": session,
            "currency": self.currency(fields.get("currency"), fields.get("price")),
        }

    def _whole(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row with what only the first row of its order fills."""
        if not self.mapping.fill or self.alone:
            return record
        order = text(_found(self._fields["order_id"], record))
        if order is None or order != self._order:
            self._order = order
            self._filled = {name: record.get(name) for name in self.mapping.fill}
        empty = {name: value for name, value in self._filled.items() if is_nothing(record.get(name))}
        return {**record, **empty} if order is not None else record

    def _mapped(self, sources: Mapping[str, Source], record: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: _found(source, record) for name, source in sources.items()}
        read = {name: self._read(name, sources[name], value) for name, value in values.items() if value is not None}
        return {name: value for name, value in read.items() if value is not None}

    def _read(self, name: str, source: Source, value: Any) -> Any:
        """A value as the field of an event has it."""
        if source.hash:
            value = digest(text(value) or "")
        if source.scale:
            value = _scaled(value, source.scale)
        if name == "price":
            return self.price(value)
        if name == "event_time":
            return self._moment(value)
        if name in _COUNTS:
            return whole(value)
        if name == "category":
            return category_path(value)
        if name in Message.__struct_fields__:
            return text(value)
        return self.amounts(**{name: value}).get(name) if source.scale or source.once else value

    def _moment(self, value: Any) -> Any:
        """A time: milliseconds since 1970 as a number, however it is written, else RFC 3339."""
        number = whole(value)
        if isinstance(number, Decimal) and number.is_finite():
            return int(number)  # digits behind the milliseconds
        return self.time(value) if isinstance(number, str) or not isinstance(number, int) else number


def _found(source: Source, record: Mapping[str, Any]) -> Any:
    """The first of a source's places that has a value."""
    if source.value:
        return source.value
    values = (at(record, steps) for steps in source.steps)
    return next((value for value in values if not is_nothing(value)), None)


def _scaled(value: Any, scale: int) -> Any:
    """A number with its point moved; anything else is left to the contract to refuse."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return value
    if isinstance(value, str) and (len(value) > _LONGEST or not is_number(value)):
        return value
    try:
        number = decimal_of(value)
    except (InvalidOperation, ValueError):
        return value
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST:
        return value
    return number.scaleb(-scale)


def declared(format: RecordFormat) -> type[Adapter]:
    """The adapter of a mapping.

    Parameters
    ----------
    format : RecordFormat
        The mapping.
    """
    of_record = {name: source for name, source in format.fields if source.paths}
    needed = [str(of_record[name].steps[0][0]) for name in _NEEDED if name in of_record]
    inside = [str(step) for step in format.list_steps[:1]]
    reads = _first_steps(of_record.values())
    names = {
        "name": format.name,
        "mapping": format,
        "columns": tuple(dict.fromkeys([*needed, *inside])),
        "reads": tuple(dict.fromkeys([*reads, *inside, *format.fill])),
        "needs_source": "event_id" not in {name for name, _ in (*format.fields, *format.line)},
    }
    return type("Declared", (Declared,), names | {"__doc__": Declared.__doc__})


def _first_steps(sources: Iterable[Source]) -> list[str]:
    found = [(path, steps) for source in sources for path, steps in zip(source.paths, source.steps, strict=True)]
    return [name for path, steps in found for name in (str(steps[0]), path)]


@cache
def shipped_formats() -> tuple[RecordFormat, ...]:
    """The mappings that RetailPulse is shipped with."""
    content = _SHIPPED.read_text()
    faults = Faults(Places(content))
    found = read_formats(faults, tomllib.loads(content), EVENT_TYPES, ())
    assert not faults.found, faults.found
    return found
