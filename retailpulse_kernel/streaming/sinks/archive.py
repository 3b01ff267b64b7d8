"""The sink of single events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.stores.base import EventArchive
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.streaming.sinks.base import Target, Write, timed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["ArchiveSink", "archived_columns"]

#: Columns of the message that an archive holds beside the event, and what they are called there.
_OF_MESSAGE = {"partition": "kafka_partition", "offset": "kafka_offset", "arrival": "arrival", "raw": "raw"}


def archived_columns(contract: Contract) -> tuple[str, ...]:
    """The event's and the message's columns that the archive holds.

    Parameters
    ----------
    contract : Contract
        What the messages hold.
    """
    return (*(field.name for field in contract.columns), *_OF_MESSAGE)


class ArchiveSink:
    """The archive of single events.

    Parameters
    ----------
    store : EventArchive
        The archive.
    into : Target, optional
        Gets the events in its place.
    """

    def __init__(self, store: EventArchive, into: Target | None = None) -> None:
        self._store, self._target = store, into or store
        self.table, self.store_name = store.table, store.name

    def create(self) -> None:
        """Make the archive's table where it is absent."""
        self._store.create()

    def start_epoch(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Remove what older epochs hold of the messages that this one reads again.

        Parameters
        ----------
        epoch : Epoch
            The one that begins.
        offsets : mapping of int to int
            The first offset that it reads, by partition.
        """
        if epoch.number > 1:
            self._store.retire(epoch.number, offsets)

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """The batch's events, staged as files of their hours.

        Parameters
        ----------
        frame : DataFrame
            The batch's part of what `Job.result` made.
        epoch : Epoch
            That of the run.
        batch : int
            The batch's number in the epoch, from 0.
        """
        from pyspark.sql import functions as F

        rows = frame.select(
            *[F.col(name).alias(_OF_MESSAGE.get(name, name)) for name in frame.columns],
            F.date_format("event_time", "yyyy-MM-dd").alias("dt"),
            F.hour("event_time").alias("hour"),
        )
        # Each task writes files of its own: as many tasks as work at a time, and not one a partition of the topic.
        rows = rows.coalesce(frame.sparkSession.sparkContext.defaultParallelism)
        staged = self._target.stage(rows, epoch=epoch.number, batch=batch)

        def write() -> int:
            with timed(self._target.name):
                self._target.put(staged)
            return staged.rows

        return write
