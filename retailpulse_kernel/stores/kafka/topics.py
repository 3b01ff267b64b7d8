"""The namespace's topics: made once, listed with what they hold.

>>> ensure_topics(Settings.load(namespace="try"))  # doctest: +SKIP
['try.retail.events', 'try.retail.events.dlq', 'try.retail.events.late', 'try.retail.progress']
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.kafka.admin import Admin, no_such_topic

__all__ = [
    "MAX_MESSAGE_BYTES",
    "TopicState",
    "await_absence",
    "await_leaders",
    "clock_warning",
    "delete_topics",
    "ensure_topics",
    "set_broker_time",
    "timestamp_types",
    "topic_states",
]

_TIMESTAMPS: Final = "message.timestamp.type"
BROKER_TIME: Final = "LogAppendTime"
"""How Kafka calls a topic whose messages carry the broker's time, and not the producer's."""

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024

#: Seconds that a busy broker lists a topic for after it was deleted, at most.
_LISTED = 10.0


@dataclass(frozen=True)
class TopicState:
    """A topic and what it holds.

    Attributes
    ----------
    exists : bool
        False for a topic of the namespace that has not been made.
    begin, end : dict of int to int
        The first offset kept, and the one behind the last that a reader gets, by partition: what lies behind an
        open transaction comes when that has ended.
    """

    name: str
    exists: bool
    begin: dict[int, int]
    end: dict[int, int]

    @property
    def bounds(self) -> dict[int, tuple[int, int]]:
        """Begin and end of each partition."""
        return {partition: (self.begin[partition], end) for partition, end in self.end.items()}

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.end)

    @property
    def messages(self) -> int:
        """Offsets kept; a compacted topic may hold fewer messages."""
        return sum(self.end.values()) - sum(self.begin.values())


def ensure_topics(
    settings: Settings, names: Iterable[str] | None = None, *, partitions: int = 4, replication: int = -1
) -> list[str]:
    """Make the namespace's topics, or the named ones, where they are absent; a second call changes nothing.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    names : iterable of str, optional
        Full names of topics of the namespace; those that every namespace has when absent.
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
    require_own(settings, "Making topics")
    admin = Admin(settings)
    there = admin.topics()
    wanted = settings.namespace.topics if names is None else names
    missing = [_new_topic(settings, name, partitions, replication) for name in wanted if name not in there]
    made = admin.create(missing)
    if made:
        progress = settings.namespace.progress_topic
        await_leaders(admin, {name: 1 if name == progress else partitions for name in made})
    return made


def await_leaders(admin: Admin, partitions: dict[str, int]) -> None:
    """Wait until topics answer, a moment after they were made.

    Parameters
    ----------
    admin : Admin
        Kafka's administration.
    partitions : dict of str to int
        How many partitions each topic has.
    """
    _offsets(admin, partitions)


def await_absence(admin: Admin, names: Iterable[str]) -> None:
    """Wait until topics that were deleted are listed no more: before that they would not be made anew.

    Parameters
    ----------
    admin : Admin
        Kafka's administration.
    names : iterable of str
        The topics' full names.
    """
    gone, deadline = set(names), time.monotonic() + _LISTED
    while gone & admin.topics().keys() and time.monotonic() < deadline:
        time.sleep(0.05)


