"""Kafka: the events as they arrive."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import compress
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from retailpulse_kernel.errors import StoreUnavailable, UsageError
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.spans import moment_of, span_of
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.frames import Form, shaped, to_frame
from retailpulse_kernel.stores.kafka_config import bootstrap_addresses, client_config, reach, unavailable
from retailpulse_kernel.stores.messages import CHUNK, MessageTable
from retailpulse_kernel.topics import TopicState, topic_states

__all__ = ["KafkaStore", "Message"]

#: Seconds that Kafka has for an answer.
_TIMEOUT = 10.0
#: Seconds without a message after which a reader that is not at the end gives up.
_SILENCE = 30.0
#: A little more than was asked for is read sooner than the exact place is found.
_ENOUGH = 1.05


#: Messages of the client, and the partition and the offset of each.
_Chunk = tuple[Sequence[KafkaMessage], Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Message:
    """One message of a topic; `arrival_ms` is the broker's time in epoch milliseconds."""

    partition: int
    offset: int
    arrival_ms: int
    key: bytes | None
    value: bytes | None


class KafkaStore:
    """Kafka, connected when it is first used.

    Topics go by their full names, or by ``dlq``, ``late`` and ``progress`` for the namespace's own;
    the events' topic is meant when none is given.

    Parameters
    ----------
    settings : Settings
        Its profile has the brokers, its namespace the topics' names.
    """

    name = "kafka"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        namespace = settings.namespace
        self._short = {
            None: namespace.events_topic,
            "dlq": namespace.dlq_topic,
            "late": namespace.late_topic,
            "progress": namespace.progress_topic,
        }
        self._reached = False

    def ping(self) -> str:
        """The number of brokers."""
        return f"{reach(self._settings)} brokers"

    def topics(self, *, as_: Form = "pandas") -> Any:
        """The namespace's topics: topic, exists, partitions, messages."""
        with self._answering():
            states = topic_states(self._settings)
        rows = [(state.name, state.exists, state.partitions, state.messages) for state in states]
        kinds = {1: "boolean", 2: "integer", 3: "integer"}
        return shaped(to_frame(["topic", "exists", "partitions", "messages"], rows, kinds), as_)  # type: ignore[arg-type]

    def require(self, topic: str | None = None) -> None:
        """Make sure that a topic is there.

        Raises
        ------
        UsageError
            It is not.
        """
        self._state(topic)

    def offsets(self, topic: str | None = None) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition of a topic."""
        state = self._state(topic)
        return {partition: (state.begin[partition], end) for partition, end in state.end.items()}

    def messages(
        self, topic: str | None = None, *, since_ms: int | None = None, starts: dict[int, int] | None = None
    ) -> Iterator[Message]:
        """Every message of a topic up to its present end, partition by partition as they come.

        Parameters
        ----------
        topic : str, optional
            Its name.
        since_ms : int, optional
            Only messages whose broker's time is at or after this.
        starts : dict of int to int, optional
            Only messages from these offsets on, by partition; instead of `since_ms`.
        """
        state = self._state(topic)
        with self._answering(), self._consumer() as consumer:
            if starts is None:
                starts = state.begin if since_ms is None else _offsets_at(consumer, state, since_ms)
            for messages, partitions, offsets in self._read(consumer, state, starts):
                for message, partition, offset in zip(messages, partitions, offsets, strict=True):
                    yield Message(partition, offset, message.timestamp()[1], message.key(), message.value())

    def _read(self, consumer: Consumer, state: TopicState, starts: dict[int, int]) -> Iterator[_Chunk]:
        """The messages from some offsets up to the end that a topic had, in chunks."""
        unread = {partition: start for partition, start in starts.items() if start < state.end[partition]}
        consumer.assign([TopicPartition(state.name, partition, start) for partition, start in unread.items()])
        last_heard = time.monotonic()
        while unread:
            # Asked for more than there is, the client waits for the rest of it.
            most = sum(state.end[partition] - start for partition, start in unread.items())
            batch = consumer.consume(min(CHUNK, most), timeout=0.5)
            if batch:
                last_heard = time.monotonic()
            elif time.monotonic() - last_heard > _SILENCE:
                raise unavailable(self._settings, f"no message for {_SILENCE:g} s")
            finished = _finished(batch)
            if finished:
                batch = [message for message in batch if message.error() is None]
            # Of a message without an error both are known. Every call for each message counts here.
            partitions: list[int] = [message.partition() for message in batch]  # type: ignore[misc]
            offsets: list[int] = [message.offset() for message in batch]  # type: ignore[misc]
            for partition, offset in dict(zip(partitions, offsets, strict=True)).items():
                unread[partition] = offset + 1
                if offset + 1 >= state.end[partition]:
                    finished.add(partition)
            wanted = [offset < state.end[p] for p, offset in zip(partitions, offsets, strict=True)] if finished else []
            if not all(wanted):  # written after the end was looked at
                yield tuple(list(compress(part, wanted)) for part in (batch, partitions, offsets))  # type: ignore[misc]
            else:
                yield batch, partitions, offsets
            unread = {partition: start for partition, start in unread.items() if partition not in finished}

    def tail(
        self,
        topic: str | None = None,
        *,
        last: str | timedelta = "10m",
        limit: int = 100_000,
        as_: Form = "pandas",
    ) -> Any:
        """The newest messages of a topic as a frame.

        Parameters
        ----------
        topic : str, optional
            Its name.
        last : str or timedelta
            How far back by the broker's time: ``"30s"``, ``"10m"``, ``"2h"``.
        limit : int
            At most this many, the newest. ``.attrs["more"]`` says whether older ones were left out, and
            ``.attrs["total"]`` how many there are.
        as_ : str
            ``"pandas"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            kafka_partition, kafka_offset and arrival (UTC), then the fields of the JSON messages as they
            were sent, except that ``event_time`` is a UTC time and ``price`` an exact decimal where they
            can be read as such. Text is kept by Arrow. What is no JSON object stands under ``raw``.
        """
        since_ms = int((time.time() - span_of(last).total_seconds()) * 1000)
        state, table = self._state(topic), MessageTable()
        with self._answering(), self._consumer() as consumer, _no_collection():
            newer_ms = _enough_since(consumer, state, since_ms, limit + 1)
            total = _count(consumer, state, since_ms) if newer_ms > since_ms else None
            self._collect(table, consumer, state, newer_ms)
            if newer_ms > since_ms and len(table) <= limit:
                # A compacted topic has fewer messages than offsets.
                table = MessageTable()
                self._collect(table, consumer, state, since_ms)
                total = None
        frame = table.frame(limit)
        frame.attrs["total"] = total or len(table)
        return shaped(frame, as_)

    def consume(
        self,
        topic: str | None = None,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        limit: int = 100_000,
        as_: Form = "pandas",
    ) -> Any:
        """The messages of a topic from a time on, the oldest first, as a frame.

        Nothing is committed: whoever else reads the topic goes on as before.

        Parameters
        ----------
        topic : str, optional
            Its name.
        since, until : datetime or str, optional
            The broker's time ``[since, until)``, UTC unless it has a zone; from the beginning, and up to the
            present end, when absent.
        limit : int
            At most this many, the oldest. ``.attrs["more"]`` says whether newer ones were left out, and
            ``.attrs["total"]`` how many there are.
        as_ : str
            ``"pandas"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            As `tail` gives it.
        """
        state, table = self._state(topic), MessageTable()
        begin, end = moment_of(since), moment_of(until)
        with self._answering(), self._consumer() as consumer, _no_collection():
            if end is not None:
                state = replace(state, end=_offsets_at(consumer, state, _milliseconds(end)))
            starts = state.begin if begin is None else _offsets_at(consumer, state, _milliseconds(begin))
            total = sum(max(state.end[partition] - start, 0) for partition, start in starts.items())
            if total > limit:
                state = replace(state, end=_enough_until(consumer, state, starts, limit))
            self._gather(table, consumer, state, starts)
        frame = table.frame(limit, oldest=True)
        frame.attrs |= {"more": total > len(frame) >= limit, "total": max(total, len(frame))}
        return shaped(frame, as_)

    def _collect(self, table: MessageTable, consumer: Consumer, state: TopicState, since_ms: int) -> None:
        self._gather(table, consumer, state, _offsets_at(consumer, state, since_ms))

    def _gather(self, table: MessageTable, consumer: Consumer, state: TopicState, starts: dict[int, int]) -> None:
        for messages, partitions, offsets in self._read(consumer, state, starts):
            arrivals_ms = [message.timestamp()[1] for message in messages]
            table.add(partitions, offsets, arrivals_ms, [message.value() for message in messages])

    def produce(self, records: Sequence[dict[str, Any]], topic: str | None = None, *, key: str = "user_id") -> int:
        """Send records as JSON, keyed by one of their fields; returns how many Kafka has acknowledged.

        Raises
        ------
        UsageError
            There is no such topic, or a record can't be written as JSON.
        StoreUnavailable
            Kafka does not answer.
        """
        from retailpulse_kernel.replay import Sender

        try:
            values = [orjson.dumps(record, default=_to_json) for record in records]
        except TypeError as error:
            raise UsageError(f"A record can't be written as JSON: {error}.") from error
        with self._answering(), Sender(self._settings, self._named(topic)) as sender:
            for record, value in zip(records, values, strict=True):
                sender.send(str(record.get(key, "")).encode(), value)
        return sender.acknowledged

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _named(self, topic: str | None) -> str:
        return self._short.get(topic) or str(topic)

    def _state(self, topic: str | None) -> TopicState:
        with self._answering():
            return topic_states(self._settings, [self._named(topic)])[0]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say at once when Kafka is not there: its client would try until its timeout, and not tell why."""
        if not self._reached:
            reach(self._settings)
        elif why := why_unreachable(bootstrap_addresses(self._settings)):
            raise unavailable(self._settings, why)
        self._reached = True
        try:
            yield
        except KafkaException as error:
            self._reached = False
            raise unavailable(self._settings, error) from error
        except StoreUnavailable:
            self._reached = False
            raise

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                **client_config(self._settings),
                "group.id": "retailpulse-reader",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.min.messages": 1_000_000,  # measured: 174-209,000 messages/s at the default, 506,000 so
                "fetch.queue.backoff.ms": 10,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _offsets_at(consumer: Consumer, state: TopicState, since_ms: int) -> dict[int, int]:
    """The first offset at or after a time in each partition; its end where there is none."""
    asked = [TopicPartition(state.name, partition, since_ms) for partition in state.end]
    found = consumer.offsets_for_times(asked, timeout=_TIMEOUT)
    return {tp.partition: tp.offset if tp.offset >= 0 else state.end[tp.partition] for tp in found}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among millions of new objects, of which none is in one.

    Measured with a million messages: 275,000 a second, 210,000 with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _finished(batch: Sequence[KafkaMessage]) -> set[int]:
    """Partitions whose end was heard; a compacted topic's last offsets may hold no message."""
    finished = set()
    for error, message in [(error, message) for message in batch if (error := message.error()) is not None]:
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        finished.add(message.partition())
    return finished  # type: ignore[return-value]


