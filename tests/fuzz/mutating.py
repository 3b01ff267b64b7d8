"""Orders of a format, to some of which something was done: at any depth, in any way that files are seen to differ."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from tests.fuzz.records import NESTED, SINGLE, Form, Line

__all__ = ["Orders", "orders", "places"]

_HUGE = [
    "9" * 5000, "x" * 70_000, 10**40, -(2**63) - 1, 1e308, "1e400", "0." + "0" * 400 + "1", {"a": {"b": {"c": [[]]}}},
    [[]] * 50, {str(number): number for number in range(50)},
]  # fmt: skip
_ENCODED = [
    "\ufeffx", "e\u0301", "\x00", "\u2028", "Ã©", "😀" * 65, "1\u00a0000,00", "\u0661\u0662", "12,50", "1.000,00",
    "é", "\ud800", "a\tb", 'a"b', "a\r\nb", "\\",
]  # fmt: skip
_TEXTS = [
    "", " ", ".", "a..b", "None", "NaN", "null", "nan", "inf", "-0", "+1", " 1", "1_0", "0x1", "1e3", "-1.5", "true",
    "x" * 128, "x" * 129, "EUR", "eur", "XXX",
    "2026-01-01T10:00:00.123456789Z", "2026-02-30", "0000-00-00", "1767261600",
    "[]", "{}", "[1",
]  # fmt: skip
_NUMBERS = [
    0, 1, -1, 1.5, -0.0, 0.1 + 0.2, 1e-7, 1e15, 2**31, 2**53 + 1, 2**63, 2**64, 10**14, 1_767_261_600_000, 1767261600,
    12.345, 0.00005, float("inf"), float("nan"),
]  # fmt: skip


def odd(chance: random.Random, depth: int = 0) -> Any:
    """A value that a field may hold by mistake."""
    pool = chance.randrange(6 if depth < 3 else 4)
    match pool:
        case 0:
            return chance.choice([None, True, False])
        case 1:
            return chance.choice(_NUMBERS)
        case 2:
            return chance.choice(_TEXTS)
        case 3:
            return chance.choice(_ENCODED if depth or chance.random() < 0.8 else _HUGE)
        case 4:
            return [odd(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(_TEXTS): odd(chance, depth + 1) for _ in range(chance.randrange(4))}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all that a record holds."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((*path, key), *places(one, (*path, key)))]


def _renamed(chance: random.Random, holder: Any, key: Any) -> None:
    holder[chance.choice([str(key).upper(), f" {key}", f"{key}_", f"x.{key}", "", *map(str, holder)])] = holder.pop(key)


def _removed(chance: random.Random, holder: Any, key: Any) -> None:
    del holder[key]


def _nested(chance: random.Random, holder: Any, key: Any) -> None:
    value = holder[key]
    holder[key] = chance.choice([[value], {"value": value}, [[value], value], json.dumps(value)])


def _repeated(chance: random.Random, holder: Any, key: Any) -> None:
    holder[key] = copy.deepcopy(holder[key] * chance.randrange(4))


def _shuffled(chance: random.Random, holder: Any, key: Any) -> None:
    pairs = chance.sample(list(holder.items()), len(holder))
    holder.clear()
    holder.update(pairs)


def _retyped(chance: random.Random, holder: Any, key: Any) -> None:
    holder[key] = copy.deepcopy(odd(chance))


def _as_text(chance: random.Random, holder: Any, key: Any) -> None:
    holder[key] = chance.choice(["{}", " {}", "{} ", "'{}'", "{}.0", "-{}", "{}€", "{},00"]).format(holder[key])


_Done = Callable[[random.Random, Any, Any], None]
_OF_OBJECTS: tuple[_Done, ...] = (_renamed, _shuffled)
_OF_LISTS: tuple[_Done, ...] = (_repeated,)
_OF_ALL: tuple[_Done, ...] = (_removed, _nested, _retyped, _retyped, _as_text)


def mutated(chance: random.Random, record: dict[str, Any]) -> dict[str, Any]:
    """A record to which one to three things were done, at any depth."""
    changed = copy.deepcopy(record)
    for _ in range(chance.randint(1, 3)):
        there = places(changed)
        if not there:
            break
        *way, key = chance.choice(there)
        holder: Any = changed
        for step in way:
            holder = holder[step]
        done = (
            *_OF_ALL,
            *(_OF_OBJECTS if isinstance(holder, dict) else ()),
            *(_OF_LISTS if isinstance(holder[key], list) else ()),
        )
        chance.choice(done)(chance, holder, key)
    return changed


class Orders(NamedTuple):
    """Orders of a format: their records, and what those cost to which nothing was done, by the orders' names."""

    format: str
    records: list[dict[str, Any]]
    amounts: dict[str, Decimal]
    prices: set[int]

    def alone(self, number: int) -> Orders:
        """The first record, which tells a file's columns, and one other."""
        return self._replace(records=[self.records[0], *self.records[number:][:1]])


def orders(chance: random.Random, forms: Mapping[str, Form], most: int = 60) -> Orders:
    """Orders of one of the formats, a share of them mutated."""
    format = chance.choice(sorted(forms))
    share = chance.choice([0.05, 0.5, 0.95])
    given = Orders(format, [], {}, set())
    for number in range(chance.choice([1, 2, 5, most, most])):
        name = f"order-{number:04}"
        lines = [
            Line(chance.choice([0, 1, 10**9, chance.randrange(10**6)]), 1 if format in SINGLE else chance.randint(1, 9))
            for _ in range(chance.randint(1, 3) if format in NESTED else 1)
        ]
        record = forms[format](name, lines)
        given.prices.update(one.cents for one in lines)
        if number and chance.random() < share:
            record = mutated(chance, record)
        else:
            given.amounts[name] = sum((Decimal(one.cents) * one.quantity / 100 for one in lines), Decimal(0))
        given.records.append(record)
    return given
