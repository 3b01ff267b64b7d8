"""What a job does with the result of a micro-batch. Every write is idempotent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from retailpulse_kernel.monitoring.recording import current
from retailpulse_kernel.stores.base import FigureStore, version_of
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.streaming.aggregation import rows_by_table
from retailpulse_kernel.streaming.checkpoint import Epoch, logged_batch
from retailpulse_kernel.streaming.summing import facts, summed
from retailpulse_kernel.streaming.sums import Sums
from retailpulse_kernel.tables import FigureTable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["ArchiveSink", "FigureSink", "Sink", "Write"]


#: Writes a result, again if need be; the number of rows.
Write = Callable[[], int]


class Sink(Protocol):
    """Where a job's results go."""

    def create(self) -> None:
        """Make the tables where they are absent."""

    def begin(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Make way for an epoch that reads the topic from some offsets on; may be called again."""

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """Compute a micro-batch's result, once: doing it again would count its messages again.

        Returns
        -------
        callable
            Writes the result, and may be called until that succeeds; returns the number of rows.
        """


class FigureSink:
    """Figure tables, each in its store, as absolute values with the batch's version.

    Parameters
    ----------
    writes : sequence of (FigureTable, FigureStore)
        Which table goes where.
    sums : Sums, optional
        What the batches' own events are added to. Without it, the frames are figures that Spark has summed up.
    """

    def __init__(self, writes: Sequence[tuple[FigureTable, FigureStore]], sums: Sums | None = None) -> None:
        self.writes = list(writes)
        self._sums = sums

    @property
    def tables(self) -> list[FigureTable]:
        """The tables, in the order of the aggregation's slots."""
        return [table for table, _ in self.writes]

    def create(self) -> None:
        """Make the tables where they are absent."""
        for table, store in self.writes:
            store.create(table)

    def begin(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Nothing: an epoch's versions win over those before."""

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """The windows that the batch changed."""
        result = frame.toArrow() if self._sums is None else self._summed(self._sums, frame, epoch, batch)
        changed, stores = rows_by_table(result, self.tables), dict(self.writes)

        def write() -> int:
            for (table, grain), rows in changed.items():
                with _timed(stores[table].name):
                    stores[table].write(table, grain, rows, version=version_of(epoch.start_ms, batch))
            return result.num_rows

        return write

    def _summed(self, sums: Sums, frame: DataFrame, epoch: Epoch, batch: int) -> pa.Table:
        """What the batch's events make of the windows that they are in."""
        logged = logged_batch(epoch.path, batch)
        assert logged is not None, "Spark logs a batch before it begins"
        parts = summed(facts(frame, self.tables).toArrow(), self.tables)
        result = sums.add(parts, batch=batch, watermark_ms=logged.watermark_ms)
        current("job").set("retailpulse_job_state_rows", sums.count)
        current("job").set("retailpulse_job_state_bytes", sums.size)
        return result


class ArchiveSink:
    """The archive of single events in Hive."""

    #: The event's and the message's columns that the archive holds.
    COLUMNS = (
        "event_id", "event_type", "event_time", "user_id", "session_id", "product_id", "category", "brand",
        "price", "quantity", "currency", "order_id", "order_line", "partition", "offset", "arrival", "raw",
    )  # fmt: skip

    def __init__(self, store: HiveStore) -> None:
        self._store = store
        self.table = store.table

    def create(self) -> None:
        """Make the archive's table where it is absent."""
        self._store.create()

    def begin(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Remove what older epochs hold of the messages that this one reads again."""
        if epoch.number > 1:
            self._store.retire(epoch.number, offsets)

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """The batch's events, staged as files of their hours."""
        from pyspark.sql import functions as F

        rows = frame.select(
            *[c for c in self.COLUMNS if c not in ("partition", "offset")],
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            "late",
            F.date_format("event_time", "yyyy-MM-dd").alias("dt"),
            F.hour("event_time").alias("hour"),
        )
        # Each task writes files of its own: as many tasks as work at a time, and not one a partition of the topic.
        rows = rows.coalesce(frame.sparkSession.sparkContext.defaultParallelism)
        staged = self._store.stage(rows, epoch=epoch.number, batch=batch)

        def write() -> int:
            with _timed(self._store.name):
                self._store.put(staged)
            return staged.rows

        return write


@contextmanager
def _timed(store: str) -> Iterator[None]:
    """Measure a write that succeeds; those that fail are counted as retries."""
    began = time.monotonic()
    yield
    current("job").observe("retailpulse_store_write_duration_seconds", time.monotonic() - began, store=store)
