"""The charts of a reading, as Plotly's plain data. What is drawn are floats; texts are exact."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from retailpulse_kernel.ground.errors import UnknownName
from retailpulse_kernel.live.drawing import as_text
from retailpulse_kernel.live.plotting import COLOURS
from retailpulse_kernel.live.tables.numbers import Number, drawn_by, numbers_of
from retailpulse_kernel.live.tables.picture import exact, readable
from retailpulse_kernel.live.tables.reading import Reading

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["chosen", "drawn"]

ChartKind = Literal["auto", "line", "bar", "number", "table"]
_CHARTS: tuple[ChartKind, ...] = ("auto", "line", "bar", "number", "table")

#: Lines and bars that a chart has at most.
_LINES, _BARS = 8, 12
_REST, _REST_COLOUR = "others", "#767676"
#: What stands for a missing value.
_NOTHING = "-"


def chosen(chart: str) -> ChartKind:
    """A kind of chart by its name.

    Parameters
    ----------
    chart : str
        ``"auto"``, ``"line"``, ``"bar"``, ``"number"`` or ``"table"``.

    Raises
    ------
    UnknownName
        There is no such kind.
    """
    for known in _CHARTS:
        if chart == known:
            return known
    raise UnknownName("chart", chart, _CHARTS)


def drawn(reading: Reading, chart: ChartKind, currency: str) -> list[dict[str, Any]]:
    """The charts of a reading: for each number lines over time, bars, or both.

    Parameters
    ----------
    reading : Reading
        What was read.
    chart : ChartKind
        What was asked for; ``"auto"`` for what the columns make possible.
    currency : str
        The currency that is drawn; empty where there is none.
    """
    if not len(reading.totals) or chart in ("number", "table"):
        return []
    numbers = numbers_of(reading, currency)
    lines = reading.series is not None and (chart == "line" or (chart == "auto" and _repeats(reading)))
    bars = bool(reading.by) and (chart == "bar" or (chart == "auto" and (not lines or len(numbers) <= 2)))
    found = []
    for number in numbers:
        if lines and reading.series is not None:
            found.append(_lines(reading, number.of(reading.series, reading.time, *drawn_by(reading)), number))
        if bars:
            found.append(_bars(reading, number.of(reading.totals, reading.by), number))
    return found


def _repeats(reading: Reading) -> bool:
    """Whether values come at several times: of rows that tell of something else each, there are no lines."""
    twice = bool(reading.by) and bool(reading.totals[reading.by].duplicated().any())
    return twice or not reading.by or reading.series is not reading.totals


# -- bars -------------------------------------------------------------------------------------------


def _bars(reading: Reading, frame: pd.DataFrame, number: Number) -> dict[str, Any]:
    """A bar for each value of a column, the longest on top."""
    values, summed = _by_value(frame, reading.by, number)
    ranked = sorted(values.items(), key=lambda one: -one[1])
    shown, others = ranked[:_BARS], ranked[_BARS:]
    title = f"{'Sum of ' if summed else ''}{number.title} by {reading.by}"
    if others and number.additive:
        shown.append((f"{len(others)} {_REST}", sum((value for _, value in others), Decimal(0))))
    elif others:
        title += f" (top {_BARS} of {len(ranked)})"
    keys = [str(place) for place in range(len(shown))]
    names = [as_text(name) for name, _ in shown]
    colours = [COLOURS[0]] * min(len(shown), _BARS) + [_REST_COLOUR] * (len(shown) - _BARS)
    return {
        "data": [{
            "type": "bar", "orientation": "h", "x": [float(value) for _, value in shown], "y": keys,
            "customdata": [[name, readable(value, number.unit)] for name, (_, value) in zip(names, shown, strict=True)],
            "hovertemplate": "%{customdata[0]}: %{customdata[1]}<extra></extra>", "marker": {"color": colours},
        }],
        "layout": _layout(title, number.unit, bargap=0.25, yaxis={
            "type": "category", "autorange": "reversed", "tickmode": "array", "tickvals": keys,
            "ticktext": [f"{name} " for name in names], "automargin": True,
        }),
    }  # fmt: skip


def _by_value(frame: pd.DataFrame, by: str, number: Number) -> tuple[dict[str, Decimal], bool]:
    """A number by the values of a column; of several rows with one value their sum."""
    values: dict[str, Decimal] = {}
    summed = False
    for name, value in zip(frame[by], frame[number.name], strict=True):
        text, label = exact(value), exact(name) or _NOTHING
        if text is not None:
            summed = summed or label in values
            values[label] = values.get(label, Decimal(0)) + Decimal(text)
    return values, summed


# -- lines ------------------------------------------------------------------------------------------


def _lines(reading: Reading, frame: pd.DataFrame, number: Number) -> dict[str, Any]:
    """A line for each value of a column: the largest ones, and the sum of the others where sums make sense."""
    by = [exact(value) or _NOTHING for value in frame[reading.by]] if reading.by else [""] * len(frame)
    windows = reading.width is not None and "complete" in frame.columns
    whole = list(frame["complete"]) if windows else [True] * len(frame)
    series: dict[str, dict[Any, tuple[Any, bool]]] = {}
    apart = True  # whether a line has one value at a time
    for name, at, value, complete in zip(by, frame[reading.time], frame[number.name], whole, strict=True):
        points = series.setdefault(name, {})
        if exact(value) is None or exact(at) is None:
            continue
        apart = apart and at not in points
        points[at if apart else (at, len(points))] = (value, bool(complete))
    if not apart:
        return _points(reading, frame, number, by)
    ranked = sorted(series, key=lambda name: -sum(abs(float(value)) for value, _ in series[name].values()))
    shown, others = ranked[:_LINES], ranked[_LINES:]
    # By name: a line keeps its colour while others overtake it, and has the same one in the chart beside it.
    kept = {name: series[name] for name in sorted(shown)}
    title = number.title + (f" by {reading.by}" if reading.by else "")
    if others and number.additive:
        kept[f"{len(others)} {_REST}"] = _added(series[name] for name in others)
    elif others:
        title += f" (top {_LINES} of {len(ranked)})"
    data = [
        trace
        for place, (name, points) in enumerate(kept.items())
        for trace in _line(
            name, points, number, reading, COLOURS[place % len(COLOURS)] if place < _LINES else _REST_COLOUR
        )
    ]
    if "corrected" in frame.columns:
        data += _corrected(kept, set(frame[reading.time][frame["corrected"]]), number)
    return {"data": data, "layout": _over_time(title, number.unit, reading, legend=len(kept) > 1)}


def _corrected(
    lines: Mapping[str, Mapping[Any, tuple[Any, bool]]], windows: Container[Any], number: Number
) -> list[dict[str, Any]]:
    """A hollow dot at each value of the windows to which late events were added."""
    marked = [(at, value) for points in lines.values() for at, (value, _) in points.items() if at in windows]
    return [{
        "type": "scatter", "mode": "markers", "showlegend": False, "name": "corrected",
        "marker": {"color": _REST_COLOUR, "symbol": "circle-open", "size": 9},
        "x": [exact(at) for at, _ in marked], "y": [float(value) for _, value in marked],
        "customdata": [readable(value, number.unit) for _, value in marked],
        "hovertemplate": "%{x|%b %d %H:%M}: %{customdata}, with late events<extra>corrected</extra>",
    }]  # fmt: skip


def _added(several: Iterable[Mapping[Any, tuple[Any, bool]]]) -> dict[Any, tuple[Any, bool]]:
    sums: dict[Any, tuple[Any, bool]] = {}
    for points in several:
        for at, (value, complete) in points.items():
            before, whole = sums.get(at, (0, True))
            sums[at] = (before + value, whole and complete)
    return sums


def _line(
    name: str, points: Mapping[Any, tuple[Any, bool]], number: Number, reading: Reading, colour: str
) -> list[dict[str, Any]]:
    """A line of what is complete, and in dashes what is not yet: else its last point would be a fall."""
    rows = _holed(sorted((at, value, complete) for at, (value, complete) in points.items()), reading.width)
    open_ = [value is not None and not complete for _, value, complete in rows]
    beside = [any(open_[max(place - 1, 0) : place + 2]) for place in range(len(rows))]
    trace = {
        "type": "scatter", "name": as_text(name), "legendgroup": name or "_",
        "x": [exact(at) for at, _, _ in rows],
        "customdata": ["" if value is None else readable(value, number.unit) for _, value, _ in rows],
        "hovertemplate": f"%{{x|%b %d %H:%M}}: %{{customdata}}<extra>{as_text(name)}</extra>",
    }  # fmt: skip
    values = [None if value is None else float(value) for _, value, _ in rows]
    closed = [None if now else value for value, now in zip(values, open_, strict=True)]
    # A line through a single point is none.
    around = [None, *closed, None]
    alone = [around[place] is None and around[place + 2] is None for place in range(len(closed))]
    found = [{**trace, "y": closed, "mode": "lines+markers", "line": {"color": colour, "width": 2},
              "marker": {"color": colour, "size": [6 if one else 0 for one in alone]},
              "showlegend": not all(open_)}]  # fmt: skip
    if any(open_):
        sizes = [6 if now else 0 for now in open_]
        found.append({**trace, "y": [value if near else None for value, near in zip(values, beside, strict=True)],
                      "mode": "lines+markers", "line": {"color": colour, "width": 1.5, "dash": "dot"},
                      "marker": {"color": colour, "symbol": "circle-open", "size": sizes},
                      "showlegend": all(open_)})  # fmt: skip
    return found


def _holed(rows: Sequence[tuple[Any, Any, bool]], width: timedelta | None) -> list[tuple[Any, Any, bool]]:
    """Rows with a hole where windows are missing: a line must not bridge them."""
    found: list[tuple[Any, Any, bool]] = []
    for row in rows:
        # A month is longer than the mean one.
        if found and width is not None and row[0] - found[-1][0] > 1.1 * width:
            found.append((found[-1][0] + width, None, True))
        found.append(row)
    return found


def _points(reading: Reading, frame: pd.DataFrame, number: Number, by: Sequence[str]) -> dict[str, Any]:
    """A point for each row, where rows of one value have the same time."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(by):
        places.setdefault(name, []).append(place)
    ranked = sorted(places, key=lambda name: -len(places[name]))
    times, values = list(frame[reading.time]), list(frame[number.name])
    data = []
    for name, colour in zip(sorted(ranked[:_LINES]), COLOURS, strict=False):
        kept = [place for place in places[name] if exact(values[place]) is not None]
        data.append({
            "type": "scatter", "mode": "markers", "name": as_text(name), "marker": {"color": colour, "size": 6},
            "x": [exact(times[place]) for place in kept], "y": [float(values[place]) for place in kept],
            "customdata": [readable(values[place], number.unit) for place in kept],
            "hovertemplate": f"%{{x|%b %d %H:%M:%S}}: %{{customdata}}<extra>{as_text(name)}</extra>",
        })  # fmt: skip
    title = f"{number.title} of each row" + (f" by {reading.by}" if reading.by else "")
    if len(ranked) > _LINES:
        title += f" ({_LINES} of {len(ranked)})"
    return {"data": data, "layout": _over_time(title, number.unit, reading, legend=len(data) > 1)}


