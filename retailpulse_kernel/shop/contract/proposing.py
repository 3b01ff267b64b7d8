"""A contract proposed from messages: their fields with types, shares, and what they are likely to be."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.names import RESERVED, is_name
from retailpulse_kernel.shop.contract.fields import TAKEN
from retailpulse_kernel.shop.contract.model import OTHER, Contract
from retailpulse_kernel.shop.contract.observing import Seen, Values, observed
from retailpulse_kernel.shop.contract.paths import Step, path_text

__all__ = ["proposed"]

#: What the fields of other shops are called, without capitals and signs, by the role of ours.
_CALLED: Final[dict[str, tuple[str, ...]]] = {
    "id": ("eventid", "messageid", "id", "uuid"),
    "event_type": ("eventtype", "event", "eventname", "type", "action"),
    "time": ("eventtime", "timestamp", "time", "ts", "occurredat", "createdat"),
    "user": ("userid", "visitorid", "customerid", "uid", "anonymousid"),
    "session": ("sessionid", "session", "usersession", "sid"),
    "product": ("productid", "itemid", "sku"),
    "category": ("category", "categorycode", "itemcategory"),
    "brand": ("brand", "itembrand"),
    "price": ("price", "unitprice"),
    "quantity": ("quantity", "qty"),
    "currency": ("currency", "currencycode"),
    "order": ("orderid", "transactionid"),
    "order_line": ("orderline", "line", "position"),
    "version": ("schemaversion",),
}
#: What a word for an event is likely to mean: the first that it contains.
_MEANS: Final = (
    ("refund", "refund"), ("return", "refund"), ("remove", "remove_from_cart"), ("cart", "add_to_cart"),
    ("basket", "add_to_cart"), ("view", "view"), ("click", "click"), ("purchase", "purchase"), ("bought", "purchase"),
    ("order", "purchase"), ("transaction", "purchase"),
)  # fmt: skip
_PERSONAL: Final = re.compile(
    r"e_?mail|phone|mobile|(first|last|full|family|given|user)_?name|address|street|birth|^ip$|_ip$|iban|passport"
)
#: Keys that say little without the one around them.
_VAGUE: Final = ("code", "id", "key", "name", "type", "value")
#: A dimension has few different values, each many times.
_FEW, _TIMES = 50, 4


@dataclass(frozen=True)
class _Proposal:
    """A field that is proposed."""

    name: str
    type: str
    values: Values
    share: str
    is_personal: bool
    is_dimension: bool


def proposed(
    messages: Iterable[bytes | None], base: Contract, *, source: str, topic: tuple[str, str] | None = None
) -> str:
    """A contract for messages, as TOML with comments; it has no faults.

    Parameters
    ----------
    messages : iterable of bytes or None
        As they came.
    base : Contract
        The shipped contract, which the proposal extends.
    source : str
        Where the messages come from, for a comment.
    topic : tuple of (str, str), optional
        A name for the topic in the contract, and its name in Kafka: the messages are not events, and all their fields
        are the topic's own.

    Raises
    ------
    UsageError
        None of them is a JSON object.
    """
    seen = observed(messages)
    if not seen.messages:
        said = (
            f"{source} has {seen.others:,} messages, none of them a JSON object"
            if seen.others
            else f"{source} is empty"
        )
        raise UsageError(f"{said}.", remedy="Name a file of JSON lines, or a topic of JSON messages.")
    lines = [f"# Proposed from {seen.messages:,} messages of {source}: look at each line, and keep what you want."]
    if seen.others:
        lines.append(f"# {seen.others:,} further messages are not JSON objects.")
    if topic is not None:
        return "\n".join([*lines, *_of_topic(seen, base, *topic)]) + "\n"
    found = _standard(seen, base)
    lines += _words(seen, base, found)
    lines += _moved(base, found)
    lines += _own(seen, base, found)
    return "\n".join(lines) + "\n"


def _standard(seen: Seen, base: Contract) -> dict[str, Values]:
    """The standard fields that the messages have, by the fields' names."""
    simple = [values for values in seen.places.values() if not seen.is_mixed(values.steps) and _is_simple(values)]
    found = {field.name: seen.places[field.name,] for field in base.standard if (field.name,) in seen.places}
    taken = {values.steps for values in found.values()}
    for field in base.standard:
        if field.name in found:
            continue
        called = _CALLED[field.role]
        ranked = [
            (called.index(name), len(values.steps), values)
            for values in simple
            if values.steps not in taken and (name := _called(values.steps, called))
        ]
        if ranked:
            found[field.name] = min(ranked, key=lambda one: one[:2])[2]
            taken.add(found[field.name].steps)
    return found


