"""Rows of a table against those of a batch: by their key, or where there is none as a bag."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from retailpulse_kernel.reconcile.result import Difference
from retailpulse_kernel.shop.comparison import compare
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.rows import element_of, prepared, split

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["compare_rows", "last_is_told"]

#: By how much floating numbers may differ, relatively: their sums depend on the order of the events.
_CLOSE = 1e-9
_BATCH = "the batch"
#: The column, of a bag, that says how many equal rows there are.
_COUNT = "rows"

_Key = tuple[Any, ...]


class _Rowwise(NamedTuple):
    """What a comparison of rows found.

    Attributes
    ----------
    rows, differing : int
        Rows that were compared, and how many of them differ.
    first : Difference, optional
        The first that differs.
    open : int
        Rows of the batch that are not stored, and need not be yet.
    """

    rows: int
    differing: int
    first: Difference | None
    open: int


def compare_rows(table: RowTable, stored: pa.Table, batches: Sequence[pa.Table], *, told: bool) -> _Rowwise:
    """Compare the stored rows with those of a batch.

    Parameters
    ----------
    table : RowTable
        The table.
    stored : pyarrow.Table
        Its rows.
    batches : sequence of pyarrow.Table
        What the batch gave. Of a table that was read while its job wrote, what it gave before and after: a row that
        was changed in between is not compared.
    told : bool
        Whether all of the batch's rows must be stored. If not, those that are not stored may be open still.
    """
    kept, before, *further = (_Rows.of(table, rows) for rows in (stored, *batches))
    moving = {
        key
        for after in further
        for key in before.values.keys() | after.values.keys()
        if before.values.get(key) != after.values.get(key)
    }
    is_open = set[_Key]() if told else before.values.keys() - kept.values.keys() - moving
    left_out = moving | is_open
    mine, its = ({key: one.values[key] for key in one.values.keys() - left_out} for one in (kept, before))
    names = _values_of(table)
    rows, differing, first = compare(mine, its, lambda values: dict(zip(names, values, strict=True)))
    difference = None
    if first is not None:
        key = kept.keys.get(first.key) or before.keys[first.key]
        named = dict(zip(_keys_of(table), key, strict=True))
        difference = Difference(named, first.one, first.other, against=_BATCH)
    return _Rowwise(rows, differing, difference, len(is_open))


def last_is_told(table: RowTable, rows: pa.Table) -> bool:
    """Whether rows whose order is not known have one row, or equal ones, of each key.

    Parameters
    ----------
    table : RowTable
        The table.
    rows : pyarrow.Table
        Rows of a batch.
    """
    if not table.is_keyed or len(prepared(table, rows)) == len(rows):
        return True
    seen: dict[_Key, dict[str, Any]] = {}
    return all(seen.setdefault(tuple(row[n] for n in table.key), row) == row for row in rows.to_pylist())


@dataclass(frozen=True)
class _Rows:
    """Rows by their key; of a table without a key by all that is exact, with how many there are of each.

    `keys` holds the keys as people know them: those of a bag may hold nulls and lists, which do not sort.
    """

    values: dict[_Key, _Key]
    keys: dict[_Key, _Key]

    @classmethod
    def of(cls, table: RowTable, rows: pa.Table) -> _Rows:
        there, _removed = split(prepared(table, rows))
        names, values = _keys_of(table), _values_of(table)
        if table.is_keyed:
            found = {tuple(row[n] for n in names): tuple(_value(row[n]) for n in values) for row in there.to_pylist()}
            return cls(found, {key: key for key in found})
        bag, keys = defaultdict[_Key, list[_Key]](list), dict[_Key, _Key]()
        for row in there.to_pylist():
            plain = tuple(row[n] for n in names)
            key = tuple(map(repr, plain))
            keys[key] = plain
            bag[key].append(tuple(_value(row[n]) for n in values if n != _COUNT))
        return cls({key: (len(of), *zip(*sorted(of, key=repr), strict=True)) for key, of in bag.items()}, keys)


def _keys_of(table: RowTable) -> list[str]:
    """The columns by which rows are told from others."""
    return list(table.key) if table.is_keyed else [name for name in table.types if not _is_floating(table, name)]


def _values_of(table: RowTable) -> list[str]:
    """The columns that are compared."""
    if table.is_keyed:
        return [name for name in table.types if name not in table.key]
    return [_COUNT, *(name for name in table.types if _is_floating(table, name))]


def _is_floating(table: RowTable, name: str) -> bool:
    return "double" in (table.types[name], element_of(table.types[name]))


class _Close(float):
    """A floating number that is equal to one close by."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, float):
            return NotImplemented
        return math.isclose(self, other, rel_tol=_CLOSE) or (math.isnan(self) and math.isnan(other))

    __hash__ = None  # type: ignore[assignment]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_value, value))
    return _Close(value) if isinstance(value, float) else value
