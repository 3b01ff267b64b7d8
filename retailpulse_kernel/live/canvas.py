"""``rp.canvas()``: a place in a notebook on which a Plotly figure is drawn, and drawn again when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import traitlets

from retailpulse_kernel.live import assets
from retailpulse_kernel.live.widget import ChartWidget

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Canvas"]


class Canvas(ChartWidget):
    """A chart that moves: a figure that a cell has shown stays as it is, and this one does not.

    >>> canvas = rp.canvas()
    >>> display(canvas)
    >>> for _ in range(60):
    ...     canvas.draw(px.bar(...))

    Attributes
    ----------
    figure : str
        What is drawn, as Plotly's JSON; empty before the first.
    """

    _esm = assets.module("canvas.mjs")
    figure = traitlets.Unicode().tag(sync=True)

    def draw(self, figure: go.Figure) -> None:
        """Show a figure in place of what is shown; zoom and hidden traces stay where the figure has a `uirevision`.

        Parameters
        ----------
        figure : plotly.graph_objects.Figure
            Any figure, of Plotly Express or by hand.
        """
        self.figure = figure.to_json()
