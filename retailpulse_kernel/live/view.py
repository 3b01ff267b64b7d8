"""``rp.live()``: the four canonical figures, live, in one widget.

All controls are answered in the browser, which holds the figures of the last day; the kernel only sends
what has changed, from a thread, and waits until it was painted. So a cell that runs neither stops the
view nor its controls.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from retailpulse_kernel.errors import UsageError
from retailpulse_kernel.events import ORDER_EVENTS
from retailpulse_kernel.live import assets
from retailpulse_kernel.live.feed import Feed
from retailpulse_kernel.live.frames import NOTHING, Clients, Keys, frame
from retailpulse_kernel.metrics import FIGURES
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.spans import span_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LiveView", "live"]

_WINDOWS = (300, 900, 3_600, 10_800, 21_600, 86_400)
#: Seconds without a browser after which the view lets go of Kafka and Cassandra.
_IDLE = 600.0


class LiveView(anywidget.AnyWidget):
    """A live view; use `live`, which knows the servers.

    Attributes
    ----------
    options : dict
        What the view starts with.
    """

    _esm = assets.module("live.mjs")
    _css = assets.styles()
    options = traitlets.Dict().tag(sync=True)

    def __init__(self, settings: Settings, *, hz: float, **options: Any) -> None:
        titles = {name: figure.title for name, figure in FIGURES.items()}
        super().__init__(
            options={
                "titles": titles,
                "order_events": sorted(ORDER_EVENTS),
                "namespace": settings.namespace.name,
                **options,
            }
        )
        self._settings = settings
        self._pause = 1.0 / hz
        self._inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopped = False
        self._feed = Feed(settings)
        self.on_msg(self._heard)

    def stop(self) -> None:
        """End the view's thread; what was painted last stays."""
        self._stopped = True
        if self._thread is not None:
            self._feed.stop()
            self._thread.join(10)

    def close(self) -> None:
        """End the view and remove it."""
        self.stop()
        super().close()

    def frame(self) -> pd.DataFrame:
        """The figures that the view has now, as a frame: by minute and key, exact."""
        from datetime import UTC, datetime

        from retailpulse_kernel.figures import grouped_frame
        from retailpulse_kernel.live.tail import TABLE

        with self._feed.lock:
            cells = list(self._feed.cube.cells())
        rows = [
            {
                "bucket": datetime.fromtimestamp(cell.minute, UTC),
                **dict(zip(TABLE.by, cell.key, strict=True)),
                **dict(zip((figure.name for figure in TABLE.figures), cell.parts, strict=True)),
            }
            for cell in cells
            if any(cell.parts)
        ]
        return grouped_frame(rows, ["bucket", *TABLE.by], TABLE)

    # -- messages, on whatever thread the kernel handles them -------------------------------

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if not isinstance(message, dict):
            return
        if message.get("op") == "plotly":
            self.send({"op": "plotly"}, buffers=[assets.plotly_js()])
            return
        self._inbox.put(message)
        with self._starting:
            if not self._stopped and (self._thread is None or not self._thread.is_alive()):
                self._start()

    def _start(self) -> None:
        self._feed = Feed(self._settings)
        self._clients, self._keys = Clients(), Keys()
        self._run, self._seq, self._sent_at = uuid.uuid4().hex, 0, 0.0
        self._thread = threading.Thread(target=self._feed.run, args=(self._step,), name="retailpulse-live", daemon=True)
        self._thread.start()

    # -- the view's thread ------------------------------------------------------------------

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
            self._feed.stop()

    def _send(self, base: Any, to: str | None = None) -> None:
        now = time.monotonic()
        self._seq += 1
        content, versions = frame(self._feed, self._keys, base, run=self._run, seq=self._seq)
        self._clients.went(self._seq, versions, now, to)
        self._sent_at = now
        self.send({"op": "frame", "to": to}, buffers=[content])


def live(
    settings: Settings,
    *,
    window: str = "1h",
    currency: str | None = None,
    categories: str | Sequence[str] | None = None,
    hz: float = 2.0,
) -> LiveView:
    """The live view of a namespace.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    window : str
        What is shown at first: ``"5m"``, ``"15m"``, ``"1h"``, ``"3h"``, ``"6h"`` or ``"1d"``.
    currency : str, optional
        The first that there is when absent.
    categories : str or sequence of str, optional
        Dot paths; each also means what is below it. All when absent.
    hz : float
        Pictures a second, 0.5 to 4.

    Raises
    ------
    UsageError
        There is no such window, or it would be painted too often.
    """
    seconds = int(span_of(window).total_seconds())
    if seconds not in _WINDOWS:
        raise UsageError(f"A live view can't show {window!r}.", remedy="Choose 5m, 15m, 1h, 3h, 6h or 1d.")
    if not 0.5 <= hz <= 4:
        raise UsageError(f"A live view can't be painted {hz:g} times a second.", remedy="Choose 0.5 to 4.")
    chosen = [categories] if isinstance(categories, str) else categories and list(categories)
    return LiveView(settings, hz=hz, window=seconds, currency=currency, categories=chosen or None)
