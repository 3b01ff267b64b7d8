"""What a change of a contract means: for messages, for the archive, for what figures may go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from retailpulse_kernel.shop.contract.mapping.formats import RecordFormat
from retailpulse_kernel.shop.contract.model import NEVER, Contract, Field, ReferenceTable, Topic
from retailpulse_kernel.shop.contract.paths import path_text
from retailpulse_kernel.shop.contract.types import sql_type

__all__ = ["Change", "changes"]

#: What follows of another value of the shop's.
_MEANINGS: Final = {
    "zone": ": windows of hours, days, weeks and months begin at other moments; a job that keeps such windows needs a "
    "new epoch",
    "week_start": ": weeks begin on another day; a job that keeps windows of weeks needs a new epoch",
}

_Named = TypeVar("_Named", ReferenceTable, Topic, RecordFormat)


@dataclass(frozen=True)
class Change:
    """One thing that changes.

    Attributes
    ----------
    what : str
        ``field``, ``words``, ``archive``, ``dimension``, ``topic``, ``format``, ``table`` or ``shop``.
    said : str
        What changes, and what follows, in words.
    """

    what: str
    said: str


def changes(old: Contract, new: Contract) -> list[Change]:
    """What changes from one contract to another.

    Parameters
    ----------
    old, new : Contract
        As they are loaded: each with the shipped fields.
    """
    return [*_of_fields(old, new), *_of_words(old, new), *_of_archive(old, new), *_of_dimensions(old, new),
            *_of_topics(old, new), *_of_formats(old, new), *_of_tables(old, new), *_of_others(old, new)]  # fmt: skip


def _of_fields(old: Contract, new: Contract) -> Iterator[Change]:
    return (Change("field", said) for said in _of_each(old.fields, new.fields))


def _of_each(old: Sequence[Field], new: Sequence[Field], reads: str = "") -> Iterator[str]:
    """What changes of some fields; `reads` says what another path, type or default means to a job that reads one."""
    before, after = ({field.name: field for field in fields} for fields in (old, new))
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is None and now is not None:
            yield f"{name} is added: {_described(now)}"
        elif now is None:
            yield f"{name} is removed: messages may have anything there"
        elif was is not None and was != now:
            is_read_otherwise = (was.steps, was.type, was.default) != (now.steps, now.type, now.default)
            yield f"{name} changes: {'; '.join(_differences(was, now))}{reads if is_read_otherwise else ''}"


def _described(field: Field) -> str:
    said = [field.type, f"at {path_text(field.steps)}"]
    if field.required:
        said.append("required: a message without it is bad")
    elif field.default is not None:
        said.append(f"{field.default!r} when absent")
    return ", ".join(said)


def _differences(old: Field, new: Field) -> Iterator[str]:
    if old.steps != new.steps:
        yield f"its path is {path_text(new.steps)} instead of {path_text(old.steps)}"
    for key in Field.__dataclass_fields__:
        was, now = getattr(old, key), getattr(new, key)
        if key != "path" and was != now:
            yield f"{key} is {_said(now)} instead of {_said(was)}"


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def _of_words(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = dict(old.event_types.words), dict(new.event_types.words)
    for word in dict.fromkeys([*before, *after]):
        if word not in before:
            yield Change("words", f"{word} is added, a word for {after[word]}: messages with it were bad so far")
        elif word not in after:
            yield Change("words", f"{word} is removed: messages with it will be bad")
        elif before[word] != after[word]:
            yield Change("words", f"{word} is a word for {after[word]} instead of {before[word]}")


def _of_archive(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = ({one.name: sql_type(one.type) for one in contract.columns} for contract in (old, new))
    for name, kind in after.items():
        if name not in before:
            yield Change("archive", f"the column {name} {kind} is added, null in the files that are there")
        elif before[name] != kind:
            reason = "its files keep theirs, and the job that archives will refuse to start"
            yield Change("archive", f"the column {name} is {before[name]} and can't become {kind}: {reason}")
    for name in before:
        if name not in after:
            yield Change("archive", f"the column {name} stays, and is null from now on")


def _of_dimensions(old: Contract, new: Contract) -> Iterator[Change]:
    for name in sorted({*old.dimensions, *new.dimensions}):
        if name not in old.dimensions:
            yield Change("dimension", f"{name} is added: figures may go by it")
        elif name not in new.dimensions:
            yield Change("dimension", f"{name} is removed: no figures can go by it")


def _of_tables(old: Contract, new: Contract) -> Iterator[Change]:
    outcomes = ("jobs can join it", "a job that joins it will not start")
    return (Change("table", said) for said in _of_named(old.tables, new.tables, _of_table, *outcomes))


def _of_named(
    old: Sequence[_Named], new: Sequence[_Named], differing: Callable[[_Named, _Named], Iterator[str]],
    added: str, removed: str,
) -> Iterator[str]:  # fmt: skip
    """What is added and removed, with what follows, and what differs of each that both have."""
    before: dict[str, _Named] = {one.name: one for one in old}
    after: dict[str, _Named] = {one.name: one for one in new}
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is None:
            yield f"{name} is added: {added}"
        elif now is None:
            yield f"{name} is removed: {removed}"
        else:
            yield from (f"{name}: {said}" for said in differing(was, now))


def _of_table(old: ReferenceTable, new: ReferenceTable) -> Iterator[str]:
    columns = [", ".join(f"{name} {kind}" for name, kind in one.columns) for one in (old, new)]
    if columns[0] != columns[1]:
        yield f"its columns are {columns[1]} instead of {columns[0]}: a job that joins it needs a new epoch"
    if old.key != new.key:
        yield f"its key is {_said(new.key)} instead of {_said(old.key)}: a job that joins it needs a new epoch"
    places = [f"the {one.source} {one.place}" for one in (old, new)]
    if places[0] != places[1]:
        yield f"it is read from {places[1]} instead of {places[0]}, from the next start of a job on"
    if old.every != new.every:
        now, was = ("never" if one.every == NEVER else f"every {one.every}" for one in (new, old))
        yield f"it is read again {now} instead of {was}"
    if old.references != new.references:
        yield "its references change"


def _of_topics(old: Contract, new: Contract) -> Iterator[Change]:
    outcomes = ("jobs can read it", "its messages are read as standard events")
    return (Change("topic", said) for said in _of_named(old.topics, new.topics, _of_topic, *outcomes))


def _of_topic(old: Topic, new: Topic) -> Iterator[str]:
    needs = "; a job that reads it needs a new epoch"
    if old.topic != new.topic:
        yield f"it is the topic {new.topic} instead of {old.topic}"
    before, after = ({"format": one.format, **dict(one.options)} for one in (old, new))
    for key in sorted({*before, *after}):
        was, now = before.get(key, ""), after.get(key, "")
        if was != now:
            yield f"its {key} is {_said(now)} instead of {_said(was)}{needs}"
    if bool(old.fields) != bool(new.fields):
        shapes = ["fields of its own" if one.fields else "the standard event" for one in (new, old)]
        yield f"its messages have {' instead of '.join(shapes)}: a job that reads it needs a new epoch"
        return
    for key in ("id", "time"):
        was, now = getattr(old, key), getattr(new, key)
        if was != now:
            yield f"its {key} is {_said(now)} instead of {_said(was)}: a job that reads it needs a new epoch"
    yield from (f"the field {said}" for said in _of_each(old.fields, new.fields, needs))


def _of_formats(old: Contract, new: Contract) -> Iterator[Change]:
    outcomes = ("files and topics can be read by it", "no file and no topic can be read by it")
    return (Change("format", said) for said in _of_named(old.formats, new.formats, _of_format, *outcomes))


def _of_format(old: RecordFormat, new: RecordFormat) -> Iterator[str]:
    if old.version != new.version:
        yield "its mapping changes"


def _of_others(old: Contract, new: Contract) -> Iterator[Change]:
    for key in ("name", "zone", "week_start", "currency", "rates"):
        before, after = getattr(old.shop, key), getattr(new.shop, key)
        if before != after:
            yield Change("shop", f"{key} is {_said(after)} instead of {_said(before)}{_MEANINGS.get(key, '')}")
