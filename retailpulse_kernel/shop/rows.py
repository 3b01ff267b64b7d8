"""Tables of rows: whatever a data scientist writes as a DataFrame, with typed columns and a key.

Figures have tables of their own kind (`retailpulse_kernel.shop.tables`), since how they combine is known. Of a table
of rows only the columns, their types and the key are known.

>>> table = RowTable("carts", (Column("user_id", "string"), Column("total", "decimal(18,4)")), key=("user_id",))
>>> table.is_keyed, table.types["total"]
(True, 'decimal(18,4)')
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.names import NAME_RULE, is_name

__all__ = ["DELETED", "FAILED", "Column", "RowTable"]

#: A frame's column of booleans: rows in which it is true are removed from the table. It is not a column of the table.
DELETED: Final = "_deleted"
#: A frame's column of texts: a row that has one is not written, and goes to the dead-letter topic with this text as the
#: reason. It is not a column of the table.
FAILED: Final = "_failed"

_SIMPLE: Final = frozenset({"bool", "int", "long", "double", "string", "binary", "date", "timestamp"})
_DECIMAL: Final = re.compile(r"decimal\(([1-9]|[12]\d|3[0-8]),(\d|[12]\d|3[0-8])\)")
_LIST: Final = re.compile(r"list<(.+)>")


@dataclass(frozen=True)
class Column:
    """A column of a table of rows.

    Attributes
    ----------
    name : str
        The column's name.
    type : str
        ``bool``, ``int`` (32 bits), ``long`` (64 bits), ``double``, ``decimal(p,s)``, ``string``, ``binary``, ``date``,
        ``timestamp`` (microseconds, UTC), or ``list<...>`` of one of these.
    """

    name: str
    type: str

    def __post_init__(self) -> None:
        element = found[1] if (found := _LIST.fullmatch(self.type)) else self.type
        if element not in _SIMPLE and not _DECIMAL.fullmatch(element):
            raise UsageError(
                f"The column {self.name!r} has the type {self.type!r}, which a table can't hold.",
                remedy="Use bool, int, long, double, decimal(p,s), string, binary, date, timestamp, or a list of one.",
            )


@dataclass(frozen=True)
class RowTable:
    """A table of rows.

    Parameters
    ----------
    name : str
        The table's name within the namespace; of Kafka the topic's.
    columns : tuple of Column
        The columns, in order.
    key : tuple of str
        The columns that tell a row from another: a later row of the same key takes its place. Without a key, rows are
        only appended.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for name in self.key:
            if name not in names:
                raise UnknownName("column", name, names, of=f"the table {self.name!r}")
        for name in names:
            if not is_name(name):
                raise UsageError(f"{name!r} can't be the name of a column.", remedy=NAME_RULE)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"The table {self.name!r} has two columns named {twice!r}.", remedy="Rename one of them.")

    @property
    def is_keyed(self) -> bool:
        """Whether a later row takes the place of an earlier one of the same key."""
        return bool(self.key)

    @cached_property
    def types(self) -> dict[str, str]:
        """The type of each column, by name."""
        return {column.name: column.type for column in self.columns}
