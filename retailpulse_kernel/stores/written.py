"""What a statement writes, as its text tells: for whoever must not write just anywhere.

The three languages are large, and servers know more of them than any list does. So the rule is the careful one: a
statement that begins as a query reads; one of a known form writes what it names; of any other nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from retailpulse_kernel.stores.binding import Dialect

__all__ = ["SESSION", "written"]

#: Stands for the keyspace or database that a session has chosen.
SESSION = ""


@dataclass(frozen=True)
class Written:
    """What a statement writes.

    Attributes
    ----------
    namespaces : frozenset of str
        The keyspaces or databases; `SESSION` where it names none.
    places : tuple of str
        Folders that it tells the server to keep a table in.
    """

    namespaces: frozenset[str] = frozenset()
    places: tuple[str, ...] = ()


_COMMENT = r"--[^\n]*|/\*.*?\*/"
_TOKENS = {
    "cql": re.compile(
        rf"(?P<skipped>\s+|//[^\n]*|{_COMMENT})|(?P<text>'[^']*'|\$\$.*?\$\$)"
        r"|\"(?P<quoted>[^\"]*)\"|(?P<word>\w+)|(?P<sign>.)",
        re.DOTALL,
    ),
    "hive": re.compile(
        rf"(?P<skipped>\s+|{_COMMENT})|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
        r"|`(?P<quoted>[^`]*)`|(?P<word>\w+)|(?P<sign>.)",
        re.DOTALL,
    ),
}
_TOKENS["spark"] = _TOKENS["hive"]

_READS = {
    "cql": {"select", "describe", "desc", "list"},
    "hive": {"select", "show", "describe", "desc", "values", "set"},
    "spark": {
        "select", "show", "describe", "desc", "values", "table", "set", "reset", "refresh", "cache", "uncache",
        "clear", "list",
    },
}  # fmt: skip
_MODIFIERS = {"or", "replace", "external", "temporary", "temp", "global", "managed", "transactional", "custom"}
_NAMESPACES = {"keyspace", "database", "schema", "namespace"}
_KINDS = {"table", "columnfamily", "view", "type", "function", "aggregate", "index"}
_PLACES = {"location", "managedlocation", "path"}


class _Unknown(Exception):
    """It can't be told what a statement writes."""


@dataclass(frozen=True)
class _Item:
    """A word or a dotted name, a text, or another character."""

    kind: str
    parts: tuple[str, ...]

    @property
    def word(self) -> str:
        """A single word that is not quoted; empty for all else."""
        return self.parts[0].lower() if self.kind == "word" and len(self.parts) == 1 else ""


def written(statement: str, dialect: Dialect) -> Written | None:
    """What a statement writes; None where that can't be told.

    >>> written("select * from live.category_day", "cql")
    Written(namespaces=frozenset(), places=())
    >>> written("insert into mine.t select * from live.events", "spark").namespaces
    frozenset({'mine'})
    >>> written("grant all on live.t to me", "hive") is None
    True

    Parameters
    ----------
    statement : str
        As it is going to be run.
    dialect : Dialect
        Whose statement it is.
    """
    try:
        items = list(_items(statement, dialect))
        return _written(items, dialect) if items else Written()
    except _Unknown:
        return None


def _items(statement: str, dialect: Dialect) -> Iterator[_Item]:
    """The parts of a statement, names with their dots as one."""
    parts: list[str] = []
    kind, dotted = "", False
    for match in _TOKENS[dialect].finditer(statement):
        group = str(match.lastgroup)
        if group == "skipped":
            # Spark's comments nest: where it sees the end of this one is another place than ours.
            if "/*" in match[0][2:]:
                raise _Unknown
            continue
        if group in ("word", "quoted"):
            if parts and not dotted:
                yield _Item(kind, tuple(parts))
                parts = []
            kind = group if not parts else "name"
            parts.append(match[group])
            dotted = False
        elif match[0] == "." and parts and not dotted:
            dotted = True
        else:
            if parts:
                yield _Item(kind, tuple(parts))
                parts, dotted = [], False
            yield _Item(group, (match[0],))
    if parts:
        yield _Item(kind, tuple(parts))


