"""What the competitors share: the rules of a valid event, one table in Cassandra, and a clock.

These programs run in an environment of their own, without RetailPulse:
``python PROGRAM '{"bootstrap": ..., "topic": ..., "hosts": [...], "port": ..., "keyspace": ...}'``. Each reads the
topic from its beginning to its present end, and upserts figures by minute, currency, category and type; the last line
of its output is JSON: ``{"marks": [[events, epoch seconds], ...]}``, a first mark when all is set up,
then one for each time that it wrote.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import orjson
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement, BatchType
from confluent_kafka import Consumer, TopicPartition

TYPES = ("view", "click", "add_to_cart", "remove_from_cart", "purchase", "refund")
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF")
AHEAD_SECONDS = 600
FLUSH_SECONDS = 1.0

TASK = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


def ends() -> dict[int, tuple[int, int]]:
    """First and next offset of each partition of the topic."""
    consumer = Consumer({"bootstrap.servers": TASK["bootstrap"], "group.id": "bench"})
    try:
        partitions = consumer.list_topics(TASK["topic"], timeout=10).topics[TASK["topic"]].partitions
        return {p: consumer.get_watermark_offsets(TopicPartition(TASK["topic"], p), timeout=10) for p in partitions}
    finally:
        consumer.close()


def parse(value: bytes | None) -> tuple[str, int, str, str, str, int, int, int] | None:
    """An event as (event_id, minute, currency, category, type, units, ten-thousandths, orders); None for a bad one."""
    try:
        event = orjson.loads(value or b"")
        event_id, event_type, currency = event["event_id"], event["event_type"], event.get("currency", "USD")
        quantity, price = event.get("quantity", 1), event.get("price")
        if not (isinstance(event_id, str) and 0 < len(event_id) <= 128 and event_type in TYPES):
            return None
        if None in (event["user_id"], event["session_id"], event["product_id"]) or currency not in CURRENCIES:
            return None
        if not isinstance(quantity, int) or quantity < 1 or isinstance(price, bool) or event.get("schema_version") != 1:
            return None
        amount = None if price is None else int(Decimal(price).scaleb(4))
        moment = datetime.fromisoformat(event["event_time"]).timestamp()
        if (amount is not None and amount < 0) or moment > time.time() + AHEAD_SECONDS:
            return None
        sign = {"purchase": 1, "refund": -1}.get(event_type, 0)
        if sign and (amount is None or not event["order_id"] or event["order_line"] < 1):
            return None
        orders = int(event_type == "purchase" and event["order_line"] == 1)
        key = (event_id, int(moment // 60 * 60), currency, event.get("category") or "unknown", event_type)
        return (*key, sign * quantity, sign * quantity * (amount or 0), orders)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation):
        return None


class Table:
    """Figures by (minute, currency, category, type), written as absolute values about once a second."""

    def __init__(self) -> None:
        self._changed: dict[tuple, tuple] = {}
        self._due = time.monotonic() + FLUSH_SECONDS
        self._cluster = Cluster(TASK["hosts"], port=TASK["port"])
        self._session = self._cluster.connect()
        self._session.execute(
            f"create keyspace if not exists {TASK['keyspace']} with replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        self._session.set_keyspace(TASK["keyspace"])
        self._session.execute("drop table if exists figures", timeout=60)
        self._session.execute(
            "create table figures (minute timestamp, currency text, category text, event_type text, events bigint, "
            "units bigint, revenue decimal, orders bigint, primary key ((minute), currency, category, event_type))"
        )
        self._insert = self._session.prepare(
            "insert into figures (minute, currency, category, event_type, events, units, revenue, orders) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self.marks = [(0, time.time())]  # from here on the topic is read

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changed)

    def set(self, key: tuple, values: tuple) -> None:
        """Figures (events, units, ten-thousandths, orders) of a key; the latest before a flush is the one written."""
        self._changed[key] = values

    def flush_if_due(self, events: int) -> None:
        """Write what has changed, when a second is over; `events` have gone into it."""
        if time.monotonic() >= self._due:
            self.flush(events)

    def flush(self, events: int) -> None:
        """Write what has changed."""
        by_minute = defaultdict(list)
        for key, values in self._changed.items():
            by_minute[key[0]].append((key, values))
        execute_concurrent(self._session, self._batches(by_minute), concurrency=64)
        self._changed.clear()
        self.marks.append((events, time.time()))
        self._due = time.monotonic() + FLUSH_SECONDS

    def _batches(self, by_minute: dict[int, list]) -> Iterator[tuple[BatchStatement, None]]:
        for minute, rows in by_minute.items():
            start = datetime.fromtimestamp(minute, UTC)
            for first in range(0, len(rows), 20):
                batch = BatchStatement(BatchType.UNLOGGED)
                for key, (events, units, amount, orders) in rows[first : first + 20]:
                    batch.add(self._insert, (start, *key[1:], events, units, Decimal(amount).scaleb(-4), orders))
                yield batch, None

    def finish(self) -> None:
        """Say when what was done, on the last line."""
        self._cluster.shutdown()
        print(json.dumps({"marks": self.marks}), flush=True)
