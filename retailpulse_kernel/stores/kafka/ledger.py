"""What the namespace's outputs have written: a compacted topic, from which nothing expires.

It holds the columns of each table of rows, and for each output and epoch the last micro-batch that was written. The
number of a micro-batch is written in the transaction of the rows: either both are there or neither is. A consumer
group's offset would do the same, but a broker forgets it a week after a job was paused.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from typing import Any, Final

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.rows import Column, RowTable
from retailpulse_kernel.stores.kafka.admin import Admin
from retailpulse_kernel.stores.kafka.config import client_config, failure

__all__ = ["Ledger", "batch_key"]

#: The first has the tables, the others the micro-batches.
_PARTITIONS: Final = 8
#: Seconds that another output's transaction may keep the ledger from being read to its end: a writer that was killed
#: in the moment of its commit, until the broker aborts for it.
_PATIENCE: Final = 330.0
_TIMEOUT: Final = 60.0


def batch_key(topic: str, writer: str, epoch: int) -> bytes:
    """The key under which an output's last micro-batch stands.

    Parameters
    ----------
    topic : str
        The full name of the topic that is written.
    writer : str
        The output; see `MicroBatch.writer`.
    epoch : int
        The epoch's number: each counts its micro-batches from 0.
    """
    return orjson.dumps(["batch", topic, writer, epoch])


class Ledger:
    """The namespace's ledger of outputs.

    Parameters
    ----------
    settings : Settings
        Its profile has the brokers, its namespace the topic's name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.topic = settings.namespace.topic("retail.outputs")

    def ensure(self, admin: Admin) -> None:
        """Make the topic where it is absent.

        Parameters
        ----------
        admin : Admin
            Kafka's administration.
        """
        # Small segments: only what is not being written is compacted.
        config = {"cleanup.policy": "compact", "segment.bytes": str(2**20), "segment.ms": str(24 * 3_600_000)}
        if self.topic not in admin.topics():
            admin.create([NewTopic(self.topic, _PARTITIONS, -1, config=config)])

    def batches(self, writer: str) -> dict[bytes, int]:
        """The last micro-batches of an output that are committed, by `batch_key`.

        What was committed behind an open transaction can't be read yet: the end of the log is waited for. The output's
        own transactions have to be ended before, by `init_transactions`.

        Parameters
        ----------
        writer : str
            The output.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer, or another output's transaction stays open.
        """
        found = self._read([self.partition_of(writer)], "read_committed")
        return {key: said["batch"] for key, said in found.items() if orjson.loads(key)[:3:2] == ["batch", writer]}

    def partition_of(self, writer: str) -> int:
        """The partition in which an output notes its micro-batches: so few others have to be waited for.

        Parameters
        ----------
        writer : str
            The output.
        """
        return 1 + zlib.crc32(writer.encode()) % (_PARTITIONS - 1)

    def _read(self, partitions: Iterable[int], isolation: str) -> dict[bytes, Any]:
        """What stands in partitions of the ledger, by key; nothing where there is no ledger."""
        admin = Admin(self._settings)
        if self.topic not in admin.topics():
            return {}
        places = [(self.topic, partition) for partition in partitions]
        ends = admin.offsets(places, OffsetSpec.latest(), committed=False)
        left = {partition: end for (_, partition), end in ends.items() if end}
        found: dict[bytes, Any] = {}
        consumer = Consumer(
            {
                **client_config(self._settings),
                "group.id": "retailpulse-reader",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
                "fetch.wait.max.ms": 10,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            consumer.assign([TopicPartition(self.topic, partition, 0) for partition in left])
            deadline = time.monotonic() + _PATIENCE
            while left:
                if time.monotonic() > deadline:
                    raise failure(self._settings, f"a transaction in {self.topic} stays open")
                for message in consumer.consume(10_000, timeout=0.2):
                    partition, reached = self._taken(message, found)
                    if reached >= left.get(partition, reached + 1):
                        del left[partition]
        except KafkaException as error:
            raise failure(self._settings, error) from error
        finally:
            consumer.close()
        return found

    def _taken(self, message: Any, found: dict[bytes, Any]) -> tuple[int, int]:
        """Keep what a message says; its partition, and the offset up to which that is known."""
        error = message.error()
        if error is None:
            if message.value() is None:
                found.pop(message.key(), None)
            else:
                found[message.key()] = orjson.loads(message.value())
            return message.partition(), message.offset() + 1
        if error.code() == KafkaError._PARTITION_EOF:
            return message.partition(), message.offset()
        if not passes(error):
            raise KafkaException(error)
        return -1, 0

    def table(self, topic: str) -> RowTable | None:
        """The table that was made as a topic; None where none was.

        Parameters
        ----------
        topic : str
            Its full name.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        """
        # Tables are noted without transactions, and are there at once.
        said = self._read([0], "read_uncommitted").get(_table_key(topic))
        return said and RowTable(topic, tuple(Column(*column) for column in said["columns"]), tuple(said["key"]))

    def put(self, topic: str, table: RowTable) -> None:
        """Note a table's columns and key.

        Parameters
        ----------
        topic : str
            The topic's full name.
        table : RowTable
            The table.
        """
        said = {"columns": [(column.name, column.type) for column in table.columns], "key": table.key}
        self._send({_table_key(topic): (0, orjson.dumps(said))})

    def forget(self, topic: str) -> None:
        """Remove all that is said of a topic.

        Parameters
        ----------
        topic : str
            The topic's full name.
        """
        found = self._read(range(_PARTITIONS), "read_uncommitted")
        parts = {key: orjson.loads(key) for key in found}
        self._send(
            {
                key: (0 if kind == "table" else self.partition_of(rest[0]), None)
                for key, (kind, name, *rest) in parts.items()
                if name == topic
            }
        )

    def _send(self, messages: dict[bytes, tuple[int, bytes | None]]) -> None:
        heard: list[KafkaError] = []

        def hear(error: KafkaError | None, _: object) -> None:
            if error is not None:
                heard.append(error)

        producer = Producer(client_config(self._settings) | {"enable.idempotence": True, "acks": "all"})
        for key, (partition, value) in messages.items():
            producer.produce(self.topic, value, key, partition=partition, on_delivery=hear)
        if producer.flush(_TIMEOUT) or heard:
            raise failure(self._settings, heard[0] if heard else f"{self.topic} was not acknowledged")


def _table_key(topic: str) -> bytes:
    return orjson.dumps(["table", topic])
