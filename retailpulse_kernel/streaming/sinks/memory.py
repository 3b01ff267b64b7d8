"""What a job writes, kept in memory: for a test, nothing goes into a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.figure_rows import Rows, plain_rows
from retailpulse_kernel.stores.hive.archive import Staged

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["MemoryTable", "MemoryTarget"]


@dataclass
class MemoryTable:
    """A table in memory.

    Attributes
    ----------
    key : tuple of str
        The columns that tell a row from another; without them, rows are only appended.
    rows : list of dict
        What the table holds.
    """

    key: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)

    def put(self, row: dict[str, Any]) -> None:
        """Write a row, in place of the earlier row of its key; one that is marked as removed only takes that away.

        Parameters
        ----------
        row : dict
            The row.
        """
        deleted = row.pop(DELETED, False)
        if self.key:
            own = [row[name] for name in self.key]
            self.rows = [other for other in self.rows if [other[name] for name in self.key] != own]
        if not deleted:
            self.rows.append(row)


class MemoryTarget:
    """A target of sinks that keeps tables in memory.

    Attributes
    ----------
    tables : dict of str to MemoryTable
        By the names that the tables have in their stores.
    """

    name = table = "memory"

    def __init__(self) -> None:
        self.tables: dict[str, MemoryTable] = {}

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Keep figures, as they are shown: users are counted.

        Parameters
        ----------
        table : FigureTable
            The table.
        grain : Grain
            The windows.
        rows : Rows
            The rows.
        version : int
            The batch's version; later ones win, as they come later.
        """
        kept = self.tables.setdefault(table.physical(grain), MemoryTable(table.key_columns(grain)))
        for row in plain_rows(rows):
            key = {name: row[name] for name in table.key_columns(grain)}
            kept.put(key | {figure.name: figure.rules.shown(row[figure.name]) for figure in table.figures})

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Keep rows.

        Parameters
        ----------
        table : RowTable
            The table.
        rows : pyarrow.Table
            The rows.
        by : MicroBatch
            Who writes them.
        """
        kept = self.tables.setdefault(table.name, MemoryTable(table.key))
        for row in rows.to_pylist():
            kept.put(row)

    def stage(self, rows: DataFrame, *, epoch: int, batch: int) -> Staged:
        """Keep single events.

        Parameters
        ----------
        rows : DataFrame
            The events.
        epoch, batch : int
            Whose.
        """
        found = rows.toArrow().to_pylist()
        kept = self.tables.setdefault("events", MemoryTable())
        for row in found:
            kept.put(row)
        return Staged(epoch, batch, len(found), frozenset())

    def put(self, staged: Staged) -> None:
        """Nothing: what was staged is kept already.

        Parameters
        ----------
        staged : Staged
            What `stage` gave.
        """
