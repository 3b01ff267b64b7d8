"""Where a topic begins and ends, as a consumer is told; asked again while the error passes by itself.

Spark's planner and workers import this: no more than the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from retailpulse_kernel.ground.retrying import Patience

__all__ = ["TIMEOUT", "offsets_at", "topic_bounds"]

TIMEOUT: Final = 5.0
"""Seconds that Kafka has for one answer."""


def topic_bounds(consumer: Consumer, topic: str, patience: Patience) -> dict[int, tuple[int, int]]:
    """First and next offset of each partition of a topic, as a consumer is told them.

    Parameters
    ----------
    consumer : Consumer
        Need not be subscribed.
    topic : str
        The full name of one that exists.
    patience : Patience
        How long to ask again while an error may pass.

    Raises
    ------
    KafkaException
        The error that does not pass, or has not passed in time.
    """

    def ask() -> dict[int, tuple[int, int]]:
        found = consumer.list_topics(topic, timeout=TIMEOUT).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        places = [TopicPartition(topic, partition) for partition in sorted(found.partitions)]
        return {place.partition: consumer.get_watermark_offsets(place, timeout=TIMEOUT) for place in places}

    return patience.ask("Kafka", ask)


def offsets_at(
    consumer: Consumer, topic: str, partitions: Iterable[int], since_ms: int, patience: Patience
) -> dict[int, int | None]:
    """The first offset at or after a time in each partition, None where nothing came since.

    Parameters
    ----------
    consumer : Consumer
        Need not be subscribed.
    topic : str
        The full name of one that exists.
    partitions : iterable of int
        Some of the topic's.
    since_ms : int
        The time, in milliseconds since 1970.
    patience : Patience
        How long to ask again while an error may pass.

    Raises
    ------
    KafkaException
        As `topic_bounds`.
    """
    asked = [TopicPartition(topic, partition, since_ms) for partition in partitions]

    def ask() -> dict[int, int | None]:
        found = consumer.offsets_for_times(asked, timeout=2 * TIMEOUT)
        # A partition that has no leader for the moment answers by itself, and its offset says nothing then.
        if failed := [place.error for place in found if place.error is not None]:
            raise KafkaException(failed[0])
        return {place.partition: place.offset if place.offset >= 0 else None for place in found}

    return patience.ask("Kafka", ask)
