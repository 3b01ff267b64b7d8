"""The account of a micro-batch: where every message went.

Each batch of each job leaves one record in the namespace's progress topic, before the batch is
committed and under a key that a replayed batch has again. ``consumed + further_events = accepted + duplicate +
late + bad`` holds in each: a message is one event, or in some formats several, and each event is judged. ``lost``
stands beside, and the topic is what lag, rates and reconciliation are read from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from confluent_kafka import KafkaError

from retailpulse_kernel.ground.retrying import passes
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.confinement import require_own_topic
from retailpulse_kernel.stores.kafka.config import client_config, failure

__all__ = ["Account", "Accounts", "Ledger", "read_accounts", "untaken"]

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
    consumed : int
        Messages.
    accepted, duplicate, late, bad : int
        Events: their sum is the messages and the further events. A message that can't be opened is one bad event.
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
    ahead : int
        Valid events that were ahead of the broker's time, among the accepted, duplicate and late ones.
    ahead_ms : int
        By how much at most, in milliseconds.
    held : bool
        Whether the broker's time held the partitions' clocks back (docs/adr/0010); False in older accounts.
    lost : int
        Messages between the batch's offsets that the topic had deleted before the job took them, which somebody
        decided to go on without. They are not among the consumed ones.
    output : str
        The output that consumed them: a table of rows has a query of its own. Empty for figures and single events.
    further : bool
        Whether another output of the job counts these messages: a job's totals are those of its first output.
    null_keys : int
        Rows that were not written since a column of their key has no value; they are in the dead-letter topic.
    failed_rows : int
        Rows that were not written since a function of the job failed for them; they are in the dead-letter topic.
    further_events : int
        Events that are not the first of their message; 0 where each message is one event.
    expectations : dict of str to list of int
        Of each expectation, by its name: the events that violated it, and those that were judged. An expectation of a
        topic that another output counts is not among them.
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
    ahead: int = 0
    ahead_ms: int = 0
    held: bool = False
    lost: int = 0
    output: str = ""
    further: bool = False
    null_keys: int = 0
    failed_rows: int = 0
    further_events: int = 0
    expectations: dict[str, list[int]] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """How many events were judged: the sum of the accepted, duplicate, late and bad ones."""
        return self.consumed + self.further_events

    @property
    def key(self) -> str:
        """The record's key in the progress topic."""
        output = f"/{self.output}" if self.output else ""
        return f"{self.job}/{self.epoch}/{self.batch}{output}"

    @property
    def seconds(self) -> float:
        """How long the batch took."""
        return (self.finished_ms - self.started_ms) / 1000


class Ledger:
    """The accounts in the progress topic of a namespace, to be read, written and taken back.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    """

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        self._settings, self._topic = settings, settings.namespace.progress_topic
        require_own_topic(settings, self._topic)
        self._producer = Producer({**client_config(settings), "enable.idempotence": True})

    def read(self) -> list[Account]:
        """Every account, one a batch and an output; see `read_accounts`."""
        return read_accounts(self._settings, further=True)

    def write(self, account: Account) -> None:
        """Write one account and wait until Kafka has it.

        Parameters
        ----------
        account : Account
            Replaces what was written for the same batch.

        Raises
        ------
        StoreUnavailable
            Kafka did not acknowledge it within 30 s.
        """
        self.write_all([account])

    def write_all(self, accounts: Iterable[Account]) -> None:
        """Write accounts and wait until Kafka has them all.

        Parameters
        ----------
        accounts : iterable of Account
            Each replaces what was written for the same batch.

        Raises
        ------
        StoreUnavailable
            Kafka did not acknowledge them within 30 s.
        """
        self._send((account.key, orjson.dumps(asdict(account))) for account in accounts)

    def remove(self, accounts: Iterable[Account]) -> None:
        """Take accounts back, by messages without a value, and wait until Kafka has them all.

        Parameters
        ----------
        accounts : iterable of Account
            Only the job, epoch, batch and output of each count.

        Raises
        ------
        StoreUnavailable
            Kafka did not acknowledge them within 30 s.
        """
        self._send((account.key, None) for account in accounts)

    def _send(self, records: Iterable[tuple[str, bytes | None]]) -> None:
        failed: list[Any] = []
        for key, value in records:
            while len(self._producer) >= _QUEUED:
                self._producer.poll(0.1)
            self._producer.produce(
                self._topic,
                key=key,
                value=value,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        if self._producer.flush(30) or failed:
            raise failure(self._settings, failed[0] if failed else "the batch's account was not acknowledged in 30 s")


class Accounts:
    """The accounts of a namespace's jobs, followed as they are written.

    Parameters
    ----------
    settings : Settings
        Which namespace.
    further : bool
        Whether those of a job's further outputs are told, too. The totals of a job are those of its first output.
    """

    def __init__(self, settings: Settings, *, further: bool = False) -> None:
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
        self._further = further
        self._seen: dict[str, Account] = {}

    def poll(self, timeout: float = 0.1) -> list[Account]:
        """Accounts that were written since the last call; a batch that was done again comes once.

        Parameters
        ----------
        timeout : float
            Seconds to wait for more.
        """
        new: list[Account] = []
        while batch := self._consumer.consume(1_000, timeout):
            new += self._take(batch)
        return new

    def catch_up(self, timeout: float = 10.0) -> list[Account]:
        """The same, but all of them: it goes on until the topic's end has been reached.

        Parameters
        ----------
        timeout : float
            Seconds until it gives up.

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
            errors = [error for m in batch if (error := m.error()) is not None]
            ended = any(error.code() == KafkaError._PARTITION_EOF for error in errors)
            if final := [e for e in errors if e.code() != KafkaError._PARTITION_EOF and not passes(e)]:
                raise failure(self._settings, final[0])
            if not ended and time.monotonic() > deadline:
                raise failure(self._settings, f"the jobs' accounts were not read to their end in {timeout:.0f} s")
        return new

    def _take(self, messages: Iterable[Any]) -> list[Account]:
        new = []
        for message in messages:
            value = message.value()
            if message.error() is None and not value:
                self._seen.pop(message.key().decode(), None)
            elif message.error() is None:
                account = Account(**orjson.loads(value))
                if account.further and not self._further:
                    continue
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


def read_accounts(settings: Settings, *, further: bool = False) -> list[Account]:
    """Every account in the progress topic, one a batch.

    Parameters
    ----------
    settings : Settings
        Whose namespace.
    further : bool
        Whether those of a job's further outputs are wanted, too, which count the same messages once more.

    Raises
    ------
    StoreUnavailable
        Kafka does not answer.
    """
    from retailpulse_kernel.stores.kafka.store import KafkaStore

    latest: dict[str, Account] = {}
    for message in KafkaStore(settings).messages(settings.namespace.progress_topic):
        if message.value:
            account = Account(**orjson.loads(message.value))
            if further or not account.further:
                latest[account.key] = account
        elif message.key is not None:
            latest.pop(message.key.decode(), None)  # its job was retired
    return list(latest.values())


def untaken(bounds: Mapping[int, tuple[int, int]], taken: Mapping[str, int]) -> int:
    """How many messages a topic holds that a job has not taken.

    Parameters
    ----------
    bounds : mapping of int to (int, int)
        The first offset of each partition, and the one behind its last. What was deleted is not waited for.
    taken : mapping of str to int
        The offset up to which each partition is taken.
    """
    return sum(max(0, end - max(begin, taken.get(str(partition), begin))) for partition, (begin, end) in bounds.items())