def _written(items: list[_Item], dialect: Dialect) -> Written:
    first = items[0].word
    ends = [place for place, item in enumerate(items) if item == _Item("sign", (";",))]
    if ends and first != "begin" and ends[0] < len(items) - len(ends):
        raise _Unknown  # a second statement
    if first in _READS[dialect]:
        return Written()
    if first == "explain":
        analyzed = [place for place, item in enumerate(items[:3]) if item.word == "analyze"]
        return _written(items[analyzed[0] + 1 :], dialect) if analyzed else Written()
    if any(pair == ("$", "{") for pair in zip(_signs(items), _signs(items[1:]), strict=False)):
        raise _Unknown  # Hive puts a variable's text there
    match first:
        case "use":
            found = _use(items)
        case "create" | "alter" | "drop":
            found = _defined(items, dialect)
        case "analyze" | "msck" | "repair":
            found = [_namespace(items, _after(items, "table"))]
        case "insert" | "update" | "delete" | "merge" | "truncate" | "begin":
            found = list(_changed(items))
            if not found:
                raise _Unknown
        case "with" | "from" | "":
            found = list(_changed(items))
            if first == "" and items[0].parts != ("(",):
                raise _Unknown
        case _:
            raise _Unknown
    return Written(frozenset(found), tuple(_places(items)))


def _signs(items: list[_Item]) -> list[str]:
    return [item.parts[0] if item.kind == "sign" else "" for item in items]


def _use(items: list[_Item]) -> list[str]:
    place = 2 if len(items) > 2 and items[1].word in _NAMESPACES else 1
    return [_named(items, place)]


def _named(items: list[_Item], place: int) -> str:
    """A keyspace or database, where it is named itself."""
    item = _at(items, place)
    if len(item.parts) > 1 and item.parts[0].lower() != "spark_catalog":
        raise _Unknown
    return item.parts[-1]


def _namespace(items: list[_Item], place: int) -> str:
    """The keyspace or database of what is named at a place."""
    item = _at(items, place)
    if item.word == "identifier" and place + 1 < len(items) and items[place + 1].parts == ("(",):
        raise _Unknown  # Spark works the name out
    if len(item.parts) == 3 and item.parts[0].lower() == "spark_catalog":
        return item.parts[1]
    if len(item.parts) > 2:
        raise _Unknown
    return item.parts[0] if len(item.parts) == 2 else SESSION


def _at(items: list[_Item], place: int) -> _Item:
    if place >= len(items) or items[place].kind not in ("word", "quoted", "name"):
        raise _Unknown
    return items[place]


def _after(items: list[_Item], word: str, start: int = 0) -> int:
    for place in range(start, len(items)):
        if items[place].word == word:
            return place + 1
    raise _Unknown


def _changed(items: list[_Item]) -> Iterator[str]:
    """Where a statement, or each of a batch, changes rows."""
    merges = items[0].word == "merge"
    for place, item in enumerate(items):
        following = items[place + 1].word if place + 1 < len(items) else ""
        match item.word:
            case "insert" if following in ("into", "overwrite"):
                target = place + 2
                if _at(items, target).word == "table":
                    target += 1
                if _at(items, target).word in ("directory", "local"):
                    raise _Unknown
                yield _namespace(items, target)
            case "update" if not merges and following != "set":
                yield _namespace(items, place + 1)
            case "delete" if not merges:
                yield _namespace(items, _after(items, "from", place))
            case "merge" if following == "into":
                yield _namespace(items, place + 2)
            case "truncate" if place == 0:
                yield _namespace(items, 2 if following in ("table", "columnfamily") else 1)


def _defined(items: list[_Item], dialect: Dialect) -> list[str]:
    """Where a statement makes, changes or removes a table or the like."""
    place = 1
    modifiers = set()
    while place < len(items) and items[place].word in _MODIFIERS:
        modifiers.add(items[place].word)
        place += 1
    kind = _at(items, place).word
    if kind == "materialized":
        place, kind = place + 1, "view"
    place += 1
    if place < len(items) and items[place].word == "if":
        place = _after(items, "exists", place)
    if kind in _NAMESPACES:
        return [_named(items, place)]
    if kind not in _KINDS:
        raise _Unknown
    if modifiers & {"temporary", "temp"} and dialect != "cql":
        return []  # the session's own
    if kind == "index" and any(item.word == "on" for item in items):
        place = _after(items, "on")
        place += _at(items, place).word == "table"
    found = [_namespace(items, place)]
    if items[0].word == "alter":
        # A table may get another's name, or exchange a partition with it.
        found += [_namespace(items, other) for other, item in enumerate(items) if len(item.parts) > 1]
    return found


def _places(items: list[_Item]) -> Iterator[str]:
    for place, item in enumerate(items):
        if item.word in _PLACES:
            rest = [other for other in items[place + 1 : place + 3] if other.parts != ("=",)]
            if rest and rest[0].kind == "text":
                yield rest[0].parts[0][1:-1]
