"""How far a job has come in event time, as its checkpoint says: before it, windows are complete."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

import pyarrow as pa

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.spans import moment_at
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.files import read_note
from retailpulse_kernel.streaming.checkpoint.log import committed_batch

__all__ = ["READERS", "complete_until"]

#: The note of what a run's readers are, beside a query's checkpoint.
READERS: Final = "readers.json"


def complete_until(checkpoint: str, *, ahead_ms: int = 0) -> datetime | None:
    """Until when the figures of a job's newest epoch are complete; None where nothing tells that.

    A continuous run has them as far as all partitions have come, or its watermark. A bounded run holds the watermark
    back and takes all that the topic held when the run began: until then.

    Parameters
    ----------
    checkpoint : str
        The job's checkpoint folder, a path or a URI; it may be absent.
    ahead_ms : int
        How far the partitions are ahead of the watermark: the delay, where windows are written before they close.
    """
    try:
        epoch = find_epoch(checkpoint)
        batch = None if epoch is None else committed_batch(epoch.path, alone=True)
        if epoch is None or batch is None:
            return None
        readers = json.loads(read_note(epoch.path, READERS) or b"{}")
    except (OSError, pa.ArrowException, JobError):
        return None  # the checkpoints can't be reached from here
    began_ms = min((reader.get("began_ms", 0) for reader in readers.values() if reader.get("bounded")), default=0)
    return moment_at(max(batch.watermark_ms + ahead_ms if batch.watermark_ms else 0, began_ms))
