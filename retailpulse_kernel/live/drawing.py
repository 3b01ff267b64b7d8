"""The explorer's answers as Plotly figures. What is drawn are floats; exact amounts are in the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

if TYPE_CHECKING:
    import pandas as pd

    from retailpulse_kernel.live.exploring import Scope

__all__ = ["TITLES", "draw", "note"]

TITLES = {
    "categories": "Categories",
    "over_time": "Over time",
    "brands": "Brands",
    "products": "Products",
    "funnel": "Funnel",
    "engagement": "Engagement",
    "hours": "Hour of day",
    "order_values": "Order values",
}

# Okabe and Ito's colours, which stay apart for every kind of colour vision.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#767676")


def draw(question: str, frame: pd.DataFrame, scope: Scope) -> go.Figure:
    """The figure of an answer.

    Parameters
    ----------
    question : str
        One of `retailpulse_kernel.live.exploring.QUESTIONS`.
    frame : DataFrame
        Its answer.
    scope : Scope
        What it was about.
    """
    about = ", ".join(scope.categories) or "all categories"
    money = scope.currency
    match question:
        case "over_time":
            figure = go.Figure(
                [
                    go.Scatter(x=part["bucket"], y=part["revenue"].astype(float), name=name, mode="lines+markers")
                    for name, part in frame.groupby("category", sort=False, observed=True)
                ]
            )
            title = f"Revenue over time, {money}: {about}"
        case "funnel":
            shares = frame["of_step_before"].to_numpy(dtype=float, na_value=float("nan"))
            texts = [
                f"{n:,}" + ("" if share != share else f" ({share:.1%} of the step before)")  # NaN equals nothing
                for n, share in zip(frame["sessions"], shares, strict=True)
            ]
            figure = go.Figure(go.Bar(x=frame["sessions"], y=frame["step"], orientation="h", text=texts))
            figure.update_layout(yaxis_autorange="reversed")
            title = f"Sessions by step: {about}"
        case "engagement":
            figure = go.Figure([go.Bar(x=frame["events"], y=frame["sessions"], name="sessions"),
                                go.Bar(x=frame["events"], y=frame["buyers"], name="of them buy")])  # fmt: skip
            figure.update_layout(barmode="overlay", xaxis_type="category")
            title = f"Sessions by their number of events: {about}"
        case "hours":
            figure = go.Figure(go.Bar(x=frame["hour"], y=frame["revenue"].astype(float)))
            figure.update_layout(xaxis={"range": [-0.5, 23.5], "dtick": 3})
            title = f"Revenue by hour of the day (UTC), {money}: {about}"
        case "order_values":
            figure = go.Figure(go.Bar(x=frame["from"], y=frame["orders"], offset=0))
            title = f"Orders by their value, {money}: {about}"
        case _:
            key = {"categories": "category", "brands": "brand", "products": "product_id"}[question]
            figure = go.Figure(go.Bar(x=frame["revenue"].astype(float), y=frame[key].astype(str), orientation="h"))
            figure.update_layout(yaxis={"autorange": "reversed", "type": "category"})
            title = f"Revenue by {key.removesuffix('_id')}, {money}: {about}"
    figure.update_layout(title={"text": title, "font": {"size": 13}, "x": 0.01}, colorway=_COLOURS, template="none")
    return figure


def note(frame: pd.DataFrame) -> str:
    """What to say beside a figure: that there is nothing."""
    return "" if len(frame) else "There are no such events in this range."
