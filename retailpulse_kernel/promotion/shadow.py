"""A shadow: a namespace beside the live one, with a sample of its events, gone when it has served."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import filelock
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.namespaces import drop
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.stores.kafka_config import client_config
from retailpulse_kernel.topics import ensure_topics, topic_states

__all__ = ["sample_events", "shadow_of"]

_LONGEST_NAME = 40
_TIMEOUT = 10.0


@contextmanager
def shadow_of(live: Settings, name: str) -> Iterator[Settings]:
    """A shadow for one promotion; a second one of the same pipeline has to wait for its turn.

    Raises
    ------
    UsageError
        The same pipeline is being promoted already, or the live namespace has no topics yet.
    """
    wanted = f"shadow_{live.namespace.name}_{name}"
    if len(wanted) > _LONGEST_NAME:
        wanted = f"shadow_{hashlib.blake2b(wanted.encode(), digest_size=12).hexdigest()}"
    shadow = live.within(wanted)
    folder = live.home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{wanted}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(f"{name} is being promoted already.", remedy="Wait until that has ended.") from None
    try:
        drop(shadow)  # what a killed promotion left
        try:
            (events,) = topic_states(live, [live.namespace.events_topic])
            ensure_topics(shadow, partitions=events.partitions)
            yield shadow
        finally:
            drop(shadow)
    finally:
        lock.release()


def sample_events(live: Settings, shadow: Settings, topic: str, *, limit: int) -> int:
    """Copy the newest messages of a live topic into the shadow's, each into its partition; returns how many.

    Raises
    ------
    UsageError
        There is no such topic.
    """
    source, target = live.namespace.topic(topic), shadow.namespace.topic(topic)
    bounds = KafkaStore(live).offsets(source)
    if target not in shadow.namespace.topics:
        new = NewTopic(target, len(bounds), config={"message.timestamp.type": "LogAppendTime"})
        AdminClient(client_config(shadow)).create_topics([new])[target].result(timeout=_TIMEOUT)
    waiting = sum(end - begin for begin, end in bounds.values())
    first = {p: end - (end - begin) * min(limit, waiting) // max(1, waiting) for p, (begin, end) in bounds.items()}
    producer = Producer({**client_config(live), "enable.idempotence": True, "message.max.bytes": 4_000_000})
    copied = 0
    for message in KafkaStore(live).messages(source, starts=first):
        while True:
            try:
                producer.produce(target, message.value, message.key, message.partition)
                break
            except BufferError:
                producer.poll(1.0)
        copied += 1
    if producer.flush(60):
        raise UsageError("Kafka did not take the sample.", remedy="See `retailpulse status`.")
    return copied