def _new_topic(settings: Settings, name: str, partitions: int, replication: int) -> NewTopic:
    if name == settings.namespace.progress_topic:
        return NewTopic(name, 1, replication, config={"cleanup.policy": "compact"})
    config = {
        # Lateness and clocks ahead are judged by the broker's time, which no producer can bend.
        _TIMESTAMPS: BROKER_TIME,
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    return NewTopic(name, partitions, replication, config=config)


def timestamp_types(settings: Settings, names: Iterable[str] | None = None) -> dict[str, str]:
    """Whose time the messages of topics carry: `BROKER_TIME`, or ``CreateTime`` for the producer's.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    names : iterable of str, optional
        The topics; those of the namespace that hold events when absent. One that does not exist, or whose
        configuration the broker does not show to this login, is left out.

    Raises
    ------
    StoreUnavailable
        Kafka does not answer.
    """
    admin, namespace = Admin(settings), settings.namespace
    there = admin.topics()
    wanted = [name for name in there if namespace.owns(name)] if names is None else [n for n in names if n in there]
    return admin.settings([name for name in wanted if name != namespace.progress_topic], _TIMESTAMPS)


def clock_warning(settings: Settings, names: Iterable[str] | None = None) -> tuple[str, str] | None:
    """What is wrong with the clocks of the topics that carry the producer's time, and what to do; None if none does.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    names : iterable of str, optional
        As `timestamp_types` has them.

    Raises
    ------
    StoreUnavailable
        Kafka does not answer.
    """
    found = [name for name, kind in timestamp_types(settings, names).items() if kind != BROKER_TIME]
    if not found:
        return None
    return (
        f"Messages of {', '.join(found)} carry the producer's time ({_TIMESTAMPS}=CreateTime), so one fast clock can "
        "make other clients' events late.",
        f"Let new ones carry the broker's: `retailpulse topics --broker-time --namespace {settings.namespace.name}`.",
    )


def set_broker_time(settings: Settings) -> list[str]:
    """Let the messages that come from now on carry the broker's time; the namespace's topics that were changed.

    Parameters
    ----------
    settings : Settings
        Whose namespace.

    Raises
    ------
    RetailPulseError
        The broker refuses.
    StoreUnavailable
        Kafka does not answer.
    """
    require_own(settings, "Changing topics")
    names = [name for name, kind in timestamp_types(settings).items() if kind != BROKER_TIME]
    entry = ConfigEntry(_TIMESTAMPS, BROKER_TIME, incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names]
    Admin(settings).configure(resources)
    return names


def delete_topics(settings: Settings) -> list[str]:
    """Delete the namespace's topics and all messages in them; the names of those that were there.

    Parameters
    ----------
    settings : Settings
        Whose namespace.

    Raises
    ------
    ConfinedError
        A notebook is being tried, and this is not its namespace.
    StoreUnavailable
        Kafka does not answer.
    """
    require_own(settings, "Deleting topics")
    admin = Admin(settings)
    there = [name for name in admin.topics() if settings.namespace.owns(name)]
    admin.delete(there)
    await_absence(admin, there)
    return there


def topic_states(settings: Settings, names: Iterable[str] | None = None, *, absent: bool = False) -> list[TopicState]:
    """What the namespace's topics, or the named ones, hold.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    names : iterable of str, optional
        Full names of topics, of any namespace; those that every namespace has when absent.
    absent : bool
        Whether a named topic may be absent. It is listed as absent then, as the namespace's own always are.

    Raises
    ------
    UsageError
        A named topic does not exist.
    StoreUnavailable
        Kafka does not answer.
    """
    wanted = tuple(names) if names is not None else settings.namespace.topics
    admin = Admin(settings)
    there = admin.topics()
    missing = [name for name in wanted if name not in there]
    if missing and names is not None and not absent:
        raise no_such_topic(settings.namespace, missing[0], there)
    offsets = _offsets(admin, {name: there[name] for name in wanted if name in there})
    return [
        TopicState(
            name,
            name in there,
            begin={partition: offsets[name, partition][0] for partition in range(there.get(name, 0))},
            end={partition: offsets[name, partition][1] for partition in range(there.get(name, 0))},
        )
        for name in wanted
    ]


def _offsets(admin: Admin, partitions: dict[str, int]) -> dict[tuple[str, int], tuple[int, int]]:
    """First and next offset of each partition of the topics."""
    wanted = [(name, partition) for name, count in partitions.items() for partition in range(count)]
    begin, end = admin.offsets(wanted, OffsetSpec.earliest()), admin.offsets(wanted, OffsetSpec.latest())
    return {place: (begin[place], end[place]) for place in wanted}
