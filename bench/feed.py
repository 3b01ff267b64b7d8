"""The topic that is measured: real-shaped events with repeats, late ones and bad ones, sent once and read by all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from retailpulse_kernel.feed.generator import Generator
from retailpulse_kernel.feed.replay import send
from retailpulse_kernel.ground.settings import Settings

__all__ = ["Feed", "fill"]

_DUPLICATES, _LATE, _BAD = 0.01, 0.003, 0.005
_SEED = 4


@dataclass(frozen=True)
class Feed:
    """A filled topic.

    Attributes
    ----------
    topic : str
        Its name.
    messages : int
        How many it holds, of every kind.
    truth : dict
        What the messages truly hold; see `retailpulse_kernel.feed.truth.Truth.as_dict`.
    """

    topic: str
    messages: int
    truth: dict[str, Any]


def fill(settings: Settings, messages: int, *, span: timedelta, seed: int = _SEED) -> Feed:
    """Send made-up events as fast as possible.

    Parameters
    ----------
    settings : Settings
        Its namespace's topic is filled.
    messages : int
        How many events, before duplicates and bad messages.
    span : timedelta
        Over how much event time they spread; the last one is of now.
    seed : int
        Another one makes other events.
    """
    seconds = span.total_seconds()
    generator = Generator(
        rate=messages / seconds,
        seconds=seconds,
        seed=seed,
        start=datetime.now(UTC) - span,
        duplicates=_DUPLICATES,
        late=_LATE,
        bad=_BAD,
    )
    send(settings, generator.messages(), paced=False)
    return Feed(settings.namespace.events_topic, messages, generator.truth.as_dict())
