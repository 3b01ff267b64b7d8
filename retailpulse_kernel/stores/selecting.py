"""Reading some rows of a table of rows: what a store can look up by the key, and what is left to check.

>>> from retailpulse_kernel.shop.rows import Column
>>> table = RowTable("carts", (Column("user_id", "string"), Column("at", "timestamp")), key=("user_id", "at"))
>>> looked_up(table, Conditions({"user_id": ("u1",)})).equal
{'user_id': ('u1',)}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from retailpulse_kernel.shop.rows import RowTable

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Conditions", "LookedUp", "Selecting", "looked_up"]


@dataclass(frozen=True)
class Conditions:
    """Which rows of a table are wanted.

    Attributes
    ----------
    where : mapping of str to sequence of object
        The values that a column may have, in its type; None is a value, too.
    time : str
        A column of times; empty without a range.
    since, until : datetime or None
        The range of that column, without the end; None is no bound.
    limit : int or None
        How many rows do; None for all.
    """

    where: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    time: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


@runtime_checkable
class Selecting(Protocol):
    """A store of rows that finds some rows of a table without reading the others."""

    def select_rows(self, table: RowTable, conditions: Conditions) -> pa.Table:
        """Rows among which are those that are wanted; the caller checks each condition again.

        A store checks the conditions that it can look up, and cuts at the limit only where it has checked all: of more
        rows that are wanted, at least as many come.

        Parameters
        ----------
        table : RowTable
            The table.
        conditions : Conditions
            Which rows are wanted.

        Raises
        ------
        NoSuchTable
            The table is absent.
        """


@dataclass(frozen=True)
class LookedUp:
    """The conditions that a store which orders rows by their key can look up.

    Attributes
    ----------
    equal : dict of str to tuple
        Values of the first columns of the key.
    ranged : str
        The column behind these, where the range is of it; empty otherwise.
    limit : int or None
        How many rows do, where no condition is left to be checked.
    """

    equal: dict[str, tuple[Any, ...]]
    ranged: str
    limit: int | None


def looked_up(table: RowTable, conditions: Conditions) -> LookedUp:
    """What of the conditions the key can answer: its first columns by their values, and the next one by a range.

    Parameters
    ----------
    table : RowTable
        A table with a key.
    conditions : Conditions
        Which rows are wanted.
    """
    equal: dict[str, tuple[Any, ...]] = {}
    for name in table.key:
        if name not in conditions.where:
            break
        equal[name] = tuple(dict.fromkeys(value for value in conditions.where[name] if value is not None))
    following = table.key[len(equal)] if len(equal) < len(table.key) else ""
    ranged = following if conditions.time and conditions.time == following else ""
    all_checked = equal.keys() == conditions.where.keys() and ranged == conditions.time
    return LookedUp(equal, ranged, conditions.limit if all_checked else None)
