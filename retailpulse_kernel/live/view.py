"""``rp.live()``: the four canonical figures, live, in one widget.

All controls are answered in the browser, which holds the figures of the last day; the kernel only sends
what has changed, from a thread, and waits until it was painted. So a cell that runs neither stops the
view nor its controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import traitlets

from retailpulse_kernel.answers.ranges import Extent
from retailpulse_kernel.catalogue.rates import require_rates
from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.live import assets
from retailpulse_kernel.live.stream.broadcast import Broadcast
from retailpulse_kernel.live.widget import ChartWidget
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.events import ORDER_EVENTS
from retailpulse_kernel.shop.figures import FIGURES
from retailpulse_kernel.shop.tables import GRAINS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LiveView", "live"]

_WINDOWS = (300, 900, 3_600, 10_800, 21_600, 86_400)


class LiveView(ChartWidget):
    """A live view; use `live`, which knows the servers.

    Attributes
    ----------
    options : dict
        What the view starts with.
    """

    _esm = assets.module("live.mjs")
    options = traitlets.Dict().tag(sync=True)

    def __init__(self, settings: Settings, *, hz: float, fold_up_to: float | None, **options: Any) -> None:
        self._broadcast = Broadcast(
            settings, lambda message, content: self.send(message, buffers=[content]), hz=hz, fold_up_to=fold_up_to
        )
        super().__init__(
            options={
                "titles": {name: figure.title for name, figure in FIGURES.items()},
                "order_events": sorted(ORDER_EVENTS),
                "namespace": settings.namespace.name,
                "zone": contract_of(settings).shop.calendar.zone,
                **options,
            }
        )
        self._broadcast.begin()

    def _take(self, message: dict[str, Any]) -> None:
        self._broadcast.hear(message)

    def stop(self) -> None:
        """End the view's process; what was painted last stays."""
        self._broadcast.stop()

    def close(self) -> None:
        """End the view and remove it."""
        self.stop()
        super().close()

    @property
    def frame(self) -> pd.DataFrame:
        """The figures that the view has now, by minute and key, exact, with what late events have added."""
        from retailpulse_kernel.answers.reading import grouped_frame
        from retailpulse_kernel.live.stream.tail import TABLE

        rows = [
            {
                "bucket": datetime.fromtimestamp(cell.minute, UTC),
                **dict(zip(TABLE.by, cell.key, strict=True)),
                **dict(zip((figure.name for figure in TABLE.figures), cell.parts, strict=True)),
            }
            for cell in self._broadcast.cells()
        ]
        extent = Extent(GRAINS["minute"], None, None, datetime.now(UTC))
        return grouped_frame(rows, ["bucket", *TABLE.by], TABLE, extent=extent)


def live(
    settings: Settings,
    *,
    window: str | timedelta = "1h",
    currency: str | None = None,
    categories: str | Sequence[str] | None = None,
    hz: float = 2.0,
    fold_up_to: float | None = None,
) -> LiveView:
    """The live view of a namespace.

    Parameters
    ----------
    settings : Settings
        Which servers and namespace.
    window : str or timedelta
        What is shown at first: ``"5m"``, ``"15m"``, ``"1h"``, ``"3h"``, ``"6h"`` or ``"1d"``.
    currency : str, optional
        The currency that most of the events have when absent. ``"base"`` is money of all currencies, converted into the
        shop's base currency.
    categories : str or sequence of str, optional
        Dot paths; each also means what is below it. All when absent.
    hz : float
        Pictures a second, 0.5 to 4.
    fold_up_to : float, optional
        Events a second above which the view follows the stored figures alone, and says so; 10,000 when absent.

    Raises
    ------
    UsageError
        There is no such window, it would be painted too often, or the contract names no rates for the base currency.
    """
    if currency == "base":
        require_rates(contract_of(settings))
    seconds = int(span_of(window).total_seconds())
    if seconds not in _WINDOWS:
        raise UsageError(f"A live view can't show {str(window)!r}.", remedy="Choose 5m, 15m, 1h, 3h, 6h or 1d.")
    if not 0.5 <= hz <= 4:
        raise UsageError(f"A live view can't be painted {hz:g} times a second.", remedy="Choose 0.5 to 4.")
    chosen = [categories] if isinstance(categories, str) else categories and list(categories)
    return LiveView(
        settings, hz=hz, fold_up_to=fold_up_to, window=seconds, currency=currency, categories=chosen or None
    )
