"""The shadow namespace of a promotion: it has a sample of the live events, and is removed after the trial."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import filelock
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.stores.kafka.topics import ensure_topics, topic_states
from retailpulse_kernel.stores.namespaces import drop

__all__ = ["sample_events", "shadow_name", "shadow_of"]

_LONGEST_NAME = 40


@contextmanager
def shadow_of(live: Settings, name: str) -> Iterator[Settings]:
    """A shadow namespace for one promotion; a second promotion of the same pipeline has to wait.

    Parameters
    ----------
    live : Settings
        The live namespace.
    name : str
        The pipeline's name.

    Raises
    ------
    UsageError
        The same pipeline is being promoted already, or the live namespace has no topics yet.
    """
    wanted = shadow_name(live.namespace.name, name)
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


def shadow_name(namespace: str, pipeline: str) -> str:
    """The shadow namespace in which a pipeline of a namespace is tried; no two pipelines share one.

    >>> shadow_name("a_b", "c"), shadow_name("a", "b_c")
    ('shadow_a_b_c_9825a706', 'shadow_a_b_c_c94c510e')

    Parameters
    ----------
    namespace : str
        The live namespace's name.
    pipeline : str
        The pipeline's name.
    """
    digest = hashlib.blake2b(f"{namespace}.{pipeline}".encode(), digest_size=4).hexdigest()
    plain = re.sub(r"[^a-z0-9_]", "_", pipeline.lower())
    return f"shadow_{namespace}_{plain}"[: _LONGEST_NAME - len(digest) - 1] + f"_{digest}"


def sample_events(live: Settings, shadow: Settings, topic: str, *, limit: int) -> int:
    """Copy the newest messages of a live topic into the shadow's topic, each into its partition.

    Parameters
    ----------
    live, shadow : Settings
        The live namespace, and the shadow namespace.
    topic : str
        The topic, without the namespace.
    limit : int
        At most so many messages.

    Returns
    -------
    int
        The number of copied messages.

    Raises
    ------
    UsageError
        There is no such topic, or Kafka did not take the messages.
    """
    source, target = live.namespace.topic(topic), shadow.namespace.topic(topic)
    bounds = KafkaStore(live).offsets(source)
    if target not in shadow.namespace.topics:
        new = NewTopic(target, len(bounds), config={"message.timestamp.type": "LogAppendTime"})
        Admin(shadow).create([new])
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
