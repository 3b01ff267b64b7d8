"""What is asked of Kafka about its topics: each request is made again while its error passes by itself."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from retailpulse_kernel.ground.errors import UnknownName, UsageError
from retailpulse_kernel.ground.retrying import PATIENCE, Patience, passes
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.stores.kafka.config import admin_client, explained, failure
from retailpulse_kernel.stores.kafka.offsets import TIMEOUT

__all__ = ["Admin", "no_such_topic"]

_ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
#: A busy broker has longer for making or deleting topics, and for their partitions' leaders.
_CHANGE: Final = {"operation_timeout": PATIENCE, "request_timeout": PATIENCE}

#: A topic and a partition.
Place = tuple[str, int]
T = TypeVar("T")


def no_such_topic(namespace: Namespace, topic: str, there: Iterable[str]) -> UsageError:
    """What to tell of a topic that is not among the broker's: one of the namespace can be made, another is a mistake.

    A broker may have thousands of topics: the namespace's own are named, and the one that is nearest.

    Parameters
    ----------
    namespace : Namespace
        Whose topics are named.
    topic : str
        The one that is missing.
    there : iterable of str
        The broker's.
    """
    there = [name for name in there if not name.startswith("__")]
    own = [name for name in namespace.topics if name in there]
    if own and topic not in namespace.topics:
        # The events' own topic, which comes first, goes by no short name.
        short = [name.rpartition(".")[2] for name in own if name != namespace.events_topic]
        further = [name.removeprefix(f"{namespace.name}.") for name in there if name.startswith(f"{namespace.name}.")]
        further = [name for name in further if namespace.topic(name) not in namespace.topics]
        return UnknownName("topic", topic, {*own, *short, *further, *difflib.get_close_matches(topic, there, n=1)})
    return UsageError(
        f"There is no topic {topic!r}.",
        remedy=f"Make the namespace's topics with `retailpulse topics --create{namespace.option}`.",
    )


class Admin:
    """Kafka's administration, for one command.

    Parameters
    ----------
    settings : Settings
        Its profile has the brokers.
    client : confluent_kafka.admin.AdminClient, optional
        What asks; made for the profile when absent.
    patience : Patience
        How long errors are waited for that pass by themselves.

    Raises
    ------
    StoreUnavailable
        Nothing listens where the brokers should be. Every request raises it, too, once its time is over.
    """

    def __init__(
        self, settings: Settings, client: AdminClient | None = None, *, patience: Patience | None = None
    ) -> None:
        self._settings, self._patience = settings, patience or Patience()
        self._causes: Callable[[], list[KafkaError]] = list
        if client is None:
            client, self._causes = admin_client(settings)
        self._client = client

    def topics(self) -> dict[str, int]:
        """The broker's topics, and how many partitions each has."""
        found = self._told(lambda: self._client.list_topics(timeout=TIMEOUT)).topics
        return {name: len(topic.partitions) for name, topic in found.items()}

    def topic_id(self, topic: str) -> str:
        """Kafka's own id of a topic; one that is deleted and made again under its name has another.

        Parameters
        ----------
        topic : str
            Its full name.

        Raises
        ------
        UsageError
            There is no such topic.
        """
        if topic not in (there := self.topics()):
            raise no_such_topic(self._settings.namespace, topic, there)
        asked = TopicCollection([topic])
        found = self._told(lambda: _results(self._client.describe_topics(asked, request_timeout=TIMEOUT)))
        return str(found[topic].topic_id)

    def create(self, topics: Sequence[NewTopic]) -> list[str]:
        """Make topics; the names of those that were not there.

        Parameters
        ----------
        topics : sequence of NewTopic
            With their partitions and settings.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        RetailPulseError
            The broker refuses.
        """
        made = []
        for topic in topics:
            try:
                self._ask(partial(_changed, self._client.create_topics, topic))
                made.append(topic.topic)
            except KafkaException as error:
                # Another process made it in between, or a request whose answer was lost.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise failure(self._settings, error) from error
        return made

    def delete(self, topics: Iterable[str]) -> None:
        """Delete topics and all messages in them; one that is not there any more is not an error.

        Parameters
        ----------
        topics : iterable of str
            Their full names.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        RetailPulseError
            The broker refuses.
        """
        for topic in topics:
            try:
                self._ask(
                    partial(_changed, self._client.delete_topics, topic),
                    passing=lambda error: passes(error) and not _is_absent(error),
                )
            except KafkaException as error:
                if not _is_absent(error):
                    raise failure(self._settings, error) from error

    def offsets(self, places: Sequence[Place], spec: OffsetSpec, *, committed: bool = True) -> dict[Place, int]:
        """The offset of each partition that a specification means; -1 where it means none.

        Parameters
        ----------
        places : sequence of (str, int)
            Topics and partitions.
        spec : OffsetSpec
            Earliest, latest, or that of a time.
        committed : bool
            Whether the latest is that of a reader, which waits for open transactions; otherwise that of the log.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        RetailPulseError
            The broker refuses.
        """
        asked = {TopicPartition(*place): spec for place in places}
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED

        def ask() -> dict[Any, Any]:
            try:
                return _results(self._client.list_offsets(asked, isolation_level=level, request_timeout=TIMEOUT))
            except KafkaException:
                self._client.list_topics(timeout=TIMEOUT)  # a client that saw no leader looks again only when told to
                raise

        found = self._told(ask) if asked else {}
        return {(place.topic, place.partition): result.offset for place, result in found.items()}

    def settings(self, topics: Iterable[str], name: str) -> dict[str, str]:
        """What a setting of each topic is; without those that this user may not ask about, or that are gone.

        Parameters
        ----------
        topics : iterable of str
            Their full names.
        name : str
            The setting's, as Kafka calls it.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        RetailPulseError
            The broker refuses.
        """
        found = {}
        for topic in topics:
            resource = ConfigResource(ResourceType.TOPIC, topic)
            try:
                answer = self._ask(
                    lambda asked=resource: _results(self._client.describe_configs([asked], request_timeout=TIMEOUT)),  # type: ignore[misc]
                    passing=lambda error: passes(error) and not _is_absent(error),
                )
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED or _is_absent(error):
                    continue
                raise failure(self._settings, error) from error
            found[topic] = str(answer[resource][name].value)
        return found

    def configure(self, resources: Sequence[ConfigResource]) -> None:
        """Change settings of topics.

        Parameters
        ----------
        resources : sequence of ConfigResource
            The topics with what is to change; an empty list changes nothing.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        RetailPulseError
            The broker refuses.
        """
        if resources:
            self._told(lambda: _results(self._client.incremental_alter_configs(list(resources))))

    def _told(self, call: Callable[[], T]) -> T:
        try:
            return self._ask(call)
        except KafkaException as error:
            if causes := self._causes():
                raise explained(self._settings, causes[0]) from error
            raise failure(self._settings, error) from error

    def _ask(self, call: Callable[[], T], *, passing: Callable[[BaseException], bool] = passes) -> T:
        answer = self._patience.ask("Kafka", call, passing=lambda error: passing(error) and not self._causes())
        self._causes = list  # a profile that has worked is not what is wrong
        return answer


def _changed(change: Callable[..., dict[Any, Any]], topic: Any) -> None:
    _results(change([topic], **_CHANGE))


def _results(futures: dict[Any, Any]) -> dict[Any, Any]:
    return {asked: future.result() for asked, future in futures.items()}


def _is_absent(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _ABSENT
