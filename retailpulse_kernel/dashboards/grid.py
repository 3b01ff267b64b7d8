"""Places on Grafana's grid, handed out from the top down, and rows that are closed until somebody opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import GridPos

from retailpulse_kernel.dashboards.panels import Place

__all__ = ["WIDTH", "Grid"]

#: How wide a dashboard is, and how high the title of a row.
WIDTH, _TITLE = 24, 1
#: Panels of a closed row beside one another.
_BESIDE = 3


class Grid:
    """What is free of a dashboard."""

    def __init__(self) -> None:
        self._top = 0

    def band(self, height: int, *widths: int) -> list[Place]:
        """Places beside one another, below all others.

        Parameters
        ----------
        height : int
            Of all of them.
        *widths : int
            Of each.
        """
        lefts = [sum(widths[:i]) for i in range(len(widths))]
        places = [(left, self._top, width, height) for left, width in zip(lefts, widths, strict=True)]
        self._top += height
        return places

    def title(self, id_: int, text: str) -> dashboard.Row:
        """A line across the dashboard.

        Parameters
        ----------
        id_ : int
            The panel's own.
        text : str
            What is below it.
        """
        ((x, y, width, height),) = self.band(_TITLE, WIDTH)
        return dashboard.Row(text).id(id_).grid_pos(GridPos(x=x, y=y, w=width, h=height))

    def closed(self, id_: int, text: str, panels: Iterable[Callable[[Place], Any]], height: int) -> dashboard.Row:
        """A row whose panels ask nothing until the row is opened: three beside one another.

        Parameters
        ----------
        id_ : int
            The row's own, which never changes.
        text : str
            The topic.
        panels : iterable of callable
            Each makes a panel on its place.
        height : int
            Of each panel.
        """
        row = self.title(id_, text).collapsed(True)
        made, below = list(panels), self._top
        for start in range(0, len(made), _BESIDE):
            part = made[start : start + _BESIDE]
            for panel, place in zip(part, self.band(height, *[WIDTH // len(part)] * len(part)), strict=True):
                row.with_panel(panel(place))
        # Closed, the row takes its title's place only.
        self._top = below
        return row
