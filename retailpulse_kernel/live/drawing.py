"""Plotly figures of the explorer's answers, and of a notebook's. What is drawn are floats; the frames are exact."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import timedelta
from numbers import Integral
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from retailpulse_kernel.live.plotting import COLOURS
from retailpulse_kernel.shop.figures import FIGURES

if TYPE_CHECKING:
    import pandas as pd

    from retailpulse_kernel.answers.questions import Scope

__all__ = ["TITLES", "as_text", "bars", "draw", "note"]

TITLES = {
    "categories": "Categories",
    "over_time": "Over time",
    "brands": "Brands",
    "products": "Products",
    "by_dimension": "Any dimension",
    "funnel": "Funnel",
    "engagement": "Engagement",
    "hours": "Hour of day",
    "order_values": "Order values",
}
#: The colour of all other groups together.
_REST = "#767676"
#: Pixels of a bar with its label, and of what is above and below all bars.
_ROW, _MARGIN = 24, {"l": 8, "r": 24, "t": 48, "b": 56}
_PLAIN = {"separatethousands": True, "exponentformat": "none"}


def as_text(value: Any) -> str:
    """A value as a label that shows it as it is: Plotly reads ``<b>`` and its like as markup.

    >>> as_text("<b>new</b> & used")
    '&lt;b&gt;new&lt;/b&gt; &amp; used'

    Parameters
    ----------
    value : object
        Any; its `str` is shown.
    """
    return html.escape(str(value), quote=False)


def bars(frame: pd.DataFrame, values: str | Sequence[str], by: str, title: str, *, unit: str = "") -> go.Figure:
    """A bar for each row, labelled with its text as it is; also where that looks like a number, a date or markup.

    Parameters
    ----------
    frame : DataFrame
        A row for each bar, the first on top.
    values : str or sequence of str
        The column that a bar is as long as; several are drawn beside each other.
    by : str
        The column of the labels.
    title : str
        The figure's.
    unit : str
        What the values are, such as ``"USD"``.
    """
    names = [values] if isinstance(values, str) else list(values)
    keys = [str(key) for key in frame[by]]
    labels = [as_text(key) for key in keys]
    figure = go.Figure(
        [
            go.Bar(
                x=frame[name].astype(float), y=keys, orientation="h", name=as_text(name),
                customdata=list(zip(labels, _shown(frame[name], unit), strict=True)),
                hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
            )
            for name in names
        ]
    )  # fmt: skip
    figure.update_layout(
        title=as_text(title),
        height=_MARGIN["t"] + _MARGIN["b"] + _ROW * max(len(keys), 3) * (1 + len(names)) // 2,
        margin=_MARGIN,
        showlegend=len(names) > 1,
        xaxis={**_PLAIN, "title": as_text(unit or names[0]) if len(names) == 1 else as_text(unit)},
        # Labels of their own: an axis of numbers, dates or marked-up text would be something else.
        yaxis={
            "type": "category", "autorange": "reversed", "tickmode": "array", "tickvals": keys,
            "ticktext": [f"{label} " for label in labels], "automargin": True,
        },
    )  # fmt: skip
    return figure


def _shown(values: Iterable[Any], unit: str = "") -> list[str]:
    """Values for reading, thousands apart; money with two places and its currency."""
    if unit:
        return [f"{value:,.2f} {unit}" for value in values]
    return [f"{value:,}" if isinstance(value, Integral) else f"{round(float(value), 4):,}" for value in values]


def draw(question: str, frame: pd.DataFrame, scope: Scope) -> go.Figure:
    """The figure of an answer.

    Parameters
    ----------
    question : str
        One of `retailpulse_kernel.answers.questions.QUESTIONS`.
    frame : DataFrame
        Its answer.
    scope : Scope
        What it was about.
    """
    about = ", ".join(scope.categories) or "all categories"
    money = scope.currency
    match question:
        case "over_time":
            figure = _over_time(frame, money)
            title = f"Revenue over time, {money}: {about}"
        case "funnel":
            shares = frame["of_step_before"].to_numpy(dtype=float, na_value=float("nan"))
            texts = [
                f"{n:,}" + ("" if share != share else f" ({share:.1%} of the step before)")  # NaN equals nothing
                for n, share in zip(frame["sessions"], shares, strict=True)
            ]
            figure = bars(frame, "sessions", "step", "").update_traces(text=texts)
            title = f"Sessions by step: {about}"
        case "by_dimension":
            of = FIGURES.get(scope.figure)
            unit = money if of is not None and of.unit == "currency" else ""
            shown = frame.dropna(subset=[scope.figure])
            figure = bars(shown, scope.figure, scope.by, "", unit=unit)
            if len(shown) and frame.attrs.get("others"):  # the last bar is not one of the groups
                figure.update_traces(marker_color=[*[COLOURS[0]] * (len(shown) - 1), _REST])
            title = f"{of.title if of else scope.figure} by {scope.by}, {money}: {about}"
        case "engagement":
            figure = go.Figure([go.Bar(x=frame["events"], y=frame["sessions"], name="sessions"),
                                go.Bar(x=frame["events"], y=frame["buyers"], name="of them buy")])  # fmt: skip
            figure.update_layout(barmode="overlay", xaxis_type="category")
            title = f"Sessions by their number of events: {about}"
        case "hours":
            figure = go.Figure(
                go.Bar(x=frame["hour"], y=frame["revenue"].astype(float), customdata=_shown(frame["revenue"], money),
                       hovertemplate="%{x}:00: %{customdata}<extra></extra>")
            )  # fmt: skip
            figure.update_layout(xaxis={"range": [-0.5, 23.5], "dtick": 3})
            zone = frame.attrs.get("zone", "UTC")
            title = f"Revenue by hour of the day ({zone}), {money}: {about}"
        case "order_values":
            figure = go.Figure(go.Bar(x=frame["from"], y=frame["orders"], offset=0))
            title = f"Orders by their value, {money}: {about}"
        case _:
            key = {"categories": "category", "brands": "brand", "products": "product_id"}[question]
            figure = bars(frame, "revenue", key, "", unit=money)
            title = f"Revenue by {key.removesuffix('_id')}, {money}: {about}"
    figure.update_layout(
        title={"text": as_text(title), "font": {"size": 13}, "x": 0.01}, colorway=COLOURS
    ).update_yaxes(_PLAIN).update_xaxes(_PLAIN)
    return figure


def _over_time(frame: pd.DataFrame, unit: str) -> go.Figure:
    """A line for each category; what is not complete follows in dashes, with hollow points."""
    figure = go.Figure()
    for place, (name, part) in enumerate(frame.groupby("category", sort=False, observed=True)):
        colour = COLOURS[place % len(COLOURS)]
        whole = part["complete"].to_numpy(dtype=bool)
        beside = whole.copy()  # those beside a bucket that is not complete belong to the dashes, too
        beside[1:] &= whole[:-1]
        beside[:-1] &= whole[1:]
        for kept, open_ in ((whole, False), (~beside, True)):
            if open_ and whole.all():
                continue
            shown = part["revenue"].astype(float).where(kept)
            symbols = ["circle" if done else "circle-open" for done in whole]
            figure.add_scatter(
                x=part["bucket"], y=shown, name=as_text(name), legendgroup=str(place), showlegend=not open_,
                mode="lines+markers", line={"color": colour, "dash": "dot" if open_ else "solid"},
                marker={"symbol": symbols, "color": colour, "size": 6}, customdata=_shown(part["revenue"], unit),
                hovertemplate="%{x|%b %d %H:%M}: %{customdata}<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    if len(frame):
        first, last = frame["bucket"].min(), frame["bucket"].max()
        # An axis around a single point would be one of nanoseconds.
        beside_it = (last - first) / 30 if last > first else timedelta(minutes=30)
        figure.update_layout(xaxis={"type": "date", "range": [first - beside_it, last + beside_it]})
    return figure


def note(frame: pd.DataFrame) -> str:
    """What to say beside a figure: that there is nothing, or what it leaves out.

    Parameters
    ----------
    frame : pandas.DataFrame
        An answer of `answers.questions`.
    """
    if not len(frame):
        return "There are no such events in this range."
    if others := frame.attrs.get("others"):
        return f"`other` is {others:,} groups together; the code without `top` or with `limit=None` gives all."
    cut = frame.attrs.get("note")
    return f"{cut}, those with the highest revenue; `limit=None` in the code gives all." if cut else ""
