"""Figures by columns of reference tables: ``products.supplier`` stands for the supplier of each ``product_id``.

The column is joined when the figures are read, from the rows that the reference table has now. The table of figures
must go by the reference table's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.shop.contract.model import Contract, ReferenceTable
from retailpulse_kernel.shop.tables import FigureTable, Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NONE", "References", "columns_of", "references_of"]

#: What stands where a row's key, or the column, has nothing in the reference table.
NONE: Final = "(none)"


def columns_of(contract: Contract, dimensions: Iterable[str]) -> list[str]:
    """The columns of reference tables whose keys are among some dimensions, as ``TABLE.COLUMN``.

    Parameters
    ----------
    contract : Contract
        The shop's.
    dimensions : iterable of str
        What figures go by.
    """
    known = set(dimensions)
    tables = [table for table in contract.tables if set(table.key) <= known]
    return [f"{table.name}.{name}" for table in tables for name, _ in table.columns if name not in table.key]


@dataclass(frozen=True)
class References:
    """The columns of reference tables that a question names.

    Attributes
    ----------
    columns : mapping of str to (ReferenceTable, str)
        The table and the column of each name, such as ``products.supplier``.
    values : mapping of str to mapping
        The values of each name by the key of the table.
    """

    columns: Mapping[str, tuple[ReferenceTable, str]]
    values: Mapping[str, Mapping[tuple[str, ...], str]]

    def dimensions(self, names: Iterable[str]) -> tuple[str, ...]:
        """What a table of figures must go by: the keys in place of the columns.

        Parameters
        ----------
        names : iterable of str
            Dimensions, and columns of reference tables.
        """
        found = [key for name in names for key in (self.columns[name][0].key if name in self.columns else (name,))]
        return tuple(dict.fromkeys(found))

    def widened(self, table: FigureTable) -> FigureTable:
        """A table of figures as if it went by the columns, too.

        Parameters
        ----------
        table : FigureTable
            One that goes by the keys.
        """
        if not self.columns:
            return table
        names = tuple(self.columns)
        return replace(table, by=(*table.by, *names), dimensions=(*table.dimensions, *table.by, *names))

    def joined(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows with the columns.

        Parameters
        ----------
        rows : sequence of Row
            Rows of a table of figures.
        """
        if not self.columns:
            return rows
        keys = [(name, table.key, self.values[name]) for name, (table, _) in self.columns.items()]
        return [
            row | {name: values.get(tuple(str(row[one]) for one in key), NONE) for name, key, values in keys}
            for row in rows
        ]


def references_of(contract: Contract, names: Iterable[str], read: Callable[[str], pa.Table] | None) -> References:
    """The columns of reference tables among some names.

    Parameters
    ----------
    contract : Contract
        The shop's.
    names : iterable of str
        Dimensions, and columns of reference tables; these have a point.
    read : callable, optional
        Gives the rows of a reference table by its name. None where reference tables can't be read.

    Raises
    ------
    UnknownName
        There is no such table or column.
    UsageError
        Reference tables can't be read.
    """
    asked = [name for name in dict.fromkeys(names) if "." in name]
    known = {
        f"{table.name}.{column}": (table, column)
        for table in contract.tables
        for column, _ in table.columns
        if column not in table.key
    }
    for name in asked:
        if name not in known:
            raise UnknownName("column of a reference table", name, known)
    columns = {name: known[name] for name in asked}
    if columns and read is None:
        raise UsageError("Columns of reference tables can't be read here.", remedy="Ask `rp.figures` for them.")
    values: dict[str, Mapping[tuple[str, ...], str]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, (table, column) in columns.items():
        assert read is not None
        found = rows[table.name] if table.name in rows else read(table.name).to_pylist()
        rows[table.name] = found
        values[name] = {tuple(str(row[key]) for key in table.key): _text(row[column]) for row in found}
    return References(columns, values)


def _text(value: Any) -> str:
    return NONE if value is None else str(value)
