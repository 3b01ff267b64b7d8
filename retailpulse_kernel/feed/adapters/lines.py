"""What a file is cut into: lines, or the values of its JSON."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_LINE", "Line"]

MAX_LINE: Final = 1024 * 1024
"""Bytes; a longer line is rejected without ever being held as a whole. No event comes near it."""


class Line(NamedTuple):
    """A line without its `end`; `whole` is false when it was cut."""

    number: int
    value: bytes
    whole: bool
    end: bytes = b"\n"
