"""The shape of a contract's messages: how plain ones are decoded in C, and what of them becomes columns.

A message is decoded into structs that have only what the contract names, at any depth. What msgspec can't judge (a
decimal, a date, a time) is judged by whole columns where all of them have the usual form, and else value by value.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retailpulse_kernel.ground.errors import EventError
from retailpulse_kernel.shop.contract.model import Contract, Field
from retailpulse_kernel.shop.contract.paths import Step
from retailpulse_kernel.shop.contract.types import arrow_type, decimal_digits, element_of
from retailpulse_kernel.shop.contract.values import typed_value
from retailpulse_kernel.shop.contract.wire import OwnField, wire_type
from retailpulse_kernel.shop.messages import NO_PRICE, message_type

__all__ = ["Shape", "column_types", "shape_of"]

_PLAIN_TIME: Final = (
    r"^(19|20|21)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$"
)
_PLAIN_DATE: Final = r"^(19|20|21)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
#: Milliseconds since 1970 of the years 1901 to 2199.
_PLAIN_MS: Final = (-2_177_452_800_000, 7_258_118_400_000)
#: Types of which msgspec has judged every value.
_JUDGED_AT_ONCE: Final = frozenset({"string", "bool", "int", "long", "double"})


@cache
def column_types(contract: Contract) -> dict[str, pa.DataType]:
    """Every column of a contract's events, with its type.

    Parameters
    ----------
    contract : Contract
        The standard event's columns come first.
    """
    return {field.name: arrow_type(field.type) for field in contract.columns}


class _Place:
    """A place in a message: an object or a list with further places, or the value of a field."""

    def __init__(self) -> None:
        self.inner: dict[Step, _Place] = {}
        self.field: Field | None = None

    @property
    def is_list(self) -> bool:
        """Whether the places within are elements."""
        return any(isinstance(step, int) for step in self.inner)

    @property
    def has_several(self) -> bool:
        """Whether it is a list of which several elements are looked at, or a list of such lists."""
        return self.is_list and (len(self.inner) > 1 or any(inner.has_several for inner in self.inner.values()))


#: Gets what is one step further.
_Get = Callable[[Any], Any]


class _Object:
    """Decodes an object, and says how the values of its fields are reached.

    Attributes
    ----------
    decode : callable
        Makes a struct of the object's text; where the object may be absent, None of ``null``.
    ways : dict of str to list of callable
        The steps from the struct to each field.
    """

    def __init__(self, place: _Place, leaf: Callable[[Field, bool], tuple[Any, ...]], *, absent: bool) -> None:
        self._leaf = leaf
        self.ways: dict[str, list[_Get]] = {}
        self._lists: list[tuple[list[_Get], str, _Get]] = []
        struct = self._struct(place, [])
        self._plain = msgspec.json.Decoder(struct | None if absent else struct).decode
        self.decode = self._with_elements if self._lists else self._plain

    def _struct(self, place: _Place, way: list[_Get]) -> Any:
        described: list[Any] = []
        names: dict[str, str] = {}
        for number, (key, inner) in enumerate(place.inner.items()):
            assert isinstance(key, str)
            attribute = f"at{number}"
            names[attribute] = key
            further: list[_Get] = [*way, operator.attrgetter(attribute)]
            if inner.field is not None:
                self.ways[inner.field.name] = further
                described.append((attribute, *self._leaf(inner.field, not way)))
            elif inner.has_several:
                self._lists.append((way, attribute, self._elements(inner, further)))
                described.append((attribute, list[msgspec.Raw] | None, None))
            else:
                described.append((attribute, self._type(inner, further), None))
        return msgspec.defstruct("_Plain", described, kw_only=True, gc=False, rename=names)

    def _type(self, place: _Place, way: list[_Get]) -> Any:
        """The type of what may be absent: a value, an object, or a list of which one element is looked at.

        The other elements of such a list are decoded as that one is, which is quicker than to leave them out.
        """
        if place.field is not None:
            self.ways[place.field.name] = way
            return self._leaf(place.field, False)[0]
        if not place.is_list:
            return self._struct(place, way) | None
        ((number, inner),) = place.inner.items()
        assert isinstance(number, int)
        return list[self._type(inner, [*way, functools.partial(_element, number)])] | None  # type: ignore[misc]

    def _elements(self, place: _Place, way: list[_Get]) -> _Get:
        """What makes the wanted elements of a list of raw ones; the others are not looked at."""
        decoders: list[tuple[int, _Get]] = []
        for position, (number, inner) in enumerate(place.inner.items()):
            assert isinstance(number, int)
            further: list[_Get] = [*way, operator.itemgetter(position)]
            if inner.field is not None:
                self.ways[inner.field.name] = further
                type_ = self._leaf(inner.field, False)[0]
                decoders.append((number, msgspec.json.Decoder(type_).decode))
            elif inner.is_list:
                raws, opened = msgspec.json.Decoder(list[msgspec.Raw] | None).decode, self._elements(inner, further)
                decoders.append((number, functools.partial(_chained, raws, opened)))
            else:
                element = _Object(inner, lambda field, top: self._leaf(field, False), absent=True)
                self.ways |= {name: [*further, *steps] for name, steps in element.ways.items()}
                decoders.append((number, element.decode))
        return lambda raws: tuple(decode(raws[n]) if n < len(raws) else None for n, decode in decoders)

    def _with_elements(self, text: Any) -> Any:
        message = self._plain(text)
        for way, attribute, opened in self._lists if message is not None else ():
            holder = message
            for get in way:
                holder = None if holder is None else get(holder)
            if holder is not None and (raws := getattr(holder, attribute)) is not None:
                setattr(holder, attribute, opened(raws))
        return message


def _element(number: int, elements: Any) -> Any:
    return elements[number] if number < len(elements) else None


def _chained(first: _Get, second: _Get, raw: Any) -> Any:
    found = first(raw)
    return None if found is None else second(found)


class Shape:
    """How the plain messages of a contract are decoded.

    Parameters
    ----------
    contract : Contract
        Its fields and words.

    Attributes
    ----------
    contract : Contract
        The contract.
    types : dict of str to pyarrow.DataType
        The columns of its events.
    decode : callable
        Makes a struct of a message's text; raises `ValueError` for a message that is not plain.
    missing : tuple of str
        Standard fields that are required, and that a plain message may nevertheless lack.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.types = column_types(contract)
        self._words = contract.event_types.columns
        self._renames = not contract.event_types.are_plain
        root = _Place()
        for field in contract.fields:
            place = root
            for step in field.steps:
                place = place.inner.setdefault(step, _Place())
            place.field = field
        found = _Object(root, self._leaf, absent=False)
        self.decode, self._ways = found.decode, found.ways
        self.missing = tuple(field.name for field in contract.standard if field.required and len(field.steps) > 1)
        self._own = tuple(map(OwnField, contract.own))

    def _leaf(self, field: Field, top: bool) -> tuple[Any, ...]:
        """The type of a field's value, and its default where it may be absent."""
        type_ = wire_type(field) if field.is_own else message_type(field, tuple(self._words), limits=False)
        if type_ is msgspec.Raw:
            return type_, NO_PRICE
        return (type_,) if field.required and top else (type_ | None, None)

    def values(self, decoded: Sequence[Any], name: str) -> list[Any]:
        """What messages have for a field.

        Parameters
        ----------
        decoded : sequence of object
            What `decode` made.
        name : str
            The field's.
        """
        first, *further = self._ways[name]
        values = list(map(first, decoded))
        for get in further:
            values = [None if value is None else get(value) for value in values]
        if self._renames and self.contract.by_name[name].role == "event_type":
            values = [None if word is None else self._words[word] for word in values]
        return values

    def own(self, decoded: Sequence[Any], wanted: Sequence[str]) -> tuple[dict[str, pa.Array], np.ndarray[Any, Any]]:
        """The columns of the shop's own fields, and which messages have values there that are plain.

        Every field is judged, also one that is not wanted: all jobs judge a message alike.

        Parameters
        ----------
        decoded : sequence of object
            What `decode` made.
        wanted : sequence of str
            The columns that are asked for.
        """
        columns: dict[str, pa.Array] = {}
        keep = np.ones(len(decoded), dtype=bool)
        for own in self._own:
            field = own.field
            is_judged = (element_of(field.type) or field.type) in _JUDGED_AT_ONCE
            is_present = not field.required or len(field.steps) == 1
            if is_judged and is_present and field.name not in wanted:
                continue
            values = self.values(decoded, field.name)
            found = _quick(own, values)
            if found is None or (field.required and found.null_count):
                found = _one_by_one(own, values, keep)
            if field.name in wanted:
                columns[field.name] = found
        return columns, keep


