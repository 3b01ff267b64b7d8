"""The topics of a contract: how the messages of each are written, and what they hold that is no standard event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from retailpulse_kernel.ground.errors import ContractError, UsageError, did_you_mean
from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.contract.fields import fields_of_topic
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat
from retailpulse_kernel.shop.contract.mapping.items import ITEMS, VERSION, Items, version_of
from retailpulse_kernel.shop.contract.model import (
    CHOICES,
    REGISTERED,
    TOOLS,
    WITHOUT_PRICES,
    Contract,
    Field,
    Topic,
)

__all__ = ["FORMATS", "read_topics", "with_items"]

#: The formats of messages that are read.
FORMATS: Final = ("json", *REGISTERED, *TOOLS)
_TOPIC_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

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


def read_topics(
    faults: Faults,
    values: Any,
    base: Contract | None,
    words: Sequence[str],
    formats: Sequence[RecordFormat],
    folder: Path | None,
) -> tuple[Topic, ...]:
    """The topics of a contract's ``[topics]``, after those that it extends.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    values : object
        As the TOML parser gives it.
    base : Contract, optional
        What the contract extends.
    words : sequence of str
        The words for events, which no field can have as its name.
    formats : sequence of RecordFormat
        The shop's own formats.
    folder : Path, optional
        Where files of items are read and checked; without it they are not looked at.
    """
    own = tuple(one.name for one in formats)
    of_tools, known = (*TOOLS, *own), (*FORMATS, *own)
    versions = {one.name: (("mapping_version", one.version),) for one in formats}
    found = {one.name: one for one in base.topics} if base else {}
    for name, value in Reading(faults, ("topics",), values).values.items():
        keys = ("topics", name)
        said = Reading(faults, keys, value)
        said.only("topic", "format", *CHOICES, ITEMS, "fields", "id", "time")
        before = found[name].topic if name in found else name
        topic, format_ = said.take("topic", "text", before), said.take("format", "text", "json")
        if not is_name(name):
            faults.add(keys, f"{name!r} can't be the name of a topic in the contract.", NAME_RULE)
        if not topic or len(topic) > 200 or not set(topic) <= _TOPIC_CHARACTERS:
            faults.add(
                (*keys, "topic"), f"{topic!r} can't be the name of a topic.", "Use letters, digits, '.', '_', '-'."
            )
        if format_ not in known:
            faults.unknown((*keys, "format"), "format", format_, known)
        twice = next((one.name for one in found.values() if one.topic == topic and one.name != name), None)
        if twice is not None:
            faults.add((*keys, "topic"), f"{twice!r} is the topic {topic!r} already.", "Remove one of the two.")
        shape, options = _shape(faults, said, words), _options(faults, said, format_, of_tools)
        options += _items(faults, said, format_, folder)
        if shape.fields and format_ in of_tools:
            reason = f"Records of {format_} become standard events, and can't have fields of another shape."
            faults.add((*keys, "fields"), reason, "Add the fields to [fields], with their paths in the record.")
        if shape.fields and any(one.topic == topic for one in (base.topics if base else ())):
            reason = f"The messages of {topic!r} are standard events, which all jobs and figures read."
            faults.add((*keys, "fields"), reason, "Add the fields to [fields], or name another topic.")
        found[name] = Topic(name, topic, format_, *shape, options=(*options, *versions.get(format_, ())))
    return tuple(found.values())


def _options(faults: Faults, said: Reading, format: str, of_tools: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What a topic chooses for the records of another tool, sorted by the choices' names."""
    found = {}
    for name, known in CHOICES.items():
        if name not in said.values:
            continue
        chosen = said.take(name, "text", known[0])
        if format not in of_tools:
            reason = f"{name} is a choice for records of other tools, and the format is {format!r}."
            faults.add((*said.keys, name), reason, f"Leave it out, or name a format: {', '.join(of_tools)}.")
        elif chosen not in known:
            reason = f"{chosen!r} can't be chosen for {name}."
            such = "Such as EUR." if name == "currency" else f"There is: {', '.join(known)}."
            faults.add((*said.keys, name), reason, f"{did_you_mean(chosen, known)}{such}")
        found[name] = chosen
    return tuple(sorted(found.items()))


def _items(faults: Faults, said: Reading, format: str, folder: Path | None) -> tuple[tuple[str, str], ...]:
    """The file with the products' prices beside the records of a tool that has none in them."""
    if ITEMS not in said.values:
        return ()
    keys, name = (*said.keys, ITEMS), said.take(ITEMS, "text", "")
    if format not in WITHOUT_PRICES:
        reason = f"Only records of {', '.join(WITHOUT_PRICES)} need prices beside them, and the format is {format!r}."
        faults.add(keys, reason, "Leave it out, or join a reference table in the job: [tables.products].")
    elif folder is not None:
        try:
            Items.load(folder / name)
        except UsageError as error:
            faults.add(keys, error.message, error.remedy or "")
    return ((ITEMS, name),)


def with_items(contract: Contract, folder: Path) -> Contract:
    """A contract with the versions of the items files of its topics: what their messages become goes by them.

    Parameters
    ----------
    contract : Contract
        As its file has it.
    folder : Path
        That of the file.

    Raises
    ------
    ContractError
        A file of items can't be read.
    """
    versions = []
    for topic in contract.topics:
        if name := dict(topic.options).get(ITEMS):
            try:
                versions.append((topic.name, version_of(folder / name)))
            except OSError as error:
                raise ContractError(
                    f"The items file {folder / name} of the topic {topic.name!r} can't be read: {error.strerror}.",
                    remedy="Its path is relative to the contract's folder.",
                ) from error
    return _of_versions(contract, tuple(versions)) if versions else contract


@lru_cache(maxsize=8)
def _of_versions(contract: Contract, versions: tuple[tuple[str, str], ...]) -> Contract:
    """One contract as long as its files stay as they are: much is derived from it once."""
    known = dict(versions)
    topics = (
        replace(one, options=(*one.options, (VERSION, known[one.name]))) if one.name in known else one
        for one in contract.topics
    )
    return replace(contract, topics=tuple(topics))


def _shape(faults: Faults, said: Reading, words: Sequence[str]) -> Shape:
    """The shape that a contract gives to a topic."""
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
