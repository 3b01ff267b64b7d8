"""The rows of a table at one moment, and which messages its output had taken by then.

The accounts say what each micro-batch took and how it judged what is late; the query's own log says how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.registry import row_store
from retailpulse_kernel.stores.rows import rows_if_any
from retailpulse_kernel.streaming.checkpoint.accounts import Account
from retailpulse_kernel.streaming.checkpoint.log import LoggedBatch, committed_batch, logged_sources, newest_batch
from retailpulse_kernel.streaming.intake.remembered import Span
from retailpulse_kernel.streaming.intake.repeating import Step
from retailpulse_kernel.streaming.run.batch import Point

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Stored", "point_of", "stored_rows"]

#: A job that writes all the time is waited for so long; then its rows are compared between two micro-batches.
_SECONDS = 5.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Stored:
    """The rows of a table, as they were read once.

    Attributes
    ----------
    rows : pyarrow.Table
        The rows.
    batches : list of LoggedBatch
        The newest micro-batch that was done before, and where another one had begun by then, that one too.
    """

    rows: pa.Table
    batches: list[LoggedBatch]


def stored_rows(settings: Settings, store: str, table: RowTable, checkpoint: str) -> Stored | None:
    """A table's rows, if need be while its job writes; None where its query has done no micro-batch yet.

    Parameters
    ----------
    settings : Settings
        The namespace.
    store : str
        The store's name.
    table : RowTable
        The table; one that is not there has no rows.
    checkpoint : str
        That of the output's query.

    Raises
    ------
    StoreUnavailable
        The store does not answer.
    """
    end = time.monotonic() + _SECONDS
    with closing(row_store(store, settings)) as opened:
        while True:
            before = committed_batch(checkpoint, alone=True)
            if before is None:
                return None
            rows = rows_if_any(opened, table)
            after = newest_batch(checkpoint, alone=True)
            assert after is not None, "what is done has begun"
            if after.batch_id == before.batch_id:
                return Stored(rows, [before])
            if time.monotonic() > end:
                return Stored(rows, [before, after])
            time.sleep(_POLL_SECONDS)


def point_of(
    checkpoint: str,
    batch: LoggedBatch,
    accounts: Iterable[Account],
    topics: Sequence[str],
    begins: Mapping[str, Mapping[int, int]],
) -> Point:
    """All that a query had taken up to a micro-batch.

    Parameters
    ----------
    checkpoint : str
        The query's.
    batch : LoggedBatch
        The micro-batch.
    accounts : iterable of Account
        Those of the output in this epoch.
    topics : sequence of str
        The full name of the topic that each of its readers reads, in Spark's order of them.
    begins : mapping of str to mapping of int to int
        The first offset that each partition of each topic still holds.
    """
    earlier = sorted((one for one in accounts if one.batch <= batch.batch_id), key=lambda account: account.batch)
    sources = logged_sources(checkpoint, batch.batch_id)
    readers = [
        list(_steps(topic, ends.get(topic, {}), batch, earlier, begins[topic]))
        for topic, ends in zip(topics, sources, strict=True)
    ]
    return Point(readers, batch.watermark_ms)


def _steps(
    topic: str, ends: Mapping[str, int], batch: LoggedBatch, accounts: Sequence[Account], begin: Mapping[int, int]
) -> Iterator[Step]:
    """What a reader has taken, micro-batch by micro-batch."""
    reached = dict(begin)

    def spans(taken: Mapping[str, int]) -> Iterator[Span]:
        for name, end in taken.items():
            partition, last = int(name), min(end, ends.get(name, end))
            start = reached.get(partition, 0)
            if last > start:
                reached[partition] = last
                yield Span(partition, start, last)

    delay_ms = None
    for account in accounts:
        delay_ms = None if account.bounded else account.delay_ms
        if took := tuple(spans(account.offsets.get(topic, {}))):
            yield Step(account.batch, account.watermark_ms, delay_ms, took)
    # A second reader of a topic may have gone a little further than the first, of which the accounts say.
    if took := tuple(spans(ends)):
        yield Step(batch.batch_id, batch.watermark_ms, delay_ms, took)
