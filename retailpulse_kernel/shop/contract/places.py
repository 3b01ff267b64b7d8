"""The lines of a TOML file on which its keys stand, so that a fault can name one."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

__all__ = ["Places"]

_HEADER: Final = re.compile(r"^\s*\[{1,2}\s*(.+?)\s*\]{1,2}\s*(#.*)?$")
_KEY: Final = re.compile(r"""^\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""")
_SAID: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")


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
