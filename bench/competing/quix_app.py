"""Quix Streams: dedup and windows in RocksDB with changelog topics, rekeyed through a topic of its own, one process."""

# ruff: noqa: D102, D103
from __future__ import annotations

import tempfile
import uuid

from common import TASK, Table, ends, parse
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch
from quixstreams.state import State

SILENCE_SECONDS = 10.0
GRACE_MS = 4 * 3_600_000


class Upserts(BatchingSink):
    """The table; it is written whenever Quix commits."""

    def __init__(self) -> None:
        super().__init__()
        self._events: dict[tuple, int] = {}

    def setup(self) -> None:
        self.table = Table()

    def write(self, batch: SinkBatch) -> None:
        for item in batch:
            currency, category, event_type = item.key.split("/")
            key = (item.value["start"] // 1000, currency, category, event_type)
            self.table.set(key, tuple(item.value["value"]))
            self._events[key] = item.value["value"][0]
        self.table.flush(sum(self._events.values()))


def is_new(event: list, state: State) -> bool:
    """Whether the event's id was not seen under this key; ids are kept for ever."""
    if state.exists(event[0]):
        return False
    state.set(event[0], True)
    return True


def main() -> None:
    messages = sum(end - begin for begin, end in ends().values())
    sink = Upserts()
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=TASK["bootstrap"],
            consumer_group=f"{TASK['keyspace']}-{uuid.uuid4().hex[:8]}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="WARNING",
        )
        topic = app.topic(
            TASK["topic"],
            value_deserializer="bytes",
            key_deserializer="str",
            timestamp_extractor=lambda value, _headers, stamp, _kind: (parse(value) or (0, stamp // 1000))[1] * 1000,
        )
        events = app.dataframe(topic).apply(lambda value: list(parse(value) or ()))
        events = events.filter(bool).filter(is_new, stateful=True)
        events = events.group_by(lambda event: "/".join(event[2:5]), name="figures")
        windows = events.tumbling_window(60_000, grace_ms=GRACE_MS).reduce(
            reducer=lambda sums, event: [sums[0] + 1, *(a + b for a, b in zip(sums[1:], event[5:], strict=True))],
            initializer=lambda event: [1, *event[5:]],
        )
        windows.current().sink(sink)
        app.run(timeout=SILENCE_SECONDS)
    last = sink.table.marks[-1]
    sink.table.marks[-1] = (messages, last[1])
    sink.table.finish()


if __name__ == "__main__":
    main()
