"""What the readers of files give: a file's columns and its rows, and rows that can't be read as such."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["BadRow", "Row", "Rows", "readable"]


@dataclass(slots=True)
class Row:
    """One row of a file: its `fields`, or the JSON (`value`) that holds them; of a topic with the broker's time."""

    line: int
    fields: dict[str, Any] | None = None
    value: bytes | None = None
    text: str | None = None
    arrival_ms: int | None = None

    @property
    def raw(self) -> str:
        """The row as it stands in the file; a Parquet row as JSON."""
        if self.text is not None:
            return readable(self.text)
        if self.value is not None:
            return self.value.decode(errors="replace")
        return json.dumps(self.fields, default=str)


class BadRow(NamedTuple):
    """A row that can't even be read as one."""

    line: int
    reason: str
    detail: str
    raw: str


@dataclass
class Rows:
    """A file's rows, and its columns: all of them (`fixed`), or those of the first JSON object."""

    columns: tuple[str, ...] | None
    fixed: bool
    each: Iterator[Row | BadRow]
    fraction: Callable[[int], float]
    """How much of the file has been read, from 0 to 1, once this many rows have."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self.each


def readable(text: str) -> str:
    """A row's text without what can't be written as UTF-8.

    Parameters
    ----------
    text : str
        As it was read, each byte that is not UTF-8 a lone surrogate.
    """
    return text.encode(errors="surrogateescape").decode(errors="replace")
