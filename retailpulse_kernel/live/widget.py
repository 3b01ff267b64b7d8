"""What every widget with charts has: a style sheet, and Plotly from the kernel."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from retailpulse_kernel.live import assets
from retailpulse_kernel.live.channel import heard_beside_cells

__all__ = ["ChartWidget"]


class ChartWidget(anywidget.AnyWidget):
    """A widget that draws with Plotly, which its page gets from here and keeps under the version's name."""

    _css = assets.styles()
    plotly = traitlets.Unicode(assets.PLOTLY).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        heard_beside_cells(self)
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if not isinstance(message, dict):
            return
        if message.get("op") == "plotly":
            self.send({"op": "plotly"}, buffers=[assets.plotly_js()])
        else:
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        """Take a message of the page."""
