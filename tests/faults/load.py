"""A steady, seeded stream of events into a topic, and the truth of all that it has sent."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from retailpulse_kernel.feed.generator import Generator, Message
from retailpulse_kernel.feed.replay import replay
from retailpulse_kernel.feed.truth import Truth
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.config import client_config
from tests.jobs import wait_until

__all__ = ["Load"]

_TICK = 0.02


class Load:
    """Duplicates, late and bad messages, refunds and two currencies, at the pace of real time.

    One thread sends everything, what a test adds included, so that the truth and the order of the
    messages are one. It outlasts any absence of Kafka, then sends what was due meanwhile in one rush.

    Parameters
    ----------
    settings : Settings
        Its namespace has the topic.
    seed : int
        The same seed gives the same shop.
    rate : float
        Messages per second, on average.

    Attributes
    ----------
    acknowledged : int
        Messages that Kafka has for good.
    """

    def __init__(self, settings: Settings, *, seed: int, rate: float = 200.0) -> None:
        self._settings = settings
        self._topic = settings.namespace.events_topic
        self._generator = Generator(
            rate=rate, seconds=None, seed=seed, duplicates=0.05, late=0.02, bad=0.02, currencies={"USD": 3, "EUR": 1}
        )
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "message.max.bytes": 2 * 1024 * 1024,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.timeout.ms": 0,  # for ever
                "topic.metadata.refresh.interval.ms": 1_000,
            }
        )
        self.acknowledged = 0
        self._refused: KafkaError | None = None
        self._partitions = 4
        self._due: Message | None = None
        self._numbers = itertools.count()
        self._recent: deque[tuple[bytes, bytes]] = deque(maxlen=20_000)
        self._wishes: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._held, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()
        # Before any other message: an event can be late only where its partition has seen a newer one.
        self.visit_every_partition()

    @property
    def truth(self) -> Truth:
        """What the messages sent so far hold; settled only while the load is held."""
        return self._generator.truth

    # -- pace -------------------------------------------------------------------------------

    def hold(self) -> None:
        """Stop sending, and wait until Kafka has all that was sent."""
        self._held.set()
        self._ask(self._send_due)
        left = self._producer.flush(120)
        assert not left and not self._refused, f"{left} messages were not acknowledged: {self._refused}"

    def go_on(self) -> None:
        """Send again, what was due meanwhile first."""
        self._held.clear()

    def end(self) -> None:
        """Stop for good."""
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        begin, messages = time.monotonic(), self._generator.messages()
        while not self._ended.is_set():
            self._grant_wishes()
            if self._held.is_set():
                self._producer.poll(_TICK)
                continue
            if self._due is None:
                self._due = next(messages)
            early = self._due.at - (time.monotonic() - begin)
            if early > 0:
                self._producer.poll(min(early, _TICK))
            else:
                self._send_due()

    def _send_due(self) -> None:
        """Send the message that the generator has given, and counted, last."""
        if self._due is not None:
            self._send(self._due.key, self._due.value)
            if self._due.kind == "event":
                self._recent.append((self._due.key, self._due.value))
            self._due = None

    def _grant_wishes(self) -> None:
        while True:
            try:
                wish, answer = self._wishes.get_nowait()
            except Empty:
                return
            try:
                answer.set_result(wish())
            except BaseException as error:
                answer.set_exception(error)

    def _ask(self, wish: Callable[[], Any]) -> Any:
        """Have the load's own thread do something between two messages."""
        answer: Future[Any] = Future()
        self._wishes.put((wish, answer))
        return answer.result(120)

    def _send(self, key: bytes, value: bytes, partition: int | None = None) -> None:
        # Not the client's choice: which partitions there are is told it late, and known here.
        partition = zlib.crc32(key) % self._partitions if partition is None else partition
        self._producer.produce(self._topic, value, key, partition=partition, on_delivery=self._delivered)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._refused = error

    # -- what a test adds -------------------------------------------------------------------

    def visit_every_partition(self, moment: datetime | None = None, *, times: int = 1) -> None:
        """Purchases of some cents in each partition, on time."""

        def visit() -> None:
            for partition in list(range(self._partitions)) * times:
                self._send(*self._purchase(moment), partition=partition)

        self._ask(visit)

    def repeat(self, count: int) -> None:
        """Old events again, each to the partition that its key belongs to by now."""

        def send() -> None:
            oldest = list(itertools.islice(self._recent, count))
            self.truth.duplicates += len(oldest)
            for key, value in oldest:
                self._send(key, value)

        self._ask(send)

    def run_ahead(self, count: int, by: timedelta = timedelta(hours=1)) -> None:
        """Events of a producer whose clock is ahead: bad ones."""

        def send() -> None:
            for _ in range(count):
                key, value = self._event(datetime.now(UTC) + by)
                self._send(key, orjson.dumps(value))
            self.truth.bad["time:future"] += count

        self._ask(send)

    def poison(self) -> None:
        """Messages of 1 MB that are not events, in all their ways."""
        size = 1_000_000
        key, good = self._event(datetime.now(UTC))
        messages = [
            ("not_utf8", b"\x00\xff" * (size // 2)),
            ("not_json", orjson.dumps(good)[:-1] + b" " * size),
            ("not_json", b"[" * size),
            ("range:event_id", orjson.dumps(good | {"event_id": "x" * size})),
            ("format:price", orjson.dumps(good | {"price": "9" * size})),
        ]

        def send() -> None:
            for reason, message in messages:
                self.truth.bad[reason] += 1
                self._send(key, message)

        self._ask(send)

    def grow(self, partitions: int) -> None:
        """Give the topic more partitions; keys move to others, and old events come again there."""
        admin = AdminClient(client_config(self._settings))
        for future in admin.create_partitions([NewPartitions(self._topic, partitions)]).values():
            future.result(60)

        def use() -> None:
            # The client has to hear of them first.
            wait_until(
                lambda: len(self._producer.list_topics(self._topic).topics[self._topic].partitions) == partitions,
                "the new partitions",
            )
            for partition in range(self._partitions, partitions):
                self._send(*self._purchase(None), partition=partition)
            self._partitions = partitions

        self._ask(use)
        self.repeat(2_000)

    def replay_twice(self, file: Path, count: int) -> None:
        """Write a file of new events and replay it twice, beside the stream."""

        def write() -> None:
            lines = [self._purchase(None)[1] for _ in range(count)]
            file.write_bytes(b"\n".join(lines) + b"\n")
            self.truth.duplicates += count

        self._ask(write)
        for _ in range(2):
            done = replay(self._settings, file, "retailpulse", rejects=file.with_suffix(".rejects"))
            assert (done.sent, done.rejected) == (count, 0)
            sent = done.sent
            self._ask(lambda sent=sent: self._add(sent))

    def _add(self, sent: int) -> None:
        self.acknowledged += sent

    def _event(self, moment: datetime) -> tuple[bytes, dict[str, Any]]:
        number = next(self._numbers)
        user = f"extra-{number % 50}"
        return user.encode(), {
            "event_id": f"extra-{self._generator.seed}-{number}", "event_type": "purchase",
            "event_time": moment.isoformat(timespec="milliseconds"), "user_id": user, "session_id": f"{user}-s",
            "product_id": "p", "category": f"extra.{number % 3}", "order_id": f"o-{number}", "order_line": 1,
            "price": f"{number % 1000 / 100:.2f}", "currency": "EUR",
        }  # fmt: skip

    def _purchase(self, moment: datetime | None) -> tuple[bytes, bytes]:
        """An event that counts, now unless it is told when."""
        key, event = self._event(moment or datetime.now(UTC))
        cents = round(float(event["price"]) * 100)
        self.truth.add("purchase", event["user_id"], event["category"], cents, "EUR", 1, late=False)
        return key, orjson.dumps(event)