def _enough_since(consumer: Consumer, state: TopicState, since_ms: int, count: int) -> int:
    """A time at or after `since_ms` from which on there are `count` offsets or somewhat more, if there are so many."""
    early, late = since_ms, int(time.time() * 1000)
    if _count(consumer, state, early) <= count * _ENOUGH:
        return early
    while late - early > 1:
        middle = (early + late) // 2
        found = _count(consumer, state, middle)
        if found < count:
            late = middle
        else:
            early = middle
            if found <= count * _ENOUGH:
                break
    return early


def _enough_until(consumer: Consumer, state: TopicState, starts: dict[int, int], count: int) -> dict[int, int]:
    """Ends up to a time before which there are `count` messages or somewhat more."""
    early, late, ends = 0, int(time.time() * 1000), state.end
    while late - early > 1:
        middle = (early + late) // 2
        found = {
            partition: min(offset, state.end[partition])
            for partition, offset in _offsets_at(consumer, state, middle).items()
        }
        enough = sum(max(found[partition] - start, 0) for partition, start in starts.items())
        if enough < count:
            early = middle
        else:
            late, ends = middle, found
            if enough <= count * _ENOUGH:
                break
    return ends


def _count(consumer: Consumer, state: TopicState, since_ms: int) -> int:
    """How many offsets there are from a time on."""
    return sum(state.end[partition] - start for partition, start in _offsets_at(consumer, state, since_ms).items())


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _to_json(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):  # pandas' times
        return str(value.isoformat())
    raise TypeError(f"{value!r} is a {type(value).__name__}")
