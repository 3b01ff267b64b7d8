"""The account of a micro-batch: where every message went.

Each batch of each job leaves one record in the namespace's progress topic, before the batch is
committed and under a key that a replayed batch has again. ``consumed = accepted + duplicate +
late + bad`` holds in each, and the topic is what lag, rates and reconciliation are read from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from confluent_kafka import KafkaError

from retailpulse_kernel.errors import StoreUnavailable
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka_config import client_config, unavailable

__all__ = ["Account", "Accounts", "Ledger", "read_accounts"]

#: Records that wait for Kafka at most.
_QUEUED = 10_000


@dataclass(frozen=True)
class Account:
    """What one micro-batch of a job did.

    Attributes
    ----------
    job, epoch, batch
        Which batch; together they are the record's key.
    offsets : dict
        The end offset of each partition: ``{topic: {partition: offset}}``.
    consumed, accepted, duplicate, late, bad : int
        Messages; the first is the sum of the others.
    rows : int
        Rows written to the stores.
    watermark_ms, started_ms, finished_ms : int
        Times in epoch milliseconds.
    arrived_ms : int, optional
        The broker's time of the oldest message.
    bounded : bool
        Whether the run was bounded, in which no order of the topic makes an event late.
    delay_ms : int
        The job's watermark: how far a partition's clock ran ahead of an event before it was late.
    start_ms : int
        When the epoch was opened: its rows' versions count from there. 0 in accounts that did not say so yet.
    """

    job: str
    epoch: int
    batch: int
    offsets: dict[str, dict[str, int]]
    consumed: int
    accepted: int
    duplicate: int
    late: int
    bad: int
    rows: int
    watermark_ms: int
    started_ms: int
    finished_ms: int
    arrived_ms: int | None = None
    bounded: bool = False
    delay_ms: int = 600_000
    start_ms: int = 0

    @property
    def key(self) -> str:
        """The record's key in the progress topic."""
        return f"{self.job}/{self.epoch}/{self.batch}"

    @property
    def seconds(self) -> float:
        """How long the batch took."""
        return (self.finished_ms - self.started_ms) / 1000


class Ledger:
    """Writes accounts to the progress topic of a namespace."""

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        self._topic = settings.namespace.progress_topic
        self._producer = Producer({**client_config(settings), "enable.idempotence": True})

    def write(self, account: Account) -> None:
        """Write one account and wait until Kafka has it.

        Raises
        ------
        StoreUnavailable
            Kafka did not acknowledge it within 30 s.
        """
        self.write_all([account])

    def write_all(self, accounts: Iterable[Account]) -> None:
        """Write accounts and wait until Kafka has them all.

        Raises
        ------
        StoreUnavailable
            Kafka did not acknowledge them within 30 s.
        """
        failed: list[Any] = []
        for account in accounts:
            while len(self._producer) >= _QUEUED:
                self._producer.poll(0.1)
            self._producer.produce(
                self._topic,
                key=account.key,
                value=orjson.dumps(asdict(account)),
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        if self._producer.flush(30) or failed:
            raise StoreUnavailable(
                "kafka", "Kafka does not take the batch's account.", remedy="See `retailpulse status`."
            )


class Accounts:
    """The accounts of a namespace's jobs, followed as they are written.

    Parameters
    ----------
    settings : Settings
        Which namespace.
    """

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        self._consumer = Consumer(
            {
                **client_config(settings),
                "group.id": "retailpulse-accounts",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        self._consumer.assign([TopicPartition(settings.namespace.progress_topic, 0, OFFSET_BEGINNING)])
        self._settings = settings
        self._seen: dict[str, Account] = {}

    def poll(self, timeout: float = 0.1) -> list[Account]:
        """Accounts that were written since the last call; a batch that was done again comes once."""
        new: list[Account] = []
        while batch := self._consumer.consume(1_000, timeout):
            new += self._take(batch)
        return new

    def catch_up(self, timeout: float = 10.0) -> list[Account]:
        """The same, but all of them: it goes on until the topic's end has been reached.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer in time.
        """
        new: list[Account] = []
        deadline, ended = time.monotonic() + timeout, False
        while not ended:
            batch = self._consumer.consume(1_000, 0.1)
            new += self._take(batch)
            ended = any((error := m.error()) is not None and error.code() == KafkaError._PARTITION_EOF for m in batch)
            if not ended and time.monotonic() > deadline:
                raise unavailable(self._settings, f"the jobs' accounts were not read to their end in {timeout:.0f} s")
        return new

    def _take(self, messages: Iterable[Any]) -> list[Account]:
        new = []
        for message in messages:
            value = message.value()
            if message.error() is None and value:
                account = Account(**orjson.loads(value))
                if account.key not in self._seen:
                    new.append(account)
                self._seen[account.key] = account
        return new

    def all(self) -> list[Account]:
        """Every account so far, one a batch, in order of writing."""
        return list(self._seen.values())

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()


def read_accounts(settings: Settings) -> list[Account]:
    """Every account in the progress topic, one a batch.

    Raises
    ------
    StoreUnavailable
        Kafka does not answer.
    """
    from retailpulse_kernel.stores.kafka import KafkaStore

    latest = {
        account.key: account
        for message in KafkaStore(settings).messages(settings.namespace.progress_topic)
        if message.value
        for account in [Account(**orjson.loads(message.value))]
    }
    return list(latest.values())
