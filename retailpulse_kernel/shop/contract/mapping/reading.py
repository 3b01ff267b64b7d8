"""The formats of a contract, read from its file and checked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from retailpulse_kernel.ground.names import NAME_RULE, is_name
from retailpulse_kernel.shop.contract.checking import Faults, Reading
from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat, Source
from retailpulse_kernel.shop.contract.paths import steps_of

__all__ = ["read_formats"]

#: What every event needs, so that a format without it can give none.
_NEEDED: Final = ("event_type", "event_time", "user_id", "product_id")
_MOST_SCALE: Final = 12


def read_formats(
    faults: Faults, values: Any, words: Collection[str], taken: Collection[str]
) -> tuple[RecordFormat, ...]:
    """The formats that a file describes.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    values : object
        The table ``formats`` of the file.
    words : collection of str
        What the column of event types may hold: the roles, and words without one.
    taken : collection of str
        Names of formats that exist already.
    """
    return tuple(
        _format(faults, name, value, words, taken)
        for name, value in Reading(faults, ("formats",), values).values.items()
    )


def _format(faults: Faults, name: str, values: Any, words: Collection[str], taken: Collection[str]) -> RecordFormat:
    keys = ("formats", name)
    said = Reading(faults, keys, values)
    said.only("fields", "line", "lines", "types", "fill")
    if not is_name(name):
        faults.add(keys, f"{name!r} can't be the name of a format.", NAME_RULE)
    elif name in taken:
        faults.add(keys, f"There is a format {name!r} already.", "Take another name.")
    fields = _sources(faults, (*keys, "fields"), said.take("fields", "table", {}))
    line = _sources(faults, (*keys, "line"), said.take("line", "table", {}))
    lines = _path(faults, (*keys, "lines"), said.take("lines", "text", ""), empty=True)
    if bool(line) != bool(lines):
        faults.add(
            keys, "lines and line go together.", "Name the list by lines, and the fields of its elements in line."
        )
    mapped = {one for one, _ in (*fields, *line)}
    for needed in _NEEDED:
        if needed not in mapped:
            reason = f"The format says nothing of {needed}, which every event needs."
            faults.add((*keys, "fields"), reason, f'Add {needed} = "PATH", or {{value = "..."}}.')
    types = said.take("types", "table", {})
    for word, role in types.items():
        if role not in words:
            faults.unknown((*keys, "types", word), "type of event", str(role), words)
    fill = said.take("fill", "list", [])
    if not all(isinstance(one, str) for one in fill):
        faults.add((*keys, "fill"), "fill is a list of columns.", 'Such as fill = ["Created at"].')
    if fill and "order_id" not in dict(fields):
        faults.add((*keys, "fill"), "fill goes by orders, and the format has no order_id.", "Add order_id to fields.")
    return RecordFormat(name, fields, lines, line, tuple(types.items()), tuple(map(str, fill)))


def _sources(faults: Faults, at: tuple[str, ...], values: Any) -> tuple[tuple[str, Source], ...]:
    found = []
    for name, value in Reading(faults, at, values).values.items():
        keys = (*at, name)
        if not is_name(name):
            faults.add(keys, f"{name!r} can't be the name of a field.", NAME_RULE)
        found.append((name, _source(faults, keys, value)))
    return tuple(found)


def _source(faults: Faults, keys: tuple[str, ...], value: Any) -> Source:
    if isinstance(value, str | list):
        return Source(_paths(faults, keys, value))
    said = Reading(faults, keys, value)
    said.only("path", "value", "scale", "hash", "once")
    if ("path" in said.values) == ("value" in said.values):
        faults.add(keys, "A field has a path or a value.", 'Write "PATH", a list of paths, or {value = "..."}.')
    scale = said.values.get("scale", 0)
    if isinstance(scale, bool) or not isinstance(scale, int) or abs(scale) > _MOST_SCALE:
        faults.add((*keys, "scale"), "scale is not a whole number of places.", "Such as 2 for cents.")
        scale = 0
    return Source(
        _paths(faults, (*keys, "path"), said.values["path"]) if "path" in said.values else (),
        said.take("value", "text", ""),
        scale,
        said.take("hash", "flag", False),
        said.take("once", "flag", False),
    )


def _paths(faults: Faults, keys: tuple[str, ...], value: Any) -> tuple[str, ...]:
    paths = value if isinstance(value, list) else [value]
    if not paths:
        faults.add(keys, "The list of paths is empty.", "Name one at least.")
    return tuple(_path(faults, keys, path) for path in paths)


def _path(faults: Faults, keys: tuple[str, ...], path: Any, *, empty: bool = False) -> str:
    if isinstance(path, str) and (steps_of(path) is not None or (empty and not path)):
        return path
    faults.add(keys, f"{path!r} is not a path.", "Write keys with dots between them, as in receipt.id or items[0].sku.")
    return ""
