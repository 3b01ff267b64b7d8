"""The kinds of panels, each with its place; what they show comes from the definitions of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import barchart, common, piechart, stat, timeseries
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import GridPos

from retailpulse_kernel.dashboards.queries import API

__all__ = ["Place", "bars", "line", "number", "pie"]

Place = tuple[int, int, int, int]
"""Left, top, width, height on Grafana's grid of 24 columns."""
Queries = Sequence[Builder[variants.Dataquery]]


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
    """One number a row; each row is shown as it came, nothing is added up, nor cut short as by Grafana's ``short``."""
    values = common.ReduceDataOptions().values(True).calcs(["lastNotNull"])
    made: stat.Panel = _placed(stat.Panel(), id_, title, place, queries, source)
    return made.reduce_options(values).unit(unit).decimals(decimals).graph_mode(options.BigValueGraphMode.NONE)


def bars(id_: int, title: str, place: Place, queries: Queries, *, decimals: int = 0) -> barchart.Panel:
    """A bar for each row."""
    made: barchart.Panel = _placed(barchart.Panel(), id_, title, place, queries, API)
    legend = common.VizLegendOptions().show_legend(False)
    return made.orientation(options.VizOrientation.HORIZONTAL).decimals(decimals).legend(legend)


def pie(id_: int, title: str, place: Place, queries: Queries) -> piechart.Panel:
    """A slice for each row."""
    made: piechart.Panel = _placed(piechart.Panel(), id_, title, place, queries, API)
    return made.reduce_options(common.ReduceDataOptions().values(True).calcs(["lastNotNull"]))


def line(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = "none", decimals: int | None = None,
    source: DataSourceRef = API, today: bool = False,
) -> timeseries.Panel:  # fmt: skip
    """A line for each series; with `today` from midnight on, whatever range the dashboard shows."""
    made: timeseries.Panel = _placed(timeseries.Panel(), id_, title, place, queries, source)
    made.unit(unit).fill_opacity(8).show_points(options.VisibilityMode.NEVER)
    if decimals is not None:
        made.decimals(decimals)
    return made.time_from("now/d") if today else made
