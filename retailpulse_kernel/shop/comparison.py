"""Two sets of rows, compared key by key, with the first that differs in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop import sketches
from retailpulse_kernel.shop.figures import Kind
from retailpulse_kernel.shop.tables import FigureTable, Row

__all__ = ["Compared", "comparable", "compared_rows"]


@dataclass(frozen=True)
class Compared:
    """The rows of two versions, key by key.

    Attributes
    ----------
    rows, differing : int
        Keys that were compared, and those whose values differ or that only one of them has.
    first : str
        The first that differs, in words.
    """

    rows: int = 0
    differing: int = 0
    first: str = ""

    def __str__(self) -> str:
        if not self.rows:
            return "no rows to compare"
        if not self.differing:
            return f"{self.rows:,} rows equal"
        return f"{self.differing:,} of {self.rows:,} rows differ, the first is {self.first}"

    def __add__(self, other: Compared) -> Compared:
        return Compared(self.rows + other.rows, self.differing + other.differing, self.first or other.first)


def compared_rows(name: str, old: Mapping[Any, Row], new: Mapping[Any, Row]) -> Compared:
    """What differs between the rows of a table in two versions, in the columns that both have.

    Parameters
    ----------
    name : str
        The table's, for the words.
    old, new : mapping of key to row
        Rows by their keys, which are tuples; see `comparable`.
    """
    keys = old.keys() | new.keys()
    differing = [key for key in keys if _difference(old.get(key), new.get(key))]
    if not differing:
        return Compared(len(keys))
    key = min(differing, key=str)
    words = " ".join(iso_text(part) if isinstance(part, datetime) else str(part) for part in key)
    return Compared(len(keys), len(differing), f"{name} {words}: {_difference(old.get(key), new.get(key))}")


def comparable(table: FigureTable, row: Row) -> Row:
    """A row whose sets of users are what they estimate: equal ones may be stored as different bytes.

    Parameters
    ----------
    table : FigureTable
        The table of the row.
    row : mapping
        A row of it.
    """
    users = [f.name for f in table.figures if f.measure.kind is Kind.USERS and row[f.name] is not None]
    return row | {name: sketches.estimate(row[name]) for name in users}


def _difference(old: Row | None, new: Row | None) -> str:
    if old is None or new is None:
        return "only in the new one" if old is None else "not in the new one"
    name = next((name for name in old if name in new and old[name] != new[name]), None)
    return "" if name is None else f"{name} {old[name]} -> {new[name]}"
