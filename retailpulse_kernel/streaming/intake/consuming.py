"""The messages of a range of offsets, as a worker takes them from Kafka."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.streaming.intake.opening import Chunk

__all__ = ["chunks"]

#: Messages that are judged together.
_CHUNK = 10_000
#: Seconds after which a reader that is not at its end and gets nothing gives up.
_SILENCE = 30.0

_consumers: dict[str, Consumer] = {}


def _consumer(client: Mapping[str, Any]) -> Consumer:
    """The worker's consumer, kept from batch to batch: connecting costs more than a small batch."""
    key = json.dumps(client, sort_keys=True)
    if key not in _consumers:
        _consumers[key] = Consumer(
            {
                **client,
                "group.id": "retailpulse-job",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                # Offsets that are gone are data that is lost: never to be skipped.
                "auto.offset.reset": "error",
                # Measured: the defaults wait for a second between fetches when the queue was full.
                "fetch.queue.backoff.ms": 5,
                # A fetch beyond a range that ends with the log is what the next range has to wait for: half a
                # second by default, in almost every micro-batch of a job that keeps up.
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 1024 * 1024,
            }
        )
    return _consumers[key]


def chunks(client: Mapping[str, Any], topic: str, partition: int, start: int, end: int) -> Iterator[Chunk]:
    """The messages of the offsets ``[start, end)`` of a partition, in chunks.

    Parameters
    ----------
    client : mapping
        How to reach Kafka, as its client library wants it.
    topic : str
        Its full name.
    partition : int
        Its number.
    start, end : int
        The range, without its end. Offsets at its end that hold no message are passed over.

    Raises
    ------
    StoreUnavailable
        Kafka sends nothing for 30 s.
    RetailPulseError
        Kafka refuses, as where the offsets are gone.
    """
    consumer = _consumer(client)
    consumer.assign([TopicPartition(topic, partition, start)])
    position, last_heard, heard = start, time.monotonic(), None
    try:
        while position < end:
            messages = consumer.consume(min(_CHUNK, end - position), timeout=1.0)
            if any(message.error() is None for message in messages):
                last_heard = time.monotonic()
            elif time.monotonic() - last_heard > _SILENCE:
                raise _failure(client, heard or f"no message of {topic}-{partition} for {_SILENCE:g} s")
            chunk = Chunk([], [], [])
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        position = end  # the log's last offsets hold no message of ours
                    elif passes(error):
                        heard = error  # the client goes on by itself
                    else:
                        raise _failure(client, error)
                    continue
                offset = message.offset()
                assert offset is not None, "what has no error has a place"
                if offset >= end:
                    position = end
                    break
                chunk.values.append(message.value())
                chunk.offsets.append(offset)
                chunk.arrivals_ms.append(message.timestamp()[1])
                position = offset + 1
            if chunk.values:
                yield chunk
    finally:
        consumer.unassign()


def _failure(client: Mapping[str, Any], error: KafkaError | str) -> RetailPulseError:
    from retailpulse_kernel.stores.kafka.config import client_failure  # a fifth of a second of a worker's start

    return client_failure(client, error)
