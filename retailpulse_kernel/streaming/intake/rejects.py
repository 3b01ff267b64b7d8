"""Rejected messages: bad ones go to the dead-letter topic, late ones to the topic of late events.

A record tells where the message stood and why it was rejected, and carries the message itself.
Its key is the place it came from, so that a batch that is written again after a crash doubles
nothing for a reader who goes by key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from retailpulse_kernel.ground.spans import iso_text, moment_at
from retailpulse_kernel.shop.personal import named_only
from retailpulse_kernel.shop.rows import FAILED

if TYPE_CHECKING:
    import pyarrow as pa
    from confluent_kafka import Producer

    from retailpulse_kernel.streaming.checkpoint.epochs import Epoch

__all__ = ["RefusedRows", "RejectTopics", "reject_record"]

#: A longer message is cut in its record, so that the record always fits into its topic (2 MiB).
_KEPT_BYTES = 1_000_000
#: Text whose JSON form is longer, for all its escapes, is kept in base64 instead.
_LONGEST_TEXT = 1_400_000
_FLUSH_SECONDS = 60.0

_producers: dict[tuple[tuple[str, Any], ...], Producer] = {}


def reject_record(
    value: bytes | None, *, topic: str, partition: int, offset: int, arrival_ms: int, reason: str, **more: Any
) -> bytes:
    """One reject as JSON.

    Parameters
    ----------
    value : bytes or None
        The message: as text under ``value`` where it is UTF-8, else under ``value_base64``.
    topic : str
        Its full name.
    partition, offset : int
        Where it stood.
    arrival_ms : int
        The broker's time of the message.
    reason : str
        A short code such as ``missing:event_id`` or ``late``.
    **more : object
        Further fields, such as ``detail``, ``job``, ``epoch``, ``batch``.
    """
    record: dict[str, Any] = {
        "reason": reason,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "arrival": iso_text(moment_at(arrival_ms), "milliseconds"),
        **more,
    }
    if value is not None:
        kept = value[:_KEPT_BYTES]
        if len(kept) < len(value):
            record["cut_from_bytes"] = len(value)
        try:
            text = orjson.dumps(kept.decode())
        except UnicodeDecodeError:
            text = None
        if text is not None and len(text) <= _LONGEST_TEXT:
            record["value"] = orjson.Fragment(text)
        else:
            record["value_base64"] = base64.b64encode(kept).decode()
    return orjson.dumps(record)


@dataclass(frozen=True)
class RejectTopics:
    """Where rejects are sent, from inside Spark's workers.

    Parameters
    ----------
    client : tuple of (str, value) pairs
        The Kafka client's configuration, hashable.
    bad, late : str
        The two topics.
    """

    client: tuple[tuple[str, Any], ...]
    bad: str
    late: str

    def _producer(self) -> Producer:
        # One for each worker process, kept across batches: connecting costs more than sending.
        if self.client not in _producers:
            from confluent_kafka import Producer

            _producers[self.client] = Producer(
                {**dict(self.client), "enable.idempotence": True, "linger.ms": 20, "message.max.bytes": 4_000_000}
            )
        return _producers[self.client]

    def send(self, records: list[tuple[str, str, bytes]]) -> None:
        """Send (topic, key, record) triples and wait until Kafka has all of them.

        Parameters
        ----------
        records : list of (str, str, bytes)
            An empty list sends nothing.

        Raises
        ------
        StoreUnavailable
            Some were not acknowledged; the batch fails and is tried again.
        """
        if not records:
            return
        producer, failed = self._producer(), []

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        for topic, key, record in records:
            while True:
                try:
                    producer.produce(topic, key=key, value=record, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(1.0)
        waiting = producer.flush(_FLUSH_SECONDS)
        if failed or waiting:
            from retailpulse_kernel.stores.kafka.config import client_failure

            why = failed[0] if failed else f"{waiting} rejected messages were not acknowledged"
            raise client_failure(dict(self.client), why)


@dataclass(frozen=True)
class RefusedRows:
    """Takes the rows that are not written, as they failed or their key is not whole: they go to the dead-letter topic.

    Parameters
    ----------
    topics : RejectTopics
        Where they are sent.
    job, output : str
        What computed them.
    hides : bool
        Whether why a row failed may quote a personal value: then only the name of the exception is told.
    """

    topics: RejectTopics
    job: str
    output: str
    hides: bool = False

    def __call__(self, reason: str, rows: pa.Table, epoch: Epoch, batch: int) -> None:
        """Send rows and wait until Kafka has them.

        Parameters
        ----------
        reason : str
            A short code such as ``null_key:user_id``.
        rows : pyarrow.Table
            The rows.
        epoch : Epoch
            That of the run.
        batch : int
            The micro-batch's number.
        """
        place = {"job": self.job, "output": self.output, "epoch": epoch.number, "batch": batch}
        found = []
        for row in rows.to_pylist():
            detail = {"detail": self._told(row.pop(FAILED))} if FAILED in row else {}
            found.append(orjson.dumps({"reason": reason, **detail, **place, "row": row}, default=str))
        # A micro-batch that is done again may have its rows in another order: each gets the key that it had.
        key = f"{self.job}/{self.output}/{epoch.number}/{batch}/{reason.removeprefix('null_key:')}"
        self.topics.send([(self.topics.bad, f"{key}/{number}", record) for number, record in enumerate(sorted(found))])

    def _told(self, why: str) -> str:
        return named_only(why) if self.hides else why
