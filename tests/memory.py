"""The in-memory twin of the figure stores, for tests of logic that need no server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.base import Only, Rows, combined, in_range, is_among, plain_rows

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store of figures in a dictionary."""

    name = "memory"

    def __init__(self) -> None:
        #: Version and row by key; no row where it was deleted.
        self._tables: dict[str, dict[tuple[Any, ...], tuple[int, Row | None]]] = {}

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
