"""Sending to Kafka: nothing is lost, and each key keeps its order."""

from __future__ import annotations

from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Producer

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.confinement import require_own_topic
from retailpulse_kernel.stores.kafka.config import client_config, failure
from retailpulse_kernel.stores.kafka.topics import MAX_MESSAGE_BYTES, topic_states

__all__ = ["Sender"]

_DELIVERY_TIMEOUT = 120.0  # seconds that Kafka may be away


class Sender:
    """A producer that loses nothing and keeps the order of each key.

    Leaving the ``with`` block waits for every acknowledgement.

    Parameters
    ----------
    settings : Settings
    topic : str, optional
        The namespace's topic of events when absent.

    Attributes
    ----------
    acknowledged : int
        Messages that Kafka has for good.
    """

    def __init__(self, settings: Settings, topic: str | None = None) -> None:
        self._settings = settings
        self.topic = topic or settings.namespace.events_topic
        require_own_topic(settings, self.topic)
        topic_states(settings, [self.topic])  # says at once when Kafka or the topic is not there
        self.acknowledged = 0
        self._refused: KafkaError | None = None
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "acks": "all",
                # As Java's clients do, so that a user stays in one partition whoever sends.
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.size": 256 * 1024,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 100_000,
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT * 1000),
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        """Hand a message over; it is on its way, not yet acknowledged.

        Parameters
        ----------
        key : bytes
            Messages of one key keep their order.
        value : bytes
            The message.

        Raises
        ------
        StoreUnavailable
            Kafka does not acknowledge messages, this one or earlier ones.
        RetailPulseError
            The broker refuses a message.
        """
        while True:
            try:
                self._producer.produce(self.topic, value, key, on_delivery=self._delivered)
                break
            except BufferError:  # the queue is full: let acknowledgements come in
                self._producer.poll(0.1)
                self._check()
            except KafkaException as error:
                raise failure(self._settings, error) from error
        self._producer.poll(0)
        if self._refused:
            self._check()

    def flush(self) -> None:
        """Wait until Kafka has everything sent so far.

        Raises
        ------
        StoreUnavailable
            Kafka has not acknowledged all of it in time.
        RetailPulseError
            The broker refuses a message.
        """
        left = self._producer.flush(_DELIVERY_TIMEOUT + 5)
        self._check()
        if left:
            raise failure(self._settings, f"{left} messages were not acknowledged")

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is None:
            self.acknowledged += 1
        elif self._refused is None:
            self._refused = error

    def _check(self) -> None:
        if self._refused:
            error = failure(self._settings, self._refused)
            error.message += f" {self.acknowledged:,} messages had arrived."
            raise error

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()
        else:
            self._producer.flush(5)
