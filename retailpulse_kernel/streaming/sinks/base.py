"""What a job does with the result of a micro-batch. Every write is idempotent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from retailpulse_kernel.stores.base import EventWriter, FigureWriter, RowWriter
from retailpulse_kernel.streaming.checkpoint.epochs import Epoch
from retailpulse_kernel.telemetry.recording import current

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Sink", "Target", "Write", "timed"]

#: Writes a result, again if need be; the number of rows.
Write = Callable[[], int]


class Sink(Protocol):
    """Where a job's results go."""

    def create(self) -> None:
        """Make the tables where they are absent."""

    def start_epoch(self, epoch: Epoch, offsets: Mapping[int, int]) -> None:
        """Discard what an epoch that reads the topic from some offsets on will write again; may be called again.

        Parameters
        ----------
        epoch : Epoch
            The one that begins.
        offsets : mapping of int to int
            The first offset that it reads, by partition.
        """

    def compute(self, frame: DataFrame, *, epoch: Epoch, batch: int) -> Write:
        """Compute a micro-batch's result, once: doing it again would count its messages again.

        Parameters
        ----------
        frame : DataFrame
            The batch's part of what `Job.result` made.
        epoch : Epoch
            That of the run.
        batch : int
            The batch's number in the epoch, from 0.

        Returns
        -------
        callable
            Writes the result, and may be called until that succeeds; returns the number of rows.
        """


class Target(FigureWriter, EventWriter[Any], RowWriter, Protocol):
    """What takes the rows of a job in place of its stores."""


@contextmanager
def timed(store: str) -> Iterator[None]:
    """Measure a write that succeeds; those that fail are counted as retries.

    Parameters
    ----------
    store : str
        Its name, the metric's label.
    """
    began = time.monotonic()
    yield
    current("job").observe("retailpulse_store_write_duration_seconds", time.monotonic() - began, store=store)
