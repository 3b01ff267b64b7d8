"""Sending events to Kafka: a file's at any speed, or a generator's at its own.

A topic has several partitions, and events go to that of their user. Sent as fast as possible, one partition
could run ahead of another by more than the watermark of the jobs, which would then call the other's events
late. So whenever event time has moved by `SKEW`, everything sent so far is waited for before the next event.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from retailpulse_kernel.adapters import Reject, read_rows
from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.generator import Message
from retailpulse_kernel.monitoring.recording import Recorder, recording
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka_config import client_config, unavailable
from retailpulse_kernel.topics import MAX_MESSAGE_BYTES, topic_states

__all__ = ["SKEW", "Replay", "Sender", "replay", "send"]

SKEW: Final = timedelta(minutes=2)
"""How far event time may move before all partitions must have caught up; well below the jobs' watermark."""

_DELIVERY_TIMEOUT = 120.0  # seconds that Kafka may be away
_TICK = 0.2  # seconds between two looks at progress, deliveries and the wish to stop
_EVERY = 256  # messages between two looks at the clock

Report = Callable[["Replay", float], None]
"""Called a few times a second with the counts so far and the fraction done."""


@dataclass
class Replay:
    """What was sent.

    Attributes
    ----------
    sent, rejected : int
        Messages that Kafka has acknowledged, and rows that are no event.
    reasons : Counter
        Rejected rows by reason.
    rejects : Path or None
        Where the rejected rows are, when there are any.
    seconds : float
        How long it took.
    first_event, last_event : datetime or None
        The range of event time, UTC.
    stopped : bool
        Whether it was stopped before its end.
    """

    sent: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rejects: Path | None = None
    seconds: float = 0.0
    first_event: datetime | None = None
    last_event: datetime | None = None
    stopped: bool = False

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.sent / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "sent": self.sent,
            "rejected": self.rejected,
            "rejected_by_reason": dict(self.reasons.most_common()),
            "rejects": str(self.rejects) if self.rejects else None,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.rate, 1),
            "first_event": _iso(self.first_event),
            "last_event": _iso(self.last_event),
            "stopped": self.stopped,
        }


def replay(
    settings: Settings,
    path: str | Path,
    format: str,
    *,
    speed: float = 0.0,
    skew: timedelta = SKEW,
    source: str | None = None,
    items: str | Path | None = None,
    rejects: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda done, fraction: None,
) -> Replay:
    """Send a file's events to the namespace's topic, in the order of the file.

    Parameters
    ----------
    settings : Settings
    path : str or Path
        CSV, JSONL or Parquet, gzip or plain.
    format : str
        One of `retailpulse_kernel.adapters.FORMATS`.
    speed : float
        How many times faster than it happened; 0 is as fast as possible.
    skew : timedelta
        How far event time may move before all partitions must have caught up.
    source, items : optional
        As in `retailpulse_kernel.adapters.read`.
    rejects : str or Path, optional
        Where rows go that are no event, as JSONL with line, reason and raw text; a file in the
        working folder by default, made when there is the first.
    stop : callable
        Asked a few times a second whether to end early.
    report : callable
        Told a few times a second how far it is.

    Raises
    ------
    UsageError
        The file, its format, a column or the topic is missing; nothing has been sent.
    StoreUnavailable
        Kafka does not answer, or refused a message.
    """
    if speed < 0:
        raise UsageError(f"A speed of {speed} can't be.", remedy="Use 0 for as fast as possible, 1 for real time.")
    reading = read_rows(path, format, source=source, items=items)
    rejects_path = Path(rejects) if rejects else Path.cwd() / f"{Path(path).name}.rejects.jsonl"
    done = Replay()
    pace = _Pace(stop)
    flushed_at = datetime.min
    with (
        recording(settings, "producer", "replay", producer="replay") as metrics,
        Sender(settings) as sender,
        _Rejects(rejects_path, done) as rejected,
    ):
        metrics.before_flush(lambda: _measure(metrics, done, sender))
        for number, row in enumerate(reading):
            if number % _EVERY == 0 and pace.due():
                report(_so_far(done, sender, pace), reading.fraction)
                if stop():
                    done.stopped = True
                    break
            if isinstance(row, Reject):
                rejected.write(row)
                continue
            event = row.event
            moment = event.event_time.replace(tzinfo=None)
            if done.first_event is None:
                done.first_event = done.last_event = event.event_time
                flushed_at = moment
            elif moment - flushed_at > skew:
                sender.flush()
                flushed_at = moment
            if speed and not pace.wait_until((event.event_time - done.first_event).total_seconds() / speed):
                done.stopped = True
                break
            sender.send(event.user_id.encode(), row.value)
            done.first_event = min(done.first_event, event.event_time)
            done.last_event = max(done.last_event or event.event_time, event.event_time)
    return _so_far(done, sender, pace)


