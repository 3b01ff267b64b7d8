"""Messages exactly once: a transaction a micro-batch, which also holds the micro-batch's number.

A reader with ``isolation.level=read_committed`` sees all messages of a micro-batch or none of them. A writer that
begins asks the ledger which micro-batch was the last one: what is there already is not written again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer

from retailpulse_kernel.ground.errors import JobError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.kafka.config import bootstrap_addresses, client_config, failure
from retailpulse_kernel.stores.kafka.ledger import Ledger, batch_key
from retailpulse_kernel.stores.kafka.topics import MAX_MESSAGE_BYTES

__all__ = ["Transactions"]

#: A key and a value.
Pair = tuple[bytes | None, bytes | None]

#: Seconds that Kafka has for beginning or ending a transaction, and for taking a message.
_TIMEOUT: Final = 60.0
#: Seconds that a transaction may take, and a dead writer's holds readers up, unless a new writer takes over before.
_LONGEST: Final = 300.0
#: Times that a micro-batch is tried before its error is told.
_TRIES: Final = 3


class Transactions:
    """The transactions of one output; a new one shuts out what an older one has not ended.

    Parameters
    ----------
    settings : Settings
        Its profile has the brokers.
    writer : str
        The output; see `MicroBatch.writer`.
    """

    def __init__(self, settings: Settings, writer: str) -> None:
        self._settings, self._writer = settings, writer
        self._ledger = Ledger(settings)
        self._producer: Producer | None = None
        self._done: dict[bytes, int] = {}

    def write(self, topic: str, messages: Iterable[Pair], *, by: MicroBatch) -> bool:
        """Write a micro-batch's messages; False where they are written already.

        Parameters
        ----------
        topic : str
            Its full name.
        messages : iterable of (bytes, bytes)
            Keys and values; iterated again for each try.
        by : MicroBatch
            Who writes.

        Raises
        ------
        JobError
            A later micro-batch of the epoch is written already, or another process writes for this output.
        StoreUnavailable
            Kafka does not answer; the caller may write the same messages again.
        RetailPulseError
            Kafka refuses a message.
        """
        key = batch_key(topic, by.writer, by.epoch)
        for left in reversed(range(_TRIES)):
            if why := why_unreachable(bootstrap_addresses(self._settings)):
                self.close()
                raise failure(self._settings, why)
            try:
                producer = self._begun()
                if self._is_done(topic, key, by):
                    return False
                self._transact(producer, topic, messages, key, by)
            except KafkaException as error:
                cause = error.args[0]
                # Whether a commit came through is only known to whoever reads the ledger again.
                self.close()
                if cause.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
                    raise JobError(
                        f"Another process writes for the output {by.writer!r}: what this one had begun is undone.",
                        remedy="Only one run of a job writes at a time; see `retailpulse runs`.",
                    ) from error
                if not left or not (cause.fatal() or cause.retriable() or cause.txn_requires_abort()):
                    raise failure(self._settings, error) from error
            else:
                self._done[key] = by.batch
                return True
        raise AssertionError("the last try returns or raises")

    def _begun(self) -> Producer:
        """The producer; a new one ends what an older one left open, and learns what is written."""
        if self._producer is None:
            producer = Producer(
                client_config(self._settings)
                | {
                    "transactional.id": f"retailpulse:{self._settings.namespace.name}:{self._writer}",
                    "transaction.timeout.ms": int(_LONGEST * 1000),
                    "delivery.timeout.ms": int(_TIMEOUT * 1000),
                    # As Java's clients do, so that a key stays in one partition whoever sends.
                    "partitioner": "murmur2_random",
                    "compression.type": "lz4",
                    "linger.ms": 5,
                    "batch.size": 256 * 1024,
                    "message.max.bytes": MAX_MESSAGE_BYTES,
                    "queue.buffering.max.messages": 100_000,
                }
            )
            producer.init_transactions(_TIMEOUT)
            self._done = self._ledger.batches(self._writer)
            self._producer = producer
        return self._producer

    def _is_done(self, topic: str, key: bytes, by: MicroBatch) -> bool:
        done = self._done.get(key, -1)
        if done > by.batch:
            raise JobError(
                f"The output {by.writer!r} has written its micro-batch {done} to {topic} already, and is to write "
                f"{by.batch} of the same epoch.",
                remedy="The checkpoint is older than the topic: start the job with a new epoch.",
            )
        return done == by.batch

    def _transact(self, producer: Producer, topic: str, messages: Iterable[Pair], key: bytes, by: MicroBatch) -> None:
        said = orjson.dumps({"batch": by.batch})
        producer.begin_transaction()
        try:
            for message_key, value in messages:
                _produce(producer, topic, value, message_key)
            # Last, so that the ledger's other readers wait for no more than a commit.
            producer.flush(_TIMEOUT)
            _produce(producer, self._ledger.topic, said, key, partition=self._ledger.partition_of(self._writer))
            producer.commit_transaction(_TIMEOUT)
        except BaseException:
            with suppress(KafkaException):
                producer.abort_transaction(_TIMEOUT)
            raise

    def close(self) -> None:
        """Let go of the producer; the next write begins with a new one."""
        self._producer = None


def _produce(producer: Producer, topic: str, value: bytes | None, key: bytes | None, *, partition: int = -1) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition)
        except BufferError:  # the queue is full: let acknowledgements come in
            producer.poll(0.1)
        else:
            producer.poll(0)
            return
