"""What Spark has logged in a checkpoint: the offsets of each micro-batch, and which micro-batches are done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retailpulse_kernel.streaming.checkpoint.files import filesystem_of, listed, read_file
from retailpulse_kernel.streaming.checkpoint.outputs import OUTPUTS, checkpoint_of

__all__ = [
    "LoggedBatch",
    "committed_batch",
    "logged_batch",
    "logged_sources",
    "newest_batch",
]


@dataclass(frozen=True)
class LoggedBatch:
    """What Spark wrote into its offset log before it started a micro-batch.

    Attributes
    ----------
    batch_id : int
        The batch.
    watermark_ms : int
        The event-time watermark that holds for the batch, in epoch milliseconds; 0 before any.
    offsets : dict
        The end offset of each source topic's partitions: ``{topic: {partition: offset}}``.
    """

    batch_id: int
    watermark_ms: int
    offsets: dict[str, dict[str, int]]


def logged_batch(checkpoint: str, batch_id: int) -> LoggedBatch | None:
    """The offset log's entry of a batch, or None where Spark has written none.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    batch_id : int
        The batch's number in its epoch, from 0.
    """
    filesystem, root = filesystem_of(checkpoint)
    content = read_file(filesystem, f"{root}/offsets/{batch_id}")
    if content is None:
        return None
    _, metadata, *sources = content.decode().splitlines()
    offsets: dict[str, dict[str, int]] = {}
    for source in map(_ends_of, sources):
        for topic, ends in source.items():
            # A query that reads a topic twice has it in two lines: what is taken is what the first reader has taken.
            offsets.setdefault(topic, ends)
    return LoggedBatch(batch_id, int(json.loads(metadata).get("batchWatermarkMs", 0)), offsets)


def logged_sources(checkpoint: str, batch_id: int) -> list[dict[str, dict[str, int]]]:
    """The end offsets of a batch by the query's sources, in Spark's order of them; none where Spark has logged none.

    Parameters
    ----------
    checkpoint : str
        The query's folder, a path or a URI.
    batch_id : int
        The batch's number in its epoch, from 0.
    """
    filesystem, root = filesystem_of(checkpoint)
    content = read_file(filesystem, f"{root}/offsets/{batch_id}")
    return [] if content is None else [_ends_of(source) for source in content.decode().splitlines()[2:]]


def _ends_of(source: str) -> dict[str, dict[str, int]]:
    """The end offsets of a source by topic, as the offset log has them."""
    entry: Any = json.loads(source) if source.startswith("{") else {}
    return {topic: ends for topic, ends in entry.items() if isinstance(ends, dict)}


def newest_batch(checkpoint: str, *, alone: bool = False) -> LoggedBatch | None:
    """The offset log's newest entry: the batch that is under way, or None before the first.

    Parameters
    ----------
    checkpoint : str
        A query's folder, a path or a URI. Of an epoch with several queries: the newest batch of any of them, and how
        far any of them has gone.
    alone : bool
        Whether an epoch's folder means the query of figures or single events alone.
    """
    found = _newest(checkpoint, "offsets", alone)
    return None if not found else _joined(found, max)


def committed_batch(checkpoint: str, *, alone: bool = False) -> LoggedBatch | None:
    """The offset log's entry of the newest batch that is done, or None before the first.

    Parameters
    ----------
    checkpoint : str
        A query's folder, a path or a URI. Of an epoch with several queries: what all of those have taken that have
        done a batch.
    alone : bool
        Whether an epoch's folder means the query of figures or single events alone.
    """
    found = _newest(checkpoint, "commits", alone)
    return None if not found else _joined(found, min)


def _newest(checkpoint: str, log: str, alone: bool) -> list[LoggedBatch]:
    """The newest entry of a query, or of each query of an epoch."""
    filesystem, root = filesystem_of(checkpoint)
    folders = [] if alone else [info.base_name for info in listed(filesystem, f"{root}/{OUTPUTS}")]
    newest = []
    for query in [checkpoint, *(checkpoint_of(checkpoint, name) for name in folders)]:
        place = filesystem_of(query)[1]
        numbers = [int(info.base_name) for info in listed(filesystem, f"{place}/{log}") if info.base_name.isdigit()]
        batch = logged_batch(query, max(numbers)) if numbers else None
        newest += [] if batch is None else [batch]
    return newest


def _joined(batches: list[LoggedBatch], choose: Callable[..., int]) -> LoggedBatch:
    """What holds for several queries together."""
    offsets: dict[str, dict[str, int]] = {}
    for batch in batches:
        for topic, ends in batch.offsets.items():
            known = offsets.setdefault(topic, {})
            for partition, end in ends.items():
                known[partition] = choose(end, known.get(partition, end))
    number, watermark_ms = max(b.batch_id for b in batches), min(b.watermark_ms for b in batches)
    return LoggedBatch(number, watermark_ms, offsets)