def send(
    settings: Settings,
    messages: Iterable[Message],
    *,
    paced: bool = True,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda done, fraction: None,
) -> Replay:
    """Send a generator's messages to the namespace's topic.

    Parameters
    ----------
    paced : bool
        At the time each message says; otherwise as fast as possible.

    Raises
    ------
    UsageError
        The topic is missing.
    StoreUnavailable
        Kafka does not answer, or refused a message.
    """
    done, pace = Replay(), _Pace(stop)
    skew, flushed_at = SKEW.total_seconds(), 0.0
    with recording(settings, "producer", "generate", producer="generate") as metrics, Sender(settings) as sender:
        metrics.before_flush(lambda: _measure(metrics, done, sender))
        for number, message in enumerate(messages):
            # The message is sent before anyone may stop, so that the generator's truth is exactly what was sent.
            if paced:
                pace.wait_until(message.at)
            if message.at - flushed_at > skew:
                sender.flush()
                flushed_at = message.at
            sender.send(message.key, message.value)
            if (number % _EVERY == 0 or paced) and pace.due():
                report(_so_far(done, sender, pace), 0.0)
                if stop():
                    done.stopped = True
                    break
    return _so_far(done, sender, pace)


class Sender:
    """A producer that loses nothing and keeps the order of each key.

    Leaving the ``with`` block waits for every acknowledgement.

    Parameters
    ----------
    settings : Settings
    topic : str, optional
        The namespace's topic of events when absent.

    Attributes
    ----------
    acknowledged : int
        Messages that Kafka has for good.
    """

    def __init__(self, settings: Settings, topic: str | None = None) -> None:
        self._settings = settings
        self.topic = topic or settings.namespace.events_topic
        topic_states(settings, [self.topic])  # says at once when Kafka or the topic is not there
        self.acknowledged = 0
        self._refused: KafkaError | None = None
        self._producer = Producer(
            client_config(settings)
            | {
                "enable.idempotence": True,
                "acks": "all",
                # As Java's clients do, so that a user stays in one partition whoever sends.
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "batch.size": 256 * 1024,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 100_000,
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT * 1000),
            }
        )

    def send(self, key: bytes, value: bytes) -> None:
        """Hand a message over; it is on its way, not yet acknowledged."""
        while True:
            try:
                self._producer.produce(self.topic, value, key, on_delivery=self._delivered)
                break
            except BufferError:  # the queue is full: let acknowledgements come in
                self._producer.poll(0.1)
                self._check()
            except KafkaException as error:
                raise unavailable(self._settings, error) from error
        self._producer.poll(0)
        if self._refused:
            self._check()

    def flush(self) -> None:
        """Wait until Kafka has everything sent so far."""
        left = self._producer.flush(_DELIVERY_TIMEOUT + 5)
        self._check()
        if left:
            raise unavailable(self._settings, f"{left} messages were not acknowledged")

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is None:
            self.acknowledged += 1
        elif self._refused is None:
            self._refused = error

    def _check(self) -> None:
        if self._refused:
            raise unavailable(self._settings, f"{self._refused.str()} ({self.acknowledged} messages had arrived)")

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()
        else:
            self._producer.flush(5)


class _Pace:
    """The clock of a replay."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._begin = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def due(self) -> bool:
        """True once every tick."""
        now = time.monotonic()
        if now - self._last < _TICK:
            return False
        self._last = now
        return True

    def wait_until(self, seconds: float) -> bool:
        """Sleep until so many seconds after the start; False when stopped meanwhile."""
        while (left := seconds - self.seconds) > 0.001:
            if left > _TICK and self._stop():
                return False
            time.sleep(min(left, _TICK))
        return True


class _Rejects:
    """The file of rejected rows, made when there is the first one."""

    def __init__(self, path: Path, done: Replay) -> None:
        self._path = path
        self._done = done
        self._file: IO[str] | None = None

    def write(self, reject: Reject) -> None:
        if self._file is None:
            try:
                self._file = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"The rejects file {self._path} can't be written: {error.strerror}.",
                    remedy="Name another one with --rejects.",
                ) from error
            self._done.rejects = self._path
        self._file.write(json.dumps(reject._asdict(), ensure_ascii=False) + "\n")
        self._done.rejected += 1
        self._done.reasons[reject.reason] += 1

    def __enter__(self) -> _Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()


def _measure(metrics: Recorder, done: Replay, sender: Sender) -> None:
    """Measure by what is counted anyway: nothing for each message."""
    metrics.grow("retailpulse_producer_messages_total", sender.acknowledged)
    metrics.grow("retailpulse_producer_rejected_rows_total", done.rejected)


def _so_far(done: Replay, sender: Sender, pace: _Pace) -> Replay:
    done.sent, done.seconds = sender.acknowledged, pace.seconds
    return done


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None
