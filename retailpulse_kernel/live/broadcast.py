"""From the feed to the browsers: one thread a view, started by the first browser that asks."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

from retailpulse_kernel.live.feed import Feed
from retailpulse_kernel.live.frames import NOTHING, Clients, Keys, Versions, frame
from retailpulse_kernel.settings import Settings

__all__ = ["Broadcast"]

#: Seconds without a browser after which Kafka and Cassandra are let go; the next browser starts anew.
_IDLE = 600.0


class Broadcast:
    """Sends what a `Feed` finds, as fast as the browsers paint it and no faster than asked.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    send : callable
        Sends a message and its bytes to all browsers; called from this thread.
    hz : float
        Most frames a second.
    """

    def __init__(self, settings: Settings, send: Callable[[dict[str, Any], bytes], None], *, hz: float) -> None:
        self.feed = Feed(settings)
        self._settings = settings
        self._to_browsers = send
        self._pause = 1.0 / hz
        self._inbox: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a browser's message, on whatever thread the kernel handles it."""
        self._inbox.put(message)
        with self._lock:
            if not self._stopped and (self._thread is None or not self._thread.is_alive()):
                self._start()

    def stop(self) -> None:
        """End the thread for good."""
        with self._lock:
            self._stopped = True
            self.feed.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)

    def _start(self) -> None:
        self.feed = Feed(self._settings)
        self._clients, self._keys = Clients(), Keys()
        self._run, self._seq, self._sent_at = uuid.uuid4().hex, 0, 0.0
        self._thread = threading.Thread(target=self.feed.run, args=(self._step,), name="retailpulse-live", daemon=True)
        self._thread.start()

    def _step(self) -> None:
        """Answer the browsers, and send them what is new."""
        while not self._inbox.empty():
            message = self._inbox.get()
            if self._clients.hear(message):
                self._send(NOTHING, to=str(message["client"]))
        now = time.monotonic()
        if now - self._sent_at >= self._pause and (base := self._clients.base(now)) is not None:
            self._send(base)
        if now - self._clients.heard_at > _IDLE:
            self.feed.stop()

    def _send(self, base: Versions, to: str | None = None) -> None:
        now = time.monotonic()
        self._seq += 1
        content, versions = frame(self.feed, self._keys, base, run=self._run, seq=self._seq)
        self._clients.went(self._seq, versions, now, to)
        self._sent_at = now
        self._to_browsers({"op": "frame", "to": to}, content)
