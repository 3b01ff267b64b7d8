"""Tables of figures in HBase: one table a grain, whose keys begin with the window's start, and one cell a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.figure_rows import Only, Rows, arrow_rows, combined, in_range, is_among
from retailpulse_kernel.stores.hbase.avro import is_record, schema_of_record
from retailpulse_kernel.stores.hbase.migration import forget_old, move_in
from retailpulse_kernel.stores.hbase.rows import (
    FIGURES_CELL,
    as_rows,
    own_schemas,
    pack_cells,
    pack_keys,
    stamp,
    stamp_from,
    unpacker,
)
from retailpulse_kernel.stores.hbase.tables import (
    BATCH_ROWS,
    make_schemas,
    make_table,
    note_table,
    noted,
    remove_tables,
)

if TYPE_CHECKING:
    import happybase

__all__ = ["HBaseFigures"]

_T = TypeVar("_T")


class HBaseFigures(FigureStore):
    """What `HBaseStore` does with tables of figures."""

    if TYPE_CHECKING:
        _settings: Settings
        _run: Callable[[Callable[[happybase.Connection], _T]], _T]

    def create(self, table: FigureTable) -> None:
        """Make the table of each grain where it is absent.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            HBase can't be reached.
        """
        require_own(self._settings, f"Making the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            there = make_schemas(hbase)
            for grain in table.every:
                make_table(hbase, table.physical(grain), there)
                note_table(hbase, as_rows(table), name=table.physical(grain))
            move_in(hbase, self._settings.namespace, [table.physical(grain) for grain in table.every])

        self._run(run)

    def remove(self, table: FigureTable) -> None:
        """Remove the table of each grain with all that it holds.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            HBase can't be reached.
        """
        require_own(self._settings, f"Removing the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            names = [table.physical(grain) for grain in table.every]
            remove_tables(hbase, names)
            forget_old(hbase, self._settings.namespace, names)

        self._run(run)

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Put rows with the version as their timestamp.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        rows : Rows
            Each has the window's start, all dimensions and all figures.
        version : int
            Of two writes of a key the one with the higher version stays, in milliseconds.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """
        found = arrow_rows(table, grain, rows)
        cells = list(zip(pack_keys(table, grain, found), pack_cells(table, found), strict=True))
        self._put(table, grain, cells, version)

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Cells by row key, under the table's newest schema."""
        start = stamp_from(since, grain) if since else None
        cells = self._run(
            lambda hbase: {
                key: cells[FIGURES_CELL]
                for key, cells in hbase.table(table.physical(grain)).scan(row_start=start, batch_size=BATCH_ROWS)
            }
        )
        own = own_schemas(table)
        if older := [item for item in cells.items() if not is_record(item[1]) or schema_of_record(item[1]) not in own]:
            schemas = self._schemas_of(table, grain, [cell for _, cell in older])
            unpack = unpacker(table, grain, schemas)
            rows = arrow_rows(table, grain, [unpack(*item) for item in older])
            cells |= zip((key for key, _ in older), pack_cells(table, rows), strict=True)
        return cells

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Put cells with the version as their timestamp."""
        self._put(table, grain, rows.items(), version)

    def _put(self, table: FigureTable, grain: Grain, cells: Collection[tuple[bytes, bytes]], version: int) -> None:
        require_own(self._settings, f"Writing the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.physical(grain)).batch(timestamp=version, batch_size=BATCH_ROWS) as batch:
                for key, cell in cells:
                    batch.put(key, {FIGURES_CELL: cell})

        self._run(run)

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Remove the one cell of rows, up to the version as its timestamp."""
        require_own(self._settings, f"Deleting from the HBase table {table.name!r}")

        def run(hbase: happybase.Connection) -> None:
            with hbase.table(table.physical(grain)).batch(timestamp=version, batch_size=BATCH_ROWS) as batch:
                for key in keys:
                    batch.delete(key, [FIGURES_CELL])

        self._run(run)

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
        """Rows whose window starts in ``[since, until)``, by a scan over time; `only` is looked at here.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        since, until : datetime, optional
            The range of window starts, without its end; None is not a bound.
        figures : sequence of Figure, optional
            Some of the table's; all when absent.
        by : sequence of str, optional
            The dimensions to keep; all of the table's when absent.
        only : Only, optional
            The values that are wanted of some dimensions; of a dot path also what is below it. None is any.

        Raises
        ------
        NoSuchTable
            The stored table is absent.
        """
        found = self._scanned(table, grain, since, until)
        kept = (row for row, _ in found if is_among(row, only))
        return combined(kept, table, grain, figures, by)

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        """Rows with their cell's timestamp."""
        return self._scanned(replace(table, figures=tuple(figures)), grain, since, until)

    def _scanned(
        self, table: FigureTable, grain: Grain, since: datetime | None, until: datetime | None
    ) -> list[tuple[Row, int]]:
        """The rows whose windows start in ``[since, until)``, each with its cell's timestamp."""
        bounds = {
            "row_start": stamp(since, grain).encode() if since else None,
            "row_stop": stamp_from(until, grain) if until else None,
        }
        found = self._run(
            lambda hbase: list(
                hbase.table(table.physical(grain)).scan(**bounds, include_timestamp=True, batch_size=BATCH_ROWS)
            )
        )
        schemas = self._schemas_of(table, grain, [cells[FIGURES_CELL][0] for _, cells in found])
        unpack = unpacker(table, grain, schemas)
        rows = ((unpack(key, cells[FIGURES_CELL][0]), cells[FIGURES_CELL][1]) for key, cells in found)
        return [(row, version) for row, version in rows if in_range(row[grain.name], since, until)]

    def _schemas_of(self, table: FigureTable, grain: Grain, cells: Sequence[bytes]) -> Mapping[bytes, str]:
        """The schemas of cells: they are looked up where a figure was added or removed since."""
        own = own_schemas(table)
        if all(schema_of_record(cell) in own for cell in cells if is_record(cell)):
            return own
        return self._run(lambda hbase: noted(hbase, table.physical(grain)))[1]
