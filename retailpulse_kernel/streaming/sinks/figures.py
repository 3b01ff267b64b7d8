"""The sink of figure tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from retailpulse_kernel.shop.tables import FigureTable
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.checkpoint.log import logged_batch
from retailpulse_kernel.streaming.sinks.base import Target, Write, timed
from retailpulse_kernel.streaming.state.aggregation import rows_by_table
from retailpulse_kernel.streaming.state.batch_sums import aggregate_batch, contributions
from retailpulse_kernel.streaming.state.window_state import WindowState
from retailpulse_kernel.telemetry.recording import current

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["FigureSink"]


class FigureSink:
    """Figure tables, each in its store, as absolute values with the batch's version.

    Parameters
    ----------
    writes : sequence of (FigureTable, FigureStore)
        Which table goes where.
    state : WindowState, optional
        What the batches' own events are added to. Without it, the frames are figures that Spark has aggregated.
    into : Target, optional
        Gets the rows in place of the stores.
    """

    def __init__(
        self,
        writes: Sequence[tuple[FigureTable, FigureStore]],
        state: WindowState | None = None,
        into: Target | None = None,
    ) -> None:
        self.writes = list(writes)
        self._state, self._into = state, into

    @property
    def tables(self) -> list[FigureTable]:
        """The tables, in the order of the aggregation's slots."""
        return [table for table, _ in self.writes]

    def create(self) -> None:
        """Make the tables where they are absent."""
        for table, store in self.writes:
            store.create(table)

    def start_epoch(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Nothing: an epoch's versions win over those before.

        Parameters
        ----------
        epoch : Epoch
            The one that begins.
        offsets : mapping of int to int
            The first offset that it reads, by partition.
        """

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """The windows that the batch changed.

        Parameters
        ----------
        frame : DataFrame
            The batch's part of what `Job.result` made.
        epoch : Epoch
            That of the run.
        batch : int
            The batch's number in the epoch, from 0.
        """
        result = frame.toArrow() if self._state is None else self._update(self._state, frame, epoch, batch)
        changed, stores = rows_by_table(result, self.tables), dict(self.writes)

        def write() -> int:
            for (table, grain), rows in changed.items():
                target = self._into or stores[table]
                with timed(target.name):
                    target.write(table, grain, rows, version=version_of(epoch.start_ms, batch))
            return result.num_rows

        return write

    def _update(self, state: WindowState, frame: DataFrame, epoch: Epoch, batch: int) -> pa.Table:
        """What the batch's events make of the windows that they are in."""
        logged = logged_batch(epoch.path, batch)
        assert logged is not None, "Spark logs a batch before it begins"
        parts = aggregate_batch(contributions(frame, self.tables).toArrow(), self.tables)
        result = state.update(parts, batch=batch, watermark_ms=logged.watermark_ms)
        current("job").set("retailpulse_job_state_rows", state.count)
        current("job").set("retailpulse_job_state_bytes", state.size)
        return result