def _is_simple(values: Values) -> bool:
    return not values.kinds.keys() & {"object", "list", "empty list"}


def _called(steps: Sequence[Step], names: Sequence[str]) -> str:
    """Which of some names a place has: by its last key, or by the last two."""
    keys = [re.sub(r"[^a-z0-9]", "", str(step).lower()) for step in steps if isinstance(step, str)]
    return next((name for name in names if name in (keys[-1], "".join(keys[-2:]))), "")


def _words(seen: Seen, base: Contract, found: dict[str, Values]) -> Iterator[str]:
    values = found.get(base.by_role["event_type"].name)
    if values is None or not values.is_whole:
        return
    known = dict(base.event_types.words)
    new = [word for word in values.different if word not in known and 1 <= len(word) <= 128 and word.isprintable()]
    if new:
        yield "\n[event_types]           # the word in a message, and its role: is each one right?"
        for word in new:
            share = values.different[word] / max(1, values.present)
            yield f"{_quoted(word)} = {_quoted(_meaning(word))}  # {share:.1%} of the events"


def _meaning(word: str) -> str:
    return next((role for part, role in _MEANS if part in word.lower()), OTHER)


def _moved(base: Contract, found: dict[str, Values]) -> Iterator[str]:
    for field in base.standard:
        values = found.get(field.name)
        if values is None and field.required:
            yield f"\n# No message has {field.name}, which is required: where is it?"
            yield f'# [fields.{field.name}]\n# path = "..."'
        elif values is not None and values.steps != (field.name,):
            yield f"\n[fields.{field.name}]  # likely, by the name of the key"
            yield f"path = {_quoted(path_text(values.steps))}"


def _of_topic(seen: Seen, base: Contract, name: str, topic: str) -> Iterator[str]:
    """A topic with fields of its own, of which one may be the id, and one the time."""
    taken = {"event_id", "event_time"}
    found = list(_proposals(seen, base, taken, set()))
    fields = [one for one in found if isinstance(one, _Proposal) and one.values.present == seen.messages]
    yield f"\n[topics.{name}]"
    yield f"topic = {_quoted(topic)}"
    ids = [one for one in fields if one.type in ("string", "int", "long") and _is_id(one, name)]
    times = [one for one in fields if one.type == "timestamp"]
    if not ids:
        yield '# id = "..."  # the field by which a message is taken once; without it each message counts'
    if not times:
        yield '# time = "..."  # the field that is the event time; without it that is the broker\'s time'
    chosen = {key: some[0] for key, some in (("id", ids), ("time", times)) if some}
    for key, one in chosen.items():
        yield f"{key} = {_quoted(one.name)}  # likely: is it right?"
    for place in found:
        if isinstance(place, str):
            yield place
        else:
            yield from _written(place, f"topics.{name}.fields", required=place in chosen.values())


def _is_id(one: _Proposal, name: str) -> bool:
    called = re.sub(r"[^a-z0-9]", "", one.name)
    return called in _CALLED["id"] or (called.endswith("id") and called.removesuffix("id") in (name, name[:-1]))


def _own(seen: Seen, base: Contract, standard: dict[str, Values]) -> Iterator[str]:
    names = {field.name for field in base.fields}
    for one in _proposals(seen, base, names, {values.steps for values in standard.values()}):
        if isinstance(one, str):
            yield one
        else:
            yield from _written(one, "fields")


