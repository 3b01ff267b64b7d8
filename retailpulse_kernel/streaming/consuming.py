"""The messages of a range of offsets, as a worker takes them from Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.streaming.intake import Chunk

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

    Raises
    ------
    StoreUnavailable
        Kafka sends nothing for 30 s.
    """
    consumer = _consumer(client)
    consumer.assign([TopicPartition(topic, partition, start)])
    position, silent = start, 0.0
    try:
        while position < end:
            messages = consumer.consume(min(_CHUNK, end - position), timeout=1.0)
            silent = 0.0 if messages else silent + 1.0
            if silent >= _SILENCE:
                raise StoreUnavailable("kafka", f"Kafka sent no message of {topic}-{partition} for {silent:.0f} s.")
            chunk = Chunk([], [], [])
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    position = end  # the log's last offsets hold no message of ours
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
