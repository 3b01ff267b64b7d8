"""The in-memory twin of the figure stores, for tests of logic that need no server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from retailpulse_kernel.stores.base import Row
from retailpulse_kernel.tables import FigureTable, Grain

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store of figures in a dictionary."""

    name = "memory"

    def __init__(self) -> None:
        self._tables: dict[str, dict[tuple[Any, ...], tuple[int, Row]]] = {}

    def create(self, table: FigureTable) -> None:
        """Make the table where it is absent."""
        for grain in table.every:
            self._tables.setdefault(table.physical(grain), {})

    def write(self, table: FigureTable, grain: Grain, rows: Sequence[Row], *, version: int) -> None:
        """Set rows; an older version never replaces a newer one."""
        stored = self._tables[table.physical(grain)]
        for row in rows:
            key = table.key(row, grain)
            if key not in stored or stored[key][0] <= version:
                stored[key] = (version, dict(row))

    def read(
        self, table: FigureTable, grain: Grain, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``."""
        rows = (dict(row) for _, row in self._tables[table.physical(grain)].values())
        return [
            row
            for row in rows
            if (since is None or row[grain.name] >= since) and (until is None or row[grain.name] < until)
        ]

    def ping(self) -> str:
        """Always there."""
        return "memory"