def _proposals(seen: Seen, base: Contract, names: set[str], taken: Set[tuple[Step, ...]]) -> Iterator[_Proposal | str]:
    """A field for each place that is not taken; a comment where none can be."""
    for steps, values in seen.places.items():
        if steps in taken or set(values.usual) == {"object"} or not values.present:
            continue
        if "object" in values.elements and not seen.is_mixed(steps) and set(values.elements) == {"object"}:
            continue  # its first element's fields follow
        share = f"in {values.present / seen.messages:.1%} of the messages" + (
            f", null in {values.nulls / seen.messages:.1%}" if values.nulls else ""
        )
        within = any(steps[:length] in taken for length in range(1, len(steps)))
        type_, kept = None, values.kinds
        if not seen.is_mixed(steps) and not within:
            type_ = _type(values, kept)
            if type_ is None:
                kept = values.usual
                type_ = _type(values, kept)
        if type_ is None:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in (values.kinds + values.elements).most_common())
            yield f"\n# {path_text(steps)}: {share}, of several kinds ({kinds}): left out."
            continue
        name = _name(steps, names, base)
        names.add(name)
        if odd := values.present - kept.total():
            share += f"; {odd / seen.messages:.1%} have another kind of value there and would be bad"
        yield _proposal(name, type_, values, share)


def _type(values: Values, found: Counter[str]) -> str | None:
    """The type that values of some kinds have; None where there is none."""
    kinds = found - Counter({"empty list": found["empty list"]})
    if "list" in kinds:
        element = _of_kinds(set(values.elements), values) if set(kinds) == {"list"} else None
        return None if element is None else f"list<{element}>"
    if not kinds or "empty list" in found:
        return None
    return _of_kinds(set(kinds), values)


def _of_kinds(kinds: set[str], values: Values) -> str | None:
    single = {frozenset({"bool"}): "bool", frozenset({"time"}): "timestamp", frozenset({"date"}): "date"}
    if (known := single.get(frozenset(kinds))) is not None:
        return known
    if kinds <= {"text", "time", "date"}:
        return "string"
    if kinds == {"whole"}:
        return "int" if values.digits <= 9 else "long" if values.digits <= 18 else None
    if kinds <= {"whole", "point"}:
        digits = max(18, values.digits + values.places)
        return "double" if values.places > 10 or digits > 38 else f"decimal({digits},{max(2, values.places)})"
    return None


def _name(steps: tuple[Step, ...], names: set[str], base: Contract) -> str:
    """A name that a field can have, of the last key, or of more of them."""
    keys = [re.sub(r"[^a-z0-9]+", "_", _snake(step)).strip("_") for step in steps if isinstance(step, str)]
    refused = {*names, *base.event_types.columns, *TAKEN, *RESERVED}
    for count in range(2 if keys[-1] in _VAGUE and len(keys) > 1 else 1, len(keys) + 1):
        name = "_".join(key for key in keys[-count:] if key)[:40].strip("_")
        if is_name(name) and name not in refused:
            return name
    stem = "field"
    return next(name for number in range(1, 10_000) if (name := f"{stem}_{number}") not in refused)


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()


def _proposal(name: str, type_: str, values: Values, share: str) -> _Proposal:
    personal = bool(_PERSONAL.search(name))
    few = values.is_whole and 1 < len(values.different) <= min(_FEW, values.present // _TIMES)
    return _Proposal(name, type_, values, share, personal, type_ == "string" and few and not personal)


def _written(one: _Proposal, at: str, *, required: bool = False) -> Iterator[str]:
    values = one.values
    yield f"\n[{at}.{one.name}]  # {one.share}"
    if values.steps != (one.name,):
        yield f"path = {_quoted(path_text(values.steps))}"
    yield f'type = "{one.type}"'
    if required:
        yield "required = true"
    if one.is_dimension and not required:
        few = ", ".join(word for word, _ in values.different.most_common(3) if word.isprintable())
        yield f"dimension = true  # {len(values.different)} different values, such as {few[:60]}"
        yield 'default = "unknown"'
    if one.is_personal:
        yield "personal = true  # by its name"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
