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
from typing import IO, Any, Final

from retailpulse_kernel.feed.adapters import Reject, Rules, read_rows
from retailpulse_kernel.feed.generator import Message
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.paths import require_apart
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.ground.spans import iso_text
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.formats.opening import JSON
from retailpulse_kernel.stores.kafka.producer import Sender
from retailpulse_kernel.telemetry.recording import Recorder, recording

__all__ = ["Replay", "replay", "send"]

SKEW: Final = timedelta(minutes=2)
"""How far event time may move before all partitions must have caught up; well below the jobs' watermark."""

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
        Messages that Kafka has acknowledged, and rows that are not events.
    reasons : Counter
        Rejected rows by reason.
    rejects : Path or None
        Where the rejected rows are, when there are any.
    seconds : float
        How long it took.
    first_event, last_event : datetime or None
        The range of event time, UTC.
    format, known_by : str
        The file's format, and the columns that told it when nobody named one.
    changed : Counter
        Rows in which a value was rounded, derived, chosen or defaulted, by which.
    ignored : tuple of str
        Columns of a table that the format does not read.
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
    format: str = ""
    known_by: str = ""
    changed: Counter[str] = field(default_factory=Counter)
    ignored: tuple[str, ...] = ()
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
            "first_event": self.first_event and iso_text(self.first_event, "milliseconds"),
            "last_event": self.last_event and iso_text(self.last_event, "milliseconds"),
            "format": self.format or None,
            "changed": dict(self.changed.most_common()),
            "ignored_columns": list(self.ignored),
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
    rules: Rules | None = None,
    rejects: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda done, fraction: None,
) -> Replay:
    """Send a file's events to the namespace's topic, in the order of the file.

    Parameters
    ----------
    settings : Settings
        Has Kafka's address and the namespace.
    path : str or Path
        As of `retailpulse_kernel.feed.adapters.read`.
    format : str
        One of `retailpulse_kernel.feed.adapters.FORMATS`, or ``auto``.
    speed : float
        How many times faster than it happened; 0 is as fast as possible.
    skew : timedelta
        How far event time may move before all partitions must have caught up.
    source, items, rules : optional
        As in `retailpulse_kernel.feed.adapters.read`.
    rejects : str or Path, optional
        Where rows go that are not events, as JSONL with line, reason and raw text; a file in the
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
    rejects_path = Path(rejects) if rejects else Path.cwd() / f"{Path(path).name}.rejects.jsonl"
    require_apart({"the rejects file": rejects_path}, {"the input": path, "the items file": items})
    _require_json(settings)
    reading = read_rows(path, format, source=source, items=items, rules=rules, contract=contract_of(settings))
    done = Replay(format=reading.format, known_by=reading.known_by, changed=reading.changed, ignored=reading.ignored)
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


def _require_json(settings: Settings) -> None:
    """Refuse a topic that holds something else by the contract: jobs could not open what is sent."""
    format = contract_of(settings).of_topic(Namespace.EVENTS).format
    if format != JSON:
        raise UsageError(
            f"Events are sent as JSON, and the topic {settings.namespace.events_topic} holds {format} by the contract.",
            remedy="Send them with a profile that has another contract, into another namespace.",
        )


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
    settings : Settings
        Has Kafka's address and the namespace.
    messages : iterable of Message
        In the order of their times.
    paced : bool
        At the time each message says; otherwise as fast as possible.
    stop : callable
        Asked a few times a second whether to end early.
    report : callable
        Told a few times a second how far it is.

    Raises
    ------
    UsageError
        The topic is missing, or is one of another format than JSON.
    StoreUnavailable
        Kafka does not answer, or refused a message.
    """
    _require_json(settings)
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
