"""What a topic no longer holds of what a job has yet to take: found, told, and accepted as lost.

A job's checkpoint says how far the job has come. Messages after that may be deleted, by retention, while the job is
stopped or behind; and the topic itself may be deleted and made again under its name. Neither is passed over in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.streaming.checkpoint.epochs import new_epoch_remedy
from retailpulse_kernel.streaming.checkpoint.files import read_note, write_note
from retailpulse_kernel.streaming.checkpoint.log import committed_batch, newest_batch
from retailpulse_kernel.streaming.checkpoint.outputs import checkpoint_of, outputs_of

__all__ = [
    "Gap",
    "accept",
    "accepted",
    "consumed_offsets",
    "gaps_of",
    "lost_between",
    "open_topic",
    "start_after_gaps",
]

#: Notes beside the checkpoint: the topic's identity, and the gaps that were accepted.
_TOPIC, _LOST = "topic.json", "lost.json"

Bounds = Mapping[int, tuple[int, int]]


@dataclass(frozen=True)
class Gap:
    """The offsets ``[start, end)`` of a partition, which are gone.

    Attributes
    ----------
    partition, start, end : int
        Which offsets.
    topic : str
        The topic's full name; empty in notes of jobs that could read one topic only.
    """

    partition: int
    start: int
    end: int
    topic: str = field(default="", compare=False)

    @property
    def messages(self) -> int:
        """How many there were; a compacted topic, or transactions, leave offsets without a message."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"partition {self.partition} offsets {self.start} to {self.end - 1}"


def open_topic(checkpoint: str, job: str, topic: str, topic_id: str, bounds: Bounds, *, option: str = "") -> None:
    """Make sure that a checkpoint's offsets are of this topic; a checkpoint that does not know its topic learns it.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder.
    job, topic : str
        Their names.
    topic_id : str
        Kafka's own id of the topic.
    bounds : mapping of int to (int, int)
        First and next offset of each partition.
    option : str
        The namespace as a command takes it; see `settings.Namespace.option`.

    Raises
    ------
    JobError
        The topic was deleted and made again: its offsets mean other messages.
    """
    note, name = _topic_note(checkpoint, topic)
    taken = consumed_offsets(checkpoint, topic)
    if newest_batch(checkpoint) is None or not (note or taken):
        begin = {str(partition): first for partition, (first, _) in bounds.items()}
        write_note(checkpoint, name, json.dumps({"topic": topic, "id": topic_id, "begin": begin}).encode())
        return
    behind = any(end < taken.get(str(partition), 0) for partition, (_, end) in bounds.items())
    if behind or note.get("id", topic_id) != topic_id:
        raise JobError(
            f"The topic {topic} was deleted and made again: it is another topic of the same name, and the offsets in "
            f"the checkpoint of the job {job!r} mean nothing in it.",
            remedy=f"{new_epoch_remedy(job, option)} It reads the new topic from its beginning.",
        )
    if "id" not in note:
        write_note(checkpoint, name, json.dumps({"topic": topic, "id": topic_id}).encode())


def _topic_note(checkpoint: str, topic: str) -> tuple[dict[str, Any], str]:
    """What is noted of a topic, and the note's name: the first topic of a job has the name that it always had."""
    for name in (_TOPIC, f"topic-{topic}.json"):
        note: dict[str, Any] = json.loads(read_note(checkpoint, name) or b"{}")
        if not note or note.get("topic", topic) == topic:
            return note, name
    return {}, f"topic-{topic}.json"


def consumed_offsets(checkpoint: str, topic: str) -> dict[str, int]:
    """The offset after the last message that every query of the epoch has consumed, by partition.

    It is empty before a batch.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    topic : str
        Its full name.
    """
    taken: dict[str, int] = {}
    for output in outputs_of(checkpoint):
        for partition, end in _taken_by(checkpoint, output, topic).items():
            taken[partition] = min(end, taken.get(partition, end))
    return taken


def _taken_by(epoch: str, output: str, topic: str) -> dict[str, int]:
    query = checkpoint_of(epoch, output)
    done = committed_batch(query, alone=True)
    if done is not None:
        return done.offsets.get(topic, {})
    if newest_batch(query, alone=True) is None:
        return {}
    # Its first batch was begun, and not ended: nothing is taken from where the epoch began.
    begin: dict[str, int] = _topic_note(epoch, topic)[0].get("begin", {})
    return begin


def gaps_of(taken: Mapping[str, int], bounds: Bounds, topic: str = "") -> list[Gap]:
    """The offsets that are neither taken nor in the topic any more.

    Parameters
    ----------
    taken : mapping of str to int
        What `consumed_offsets` gave.
    bounds : Bounds
        The first offset and the next one of each partition, as the topic has them now.
    topic : str
        Its full name, for the gaps.
    """
    return [
        Gap(partition, start, begin, topic)
        for partition, (begin, _) in sorted(bounds.items())
        if (start := taken.get(str(partition), begin)) < begin
    ]


def accepted(checkpoint: str, topic: str = "") -> list[Gap]:
    """The gaps that somebody decided to go on behind.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    topic : str
        Only those of this topic; all when empty.
    """
    gaps = [Gap(**gap) for gap in json.loads(read_note(checkpoint, _LOST) or b"[]")]
    return [gap for gap in gaps if not topic or gap.topic in ("", topic)]


def accept(checkpoint: str, gaps: Iterable[Gap]) -> None:
    """Go on behind gaps: the batches that they lie in account for them as lost.

    Parameters
    ----------
    checkpoint : str
        The epoch's folder, a path or a URI.
    gaps : iterable of Gap
        Added to those that were accepted before.
    """
    known = {(gap.topic, gap.partition, gap.start): gap for gap in [*accepted(checkpoint), *gaps]}
    write_note(checkpoint, _LOST, json.dumps([asdict(gap) for gap in known.values()]).encode())


def start_after_gaps(gaps: Sequence[Gap], partition: int, start: int, end: int) -> int:
    """Where to read ``[start, end)`` of a partition from: behind the gap that it begins in.

    Parameters
    ----------
    gaps : sequence of Gap
        Those that were accepted.
    partition : int
        Its number.
    start, end : int
        The range of offsets, without its end.
    """
    ends = (gap.end for gap in gaps if gap.partition == partition and gap.start <= start < gap.end)
    return min(end, max(ends, default=start))


def lost_between(gaps: Sequence[Gap], starts: Mapping[str, int], ends: Mapping[str, int]) -> int:
    """How many messages of a batch lie in accepted gaps.

    Parameters
    ----------
    gaps : sequence of Gap
        Those that were accepted.
    starts, ends : mapping of str to int
        The batch's range of offsets by partition, without its end.
    """
    return sum(
        start_after_gaps(gaps, int(partition), start, end) - start
        for partition, end in ends.items()
        if (start := starts.get(partition, end)) < end
    )
