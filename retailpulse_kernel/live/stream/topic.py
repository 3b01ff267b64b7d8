"""The topic as the live view follows it: the newest messages, and how many there are."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from retailpulse_kernel.ground.retrying import Patience, passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.stored import Offsets
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.kafka.config import bootstrap_addresses, client_config, failure
from retailpulse_kernel.stores.kafka.offsets import topic_bounds
from retailpulse_kernel.stores.kafka.store import Message

__all__ = ["Topic"]

#: The browsers wait for an answer meanwhile; the feed itself tries again, and says why on the view.
_PATIENCE = Patience(seconds=2.0)
#: Messages that are taken at once: a frame must not wait for more.
_CHUNK = 5_000
#: Seconds over which the rate is measured.
_RATE_SPAN = 5.0


class Topic:
    """A reader of the events' topic that stands where it is told to, and commits nothing.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = settings.namespace.events_topic
        if why := why_unreachable(bootstrap_addresses(settings)):
            raise failure(settings, why)
        common = {
            **client_config(settings),
            "group.id": "retailpulse-live",  # required by the client, never committed to
            "enable.auto.commit": False,
        }
        self._consumer = Consumer(
            {
                **common,
                "auto.offset.reset": "earliest",  # what was deleted meanwhile can't be shown
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        # A broker answers a connection in order, and a fetch waits for messages: on the consumer's own connection
        # each partition's offsets would come after a fetch, 0.4 s for four of a quiet topic.
        self._asking = Consumer(common)
        self._ends: deque[tuple[float, int]] = deque()
        self.following = False

    def bounds(self) -> tuple[Offsets, Offsets]:
        """The first offset and the next one of each partition.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        """
        try:
            both = topic_bounds(self._asking, self._name, _PATIENCE)
        except KafkaException as error:
            raise failure(self._settings, error) from error
        begin, end = {p: low for p, (low, _) in both.items()}, {p: high for p, (_, high) in both.items()}
        self._note(sum(end.values()))
        return begin, end

    @property
    def rate(self) -> float:
        """Messages that came in a second, over the last seconds."""
        if len(self._ends) < 2:
            return 0.0
        (first, before), (last, now) = self._ends[0], self._ends[-1]
        return (now - before) / (last - first) if last > first else 0.0

    def follow(self, offsets: Mapping[int, int]) -> None:
        """Read from some offsets on.

        Parameters
        ----------
        offsets : mapping
            The next offset to read, by partition.
        """
        self._consumer.assign([TopicPartition(self._name, p, offset) for p, offset in offsets.items()])
        self.following = True

    def rest(self) -> None:
        """Read nothing until told to follow again."""
        self._consumer.unassign()
        self.following = False

    def poll(self, timeout: float) -> list[Message]:
        """New messages; returns at once when there are some.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the first message.
        """
        messages = []
        for message in self._consumer.consume(_CHUNK, timeout):
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF and not passes(error):
                    raise failure(self._settings, error)
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None and offset is not None, "what has no error has a place"
            messages.append(Message(partition, offset, message.timestamp()[1], None, message.value()))
        return messages

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()
        self._asking.close()

    def _note(self, end: int) -> None:
        now = time.monotonic()
        self._ends.append((now, end))
        while len(self._ends) > 2 and now - self._ends[1][0] >= _RATE_SPAN:
            self._ends.popleft()
