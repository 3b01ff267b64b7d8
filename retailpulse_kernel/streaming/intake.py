"""From a topic's bytes to rows: every message is judged once, here, by `parse_event`.

The function runs in Spark's workers on Arrow batches. Of each message it makes a row that is
*accepted* (still to be deduplicated), *late* or *bad*. Late and bad ones go to their topics at
once and come out only as counts, unless the job wants the late rows themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from retailpulse_kernel.errors import EventError
from retailpulse_kernel.events import Event, parse_event
from retailpulse_kernel.streaming.checkpoint import logged_batch
from retailpulse_kernel.streaming.rejects import RejectTopics, reject_record

__all__ = ["ACCEPTED", "BAD", "EVENT_COLUMNS", "LATE", "Intake"]

ACCEPTED, LATE, BAD = "accepted", "late", "bad"

_MONEY = pa.decimal128(18, 4)
_TIME = pa.timestamp("us", tz="UTC")

#: What can be asked for of an event, and of the message that carried it.
_EVENT_TYPES = {
    "event_id": pa.string(),
    "event_type": pa.string(),
    "event_time": _TIME,
    "user_id": pa.string(),
    "session_id": pa.string(),
    "product_id": pa.string(),
    "category": pa.string(),
    "brand": pa.string(),
    "price": _MONEY,
    "quantity": pa.int32(),
    "currency": pa.string(),
    "order_id": pa.string(),
    "order_line": pa.int32(),
}
#: Every column of an event.
EVENT_COLUMNS = tuple(_EVENT_TYPES)
_MESSAGE_TYPES = {
    "partition": pa.int32(),
    "offset": pa.int64(),
    "arrival": _TIME,
    "raw": pa.string(),
}
#: What every row has: its verdict, how many messages it stands for, the key and the time by
#: which it is deduplicated.
_VERDICT_TYPES = {"status": pa.string(), "n": pa.int64(), "dedup_key": pa.string(), "clock": _TIME}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SQL_TYPES = {
    pa.string(): "string",
    _TIME: "timestamp",
    _MONEY: "decimal(18,4)",
    pa.int32(): "int",
    pa.int64(): "bigint",
}


@dataclass(frozen=True)
class Intake:
    """How a job takes messages in. Pickled to the workers, so it holds plain values only.

    Parameters
    ----------
    columns : tuple of str
        Which columns of event and message the job needs; fewer are faster.
    topic : str
        Where the messages come from, for the rejects' records.
    checkpoint : str, optional
        Where Spark logs the watermark by which lateness is judged; None judges none late.
    keep_late : bool
        Whether late rows come out as rows, flagged, or as a count.
    rejects : RejectTopics, optional
        Where bad and late messages go; None only counts them.
    labels : dict
        Put into every reject's record: job, epoch.
    """

    columns: tuple[str, ...]
    topic: str
    checkpoint: str | None = None
    keep_late: bool = False
    rejects: RejectTopics | None = None
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """The rows' schema."""
        types = {**_EVENT_TYPES, **_MESSAGE_TYPES}
        return pa.schema([*_VERDICT_TYPES.items(), *((name, types[name]) for name in self.columns)])

    @property
    def ddl(self) -> str:
        """The rows' schema as Spark writes it."""
        return ", ".join(f"`{f.name}` {_SQL_TYPES[f.type]}" for f in self.schema)

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Judge Arrow batches with the columns value, partition, offset, timestamp."""
        batch_id, watermark_ms = self._logged()
        counts: Counter[str] = Counter()
        for batch in batches:
            rows = _Rows(self, watermark_ms, batch_id)
            for value, partition, offset, arrival_us in zip(
                batch.column("value").to_pylist(),
                batch.column("partition").to_pylist(),
                batch.column("offset").to_pylist(),
                batch.column("timestamp").cast(pa.int64()).to_pylist(),
                strict=True,
            ):
                rows.add(value, partition, offset, arrival_us)
            counts.update(rows.counts)
            if self.rejects is not None:
                self.rejects.send(rows.rejected)
            yield rows.to_arrow()
        if counts:
            yield self._counted(counts)

    def _logged(self) -> tuple[int, int]:
        """The micro-batch that this task belongs to, and its watermark in epoch ms."""
        from pyspark import TaskContext

        context = TaskContext.get()
        batch_id = context.getLocalProperty("streaming.sql.batchId") if context else None
        if batch_id is None:
            return -1, 0
        logged = logged_batch(self.checkpoint, int(batch_id)) if self.checkpoint else None
        return int(batch_id), logged.watermark_ms if logged else 0

    def _counted(self, counts: Counter[str]) -> pa.RecordBatch:
        """Rows that carry the counts of what came out as no row."""
        rows = [{"status": status, "n": n} for status, n in counts.items()]
        return pa.RecordBatch.from_pylist(rows, schema=self.schema)


class _Rows:
    """The rows of one Arrow batch while they are collected, column by column."""

    def __init__(self, intake: Intake, watermark_ms: int, batch_id: int) -> None:
        self._intake = intake
        self._batch_id = batch_id
        self._late_until = _EPOCH + timedelta(milliseconds=watermark_ms) if watermark_ms else None
        # A late row must pass Spark's own filter: it stands just above the watermark.
        self._late_clock = _EPOCH + timedelta(milliseconds=watermark_ms + 1)
        self._event_columns = [c for c in intake.columns if c in _EVENT_TYPES]
        self._message_columns = [c for c in intake.columns if c in _MESSAGE_TYPES]
        self._events: list[Event] = []
        self._messages: list[tuple[bytes, int, int, int]] = []
        self._late: list[int] = []
        self.rejected: list[tuple[str, str, bytes]] = []
        self.counts: Counter[str] = Counter()

    def add(self, value: bytes | None, partition: int, offset: int, arrival_us: int) -> None:
        """Judge one message."""
        try:
            event = parse_event(value, arrival_ms=arrival_us // 1000)
        except EventError as error:
            self.counts[BAD] += 1
            self._reject(BAD, value, partition, offset, arrival_us, error.reason, error.detail)
            return
        if self._late_until is not None and event.event_time <= self._late_until:
            why = f"event_time is not after the watermark {self._late_until.isoformat(timespec='milliseconds')}"
            self._reject(LATE, value, partition, offset, arrival_us, LATE, why)
            if not self._intake.keep_late:
                self.counts[LATE] += 1
                return
            self._late.append(len(self._events))
        self._events.append(event)
        if self._message_columns or self._intake.keep_late:
            self._messages.append((value or b"", partition, offset, arrival_us))

    def _reject(
        self, status: str, value: bytes | None, partition: int, offset: int, arrival_us: int, reason: str, detail: str
    ) -> None:
        rejects = self._intake.rejects
        if rejects is None:
            return
        record = reject_record(
            value,
            topic=self._intake.topic,
            partition=partition,
            offset=offset,
            arrival_ms=arrival_us // 1000,
            reason=reason,
            detail=detail,
            batch=self._batch_id,
            **self._intake.labels,
        )
        topic = rejects.bad if status == BAD else rejects.late
        self.rejected.append((topic, f"{self._intake.topic}-{partition}-{offset}", record))

    def to_arrow(self) -> pa.RecordBatch:
        """The rows so far as one Arrow batch."""
        events, size = self._events, len(self._events)
        status, keys, clocks = [ACCEPTED] * size, [e.event_id for e in events], [e.event_time for e in events]
        for i in self._late:
            _, partition, offset, _ = self._messages[i]
            status[i], clocks[i] = LATE, self._late_clock
            # No event has an id of this form, so a late row is never taken for a duplicate.
            keys[i] = f"\0late:{partition}:{offset}"
        columns: dict[str, Any] = {"status": status, "n": [1] * size, "dedup_key": keys, "clock": clocks}
        for name in self._event_columns:
            columns[name] = [getattr(e, name) for e in events]
        for name in self._message_columns:
            columns[name] = self._message_column(name)
        schema = self._intake.schema
        return pa.RecordBatch.from_arrays([pa.array(columns[f.name], type=f.type) for f in schema], schema=schema)

    def _message_column(self, name: str) -> list[Any] | pa.Array:
        match name:
            case "raw":
                return [value.decode() for value, *_ in self._messages]
            case "partition":
                return [partition for _, partition, _, _ in self._messages]
            case "offset":
                return [offset for _, _, offset, _ in self._messages]
            case _:
                return [_EPOCH + timedelta(microseconds=us) for *_, us in self._messages]