# -- layouts ----------------------------------------------------------------------------------------


def _layout(title: str, unit: str, **more: Any) -> dict[str, Any]:
    text = as_text(title + (f", {unit}" if unit else ""))
    return {
        "title": {"text": text, "font": {"size": 13}, "x": 0.01, "xanchor": "left", "y": 0.97, "yanchor": "top"},
        "font": {"size": 11}, "margin": {"l": 8, "r": 12, "t": 32, "b": 8}, "hovermode": "closest",
        "showlegend": False, "uirevision": "kept", **more,
    }  # fmt: skip


def _over_time(title: str, unit: str, reading: Reading, *, legend: bool) -> dict[str, Any]:
    # At the chart's lower edge: below the plot it would lie over the dates where many names make the plot low.
    below = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "font": {"size": 10}}
    series = reading.series
    assert series is not None
    ends: tuple[str | None, str | None] = series.attrs.get("since"), series.attrs.get("until")
    if None in ends and len(series):
        first, last = series[reading.time].min(), series[reading.time].max()
        # An axis around a single point would be one of nanoseconds.
        beside = (last - first) / 50 if last > first else timedelta(minutes=1)
        ends = exact(first - beside), exact(last + beside)
    axis = {"type": "date", "range": list(ends)} if None not in ends else {"type": "date"}
    return _layout(title, unit, xaxis=axis, yaxis={"rangemode": "tozero"}, showlegend=legend, legend=below)