@cache
def shape_of(contract: Contract) -> Shape:
    """The shape of a contract's messages.

    Parameters
    ----------
    contract : Contract
        Contracts that are equal have one shape.
    """
    return Shape(contract)


def _quick(own: OwnField, values: list[Any]) -> pa.Array | None:
    """A column in one go; None where a value has another form than the usual one, or may be wrong."""
    field, type_ = own.field, arrow_type(own.field.type)
    if (element_of(field.type) or field.type) in _JUDGED_AT_ONCE:
        return _filled(own, pa.array(values, type_))
    if element_of(field.type):
        return None
    try:
        found = _usual(field, values, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # a 30th of February; texts and numbers mixed
        return None
    if found is None:
        return None
    for bound, holds in ((field.min, pc.greater_equal), (field.max, pc.less_equal)):
        if bound is not None:
            limit = pa.scalar(typed_value(field.type, bound), type_)
            if not pc.all(holds(found, limit), min_count=0).as_py():
                return None
    return _filled(own, found)


def _usual(field: Field, values: list[Any], type_: pa.DataType) -> pa.Array | None:
    """Decimals, dates and times in the usual form."""
    if digits := decimal_digits(field.type):
        whole, scale = digits[0] - digits[1], digits[1]
        places = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
        texts = pa.array([None if raw is None or raw is NO_PRICE else bytes(raw) for raw in values], pa.string())
        texts = pc.if_else(pc.equal(texts, "null"), None, texts)
        if not _all_match(
            texts, rf'^("-?[0-9]{{1,{whole}}}{places}"|-?[0-9]{{1,{whole}}}{places})$' if whole else "^x$"
        ):
            return None
        return pc.cast(pc.utf8_trim(texts, characters='"'), type_)
    if field.type == "timestamp" and any(isinstance(value, int) for value in values):
        numbers = pa.array(values, pa.int64())
        ends = pc.min_max(numbers).as_py()
        if ends["min"] < _PLAIN_MS[0] or ends["max"] > _PLAIN_MS[1]:
            return None
        return pc.multiply(numbers, 1000).cast(type_)
    texts = pa.array(values, pa.string())
    return (
        pc.cast(texts, type_) if _all_match(texts, _PLAIN_TIME if field.type == "timestamp" else _PLAIN_DATE) else None
    )


def _all_match(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py())


def _filled(own: OwnField, column: pa.Array) -> pa.Array:
    return column if own.default is None else pc.fill_null(column, pa.scalar(own.default, column.type))


def _one_by_one(own: OwnField, values: list[Any], keep: np.ndarray[Any, Any]) -> pa.Array:
    """A column value by value; a message whose value is wrong or missing is none of those to keep."""
    found: list[Any] = []
    for position, wire in enumerate(values):
        value = None
        try:
            if wire is None or (isinstance(wire, msgspec.Raw) and bytes(wire) == b"null"):
                value = own.read(None)
            else:
                value = own.of_wire(wire)
        except EventError:
            keep[position] = False
        found.append(value)
    return pa.array(found, arrow_type(own.field.type))
