"""Bytewax: one worker, state by category in memory, no recovery store."""

# ruff: noqa: D101, D102, D103
from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main
from common import TASK, Table, ends, parse

TUNED = {"queued.min.messages": "1000000", "fetch.queue.backoff.ms": "10"}


class Figures(StatefulBatchLogic):
    """The windows of one category, type and currency, and the ids that went into them."""

    def __init__(self, _state: object) -> None:
        self.seen: set[str] = set()
        self.totals: dict[tuple, tuple] = {}

    def on_batch(self, values: list[tuple]) -> tuple[list[tuple[tuple, tuple]], bool]:
        changed = {}
        for event_id, minute, currency, category, event_type, units, amount, orders in values:
            if event_id in self.seen:
                continue
            self.seen.add(event_id)
            key = (minute, currency, category, event_type)
            events, all_units, all_amount, all_orders = self.totals.get(key, (0, 0, 0, 0))
            self.totals[key] = changed[key] = (events + 1, all_units + units, all_amount + amount, all_orders + orders)
        return list(changed.items()), StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[tuple[tuple, tuple]], bool]:
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[tuple[tuple, tuple]], bool]:
        return [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return None

    def snapshot(self) -> tuple[set[str], dict[tuple, tuple]]:
        return self.seen, self.totals


class Upserts(StatelessSinkPartition):
    """The table, and how many events are in it."""

    def __init__(self) -> None:
        self.events: dict[tuple, int] = {}

    def write_batch(self, items: list[tuple[str, tuple[tuple, tuple]]]) -> None:
        for _, (key, values) in items:
            table.set(key, values)
            self.events[key] = values[0]
        table.flush_if_due(sum(self.events.values()))

    def close(self) -> None:
        table.flush(messages)


class Sink(DynamicSink):
    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> Upserts:
        return Upserts()


def keyed(batch: list[KafkaSourceMessage]) -> Iterable[tuple[str, tuple]]:
    for message in batch:
        event = parse(message.value)
        if event is not None:
            yield f"{event[2]}/{event[3]}/{event[4]}", event


messages = sum(end - begin for begin, end in ends().values())
table = Table()
flow = Dataflow("figures")
source = KafkaSource([TASK["bootstrap"]], [TASK["topic"]], tail=False, batch_size=10_000, add_config=TUNED)
stream = op.flat_map_batch("parse", op.input("topic", flow, source), keyed)
op.output("table", op.stateful_batch("figures", stream, Figures), Sink())

if __name__ == "__main__":
    cluster_main(flow, [], 0)
    table.finish()
