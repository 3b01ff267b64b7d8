"""Two sets of rows, compared key by key, with the first that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.tables import FigureTable, Row

__all__ = ["Compared", "Difference", "comparable", "compare", "compared_rows", "shared_columns"]

_Values = TypeVar("_Values")


class Difference(NamedTuple):
    """A key under which two sets of rows do not have the same.

    Attributes
    ----------
    key : tuple
        The key.
    one, other : Row, optional
        The values that differ, by their columns; all of them where only one set has the key, and None for the other.
    """

    key: tuple[Any, ...]
    one: Row | None
    other: Row | None


class _Comparison(NamedTuple):
    """What a comparison of two sets of rows found.

    Attributes
    ----------
    rows, differing : int
        Keys that were compared, and those whose values differ or that only one set has.
    first : Difference, optional
        The first that differs: of rows with a window, one of the earliest.
    """

    rows: int
    differing: int
    first: Difference | None


@dataclass(frozen=True)
class Compared:
    """The rows of two versions, key by key.

    Attributes
    ----------
    rows, differing : int
        Keys that were compared, and those whose values differ or that only one of them has.
    first : str
        The first that differs, in words.
    columns : str
        The columns that were compared, where only one version has the others; see `shared_columns`.
    """

    rows: int = 0
    differing: int = 0
    first: str = ""
    columns: str = ""

    def __str__(self) -> str:
        if not self.rows:
            return "no rows to compare"
        within = f" in the columns that both have: {self.columns}" if self.columns else ""
        if not self.differing:
            return f"{self.rows:,} rows equal{within}"
        return f"{self.differing:,} of {self.rows:,} rows differ{within}, the first is {self.first}"

    def __add__(self, other: Compared) -> Compared:
        columns = "; ".join(one for one in (self.columns, other.columns) if one)
        return Compared(self.rows + other.rows, self.differing + other.differing, self.first or other.first, columns)


def compare(
    one: Mapping[tuple[Any, ...], _Values],
    other: Mapping[tuple[Any, ...], _Values],
    row_of: Callable[[_Values], Row],
) -> _Comparison:
    """What differs between two sets of rows, in the columns that both have.

    Parameters
    ----------
    one, other : mapping of key to values
        The sets. Values may be kept in any form that is equal for equal values.
    row_of : callable
        Makes a row of values. It is only called for those that are not equal as they are; see `comparable`.
    """
    keys = one.keys() | other.keys()
    found: list[Difference] = []
    for key in keys:
        mine, its = one.get(key), other.get(key)
        if mine is not None and its is not None and mine == its:
            continue
        difference = _difference(None if mine is None else row_of(mine), None if its is None else row_of(its))
        if difference is not None:
            found.append(Difference(key, *difference))
    first = min(found, key=lambda d: (d.key[0], [str(part) for part in d.key[1:]]), default=None)
    return _Comparison(len(keys), len(found), first)


def compared_rows(
    name: str,
    key: Sequence[str],
    old: Mapping[Any, Row],
    new: Mapping[Any, Row],
    row_of: Callable[[Row], Row] = lambda row: row,
    told: Callable[[Row], Row] = dict,
    old_key: Sequence[str] | None = None,
) -> Compared:
    """What differs between the rows of a table in two versions, in words.

    Parameters
    ----------
    name : str
        The table's, for the words.
    key : sequence of str
        The columns of its key.
    old, new : mapping of key to row
        Rows by their keys, which are tuples.
    row_of : callable
        As for `compare`; absent, the rows are compared as they are.
    told : callable
        Makes a row of which all may be told; see `shop.personal.masked`.
    old_key : sequence of str, optional
        The columns of the old version's key, where it has another.
    """
    rows, differing, first = compare(old, new, row_of)
    if first is None:
        return Compared(rows)
    names = old_key if old_key is not None and first.other is None else key
    place = told(dict(zip(names, first.key, strict=True))).values()
    words = " ".join(iso_text(part) if isinstance(part, datetime) else str(part) for part in place)
    one, other = (None if row is None else told(row) for row in (first.one, first.other))
    return Compared(rows, differing, f"{name} {words}: {_in_words(one, other)}")


def shared_columns(name: str, one: Iterable[str], other: Iterable[str]) -> str:
    """The columns that two versions of a table share, in words; empty where they have the same.

    Parameters
    ----------
    name : str
        The table's.
    one, other : iterable of str
        The columns of each version.
    """
    mine, its = list(one), set(other)
    if set(mine) == its:
        return ""
    return f"{', '.join(column for column in mine if column in its) or 'none'} of {name}"


def comparable(table: FigureTable, row: Row) -> Row:
    """A row whose figures are equal to equal ones, whatever the bytes they are stored as.

    Parameters
    ----------
    table : FigureTable
        The table of the row.
    row : mapping
        A row of it.
    """
    return row | {figure.name: figure.rules.compared(row[figure.name]) for figure in table.figures}


def _difference(one: Row | None, other: Row | None) -> tuple[Row | None, Row | None] | None:
    if one is None or other is None:
        return one, other
    names = [name for name in one if name in other and one[name] != other[name]]
    return ({name: one[name] for name in names}, {name: other[name] for name in names}) if names else None


def _in_words(old: Row | None, new: Row | None) -> str:
    if old is None or new is None:
        return "only in the new one" if old is None else "not in the new one"
    name = next(iter(old))
    return f"{name} {old[name]} -> {new[name]}"
