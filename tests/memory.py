"""The in-memory twin of the stores of figures and rows, for tests of logic that need no server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.rows import DELETED, RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.figure_rows import Only, Rows, combined, in_range, is_among, plain_rows
from retailpulse_kernel.stores.rows import prepared, require_same, schema_of

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store of figures and rows in dictionaries."""

    name = "memory"

    def __init__(self) -> None:
        #: Version and row by key; no row where it was deleted.
        self._tables: dict[str, dict[tuple[Any, ...], tuple[int, Row | None]]] = {}
        #: A table of rows, and what each micro-batch wrote: its version and its rows.
        self._row_tables: dict[str, tuple[RowTable, dict[MicroBatch, list[Row]]]] = {}

    def create(self, table: FigureTable) -> None:
        """Make the table where it is absent."""
        for grain in table.every:
            self._tables.setdefault(table.physical(grain), {})

    def remove(self, table: FigureTable) -> None:
        """Forget the table of each grain."""
        for grain in table.every:
            self._tables.pop(table.physical(grain), None)

    def drop(self) -> None:
        """Forget everything."""
        self._tables.clear()
        self._row_tables.clear()

    @property
    def row_tables(self) -> list[str]:
        """The names of the tables of rows."""
        return sorted(self._row_tables)

    def check_rows(self, table: RowTable) -> None:
        """Any table has a place here."""

    def create_rows(self, table: RowTable) -> None:
        """Make the table where it is absent."""
        known, written = self._row_tables.get(table.name, (table, {}))
        require_same(table, "memory", key=known.key, types=known.types, wanted=str)
        self._row_tables[table.name] = (table, written)

    def remove_rows(self, table: RowTable) -> None:
        """Forget the table."""
        self._row_tables.pop(table.name, None)

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Keep what a micro-batch wrote, in place of what it wrote before."""
        self._written(table)[by] = prepared(table, rows).to_pylist()

    def read_rows(self, table: RowTable) -> pa.Table:
        """The newest row of each key, or all rows."""
        written = self._written(table)
        rows = [row for by in sorted(written, key=lambda by: by.version) for row in written[by]]
        if table.is_keyed:
            rows = list({tuple(row[name] for name in table.key): row for row in rows}.values())
        return pa.Table.from_pylist([row for row in rows if not row[DELETED]], schema=schema_of(table))

    def _written(self, table: RowTable) -> dict[MicroBatch, list[Row]]:
        if table.name not in self._row_tables:
            raise NoSuchTable(f"There is no table {table.name!r}.", remedy="Make it with `create_rows` first.")
        return self._row_tables[table.name][1]

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Set rows; an older version never replaces a newer one."""
        stored = self._stored(table, grain)
        for row in plain_rows(rows):
            key = table.key(row, grain)
            if key not in stored or stored[key][0] <= version:
                stored[key] = (version, dict(row))

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Rows by key."""
        return {table.key(row, grain): row for row in self.read(table, grain, since=since)}

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Set rows."""
        self.write(table, grain, list(rows.values()), version=version)

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Forget rows, but none of a newer version."""
        stored = self._stored(table, grain)
        for key in keys:
            if key in stored and stored[key][0] <= version:
                stored[key] = (version, None)

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``."""
        rows = (row for _, row in self._stored(table, grain).values() if row is not None)
        kept = (row for row in rows if in_range(row[grain.name], since, until) and is_among(row, only))
        return combined(kept, table, grain, figures, by)

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        """Rows whose window starts in ``[since, until)``, with their versions."""
        found = ((row, version) for version, row in self._stored(table, grain).values() if row is not None)
        return [
            (combined([row], table, grain, figures, None)[0], version)
            for row, version in found
            if in_range(row[grain.name], since, until)
        ]

    def ping(self) -> str:
        """The number of tables."""
        return f"{len(self._tables)} tables"

    def close(self) -> None:
        """Nothing to close."""

    def _stored(self, table: FigureTable, grain: Grain) -> dict[tuple[Any, ...], tuple[int, Row | None]]:
        name = table.physical(grain)
        if name not in self._tables:
            raise NoSuchTable(f"There is no table {name!r}.", remedy="Make it with `create` first.")
        return self._tables[name]
