"""The values of JSON that is not one a line: elements of an array, or objects that span lines.

The file is only cut, never decoded: each value is judged by the same decoder as a line of JSONL. So a number keeps its
digits, a lone surrogate is not replaced, a bad byte costs its own value only, and depth costs no memory.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Final

from retailpulse_kernel.feed.adapters.lines import MAX_LINE, Line
from retailpulse_kernel.ground.errors import RetailPulseError

__all__ = ["json_values"]

#: Where the reading is: outside of arrays; in one where a value may come, must come, or came.
_OUTSIDE, _OPENED, _NEXT, _AFTER = range(4)
_CHUNK: Final = 64 * 1024
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WORD: Final = re.compile(rb'[^ \t\r\n,\[\]{}"]++')
#: All up to the next bracket that stands outside of texts.
_TO_BRACKET: Final = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)


def json_values(content: io.BufferedReader, damaged: Callable[[str, object], RetailPulseError]) -> Iterator[Line]:
    """The values of a file, numbered from 1: the elements of its arrays, and its objects outside of arrays.

    Parameters
    ----------
    content : BufferedReader
        The file, unpacked.
    damaged : callable
        Makes the error of a file that ends too early or holds something else between its values.

    Yields
    ------
    Line
        A value as it stands in the file; one longer than `MAX_LINE` is cut.

    Raises
    ------
    RetailPulseError
        The file is damaged.
    """
    text = _Text(content)
    number, state = 0, _OUTSIDE
    while (mark := text.next_mark()) or state:
        if state == _OUTSIDE and mark == b"[":
            state = _OPENED
        elif state in (_OPENED, _AFTER) and mark == b"]":
            state = _OUTSIDE
        elif state == _AFTER and mark == b",":
            state = _NEXT
        elif mark and state != _AFTER and (state or mark == b"{"):
            value = text.value(mark)
            if value is None:
                raise damaged(f"value {number}", "the next value has no end, or is none")
            number += 1
            yield Line(number, *value)
            state = _AFTER if state else _OUTSIDE
            continue
        else:
            found = repr(mark.decode(errors="replace")) if mark else "the end"
            raise damaged(f"value {number}", f"{found} stands where it can't")
        text.skip(1)


class _Text:
    """A file's bytes, of which only the value that is being read is held."""

    def __init__(self, content: io.BufferedReader) -> None:
        self._content = content
        self._held = b""
        self._at = 0

    def _more(self) -> bool:
        """Read on; what was skipped is let go."""
        chunk = self._content.read(_CHUNK)
        self._held = self._held[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def next_mark(self) -> bytes:
        """The next byte that is no space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._held, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._held) or not self._more():
                return self._held[self._at : self._at + 1]

    def skip(self, count: int) -> None:
        """Go on by some bytes."""
        self._at += count

    def value(self, mark: bytes) -> tuple[bytes, bool] | None:
        """The value that begins here, and whether it is whole; None where it has no end."""
        kept, size, depth = b"", 0, 0
        pattern = _STRING if mark == b'"' else _TO_BRACKET if mark in b"[{" else _WORD
        while part := self._part(pattern):
            size += len(part)
            kept += part[: MAX_LINE + 1 - len(kept)]
            depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(part[-1:], 0) if pattern is _TO_BRACKET else 0
            if depth == 0:
                return kept[:MAX_LINE], size <= MAX_LINE
        return None

    def _part(self, pattern: re.Pattern[bytes]) -> bytes:
        """What a pattern matches here; empty where the file ends before, or a text is far too long."""
        while True:
            found = pattern.match(self._held, self._at)
            # A word that reaches the end of what is held may go on.
            if found and (found.end() < len(self._held) or pattern is not _WORD):
                break
            if len(self._held) - self._at > 16 * MAX_LINE or not self._more():
                break
        if found is None:
            return b""
        self._at = found.end()
        return found[0]
