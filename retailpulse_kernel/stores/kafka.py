"""Kafka: the events as they arrive."""

from __future__ import annotations

import heapq
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.connection import why_unreachable
from retailpulse_kernel.stores.frames import to_frame
from retailpulse_kernel.stores.kafka_config import bootstrap_addresses, client_config, unavailable
from retailpulse_kernel.topics import TopicState, topic_states

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KafkaStore", "Message", "span_of"]

#: Seconds that Kafka has for an answer.
_TIMEOUT = 10.0
#: Seconds without a message after which a reader that is not at the end gives up.
_SILENCE = 30.0
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def span_of(text: str | timedelta) -> timedelta:
    """The time span behind ``"10m"``, ``"2h"``, ``"1d"``, ``"30s"``.

    Raises
    ------
    UsageError
        The text is not a span.
    """
    if isinstance(text, timedelta):
        return text
    match = _SPAN.fullmatch(text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a time span.", remedy="Write 30s, 10m, 2h or 1d.")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


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

    def ping(self) -> str:
        """The number of brokers."""
        with self._answering():
            found = AdminClient(client_config(self._settings)).list_topics(timeout=_TIMEOUT)
        return f"{len(found.brokers)} brokers"

    def topics(self) -> pd.DataFrame:
        """The namespace's topics: topic, exists, partitions, messages."""
        with self._answering():
            states = topic_states(self._settings)
        rows = [(state.name, state.exists, state.partitions, state.messages) for state in states]
        kinds = {1: "boolean", 2: "integer", 3: "integer"}
        return to_frame(["topic", "exists", "partitions", "messages"], rows, kinds)  # type: ignore[arg-type]

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

    def messages(self, topic: str | None = None, *, since_ms: int | None = None) -> Iterator[Message]:
        """Every message of a topic up to its present end, partition by partition as they come.

        Parameters
        ----------
        topic : str, optional
            Its name.
        since_ms : int, optional
            Only messages whose broker's time is at or after this.
        """
        state = self._state(topic)
        with self._answering(), self._consumer() as consumer:
            starts = state.begin if since_ms is None else _offsets_at(consumer, state, since_ms)
            unread = {p for p, end in state.end.items() if starts[p] < end}
            consumer.assign([TopicPartition(state.name, p, starts[p]) for p in unread])
            last_heard = time.monotonic()
            while unread:
                batch = consumer.consume(10_000, timeout=0.5)
                if batch:
                    last_heard = time.monotonic()
                elif time.monotonic() - last_heard > _SILENCE:
                    raise unavailable(self._settings, f"no message for {_SILENCE:g} s")
                for message in batch:
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    partition, offset = message.partition(), message.offset()
                    assert partition is not None and offset is not None, "what has no error has a place"
                    end = state.end[partition]
                    if error is None and offset < end:
                        yield Message(partition, offset, message.timestamp()[1], message.key(), message.value())
                    # A compacted topic's last offsets may hold no message: then its end is all that is heard.
                    if error is not None or offset + 1 >= end:
                        unread.discard(partition)

    def tail(self, topic: str | None = None, *, last: str | timedelta = "10m", limit: int = 100_000) -> pd.DataFrame:
        """The newest messages of a topic as a frame.

        Parameters
        ----------
        topic : str, optional
            Its name.
        last : str or timedelta
            How far back by the broker's time: ``"30s"``, ``"10m"``, ``"2h"``.
        limit : int
            At most this many, the newest. ``.attrs["more"]`` says whether older ones were left out.

        Returns
        -------
        pandas.DataFrame
            kafka_partition, kafka_offset and arrival (UTC), then the fields of the JSON messages as they
            were sent, except that ``event_time`` is a UTC time and ``price`` an exact decimal where they
            can be read as such. What is no JSON object stands under ``raw``.
        """
        since = int((time.time() - span_of(last).total_seconds()) * 1000)
        newest = heapq.nlargest(
            limit + 1, self.messages(topic, since_ms=since), key=lambda m: (m.arrival_ms, m.partition, m.offset)
        )
        return _frame(newest[:limit][::-1], more=len(newest) > limit)

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
        if why := why_unreachable(bootstrap_addresses(self._settings)):
            raise unavailable(self._settings, why)
        try:
            yield
        except KafkaException as error:
            raise unavailable(self._settings, error) from error

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                **client_config(self._settings),
                "group.id": "retailpulse-reader",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.min.messages": 200_000,
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


def _to_json(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):  # pandas' times
        return str(value.isoformat())
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _frame(messages: Sequence[Message], *, more: bool) -> pd.DataFrame:
    import pandas as pd

    rows = [_fields(message) for message in messages]
    place = ["kafka_partition", "kafka_offset", "arrival"]
    names = list(dict.fromkeys([*place, *(name for row in rows for name in row)]))
    frame = to_frame(
        names, ([row.get(name) for name in names] for row in rows), {0: "integer", 1: "integer"}, more=more
    )
    frame["arrival"] = pd.to_datetime(frame["arrival"], unit="ms", utc=True)
    if "event_time" in frame:
        frame["event_time"] = _times(frame["event_time"])
    if "price" in frame:
        frame["price"] = pd.Series([_decimal(price) for price in frame["price"]], dtype="object")
    for column in ("event_type", "category", "currency"):
        if column in frame and frame[column].map(lambda v: v is None or isinstance(v, str)).all():
            frame[column] = frame[column].astype("category")
    for column in ("quantity", "order_line", "schema_version"):
        if column in frame and frame[column].map(lambda v: v is None or (type(v) is int and v < 2**63)).all():
            frame[column] = frame[column].astype("Int64")
    return frame


def _fields(message: Message) -> dict[str, Any]:
    place = {"kafka_partition": message.partition, "kafka_offset": message.offset, "arrival": message.arrival_ms}
    try:
        fields = json.loads(message.value or b"", parse_float=Decimal)
    except (ValueError, RecursionError):
        fields = None
    # The place is the broker's word, whatever fields a message has.
    return {**place, **(fields if isinstance(fields, dict) else {"raw": message.value}), **place}


def _times(values: pd.Series) -> pd.Series:
    """Times as the event's contract has them, RFC 3339 or epoch milliseconds; NaT for anything else."""
    import pandas as pd

    texts = values.where(values.map(lambda value: isinstance(value, str)))
    numbers = values.where(values.map(lambda value: type(value) is int and abs(value) < 10**15))
    times = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    return times.fillna(pd.to_datetime(pd.to_numeric(numbers, errors="coerce"), unit="ms", utc=True, errors="coerce"))


def _decimal(value: Any) -> Decimal | None:
    try:
        return Decimal(value) if isinstance(value, (str, int, Decimal)) else None
    except InvalidOperation:
        return None
