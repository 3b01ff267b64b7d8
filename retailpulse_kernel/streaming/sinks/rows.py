"""The sink of a table of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from retailpulse_kernel.shop.rows import FAILED, RowTable
from retailpulse_kernel.shop.tables import Row
from retailpulse_kernel.stores.base import MicroBatch, RowStore, RowWriter, SentRows
from retailpulse_kernel.stores.figure_rows import version_of
from retailpulse_kernel.stores.rows import with_removals
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.sinks.base import Target, Write, timed
from retailpulse_kernel.streaming.sinks.keys import identified, with_keys

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = ["RowSink", "computed"]

#: Takes the rows that are not written, with the reason.
Refused = Callable[[str, "pa.Table", Epoch, int], None]


class RowSink:
    """A table of rows in its store, written once a micro-batch.

    Parameters
    ----------
    table : RowTable
        The table.
    store : RowStore
        Where it is.
    writer : str
        The job's output, as ``job/output``.
    complete : bool
        Whether each frame is the whole result: rows that it does not have any more are removed.
    keyed_apart : bool
        Whether the key has to tell the rows of a micro-batch apart. Otherwise the last row of a key stands.
    told : callable
        Makes a row of which all may be told in an error; see `shop.personal.masked`.
    refused : callable, optional
        Gets the rows that failed or have no key. Without it they are left out.
    into : Target, optional
        Gets the rows in place of the store.
    """

    def __init__(
        self,
        table: RowTable,
        store: RowStore,
        writer: str,
        *,
        complete: bool = False,
        keyed_apart: bool = True,
        told: Callable[[Row], Row] = dict,
        refused: Refused | None = None,
        into: Target | None = None,
    ) -> None:
        self.table, self._store, self._writer = table, store, writer
        self._complete, self._refused, self._into = complete, refused, into
        self._keyed_apart, self._told = keyed_apart, told
        self.null_keys = self.failed_rows = 0

    def create(self) -> None:
        """Make the table where it is absent."""
        self._store.create_rows(self.table)

    def make_anew(self) -> None:
        """Make the table without rows, in place of what is there under its name."""
        self._store.remove_rows(self.table)
        self._store.create_rows(self.table)

    def start_epoch(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Make the table anew where an older epoch may have left rows that this one does not have.

        A topic stays: its readers have read it.

        Parameters
        ----------
        epoch : Epoch
            The one that starts.
        offsets : mapping of int to int
            The first offset that it reads, by partition.
        """
        if epoch.number > 1 and not isinstance(self._store, SentRows):
            self.make_anew()

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """The rows of the batch.

        Parameters
        ----------
        frame : DataFrame
            The batch's part of the output's frame.
        epoch : Epoch
            That of the run.
        batch : int
            The batch's number in the epoch, from 0.

        Raises
        ------
        AmbiguousKey
            The key does not identify the rows.
        """
        rows = self._with_keys(self._computed(frame.toArrow(), epoch, batch), epoch, batch)
        if self._keyed_apart:
            rows = identified(self.table, rows, self._told)
        by = MicroBatch(epoch.number, batch, version_of(epoch.start_ms, batch), self._writer)
        target: RowWriter = self._into or self._store

        def write() -> int:
            written = rows
            if self._complete and self._into is None:
                written = with_removals(self.table, rows, self._store.read_rows(self.table))
            if written.num_rows:
                with timed(target.name):
                    target.write_rows(self.table, written, by=by)
            return rows.num_rows

        return write

    def _computed(self, rows: pa.Table, epoch: Epoch, batch: int) -> pa.Table:
        """The rows that could be computed; the others are handed on."""
        rows, failed = computed(rows)
        self.failed_rows = failed.num_rows
        if self._refused is not None and failed.num_rows:
            self._refused("function_failed", failed, epoch, batch)
        return rows

    def _with_keys(self, rows: pa.Table, epoch: Epoch, batch: int) -> pa.Table:
        """The rows that have a whole key; the others are handed on."""
        self.null_keys = 0
        for name in self.table.key:
            rows, without = with_keys(rows, name)
            self.null_keys += without.num_rows
            if self._refused is not None and without.num_rows:
                self._refused(f"null_key:{name}", without, epoch, batch)
        return rows


def computed(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that could be computed, and those that have a reason why not and are not written.

    Parameters
    ----------
    rows : pyarrow.Table
        The rows, on wish with the column `FAILED`. Only the second table has it.
    """
    import pyarrow.compute as pc

    if FAILED not in rows.column_names:
        return rows, rows.slice(0, 0)
    fine = pc.is_null(rows[FAILED])
    return rows.filter(fine).drop_columns([FAILED]), rows.filter(pc.invert(fine))
