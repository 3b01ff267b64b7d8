"""The waterfall as a widget: a click on a bar asks the same question within the bar's value."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.notes import unsaid

require_extra("lab")

import ipywidgets as widgets  # noqa: E402
import plotly.graph_objects as go  # noqa: E402

if TYPE_CHECKING:
    from retailpulse_kernel.insight.explanation import Explanation

__all__ = ["Drill"]


class Drill(widgets.VBox):
    """An explanation to click through.

    Parameters
    ----------
    explanation : Explanation
        Where it begins.
    """

    def __init__(self, explanation: Explanation) -> None:
        #: The explanations from the first one down to the one that is shown.
        self.path = [explanation]
        self._back = widgets.Button(description="Back", disabled=True)
        self._back.on_click(lambda _: self.back())
        self._choice = widgets.Dropdown(description="by")
        self._choice.observe(lambda _: self._draw(), names="value")
        self._said = widgets.HTML()
        self._picture = widgets.VBox()
        super().__init__([widgets.HBox([self._back, self._choice, self._said]), self._picture])
        self._show()

    @property
    def explanation(self) -> Explanation:
        """What is shown."""
        return self.path[-1]

    @property
    def dimension(self) -> str:
        """The dimension whose values are the bars."""
        return self._choice.value or ""

    def into(self, value: str) -> None:
        """Ask the same within a value of the dimension that is shown.

        Parameters
        ----------
        value : str
            The value, as a bar is labelled.
        """
        movers = self.explanation.breakdown(self.dimension).movers
        if value not in {mover.value for mover in movers}:
            return
        try:
            with unsaid():
                found = self.explanation.by(where={self.dimension: value})
        except RetailPulseError as error:
            self._said.value = html.escape(str(error))
            return
        if not found.breakdowns:
            self._said.value = html.escape(f"No table tells {found.name} within {value!r} by another dimension.")
            return
        self.path.append(found)
        self._show()

    def back(self) -> None:
        """Show the explanation before."""
        if len(self.path) > 1:
            self.path.pop()
            self._show()

    def _show(self) -> None:
        """Show the last explanation of the path."""
        names = [one.dimension for one in self.explanation.breakdowns]
        self._back.disabled = len(self.path) == 1
        within = [f"{name}: {', '.join(values)}" for name, values in self.explanation.where.items()]
        self._said.value = html.escape("; ".join(within))
        self._choice.options = names
        self._choice.value = names[0] if names else None
        self._draw()

    def _draw(self) -> None:
        dimension = self.dimension
        if dimension not in {one.dimension for one in self.explanation.breakdowns}:
            return
        values = [
            "",
            *(mover.value for mover in self.explanation.breakdown(dimension).largest(self.explanation.top)),
            "",
        ]
        shown = go.FigureWidget(self.explanation.figure(dimension))

        def clicked(_: Any, points: Any, __: Any) -> None:
            for place in points.point_inds[:1]:
                self.into(values[place])

        shown.data[0].on_click(clicked)
        self._picture.children = (shown,)
