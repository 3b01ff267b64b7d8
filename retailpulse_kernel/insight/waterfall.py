"""A change as a waterfall: the earlier figure, a step for each value, and the later figure. Floats are drawn."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.insight.breakdown import Mover, Number
from retailpulse_kernel.insight.wording import amount_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["waterfall"]

#: Of a rise, a fall and a whole: Okabe and Ito's colours, which stay apart for every kind of colour vision.
_RISE, _FALL, _WHOLE = "#0072B2", "#D55E00", "#767676"
#: Pixels of a bar with its label, and of what is above and below all bars.
_ROW, _MARGIN = 30, {"l": 8, "r": 24, "t": 52, "b": 52}
#: Letters of a line of the title, and pixels of its height.
_LETTERS, _LINE = 110, 18
#: Pixels above the title.
_GAP = 24
#: The part of the width that is left free for the numbers beside the bars.
_ROOM = 0.12


def waterfall(
    title: str, unit: str, dimension: str, before: Number, after: Number, movers: Sequence[Mover]
) -> go.Figure:
    """The picture.

    Parameters
    ----------
    title : str
        What stands above it, such as the answer's sentence.
    unit : str
        What its numbers are; may be empty.
    dimension : str
        Whose values are the steps.
    before, after : int or Decimal
        The figure in both ranges.
    movers : sequence of Mover
        The steps, from top to bottom. They add up to the change.
    """
    require_extra("lab")
    import plotly.graph_objects as go

    steps = [float(mover.contribution) for mover in movers]
    labels = ["before", *(mover.value for mover in movers), "after"]
    numbers = [
        amount_text(before), *(amount_text(one.contribution, signed=True) for one in movers), amount_text(after),
    ]  # fmt: skip
    reasons = ["", *(mover.reason for mover in movers), ""]
    places = list(range(len(labels)))
    figure = go.Figure(
        go.Waterfall(
            orientation="h", measure=["absolute", *["relative"] * len(steps), "total"],
            x=[float(before), *steps, float(after)], y=places, text=numbers, textposition="outside",
            cliponaxis=False, connector={"line": {"color": _WHOLE, "width": 1}},
            increasing={"marker": {"color": _RISE}}, decreasing={"marker": {"color": _FALL}},
            totals={"marker": {"color": _WHOLE}},
            customdata=[
                [html.escape(label, quote=False), f"{number}{f' ({reason})' if reason else ''}"]
                for label, number, reason in zip(labels, numbers, reasons, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
    )  # fmt: skip
    lines = textwrap.wrap(title, _LETTERS) or [""]
    above = _MARGIN["t"] + _LINE * (len(lines) - 1)
    height = above + _MARGIN["b"] + _ROW * max(len(labels), 3)
    figure.update_layout(
        title={"text": "<br>".join(html.escape(line, quote=False) for line in lines), "font": {"size": 13}, "x": 0.01,
               "y": 1 - _GAP / height, "yanchor": "top"},
        margin={**_MARGIN, "t": above}, height=height, showlegend=False,
        xaxis={"range": _extent(float(before), steps), "separatethousands": True, "exponentformat": "none",
               "title": {"text": html.escape(unit, quote=False), "font": {"size": 12}}},
        # Labels of their own: an axis of numbers, dates or marked-up text would be something else.
        yaxis={"title": {"text": html.escape(dimension, quote=False), "font": {"size": 12}},
               "autorange": "reversed", "tickmode": "array", "tickvals": places, "automargin": True,
               "ticktext": [f"{html.escape(label, quote=False)} " for label in labels]},
    )  # fmt: skip
    return figure


def _extent(before: float, steps: Sequence[float]) -> list[float]:
    """An axis that holds all ends of the bars. It leaves 0 out where the change would be too small to be seen."""
    ends = [before]
    for step in steps:
        ends.append(ends[-1] + step)
    low, high = min(ends), max(ends)
    width = (high - low) or abs(high) or 1.0
    if low >= 0 and low < 4 * width:
        low = 0.0
    width = high - low or width
    return [low if low == 0 else low - _ROOM * width, high + _ROOM * width]
