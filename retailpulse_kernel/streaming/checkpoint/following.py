"""Following a live job: a staged epoch reads the topic as far as the live job has committed, and no further.

When the live job stops, both epochs are at the same offsets, so their tables can be compared and exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retailpulse_kernel.streaming.checkpoint.log import committed_batch

__all__ = ["Leader"]


@dataclass(frozen=True)
class Leader:
    """The live job's epoch.

    Attributes
    ----------
    checkpoint : str
        Its folder; it is only read.
    last : str
        A file that appears once the live job has stopped. The staged epoch stops when it has reached the same offsets.
    """

    checkpoint: str
    last: str

    def ends(self, topic: str) -> dict[str, int] | None:
        """The offsets that the live job has committed, by partition; None where it reads another topic.

        Parameters
        ----------
        topic : str
            Its full name.
        """
        batch = committed_batch(self.checkpoint)
        return {} if batch is None else batch.offsets.get(topic)

    @property
    def has_stopped(self) -> bool:
        """Whether the live job has stopped."""
        return Path(self.last).exists()
