"""The kinds of panels, each with its place; what they show comes from the definitions of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import barchart, common, dashboard, piechart, stat, table, timeseries
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, GridPos, Threshold, ThresholdsMode

from retailpulse_kernel.dashboards.queries import API

__all__ = ["DASHES", "Place", "bars", "line", "number", "pie", "rows", "told"]

Place = tuple[int, int, int, int]
"""Left, top, width, height on Grafana's grid of 24 columns."""
Queries = Sequence[Builder[variants.Dataquery]]
#: A window that is not over is not a fall: it continues the line in dashes.
DASHES = [DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [4, 6]}),
          DynamicConfigValue("custom.fillOpacity", 0)]  # fmt: skip


def _placed(panel: Any, number: int, title: str, place: Place, queries: Queries, source: DataSourceRef) -> Any:
    x, y, width, height = place
    panel.id(number).title(title).datasource(source).grid_pos(GridPos(x=x, y=y, w=width, h=height))
    for query in queries:
        panel.with_target(query)
    return panel


def number(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = "none", decimals: int = 0,
    source: DataSourceRef = API,
) -> stat.Panel:  # fmt: skip
    """One number a row; each row is shown as it came, nothing is added up, nor cut short as by Grafana's ``short``.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Shown above the number.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives rows.
    unit : str
        Grafana's name of a unit.
    decimals : int
        Decimal places.
    source : DataSourceRef
        What answers the queries.
    """
    values = common.ReduceDataOptions().values(True).calcs(["lastNotNull"])
    made: stat.Panel = _placed(stat.Panel(), id_, title, place, queries, source)
    return made.reduce_options(values).unit(unit).decimals(decimals).graph_mode(options.BigValueGraphMode.NONE)


def bars(id_: int, title: str, place: Place, queries: Queries, *, decimals: int = 0) -> barchart.Panel:
    """A bar for each row.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Shown above the bars.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives rows.
    decimals : int
        Decimal places.
    """
    made: barchart.Panel = _placed(barchart.Panel(), id_, title, place, queries, API)
    legend = common.VizLegendOptions().show_legend(False)
    return made.orientation(options.VizOrientation.HORIZONTAL).decimals(decimals).legend(legend)


def pie(id_: int, title: str, place: Place, queries: Queries) -> piechart.Panel:
    """A slice for each row.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Shown above the pie.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives rows.
    """
    made: piechart.Panel = _placed(piechart.Panel(), id_, title, place, queries, API)
    return made.reduce_options(common.ReduceDataOptions().values(True).calcs(["lastNotNull"]))


def line(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = "none", decimals: int | None = None,
    source: DataSourceRef = API, today: bool = False,
) -> timeseries.Panel:  # fmt: skip
    """A line for each series; with `today` from midnight on, whatever range the dashboard shows.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Shown above the lines.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives series.
    unit : str
        Grafana's name of a unit.
    decimals : int, optional
        Decimal places; Grafana chooses when absent.
    source : DataSourceRef
        What answers the queries.
    today : bool
        Show the time since midnight, whatever range the dashboard has.
    """
    made: timeseries.Panel = _placed(timeseries.Panel(), id_, title, place, queries, source)
    made.unit(unit).fill_opacity(8).show_points(options.VisibilityMode.NEVER)
    if decimals is not None:
        made.decimals(decimals)
    return made.time_from("now/d") if today else made


def rows(id_: int, title: str, place: Place, queries: Queries) -> table.Panel:
    """Rows as they came.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Shown above the rows.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives rows.
    """
    made: table.Panel = _placed(table.Panel(), id_, title, place, queries, API)
    return made.filterable(True)


def told(panel: Any, description: str, *, nothing: str, limits: Sequence[tuple[float, str]] = ()) -> Any:
    """A panel with what it is, what it says without a value, and from which values on it changes its colour.

    Parameters
    ----------
    panel : panel
        Any of the above.
    description : str
        Shown where the mouse is over the title's sign.
    nothing : str
        Shown where there is no value.
    limits : sequence of (float, str)
        The values from which a colour holds, and the colours; green below the first. Without any, no value is good
        or bad, and all are blue.
    """
    steps = [Threshold(value=None, color="green" if limits else "blue")]
    steps += [Threshold(value=value, color=colour) for value, colour in limits]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    return panel.description(description).no_value(nothing).thresholds(thresholds)
