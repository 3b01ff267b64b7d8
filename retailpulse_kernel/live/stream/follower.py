"""The process that follows the stream for one view, and makes the frames that the kernel hands to the browsers.

It is a process of its own, since folding a stream in the kernel would take the interpreter from the user's cells, and
a cell in pure Python would take it from the view: every short call would wait for its turn. So the kernel's part is
one message a frame. What goes through the connection is listed in `Follower`.
"""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live.stream.cube import Cell
from retailpulse_kernel.live.stream.feed import FOLDED_RATE, Feed
from retailpulse_kernel.live.stream.frames import NOTHING, Clients, Keys, Versions, frame

__all__: list[str] = []

#: Seconds without a browser after which Kafka and Cassandra are let go; the next browser starts anew.
_IDLE = 600.0
#: Seconds of one look at the topic: at most, and while a browser's answer is waited for.
_LOOK, _SOON = 0.1, 0.03


class Follower:
    """Sends what a `Feed` finds, as fast as the browsers paint it and no faster than asked.

    In come the browsers' messages (``hello``, ``ack``, ``bye``), ``cells`` and ``end``; out go ``frame`` with its
    bytes, the answer to ``cells``, and ``idle`` as the last word.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    connection : Connection
        To the kernel; the process ends with it.
    hz : float
        Most frames a second.
    fold_up_to : float
        See `Feed`.
    """

    def __init__(
        self, settings: Settings, connection: Connection, *, hz: float, fold_up_to: float = FOLDED_RATE
    ) -> None:
        self.feed = Feed(settings, fold_up_to=fold_up_to)
        self._connection = connection
        self._pause = 1.0 / hz
        self._clients, self._keys = Clients(), Keys()
        self._run, self._seq, self._sent_at = uuid.uuid4().hex, 0, 0.0

    def run(self) -> None:
        """Follow until the kernel has gone, or no browser has been there for long."""
        self.feed.run(self._step)

    def _step(self) -> float:
        """Answer the kernel, and send the browsers what is new; seconds until there may be more to do."""
        try:
            while self._connection.poll():
                self._answer(self._connection.recv())
            return self._send_new()
        except (EOFError, OSError):  # the kernel has ended, or the view
            self.feed.stop()
            return 0.0

    def _answer(self, message: Mapping[str, Any]) -> None:
        if message.get("op") == "end":
            self.feed.stop()
        elif message.get("op") == "cells":
            late = (Cell(one.window, one.key, one.parts) for one in self.feed.corrections.minutes)
            cells = [cell for cell in (*self.feed.cube.cells(), *late) if any(cell.parts)]
            self._connection.send(({"op": "cells"}, cells))
        elif self._clients.hear(message):
            self._send(NOTHING, to=str(message["client"]))

    def _send_new(self) -> float:
        now = time.monotonic()
        if now - self._clients.heard_at > _IDLE:
            self._connection.send(({"op": "idle"}, None))
            self.feed.stop()
        wait = self._sent_at + self._pause - now
        if wait > 0:
            return min(wait, _LOOK)
        if (base := self._clients.base(now)) is None:
            return _SOON if len(self._clients) else _LOOK
        self._send(base)
        return min(self._pause, _LOOK)

    def _send(self, base: Versions, to: str | None = None) -> None:
        now = time.monotonic()
        self._seq += 1
        content, versions = frame(self.feed, self._keys, base, run=self._run, seq=self._seq)
        self._clients.went(self._seq, versions, now, to)
        self._sent_at = now
        self._connection.send(({"op": "frame", "to": to}, content))


def main(descriptor: str, hz: str, fold_up_to: str = f"{FOLDED_RATE:g}") -> None:
    """Follow for the kernel at the other end of a socket; the settings are those of the environment.

    Parameters
    ----------
    descriptor : str
        The number of an inherited socket, as text.
    hz : str
        Frames a second, as text.
    fold_up_to : str
        Events a second, as text; above it only stored figures are followed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt means the cell
    with Connection(int(descriptor)) as connection:
        Follower(Settings.load(), connection, hz=float(hz), fold_up_to=float(fold_up_to)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
