"""Kafka: the events as they arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import compress
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from retailpulse_kernel.ground.errors import StoreUnavailable, UsageError
from retailpulse_kernel.ground.retrying import PATIENCE
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import moment_at, ms_of, range_of, span_of
from retailpulse_kernel.shop.contract.loading import contract_of, shipped
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.formats.opening import opener_of
from retailpulse_kernel.shop.formats.options import options_of
from retailpulse_kernel.stores.base import RowStore, SentRows
from retailpulse_kernel.stores.confinement import require_own_topic
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.frames import Form, checked_limit, shaped, to_frame
from retailpulse_kernel.stores.kafka.config import bootstrap_addresses, client_config, failure, reach
from retailpulse_kernel.stores.kafka.messages import CHUNK, MessageTable
from retailpulse_kernel.stores.kafka.producer import Sender
from retailpulse_kernel.stores.kafka.seeking import (
    enough_since,
    enough_until,
    finished_partitions,
    first_offsets,
    offsets_since,
    without_collection,
)
from retailpulse_kernel.stores.kafka.tables import KafkaRows
from retailpulse_kernel.stores.kafka.topics import TopicState, delete_topics, topic_states
from retailpulse_kernel.stores.registry import register

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KafkaStore", "Message"]

#: Messages that `KafkaStore.tail` and `KafkaStore.consume` read when they are not told how many.
LIMIT = 100_000

#: Seconds without a message after which a reader that is not at the end gives up.
_SILENCE = 30.0

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


class KafkaStore(KafkaRows):
    """Kafka, connected when it is first used.

    Topics go by their full names, by their names within the namespace, or by ``dlq``, ``late`` and ``progress`` for
    the namespace's own; the events' topic is meant when none is given.

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
        self._transactions = {}

    def ping(self) -> str:
        """The number of brokers."""
        return f"{reach(self._settings)} brokers"

    def topics(self, *, as_: Form = "pandas") -> Any:
        """The namespace's topics: topic, exists, partitions, messages.

        Parameters
        ----------
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Raises
        ------
        StoreUnavailable
            Kafka does not answer.
        """
        with self._answering():
            states = topic_states(self._settings)
        rows = [(state.name, state.exists, state.partitions, state.messages) for state in states]
        kinds = {0: "text", 1: "boolean", 2: "integer", 3: "integer"}
        return shaped(to_frame(["topic", "exists", "partitions", "messages"], rows, kinds), as_)  # type: ignore[arg-type]

    def require(self, topic: str | None = None) -> str:
        """The full name of a topic that is there.

        Parameters
        ----------
        topic : str, optional
            A topic's name, in full or short within the namespace; that of the events when absent.

        Raises
        ------
        UsageError
            It is not.
        StoreUnavailable
            Kafka does not answer.
        """
        return self._state(topic).name

    def offsets(self, topic: str | None = None) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition of a topic.

        Parameters
        ----------
        topic : str, optional
            A topic's name, in full or short within the namespace; that of the events when absent.

        Raises
        ------
        UsageError
            There is no such topic.
        StoreUnavailable
            Kafka does not answer.
        """
        return self._state(topic).bounds

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
                starts = state.begin if since_ms is None else first_offsets(consumer, state, since_ms)
            for messages, partitions, offsets in self._read(consumer, state, starts):
                for message, partition, offset in zip(messages, partitions, offsets, strict=True):
                    yield Message(partition, offset, message.timestamp()[1], message.key(), message.value())

    def _read(self, consumer: Consumer, state: TopicState, starts: dict[int, int]) -> Iterator[_Chunk]:
        """The messages from some offsets up to the end that a topic had, in chunks."""
        unread = {partition: start for partition, start in starts.items() if start < state.end[partition]}
        consumer.assign([TopicPartition(state.name, partition, start) for partition, start in unread.items()])
        last_heard, heard = time.monotonic(), None
        while unread:
            # Asked for more than there is, the client waits for the rest of it.
            most = sum(state.end[partition] - start for partition, start in unread.items())
            batch = consumer.consume(min(CHUNK, most), timeout=0.5)
            if any(message.error() is None for message in batch):
                last_heard = time.monotonic()
            elif time.monotonic() - last_heard > _SILENCE:
                raise failure(self._settings, heard or f"no message for {_SILENCE:g} s")
            finished, error = finished_partitions(batch)
            if finished or error is not None:
                heard = error or heard
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
        limit: int | None = LIMIT,
        as_: Form = "pandas",
    ) -> Any:
        """The newest messages of a topic as a frame.

        Parameters
        ----------
        topic : str, optional
            Its name.
        last : str or timedelta
            How far back by the broker's time: ``"30s"``, ``"10m"``, ``"2h"``.
        limit : int, optional
            At most this many, the newest; None for all. Where older ones are left out, a note says so, with how
            far the frame reaches back; ``.attrs`` keeps it as ``"note"``, beside ``"more"`` and ``"total"``.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            kafka_partition, kafka_offset and arrival (UTC), then the fields of the JSON messages as they
            were sent, except that ``event_time`` is a UTC time and ``price`` an exact `decimal.Decimal` (with
            ``as_="float"`` a ``float64``) where they can be read as such. What is not a JSON object stands
            under ``raw``. Of a topic of the contract every field is a column, also one that no message has; one that is
            nested in the message stands in a column of its own. Of a topic with another format than JSON each event is
            a row, with the fields of the contract, and a message that can't be opened stands under ``raw``.
        """
        checked_limit(limit)
        since_ms = int((time.time() - span_of(last).total_seconds()) * 1000)
        state = self._state(topic)
        table = self._table(state)
        with self._answering(), self._consumer() as consumer, without_collection():
            gone = _older_are_gone(state, first_offsets(consumer, state, since_ms))
            newer_ms = since_ms if limit is None else enough_since(consumer, state, since_ms, limit + 1)
            total = offsets_since(consumer, state, since_ms) if newer_ms > since_ms else None
            self._collect(table, consumer, state, newer_ms)
            if limit is not None and newer_ms > since_ms and len(table) <= limit:
                # A compacted topic has fewer messages than offsets.
                table = self._table(state)
                self._collect(table, consumer, state, since_ms)
                total = None
        frame = table.frame(limit, of_events=self._of_events(state))
        frame.attrs["total"] = total or len(table)
        if frame.attrs["more"]:
            frame.attrs["note"] = _note("newest", frame, "from", 0, moment_at(since_ms))
        elif gone and len(frame):
            frame.attrs["note"] = _gone(frame)
        return shaped(frame, as_)

    def consume(
        self,
        topic: str | None = None,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        last: str | timedelta | None = None,
        limit: int | None = LIMIT,
        as_: Form = "pandas",
    ) -> Any:
        """The messages of a topic from a time on, the oldest first, as a frame.

        Nothing is committed: whoever else reads the topic goes on as before.

        Parameters
        ----------
        topic : str, optional
            Its name.
        since, until : datetime or str, optional
            The broker's time ``[since, until)``, the shop's unless it has a zone; from the beginning, and up to the
            present end, when absent.
        last : str or timedelta, optional
            The newest span (``"10m"``), instead of `since` and `until`.
        limit : int, optional
            At most this many, the oldest; None for all. Where newer ones are left out, a note says so, as in `tail`.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            As `tail` gives it.
        """
        checked_limit(limit)
        begin, end = range_of(last, since, until, calendar=contract_of(self._settings).shop.calendar)
        state = self._state(topic)
        table = self._table(state)
        with self._answering(), self._consumer() as consumer, without_collection():
            if end is not None:
                state = replace(state, end=first_offsets(consumer, state, ms_of(end)))
            starts = state.begin if begin is None else first_offsets(consumer, state, ms_of(begin))
            gone = _older_are_gone(state, starts)
            total = sum(max(state.end[partition] - start, 0) for partition, start in starts.items())
            if limit is not None and total > limit:
                state = replace(state, end=enough_until(consumer, state, starts, limit))
            self._gather(table, consumer, state, starts)
        frame = table.frame(limit, oldest=True, of_events=self._of_events(state))
        # A compacted topic has fewer messages than offsets.
        more = frame.attrs["more"] or (limit is not None and total > len(frame) >= limit)
        frame.attrs |= {"more": more, "total": max(total, len(table))}
        if more:
            frame.attrs["note"] = _note("oldest", frame, "up to", -1, end)
        elif gone and len(frame):
            frame.attrs["note"] = _gone(frame)
        return shaped(frame, as_)

    def _table(self, state: TopicState) -> MessageTable:
        contract = self._contract(state)
        return MessageTable(contract, opener_of(contract.format, options_of(self._settings, contract)))

    def _contract(self, state: TopicState) -> Contract:
        """What the messages of a topic hold; of one that the contract lacks as far as the names are the same."""
        name = self._described(state)
        return shipped() if name is None else contract_of(self._settings).of_topic(name)

    def _described(self, state: TopicState) -> str | None:
        """The name of a topic in the contract; None for one that is not there."""
        topics = [topic.topic for topic in contract_of(self._settings).topics]
        return next((topic for topic in topics if self._settings.namespace.topic(topic) == state.name), None)

    def _of_events(self, state: TopicState) -> bool:
        return self._described(state) is not None

    def _collect(self, table: MessageTable, consumer: Consumer, state: TopicState, since_ms: int) -> None:
        self._gather(table, consumer, state, first_offsets(consumer, state, since_ms))

    def _gather(self, table: MessageTable, consumer: Consumer, state: TopicState, starts: dict[int, int]) -> None:
        for messages, partitions, offsets in self._read(consumer, state, starts):
            arrivals_ms = [message.timestamp()[1] for message in messages]
            table.add(partitions, offsets, arrivals_ms, [message.value() for message in messages])

    def produce(self, records: Sequence[dict[str, Any]], topic: str | None = None, *, key: str = "user_id") -> int:
        """Send records as JSON, keyed by one of their fields; returns how many Kafka has acknowledged.

        Parameters
        ----------
        records : sequence of dict of str to object
            Times are written as ISO 8601 has them, decimals as text.
        topic : str, optional
            A topic's name, in full or short within the namespace; that of the events when absent.
        key : str
            The field that keeps records in order; a record without it has an empty key.

        Raises
        ------
        UsageError
            There is no such topic, or a record can't be written as JSON.
        StoreUnavailable
            Kafka does not answer.
        """
        try:
            values = [orjson.dumps(record, default=_to_json) for record in records]
        except TypeError as error:
            raise UsageError(f"A record can't be written as JSON: {error}.") from error
        try:
            name = self.require(topic)
        except UsageError:
            require_own_topic(self._settings, self._named(topic))  # whether it is there is not for a trial to know
            raise
        with self._answering(), Sender(self._settings, name) as sender:
            for record, value in zip(records, values, strict=True):
                sender.send(str(record.get(key, "")).encode(), value)
        return sender.acknowledged

    def close(self) -> None:
        """Let go of the transactions' producers; nothing else stays open between calls."""
        self._transactions.clear()

    def drop(self) -> None:
        """Delete the namespace's topics and all messages in them."""
        delete_topics(self._settings)
        self._transactions.clear()

    def _named(self, topic: str | None) -> str:
        """The full name of a topic that a user names in full, short, or as the shop's contract does."""
        shop = contract_of(self._settings)
        further = {one.topic for one in shop.topics} - {one.topic for one in shipped().topics}
        return self._settings.namespace.topic(topic) if topic in further else self._short.get(topic) or str(topic)

    def _state(self, topic: str | None) -> TopicState:
        full = self._named(topic)
        within = self._settings.namespace.topic(full)
        with self._answering():
            try:
                return topic_states(self._settings, [full])[0]
            except UsageError:
                # Not a full name: the name within the namespace, as `Job.events` takes it, or no topic at all.
                found = topic_states(self._settings, [within], absent=True)[0]
                if not found.exists:
                    raise
                return found

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say at once when Kafka is not there: its client would try until its timeout, and not tell why."""
        if not self._reached:
            reach(self._settings, PATIENCE)
        elif why := why_unreachable(bootstrap_addresses(self._settings)):
            raise failure(self._settings, why)
        self._reached = True
        try:
            yield
        except KafkaException as error:
            self._reached = False
            raise failure(self._settings, error) from error
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
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "queued.min.messages": 1_000_000,  # measured: 174-209,000 messages/s at the default, 506,000 so
                "fetch.queue.backoff.ms": 10,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _note(which: str, frame: pd.DataFrame, reach: str, place: int, asked: datetime | None) -> str:
    """What a frame leaves out of the messages that were asked for."""
    found = f"{frame['arrival'].iloc[place]:%Y-%m-%d %H:%M:%S}" if len(frame) else "the end"
    instead = f" instead of {asked:%Y-%m-%d %H:%M:%S}" if asked else ""
    return f"The {which} {len(frame):,} of {frame.attrs['total']:,} messages, {reach} {found}{instead} (UTC)"


def _older_are_gone(state: TopicState, starts: dict[int, int]) -> bool:
    """Whether what is read begins where a partition does, of which older messages were deleted."""
    return any(start == state.begin[partition] > 0 for partition, start in starts.items())


def _gone(frame: pd.DataFrame) -> str:
    return (
        f"The topic begins at {frame['arrival'].iloc[0]:%Y-%m-%d %H:%M:%S} (UTC), older messages are deleted; "
        "`rp.hive.events` has what was archived"
    )


def _to_json(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):  # pandas' times
        return str(value.isoformat())
    raise TypeError(f"{value!r} is a {type(value).__name__}")


register(KafkaStore.name, KafkaStore, RowStore, SentRows)
