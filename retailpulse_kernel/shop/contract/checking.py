"""What is wrong with a contract: each fault with its line, its reason, and what to do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from retailpulse_kernel.ground.errors import did_you_mean

__all__ = ["Fault", "Faults", "Places", "Reading"]

_HEADER: Final = re.compile(r"^\s*\[{1,2}\s*(.+?)\s*\]{1,2}\s*(#.*)?$")
_KEY: Final = re.compile(r"""^\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""")
_SAID: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")

_KINDS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "text": (str, "a text in quotes"),
    "flag": (bool, "true or false"),
    "count": (int, "a whole number from 0"),
    "list": (list, "a list in square brackets"),
    "table": (dict, "a table"),
}


@dataclass(frozen=True)
class Fault:
    """Something in a contract that can't be.

    Attributes
    ----------
    line : int
        Its line in the file, from 1.
    where : str
        The key, with dots.
    reason : str
        What is wrong, as a sentence.
    remedy : str
        What to do; may be empty.
    """

    line: int
    where: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.where}: {self.reason}" + (f" {self.remedy}" if self.remedy else "")


class Places:
    """Where the keys of a TOML document stand.

    Parameters
    ----------
    text : str
        The document.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _keys(header[1])
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault(table + _keys(key[1]), number)

    def line(self, *keys: str) -> int:
        """The line of a key, or of the nearest table around the key that has one; 1 where none has.

        Parameters
        ----------
        *keys : str
            From the document's root.
        """
        for length in range(len(keys), 0, -1):
            if (found := self._lines.get(keys[:length])) is not None:
                return found
            # A table that is only written with dots in its header begins with the first of them.
            inner = [line for known, line in self._lines.items() if known[:length] == keys[:length]]
            if inner:
                return min(inner)
        return 1

    @staticmethod
    def of_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
        """The line that a parser's error names, and what the error says without the line.

        Parameters
        ----------
        error : tomllib.TOMLDecodeError
            What the parser raised.
        text : str
            The document: an error at its end is on its last line.
        """
        said = str(error)
        found = _SAID.search(said)
        line = int(found[1]) if found and found[1] else max(1, len(text.splitlines()))
        return line, _SAID.sub("", said)


def _keys(text: str) -> tuple[str, ...]:
    """The parts of a key that may have dots and quotes."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return (text,)
    keys = []
    while isinstance(value, dict):
        (key,) = value
        keys.append(key)
        value = value[key]
    return tuple(keys)


class Faults:
    """The faults of a file, as they are found.

    Parameters
    ----------
    places : Places
        The lines of the file's keys.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self.found: list[Fault] = []

    def add(self, keys: tuple[str, ...], reason: str, remedy: str = "") -> None:
        """Note a fault.

        Parameters
        ----------
        keys : tuple of str
            Where it is.
        reason : str
            What is wrong, as a sentence.
        remedy : str
            What to do.
        """
        self.found.append(Fault(self._places.line(*keys), ".".join(keys), reason, remedy))

    def unknown(self, keys: tuple[str, ...], kind: str, name: str, known: Iterable[str]) -> None:
        """Note a name that does not exist.

        Parameters
        ----------
        keys : tuple of str
            Where it is.
        kind : str
            What was looked for, such as ``"type"``.
        name : str
            The name that is not known.
        known : iterable of str
            The names that exist.
        """
        known = list(known)
        self.add(keys, f"There is no {kind} {name!r}.", did_you_mean(name, known) + f"Known: {', '.join(known)}.")


class Reading:
    """A table of the file, whose keys are taken one by one; those that nobody takes are faults.

    Parameters
    ----------
    faults : Faults
        Gets what is wrong.
    keys : tuple of str
        Where the table is.
    values : object
        The table, as the parser gives it; anything else is a fault.
    """

    def __init__(self, faults: Faults, keys: tuple[str, ...], values: Any) -> None:
        self.faults, self.keys = faults, keys
        self.values: Mapping[str, Any] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            faults.add(keys, "This is not a table.", f"Write [{'.'.join(keys)}] and its keys below.")

    def only(self, *known: str) -> None:
        """Note every key that is not among some.

        Parameters
        ----------
        *known : str
            The keys that may be.
        """
        for name in self.values:
            if name not in known:
                self.faults.unknown((*self.keys, name), "key", name, known)

    def take(self, name: str, kind: str, default: Any = None) -> Any:
        """The value of a key; the default where it is absent or is not of its kind.

        Parameters
        ----------
        name : str
            The key.
        kind : str
            One of ``text``, ``flag``, ``count``, ``list``, ``table``.
        default : object
            In place of nothing.
        """
        if name not in self.values:
            return default
        value: Any = self.values[name]
        wanted, words = _KINDS[kind]
        negative = kind == "count" and (isinstance(value, bool) or not isinstance(value, int) or value < 0)
        if not isinstance(value, wanted) or negative:
            self.faults.add((*self.keys, name), f"{name} is not {words}.")
            return default
        return value
