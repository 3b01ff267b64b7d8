"""The fields of a contract, read from its file and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from retailpulse_kernel.ground.errors import did_you_mean
from retailpulse_kernel.ground.names import NAME_RULE, RESERVED, is_name
from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.contract.model import IN_FRONT, ROLES, Field, Value
from retailpulse_kernel.shop.contract.paths import Step, path_text, steps_of
from retailpulse_kernel.shop.contract.types import TYPES, element_of, is_numeric, is_type
from retailpulse_kernel.shop.contract.values import typed_value, value_of

__all__ = ["TAKEN", "fields_of_topic", "own_fields", "read_fields"]

_KEYS: Final = tuple(Field.__dataclass_fields__.keys() - {"name"})
_ORDERED: Final = sorted(_KEYS)
#: Where a file has the fields of the events.
_OF_EVENTS: Final = ("fields",)
#: Types of which a list of allowed values can be given.
_LISTED: Final = ("string", "int", "long")
#: Columns that rows have beside the fields: the message's place, verdicts, windows, and what archives add.
TAKEN: Final = frozenset(
    {
        *("partition", "offset", "arrival", "raw", "late", "low", "kafka_partition", "kafka_offset", "dt"),
        *("ahead_ms", "arrived_ms", "n_accepted", "n_ahead", "n_bad", "n_further", "n_late", "dedup_key", "clock"),
        *("slot", "start", "end", "bucket", "second", "minute", "hour", "day", "week", "month"),
    }
)


def read_fields(faults: Faults, values: Any) -> tuple[Field, ...]:
    """Fields with all that a file says of each.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    values : object
        The table ``fields`` of the file.
    """
    return _read(faults, _OF_EVENTS, values, _ORDERED)


def fields_of_topic(faults: Faults, at: tuple[str, ...], values: Any, words: Sequence[str]) -> tuple[Field, ...]:
    """The fields of a topic whose messages are not events.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    at : tuple of str
        Where they are in the file.
    values : object
        The table there.
    words : sequence of str
        The values of the column of event types, which expressions mean as such.
    """
    fields = _read(faults, at, values, [key for key in _ORDERED if key != "role"])
    for one in fields:
        if any(one.name == column.name for column in IN_FRONT):
            remedy = f"Take another name, with path = {one.name!r}."
            faults.add((*at, one.name), f"Rows have a column {one.name!r} already.", remedy)
        _check_own(faults, at, one, words)
    _check_paths(faults, at, fields)
    return fields


def _read(faults: Faults, at: tuple[str, ...], values: Any, known: Sequence[str]) -> tuple[Field, ...]:
    given = Reading(faults, at, values).values
    return tuple(_field(faults, (*at, name), value, known) for name, value in given.items())


def own_fields(
    faults: Faults, given: Sequence[Field], values: Mapping[str, Any], shipped: Sequence[Field], words: Sequence[str]
) -> tuple[Field, ...]:
    """The shipped fields, with the places that a contract gives them, and the contract's own ones behind.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    given : sequence of Field
        The fields of the contract.
    values : mapping
        The table ``fields`` of its file.
    shipped : sequence of Field
        The standard fields.
    words : sequence of str
        The values of the column of event types, which expressions mean as such.
    """
    standard = {one.name: one for one in shipped}
    own = []
    for one in given:
        keys = ("fields", one.name)
        if (known := standard.get(one.name)) is not None:
            standard[one.name] = replace(known, path=one.path)
            said = values[one.name] if isinstance(values[one.name], dict) else {}
            for key in said.keys() - {"path"}:
                if key in _KEYS and getattr(one, key) != getattr(known, key):
                    remedy = "Leave the key out, or give the field another name."
                    faults.add((*keys, key), f"{one.name} is a standard field: only its path can be set.", remedy)
            continue
        if one.role:
            faults.add(
                (*keys, "role"),
                f"Only a standard field has a role, and {one.name!r} is not one.",
                f"Set the path of the standard field that has the role {one.role!r}, and remove this field.",
            )
        _check_own(faults, _OF_EVENTS, one, words)
        own.append(one)
    fields = (*standard.values(), *own)
    _check_paths(faults, _OF_EVENTS, fields)
    return fields


def _field(faults: Faults, keys: tuple[str, ...], values: Any, known: Sequence[str]) -> Field:
    name = keys[-1]
    said = Reading(faults, keys, values)
    said.only(*known)
    type_ = said.take("type", "text", "string")
    is_known = is_type(type_)
    if not is_known:
        near = did_you_mean(type_, TYPES)
        faults.add((*keys, "type"), f"There is no type {type_!r}.", f"{near}Known: {', '.join(TYPES)}.")
        type_ = "string"
    path = said.take("path", "text", "")
    if "path" in said.values and steps_of(path) is None:
        remedy = "Write keys with dots between them, as in context.campaign.name or items[0].sku."
        faults.add((*keys, "path"), f"{path!r} is not a path.", remedy)
        path = ""
    role = said.take("role", "text", "")
    if role and role not in ROLES:
        faults.unknown((*keys, "role"), "role", role, ROLES)
        role = ""
    one = Field(
        name,
        type_,
        "" if path == name else path,
        role,
        said.take("required", "flag", False),
        min_length=said.take("min_length", "count"),
        max_length=said.take("max_length", "count"),
        title=said.take("title", "text", ""),
        unit=said.take("unit", "text", ""),
        dimension=said.take("dimension", "flag", False),
        personal=said.take("personal", "flag", False),
    )
    # What goes by the type can't be judged without it.
    return _with_values(faults, one, said) if is_known else one


def _with_values(faults: Faults, one: Field, said: Reading) -> Field:
    """The field with its default, bounds and allowed values, which go by its type."""
    keys, inner = said.keys, element_of(one.type) or one.type

    def value(key: str, given: Any) -> Value:
        try:
            return value_of(inner, given)
        except ValueError as error:
            faults.add((*keys, key), f"{str(error).removesuffix('.')}.", f"Write a value of the type {inner}.")
            return None

    if "default" in said.values and inner != one.type:
        faults.add((*keys, "default"), "A list has no default.", "Leave default out: the list is null when absent.")
    default = value("default", said.values["default"]) if "default" in said.values and inner == one.type else None
    low, high = (value(key, said.values[key]) if key in said.values else None for key in ("min", "max"))
    for key, bound in (("min", low), ("max", high)):
        if bound is not None and not (is_numeric(inner) or inner in ("date", "timestamp")):
            faults.add((*keys, key), f"A {inner} has no {key}.", "Only numbers, dates and timestamps have bounds.")
    allowed: tuple[Value, ...] = ()
    if listed := said.take("allowed", "list", []):
        if inner not in _LISTED:
            faults.add((*keys, "allowed"), f"A {inner} has no allowed values.", f"Only {', '.join(_LISTED)} have.")
        else:
            allowed = tuple(dict.fromkeys(value("allowed", one_of) for one_of in listed))
    if "allowed" in said.values and not said.values["allowed"]:
        faults.add((*keys, "allowed"), "No value is allowed.", "Name one at least, or leave allowed out.")
    for key in ("min_length", "max_length"):
        if getattr(one, key) is not None and inner != "string":
            faults.add((*keys, key), f"A {inner} has no length.", f"Leave {key} out.")
    if one.max_length is not None and one.max_length < (one.min_length or 0):
        faults.add((*keys, "max_length"), "max_length is below min_length.", "Exchange the two.")
    one = replace(one, default=default, min=low, max=high, allowed=allowed)
    _check_bounds(faults, one, inner, keys)
    return one


def _check_bounds(faults: Faults, one: Field, inner: str, keys: tuple[str, ...]) -> None:
    low, high, default = (typed_value(inner, bound) for bound in (one.min, one.max, one.default))
    if low is not None and high is not None and low > high:
        faults.add((*keys, "max"), "max is below min.", "Exchange the two.")
    if default is None:
        return
    if one.required and one.is_own:
        faults.add((*keys, "default"), "A required field is never absent.", "Leave default out, or required.")
    if one.allowed and default not in one.allowed:
        faults.add((*keys, "default"), "The default is not among the allowed values.", "Add the default to allowed.")
    if (low is not None and default < low) or (high is not None and default > high):
        faults.add((*keys, "default"), "The default is outside of min and max.", "Choose one between them.")
    if isinstance(default, str) and not (one.min_length or 0) <= len(default) <= (one.max_length or len(default)):
        faults.add((*keys, "default"), "The default is too short or too long.", "Choose one of an allowed length.")


def _check_own(faults: Faults, at: tuple[str, ...], one: Field, words: Sequence[str]) -> None:
    _check_name(faults, (*at, one.name), words)
    if one.dimension:
        _check_dimension(faults, (*at, one.name, "dimension"), one)


def _check_name(faults: Faults, keys: tuple[str, ...], words: Sequence[str]) -> None:
    name = keys[-1]
    another = f"Take another name, with path = {name!r}."
    if not is_name(name):
        faults.add(keys, f"{name!r} can't be the name of a field.", NAME_RULE)
    elif name in TAKEN:
        faults.add(keys, f"Rows have a column {name!r} already.", another)
    elif name in words:
        faults.add(keys, f"{name!r} is a type of event, which expressions mean by this name.", another)
    elif name in RESERVED:
        faults.add(keys, f"{name!r} is a word of a store's language.", another)


def _check_dimension(faults: Faults, keys: tuple[str, ...], one: Field) -> None:
    if one.type != "string":
        faults.add(keys, f"A {one.type} can't be a dimension.", "Only a string can be: the tables' keys are texts.")
    elif not one.required and one.default is None:
        remedy = 'Add default = "unknown", or required = true.'
        faults.add(keys, "A dimension is a key, and a key is never null.", remedy)
    if one.personal:
        remedy = "Leave one of the two out: figures by a dimension are shown to everybody."
        faults.add(keys, "A personal field can't be a dimension.", remedy)


def _check_paths(faults: Faults, at: tuple[str, ...], fields: Sequence[Field]) -> None:
    """Each field has a place of its own, and none lies within another one."""
    known: dict[tuple[Step, ...], str] = {}
    # Who has a place by its name comes first: the fault is told of the other one.
    for one in sorted(fields, key=lambda field: (field.is_own, field.is_moved)):
        keys = (*at, one.name, "path")
        if (other := known.setdefault(one.steps, one.name)) != one.name:
            remedy = "Remove one of the two, or set its path."
            faults.add(keys, f"{one.name!r} and {other!r} read the same path {path_text(one.steps)!r}.", remedy)
    for one in fields:
        keys = (*at, one.name, "path")
        for length in range(1, len(one.steps)):
            if (outer := known.get(one.steps[:length])) is not None:
                reason = f"The path {path_text(one.steps)!r} lies within {outer!r}, which is a value of its own."
                faults.add(keys, reason, f"Remove {outer!r}, or set another path.")
        for other_steps, other in known.items():
            clash = _clash(one.steps, other_steps)
            if clash is not None and one.is_own:
                reason = f"{path_text(clash)!r} would be an object for {one.name!r} and a list for {other!r}."
                faults.add(keys, reason, "Look at a message: one of the two paths is wrong.")
                break


def _clash(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The common beginning after which one path goes into a list, and another one into an object."""
    for at, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if type(mine) is not type(theirs):
            return one[:at]
        if mine != theirs:
            return None
    return None
