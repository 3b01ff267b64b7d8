"""The namespace's topics: made once, listed with what they hold.

>>> ensure_topics(Settings.load(namespace="try"))  # doctest: +SKIP
['try.retail.events', 'try.retail.events.dlq', 'try.retail.events.late', 'try.retail.progress']
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from retailpulse_kernel.errors import RetailPulseError, UsageError
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.kafka_config import bootstrap_addresses, client_config, unavailable

__all__ = ["MAX_MESSAGE_BYTES", "TIMEOUT", "TopicState", "delete_topics", "ensure_topics", "topic_states"]

TIMEOUT: Final = 5.0
"""Seconds that Kafka has for an answer."""

_PATIENCE: Final = 60.0
"""Seconds that a busy broker has for making or deleting topics, and for their partitions' leaders."""

_CHANGE: Final = {"operation_timeout": _PATIENCE, "request_timeout": _PATIENCE}

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024

_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NOENT,
)
_ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


@dataclass(frozen=True)
class TopicState:
    """A topic and what it holds.

    Attributes
    ----------
    exists : bool
        False for a topic of the namespace that has not been made.
    begin, end : dict of int to int
        The first offset kept and the next one to be written, by partition.
    """

    name: str
    exists: bool
    begin: dict[int, int]
    end: dict[int, int]

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.end)

    @property
    def messages(self) -> int:
        """Offsets kept; a compacted topic may hold fewer messages."""
        return sum(self.end.values()) - sum(self.begin.values())


def ensure_topics(settings: Settings, *, partitions: int = 4, replication: int = -1) -> list[str]:
    """Make the namespace's topics where they are absent; a second call changes nothing.

    Parameters
    ----------
    settings : Settings
    partitions : int
        Of the topics of events. The progress topic has one, and keeps the last message of each key.
    replication : int
        Copies of each partition; -1 is the broker's default.

    Returns
    -------
    list of str
        The topics that were made.

    Raises
    ------
    StoreUnavailable
        Kafka does not answer.
    """
    admin = _admin(settings)
    there = _existing(settings, admin)
    missing = [
        _new_topic(settings, name, partitions, replication) for name in settings.namespace.topics if name not in there
    ]
    made = []
    for name, future in (admin.create_topics(missing, **_CHANGE) if missing else {}).items():
        try:
            future.result()
            made.append(name)
        except KafkaException as error:
            # Another process made it in between.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise RetailPulseError(f"The topic {name} can't be made: {error.args[0].str()}.") from error
    if made:
        # A topic answers a moment after it was made, once its partitions have leaders.
        _offsets(settings, admin, dict.fromkeys(made, partitions) | {settings.namespace.progress_topic: 1})
    return made


def _new_topic(settings: Settings, name: str, partitions: int, replication: int) -> NewTopic:
    if name == settings.namespace.progress_topic:
        return NewTopic(name, 1, replication, config={"cleanup.policy": "compact"})
    config = {
        # Lateness and clocks ahead are judged by the broker's time, which no producer can bend.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    return NewTopic(name, partitions, replication, config=config)


def delete_topics(settings: Settings) -> list[str]:
    """Delete the namespace's topics and all messages in them; the names of those that were there."""
    admin = _admin(settings)
    there = [name for name in _existing(settings, admin) if settings.namespace.owns(name)]
    for name, future in (admin.delete_topics(there, **_CHANGE) if there else {}).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() not in _ABSENT:
                raise RetailPulseError(f"The topic {name} can't be deleted: {error.args[0].str()}.") from error
    # A busy broker lists a topic for a moment after it was deleted: it would not be made anew.
    deadline = time.monotonic() + 2 * TIMEOUT
    while there and set(there) & _existing(settings, admin).keys() and time.monotonic() < deadline:
        time.sleep(0.05)
    return there


def topic_states(settings: Settings, names: Iterable[str] | None = None) -> list[TopicState]:
    """What the namespace's topics, or the named ones, hold.

    Raises
    ------
    UsageError
        A named topic does not exist. The namespace's own are listed as absent instead.
    StoreUnavailable
        Kafka does not answer.
    """
    wanted = tuple(names) if names is not None else settings.namespace.topics
    admin = _admin(settings)
    there = _existing(settings, admin)
    if names is not None and (absent := [name for name in wanted if name not in there]):
        raise UsageError(
            f"There is no topic {absent[0]!r}.",
            remedy="Make the namespace's topics with `retailpulse topics --create`.",
        )
    offsets = _offsets(settings, admin, {name: there[name] for name in wanted if name in there})
    return [
        TopicState(
            name,
            name in there,
            begin={partition: offsets[name, partition][0] for partition in range(there.get(name, 0))},
            end={partition: offsets[name, partition][1] for partition in range(there.get(name, 0))},
        )
        for name in wanted
    ]


def _offsets(
    settings: Settings, admin: AdminClient, partitions: dict[str, int]
) -> dict[tuple[str, int], tuple[int, int]]:
    """First and next offset of each partition of the topics; waits for partitions that change leaders."""
    wanted = [(name, partition) for name, count in partitions.items() for partition in range(count)]
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return dict(
                zip(
                    wanted,
                    zip(
                        _list(admin, wanted, OffsetSpec.earliest()),
                        _list(admin, wanted, OffsetSpec.latest()),
                        strict=True,
                    ),
                    strict=True,
                )
            )
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise unavailable(settings, error) from error
            time.sleep(0.1)
            _existing(settings, admin)  # a client that saw no leader asks again only when told to


def _list(admin: AdminClient, wanted: list[tuple[str, int]], spec: OffsetSpec) -> list[int]:
    asked = {TopicPartition(*place): spec for place in wanted}
    futures = admin.list_offsets(asked, request_timeout=TIMEOUT) if asked else {}
    found = {(place.topic, place.partition): future.result(timeout=TIMEOUT).offset for place, future in futures.items()}
    return [found[place] for place in wanted]


def _admin(settings: Settings) -> AdminClient:
    return AdminClient(client_config(settings))


def _existing(settings: Settings, admin: AdminClient) -> dict[str, int]:
    """The broker's topics and their partitions."""
    if why := why_unreachable(bootstrap_addresses(settings)):
        raise unavailable(settings, why)
    try:
        topics = admin.list_topics(timeout=TIMEOUT).topics
    except KafkaException as error:
        raise unavailable(settings, error) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}
