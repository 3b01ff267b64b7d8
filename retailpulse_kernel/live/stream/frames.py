"""What goes to the browsers: frames of what has changed, never more of them than are acknowledged.

A frame holds absolute values, so one may come twice or be left out. It says since which versions it
tells everything; a browser that knows less asks for all of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from retailpulse_kernel.live.stream.feed import Feed
from retailpulse_kernel.live.stream.tail import ADDITIVE, Key, Parts
from retailpulse_kernel.telemetry.recording import standing

__all__ = ["Clients", "Versions", "frame"]

Versions = tuple[int, int, int, int, int, int]
"""How far cells, hours, counts, keys, corrections and rates are known."""

NOTHING: Versions = (-1, -1, -1, -1, -1, -1)

#: Seconds after which a browser that has not acknowledged no longer holds the others up, and gets frames this seldom.
_PATIENCE = 2.0
#: Frames that may be under way to a browser that has acknowledged none of them.
_UNHEARD = 30
_EXACT = 2**53


@dataclass
class _Client:
    known: Versions = NOTHING
    sent: dict[int, Versions] = field(default_factory=dict)
    sent_at: float = 0.0


class Clients:
    """The browsers that show a view, and what each of them has.

    Attributes
    ----------
    heard_at : float
        When any of them was heard last, monotonic seconds.
    """

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}
        self.heard_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._clients)

    def hear(self, message: Mapping[str, Any]) -> bool:
        """Take a browser's message; True when it asks for everything.

        Parameters
        ----------
        message : mapping
            As the widget's JavaScript sent it.
        """
        self.heard_at = time.monotonic()
        name = str(message.get("client"))
        match message.get("op"):
            case "hello":
                self._clients[name] = _Client()
                return True
            case "bye":
                self._clients.pop(name, None)
            case "ack" if name in self._clients:
                client = self._clients[name]
                seq = int(message.get("seq", -1))
                client.known = client.sent.get(seq, client.known)
                client.sent = {later: versions for later, versions in client.sent.items() if later > seq}
        return False

    def base(self, now: float) -> Versions | None:
        """What all browsers have that a frame shall go to now; None when it shall go to nobody.

        Parameters
        ----------
        now : float
            Seconds of a monotonic clock.
        """
        ready = [client for client in self._clients.values() if not client.sent]
        silent = [
            client
            for client in self._clients.values()
            if client.sent and now - client.sent_at > _PATIENCE and len(client.sent) < _UNHEARD
        ]
        waiting = [c for c in self._clients.values() if c.sent and now - c.sent_at <= _PATIENCE]
        if waiting or not (ready or silent):
            return None
        known = [client.known for client in ready + silent]
        return tuple(min(versions) for versions in zip(*known, strict=True))

    def went(self, seq: int, versions: Versions, now: float, to: str | None = None) -> None:
        """Note that a frame is under way, to one or to all.

        Parameters
        ----------
        seq : int
            The frame's number.
        versions : Versions
            What a browser has once it has the frame.
        now : float
            Seconds of a monotonic clock.
        to : str, optional
            One browser's id; all when absent.
        """
        for name, client in self._clients.items():
            if to in (None, name):
                client.sent[seq] = versions
                client.sent_at = now


class Keys:
    """A number for each key, in the order of their first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, key: Key) -> int:
        """The key's number.

        Parameters
        ----------
        key : Key
            One of the cube's keys; a new one gets the next number.
        """
        return self._numbers.setdefault(key, len(self._numbers))

    def since(self, known: int) -> list[list[Any]]:
        """Number and parts of every key after the first ones.

        Parameters
        ----------
        known : int
            How many keys the other side has.
        """
        return [[number, *key] for key, number in self._numbers.items() if number >= known]


def frame(feed: Feed, keys: Keys, base: Versions, *, run: str, seq: int) -> tuple[bytes, Versions]:
    """Everything that has changed since some versions, as JSON, and the versions that it leads to.

    Parameters
    ----------
    feed : Feed
        What is shown.
    keys : Keys
        Numbers of the cube's keys, which are sent once.
    base : Versions
        What the browser has.
    run : str
        Tells this kernel's frames from those of an earlier one.
    seq : int
        The frame's number.
    """
    cells = _flat(((c.minute, c.key, c.parts) for c in feed.cube.cells(base[0])), keys)
    hours = None
    if feed.hours_version > base[1]:
        hours = _flat(((row.window, row.key, row.parts) for row in feed.hours), keys)
    late = None
    if feed.corrections.version > base[4]:
        late = [_flat(((one.window, one.key, (*one.parts, one.at)) for one in some), keys) for some in feed.corrections]
    content = {
        "run": run,
        "seq": seq,
        "base": base,
        "figures": [figure.name for figure in ADDITIVE],
        "cells": cells,
        "hours": hours,
        "late": late,
        "rates": feed.rates.content if feed.rates.version > base[5] else None,
        "health": feed.health.since(base[2]),
        "keys": keys.since(max(base[3], 0)),
        "state": {**asdict(feed.state), "now_ms": int(time.time() * 1000)},
    }
    versions = (
        feed.cube.version,
        feed.hours_version,
        feed.health.version,
        len(keys),
        feed.corrections.version,
        feed.rates.version,
    )
    content["versions"] = versions
    standing(feed.settings, "live", "live").add("retailpulse_live_frames_total")
    return orjson.dumps(content), versions


def _flat(cells: Any, keys: Keys) -> list[Any]:
    """Window, key and figures of every cell in one list: the smallest JSON."""
    flat: list[Any] = []
    for window, key, parts in cells:
        flat += (window, keys.number(key))
        flat += _plain(parts)
    return flat


def _plain(parts: Parts) -> list[Any]:
    """Figures as JSON has them: money in ten-thousandths, as text where a float would not be exact."""
    plain: list[Any] = []
    for part in parts:
        value = int(part.scaleb(4)) if isinstance(part, Decimal) else part
        plain.append(value if not isinstance(value, int) or -_EXACT < value < _EXACT else str(value))
    return plain
