"""The shape of a topic whose messages are not standard events: its fields, and which of them are id and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.contract.fields import fields_of_topic
from retailpulse_kernel.shop.contract.model import Field

__all__ = ["read_shape"]

#: The types that the fields can have by which messages are told apart, and that are their time.
_TYPES: Final = {"id": ("string", "int", "long"), "time": ("timestamp",)}
#: Such as the standard event has them: an id of 1 to 128 characters, a time of the years 2000 to 2100.
_ID_LENGTH: Final = (1, 128)
_TIMES: Final = ("2000-01-01T00:00:00+00:00", "2100-12-31T23:59:59.999999+00:00")


class Shape(NamedTuple):
    """What the messages of a topic hold; nothing where they hold the standard event.

    Attributes
    ----------
    fields : tuple of Field
        The fields.
    id, time : str
        The names of the fields that are id and time; empty for none.
    """

    fields: tuple[Field, ...] = ()
    id: str = ""
    time: str = ""


def read_shape(faults: Faults, said: Reading, words: Sequence[str]) -> Shape:
    """The shape that a contract gives to a topic.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    said : Reading
        The topic's table of the file.
    words : sequence of str
        The words for events, which no field can have as its name.
    """
    if "fields" not in said.values:
        for key in _TYPES:
            if key in said.values:
                reason = f"{key} is one of the topic's own fields, and the topic has none."
                faults.add((*said.keys, key), reason, f"Leave {key} out, or add the fields of the messages.")
        return Shape()
    fields = fields_of_topic(faults, (*said.keys, "fields"), said.values["fields"], words)
    if not fields:
        faults.add((*said.keys, "fields"), "The topic has no fields.", "Name one at least, or leave fields out.")
    known = {one.name: one for one in fields}
    named = {key: _named(faults, said, key, known) for key in _TYPES}
    if named["id"] and known[named["id"]].type == "string":
        known[named["id"]] = _bounded(known[named["id"]], "length", _ID_LENGTH)
    if named["time"]:
        known[named["time"]] = _bounded(known[named["time"]], "", _TIMES)
    return Shape(tuple(known.values()), **named)


def _named(faults: Faults, said: Reading, key: str, known: dict[str, Field]) -> str:
    """The field that is id or time; empty for none, or for one that can't be."""
    name: str = said.take(key, "text", "")
    keys, types = (*said.keys, key), _TYPES[key]
    if not known or not isinstance(said.values.get(key), str):
        return ""
    if name not in known:
        faults.unknown(keys, "field", name, known)
        return ""
    if known[name].type not in types:
        reason = f"{name!r} is a {known[name].type}, which can't be the {key} of a message."
        faults.add(keys, reason, f"Name a field of the type {', '.join(types)}.")
        return ""
    if not known[name].required:
        faults.add(keys, f"A message may lack {name!r}.", f"Add required = true to the field {name!r}.")
        return ""
    return name


def _bounded(field: Field, of: str, bounds: tuple[Any, Any]) -> Field:
    """The field with bounds that are no wider than some."""
    low, high = (f"{end}_{of}" if of else end for end in ("min", "max"))
    least, greatest = getattr(field, low), getattr(field, high)
    # Times in one zone and of one form are in order as texts, too.
    return replace(
        field,
        **{
            low: bounds[0] if least is None else max(least, bounds[0]),
            high: bounds[1] if greatest is None else min(greatest, bounds[1]),
        },
    )
