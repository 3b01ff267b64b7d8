"""A shop far busier than a real one: the same messages again and again, each time with ids and times of their own.

>>> python -m bench.flood 50000 60     # events a second, seconds
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from confluent_kafka import Producer

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.kafka.config import client_config

__all__ = ["flood"]

_TEMPLATES = 20_000
#: Messages between two looks at the clock.
_BURST = 500


def flood(settings: Settings, rate: float, seconds: float) -> dict[str, float]:
    """Send so many events a second, or as many as this machine can; how many they were."""
    templates = [_template(key, value) for key, value, *_ in Generator(rate=200, seconds=100, seed=9).messages()]
    producer = Producer(
        client_config(settings) | {"compression.type": "lz4", "linger.ms": 50, "queue.buffering.max.messages": 400_000}
    )
    topic, sent, began = settings.namespace.events_topic, 0, time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        if sent > now * rate:
            producer.poll(sent / rate - now)
            continue
        moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.}{datetime.now(UTC).microsecond // 1000:03d}Z".encode()
        for number in range(sent, sent + _BURST):
            key, before, between, after = templates[number % _TEMPLATES]
            producer.produce(topic, b"".join((before, b"flood-%d" % number, between, moment, after)), key)
        sent += _BURST
        producer.poll(0)
    producer.flush(60)
    return {"sent": sent, "seconds": time.monotonic() - began}


def _template(key: bytes, value: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A message without its id and its time."""
    fields = json.loads(value)
    before, _, rest = value.partition(fields["event_id"].encode())
    between, _, after = rest.partition(fields["event_time"].encode())
    return key, before, between, after


if __name__ == "__main__":
    print(json.dumps(flood(Settings.load(), float(sys.argv[1]), float(sys.argv[2]))))
