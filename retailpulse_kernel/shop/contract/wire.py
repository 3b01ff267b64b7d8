"""The values of own fields in a message: how msgspec decodes and judges them, and what an event has of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.contract.model import Field
from retailpulse_kernel.shop.contract.types import decimal_digits, element_of
from retailpulse_kernel.shop.contract.values import BOUNDS, exact, typed_value

__all__ = ["TIME_TEXT", "OwnField", "kind_of", "wire_type"]

TIME_TEXT: Final = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)$"
"""A time as a message may have it, a regular expression."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Days that every store can hold.
_FIRST, _LAST = date(1900, 1, 1), date(2199, 12, 31)
_TIME: Final = re.compile(TIME_TEXT)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DIGITS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def wire_type(field: Field) -> Any:
    """The type that a field of the shop's own has in a message, for msgspec.

    Decimals are raw, so that their characters become the number; dates and times are texts.

    Parameters
    ----------
    field : Field
        A field without a role.
    """
    inner = element_of(field.type)
    return list[_simple_wire(field, inner)] if inner else _simple_wire(field, field.type)  # type: ignore[misc]


def _simple_wire(field: Field, type_: str) -> Any:
    if field.allowed:
        return Literal[field.allowed]
    match type_:
        case "string":
            lengths = {"min_length": field.min_length, "max_length": field.max_length}
            meta: dict[str, Any] = {name: bound for name, bound in lengths.items() if bound is not None}
            return Annotated[str, Meta(**meta)] if meta else str
        case "int" | "long":
            low, high = BOUNDS[type_]
            return Annotated[int, Meta(ge=_bound(field.min, low), le=_bound(field.max, high))]
        case "double":
            bounds: dict[str, Any] = {
                name: bound for name, bound in (("ge", field.min), ("le", field.max)) if bound is not None
            }
            return Annotated[float, Meta(**bounds)] if bounds else float
        case "bool":
            return bool
        case "date":
            return str
        case "timestamp":
            return str | int
    return msgspec.Raw


def _bound(given: Any, otherwise: int) -> int:
    return otherwise if given is None else int(given)


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


def kind_of(said: str) -> str:
    """What msgspec complains of, as the first word of a reason.

    Parameters
    ----------
    said : str
        The words of a `msgspec.ValidationError`.
    """
    if "got `" in said:
        return "type"
    if "Invalid enum value" in said:
        return "unknown"
    return "format" if "matching regex" in said else "range"
