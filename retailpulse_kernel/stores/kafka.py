"""Kafka: the events as they arrive."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.errors import StoreUnavailable, UnknownName, UsageError
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka_config import client_config

if TYPE_CHECKING:
    import pandas as pd
    from confluent_kafka import Consumer

__all__ = ["KafkaStore", "Message", "span_of"]

_TIMEOUT = 10.0
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

    Parameters
    ----------
    settings : Settings
        Its profile has the brokers, its namespace the topics' names.
    """

    name = "kafka"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._namespace = settings.namespace

    def _consumer(self, **more: Any) -> Consumer:
        from confluent_kafka import Consumer

        return Consumer(
            {
                **client_config(self._settings),
                "group.id": "retailpulse-reader",  # required by the client, never committed to
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.min.messages": 200_000,
                "fetch.queue.backoff.ms": 10,
                **more,
            }
        )

    def _unavailable(self, error: object) -> StoreUnavailable:
        return StoreUnavailable(
            "kafka",
            f"Kafka at {self._settings.profile.kafka.bootstrap} does not answer ({error}).",
            remedy="Start it with `retailpulse up kafka`, or check the profile.",
        )

    def ping(self) -> str:
        """The number of brokers, as a sign of life."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            found = AdminClient(client_config(self._settings)).list_topics(timeout=5)
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        return f"{len(found.brokers)} broker"

    def topics(self) -> dict[str, int]:
        """Every topic of the cluster with its number of partitions."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            found = AdminClient(client_config(self._settings)).list_topics(timeout=_TIMEOUT).topics
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        return {name: len(about.partitions) for name, about in sorted(found.items()) if not name.startswith("__")}

    def require(self, topic: str) -> None:
        """Make sure that a topic is there.

        Raises
        ------
        UnknownName
            It is not.
        """
        known = self.topics()
        if topic not in known:
            raise UnknownName("topic", topic, known) from UsageError("create it with `retailpulse topics --create`")

    def offsets(self, topic: str | None = None) -> dict[int, tuple[int, int]]:
        """First and next offset of each partition of a topic (the events' by default)."""
        from confluent_kafka import KafkaException, TopicPartition

        topic = topic or self._namespace.events_topic
        known = self.topics()
        if topic not in known:
            raise UnknownName("topic", topic, known)
        consumer = self._consumer()
        try:
            return {
                partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
                for partition in range(known[topic])
            }
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        finally:
            consumer.close()

    def messages(self, topic: str | None = None, *, since_ms: int | None = None) -> Iterator[Message]:
        """Every message of a topic up to its present end, partition by partition as they come.

        Parameters
        ----------
        topic : str, optional
            The events' topic by default.
        since_ms : int, optional
            Only messages whose broker's time is at or after this.
        """
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        topic = topic or self._namespace.events_topic
        ends = {p: end for p, (_, end) in self.offsets(topic).items()}
        consumer = self._consumer()
        try:
            starts = {p: first for p, (first, _) in self.offsets(topic).items()}
            if since_ms is not None:
                asked = [TopicPartition(topic, p, since_ms) for p in ends]
                found = consumer.offsets_for_times(asked, timeout=_TIMEOUT)
                starts = {tp.partition: tp.offset if tp.offset >= 0 else ends[tp.partition] for tp in found}
            open_partitions = {p for p in ends if starts[p] < ends[p]}
            consumer.assign([TopicPartition(topic, p, starts[p]) for p in open_partitions])
            quiet_since = time.monotonic()
            while open_partitions:
                batch = consumer.consume(10_000, timeout=0.5)
                if batch:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > 30:
                    raise self._unavailable("no message for 30 s")
                for message in batch:
                    partition = message.partition()
                    if error := message.error():
                        if error.code() != KafkaError._PARTITION_EOF:
                            raise self._unavailable(error.str())
                        # Only the end that was seen at the start counts; new messages may follow it.
                        open_partitions.discard(partition)
                        continue
                    if message.offset() < ends[partition]:
                        yield Message(
                            partition, message.offset(), message.timestamp()[1], message.key(), message.value()
                        )
                    if message.offset() + 1 >= ends[partition]:
                        open_partitions.discard(partition)
        except KafkaException as error:
            raise self._unavailable(error.args[0].str()) from error
        finally:
            consumer.close()

    def tail(self, topic: str | None = None, *, last: str | timedelta = "10m", limit: int = 100_000) -> pd.DataFrame:
        """The newest messages of a topic as a frame.

        Parameters
        ----------
        topic : str, optional
            The events' topic by default; ``dlq`` and ``late`` are short for the rejects' topics.
        last : str or timedelta
            How far back by the broker's time: ``"30s"``, ``"10m"``, ``"2h"``.
        limit : int
            At most this many, the newest. ``.attrs["more"]`` says whether older ones were left out.

        Returns
        -------
        pandas.DataFrame
            partition, offset, arrival (UTC), then the fields of the JSON message; ``event_time``
            as a UTC time, ``price`` as exact decimals. What is not JSON stands under ``raw``.
        """
        since = int((time.time() - span_of(last).total_seconds()) * 1000)
        found = sorted(self.messages(self._named(topic), since_ms=since), key=lambda m: (m.arrival_ms, m.offset))
        frame = _frame(found[-limit:])
        frame.attrs["more"] = len(found) > limit
        return frame

    def produce(self, records: Sequence[dict[str, Any]], topic: str | None = None, *, key: str = "user_id") -> int:
        """Send records as JSON, keyed by one of their fields; returns how many Kafka has."""
        from confluent_kafka import Producer
        import orjson

        self.require(topic := self._named(topic))
        producer = Producer({**client_config(self._settings), "enable.idempotence": True})
        failed: list[str] = []
        for record in records:
            value = orjson.dumps(record, default=str)
            producer.produce(
                topic,
                key=str(record.get(key, "")),
                value=value,
                on_delivery=lambda error, _: failed.append(error.str()) if error else None,
            )
            producer.poll(0)
        if producer.flush(30) or failed:
            raise self._unavailable(failed[0] if failed else "no acknowledgement within 30 s")
        return len(records)

    def _named(self, topic: str | None) -> str:
        short = {
            None: self._namespace.events_topic,
            "dlq": self._namespace.dlq_topic,
            "late": self._namespace.late_topic,
            "progress": self._namespace.progress_topic,
        }
        return short.get(topic) or str(topic)


def _frame(messages: Sequence[Message]) -> pd.DataFrame:
    import json
    from decimal import Decimal

    import pandas as pd

    rows = []
    for m in messages:
        place = {"partition": m.partition, "offset": m.offset, "arrival": m.arrival_ms}
        try:
            fields = json.loads(m.value or b"", parse_float=Decimal)
            rows.append({**place, **fields} if isinstance(fields, dict) else {**place, "raw": m.value})
        except ValueError:
            rows.append({**place, "raw": m.value})
    frame = pd.DataFrame(rows)
    if frame.empty:
        return pd.DataFrame(columns=["partition", "offset", "arrival"])
    frame["arrival"] = pd.to_datetime(frame["arrival"], unit="ms", utc=True)
    if "event_time" in frame:
        frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True, errors="coerce", format="ISO8601")
    if "price" in frame:
        frame["price"] = [None if p is None or p != p else Decimal(str(p)) for p in frame["price"]]
    for column in ("event_type", "category", "currency"):
        if column in frame:
            frame[column] = frame[column].astype("category")
    return frame
