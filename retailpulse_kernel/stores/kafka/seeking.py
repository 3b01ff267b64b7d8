"""Where in a topic to read: the offsets that hold about as many messages as were asked for."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import Message as KafkaMessage

from retailpulse_kernel.ground.retrying import Patience, passes
from retailpulse_kernel.stores.kafka.offsets import offsets_at
from retailpulse_kernel.stores.kafka.topics import TopicState

__all__ = [
    "enough_since",
    "enough_until",
    "finished_partitions",
    "first_offsets",
    "offsets_since",
    "without_collection",
]

#: A little more than was asked for is read sooner than the exact place is found.
_ENOUGH = 1.05


def first_offsets(consumer: Consumer, state: TopicState, since_ms: int) -> dict[int, int]:
    """The first offset at or after a time in each partition; its end where there is none.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
        Asks the broker.
    state : TopicState
        The topic, with its ends.
    since_ms : int
        In milliseconds since 1970, by the broker's time.
    """
    found = offsets_at(consumer, state.name, state.end, since_ms, Patience())
    return {partition: state.end[partition] if offset is None else offset for partition, offset in found.items()}


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among millions of new objects, of which none is in one.

    Measured with a million messages: 275,000 a second, 210,000 with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def finished_partitions(batch: Sequence[KafkaMessage]) -> tuple[set[int], KafkaError | None]:
    """Partitions whose end was heard, and an error that passes by itself, while the client goes on.

    A compacted topic's last offsets may hold no message.

    Parameters
    ----------
    batch : sequence of confluent_kafka.Message
        What the consumer gave: messages, ends of partitions and errors.

    Raises
    ------
    confluent_kafka.KafkaException
        The broker reports an error that does not pass by itself.
    """
    finished, passing = set(), None
    for error, message in [(error, message) for message in batch if (error := message.error()) is not None]:
        if error.code() == KafkaError._PARTITION_EOF:
            finished.add(message.partition())
        elif passes(error):
            passing = error
        else:
            raise KafkaException(error)
    return finished, passing  # type: ignore[return-value]


def enough_since(consumer: Consumer, state: TopicState, since_ms: int, count: int) -> int:
    """A time at or after `since_ms` from which on there are `count` offsets or somewhat more, if there are so many.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
        Asks the broker.
    state : TopicState
        The topic, with its ends.
    since_ms : int
        In milliseconds since 1970, by the broker's time.
    count : int
        How many messages were asked for.
    """
    early, late = since_ms, int(time.time() * 1000)
    if offsets_since(consumer, state, early) <= count * _ENOUGH:
        return early
    while late - early > 1:
        middle = (early + late) // 2
        found = offsets_since(consumer, state, middle)
        if found < count:
            late = middle
        else:
            early = middle
            if found <= count * _ENOUGH:
                break
    return early


def enough_until(consumer: Consumer, state: TopicState, starts: dict[int, int], count: int) -> dict[int, int]:
    """Ends up to a time before which there are `count` messages or somewhat more.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
        Asks the broker.
    state : TopicState
        The topic, with its ends.
    starts : dict of int to int
        The offset of each partition from which on the messages count.
    count : int
        How many messages were asked for.
    """
    early, late, ends = 0, int(time.time() * 1000), state.end
    while late - early > 1:
        middle = (early + late) // 2
        found = {
            partition: min(offset, state.end[partition])
            for partition, offset in first_offsets(consumer, state, middle).items()
        }
        enough = sum(max(found[partition] - start, 0) for partition, start in starts.items())
        if enough < count:
            early = middle
        else:
            late, ends = middle, found
            if enough <= count * _ENOUGH:
                break
    return ends


def offsets_since(consumer: Consumer, state: TopicState, since_ms: int) -> int:
    """How many offsets there are from a time on.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
        Asks the broker.
    state : TopicState
        The topic, with its ends.
    since_ms : int
        In milliseconds since 1970, by the broker's time.
    """
    return sum(state.end[partition] - start for partition, start in first_offsets(consumer, state, since_ms).items())
