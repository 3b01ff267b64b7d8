"""The kinds of panels, each with its place; what they show comes from the definitions of the figures.

Each kind says how its values are written. `told` adds what every panel must say: a description, the text without a
value, and limits. Without limits of its own, a panel in Grafana shows all values of 80 and more in red.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, piechart, stat, table, timeseries
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import piechart as pies
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    GridPos,
    Threshold,
    ThresholdsMode,
)

from retailpulse_kernel.dashboards.queries import API

__all__ = ["COUNT", "DASHES", "MONEY", "PERCENT", "Place", "bars", "line", "number", "pie", "rows", "spark", "told"]

Place = tuple[int, int, int, int]
"""Left, top, width, height on Grafana's grid of 24 columns."""
Queries = Sequence[Builder[variants.Dataquery]]
#: Whole amounts and numbers with separators. `short`, and a currency of Grafana's own, make 7.55 Mil of them.
#: A unit can't name a variable, so the currency stands in the panel's title.
MONEY, COUNT, PERCENT = "currency:financial: ", "locale", "percent"
#: The name of a series: that of its column. Of two queries, Grafana itself puts their letters before it.
_COLUMN = "${__field.name}"
#: How narrow a column may be, in pixels: on a small screen the last one is seen, too.
_NARROW = 60
#: A window that is not over is not a fall: it continues the line in dashes.
DASHES = [DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [4, 6]}),
          DynamicConfigValue("custom.fillOpacity", 0)]  # fmt: skip


def _placed(panel: Any, number: int, title: str, place: Place, queries: Queries, source: DataSourceRef) -> Any:
    x, y, width, height = place
    panel.id(number).title(title).datasource(source).grid_pos(GridPos(x=x, y=y, w=width, h=height))
    for query in queries:
        panel.with_target(query)
    return panel


def _coloured(panel: Any, colour: str) -> Any:
    """One colour, or one for each series. By their names alone, two could have nearly the same."""
    if colour:
        return panel.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.FIXED).fixed_color(colour))
    return panel.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))


def number(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = COUNT, decimals: int = 0,
    source: DataSourceRef = API, named: bool = False,
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
    named : bool
        Whether each number has its column's name above it.
    """
    values = common.ReduceDataOptions().values(True).calcs(["lastNotNull"])
    made: stat.Panel = _placed(stat.Panel(), id_, title, place, queries, source)
    made.text(common.VizTextDisplayOptions().title_size(12))
    made.text_mode(options.BigValueTextMode.VALUE_AND_NAME if named else options.BigValueTextMode.VALUE)
    return made.reduce_options(values).unit(unit).decimals(decimals).graph_mode(options.BigValueGraphMode.NONE)


def bars(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = COUNT, decimals: int = 0, colour: str = "blue",
) -> bargauge.Panel:  # fmt: skip
    """A bar for each row, with its name and its value: one bar is as high as twenty.

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
    unit : str
        Grafana's name of a unit.
    decimals : int
        Decimal places.
    colour : str
        The colour of all bars.
    """
    made: bargauge.Panel = _placed(bargauge.Panel(), id_, title, place, queries, API)
    made.reduce_options(common.ReduceDataOptions().values(True).calcs(["lastNotNull"]))
    made.orientation(options.VizOrientation.HORIZONTAL).display_mode(options.BarGaugeDisplayMode.BASIC)
    made.name_placement(options.BarGaugeNamePlacement.LEFT).show_unfilled(False).value_mode(
        options.BarGaugeValueMode.TEXT
    )
    made.sizing(options.BarGaugeSizing.MANUAL).min_viz_height(16).max_viz_height(24).min(0)
    made.text(common.VizTextDisplayOptions().title_size(12).value_size(13)).unit(unit).decimals(decimals)
    coloured: bargauge.Panel = _coloured(made, colour)
    return coloured


def pie(id_: int, title: str, place: Place, queries: Queries, *, unit: str = COUNT) -> piechart.Panel:
    """A slice for each row, with its share; the legend has the names, the shares and the values.

    Names in the slices lie over one another where slices are small.

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
    unit : str
        Grafana's name of a unit.
    """
    made: piechart.Panel = _placed(piechart.Panel(), id_, title, place, queries, API)
    legend = piechart.PieChartLegendOptions().show_legend(True).display_mode(options.LegendDisplayMode.TABLE)
    legend.placement(options.LegendPlacement.BOTTOM)
    legend.values([pies.PieChartLegendValues.PERCENT, pies.PieChartLegendValues.VALUE])
    # In a ring, the shares of small slices stand further apart.
    made.pie_type(pies.PieChartType.DONUT).legend(legend).display_labels([pies.PieChartLabels.PERCENT]).unit(
        unit
    ).decimals(0)
    coloured: piechart.Panel = _coloured(made, "")
    return coloured.reduce_options(common.ReduceDataOptions().values(True).calcs(["lastNotNull"]))


def line(
    id_: int, title: str, place: Place, queries: Queries, *, unit: str = COUNT, decimals: int | None = None,
    source: DataSourceRef = API, today: bool = False, colour: str = "",
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
    colour : str
        The colour of all lines, which belong to one figure; each has its own when empty.
    """
    made: timeseries.Panel = _placed(timeseries.Panel(), id_, title, place, queries, source)
    legend = common.VizLegendOptions().show_legend(True).display_mode(options.LegendDisplayMode.LIST)
    made.legend(legend.placement(options.LegendPlacement.BOTTOM).calcs([]))
    tooltip = common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI)
    made.tooltip(tooltip.sort(options.SortOrder.DESCENDING)).axis_soft_min(0)
    # A line of one point is seen by its point only.
    made.unit(unit).fill_opacity(8).show_points(options.VisibilityMode.AUTO).point_size(4)
    if decimals is not None:
        made.decimals(decimals)
    if source is API:
        made.display_name(_COLUMN)
    coloured: timeseries.Panel = _coloured(made, colour)
    return coloured.time_from("now/d") if today else coloured


def spark(id_: int, title: str, place: Place, queries: Queries, *, unit: str, decimals: int, colour: str) -> Any:
    """A line without axes, below a number: the shape of the range.

    Parameters
    ----------
    id_ : int
        The panel's own, which never changes.
    title : str
        Which number it is of.
    place : Place
        Where, in Grafana's grid of 24 columns.
    queries : Queries
        Each gives a series.
    unit : str
        Grafana's name of a unit.
    decimals : int
        Decimal places.
    colour : str
        The colour of the line.
    """
    made = line(id_, title, place, queries, unit=unit, decimals=decimals, colour=colour)
    made.legend(common.VizLegendOptions().show_legend(False)).axis_placement(options.AxisPlacement.HIDDEN)
    return made.axis_grid_show(False).transparent(True).show_points(options.VisibilityMode.NEVER)


def rows(id_: int, title: str, place: Place, queries: Queries, *, source: DataSourceRef = API) -> table.Panel:
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
    source : DataSourceRef
        What answers the queries.
    """
    made: table.Panel = _placed(table.Panel(), id_, title, place, queries, source)
    return made.filterable(True).min_width(_NARROW)


def told(
    panel: Any, description: str, *, nothing: str, limits: Sequence[tuple[float, str]] = (),
    link: tuple[str, str] | None = None,
) -> Any:  # fmt: skip
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
        or bad, and all have the colour of text.
    link : (str, str), optional
        What the values lead to: words, and an address without a machine.
    """
    steps = [Threshold(value=None, color="green" if limits else "text")]
    steps += [Threshold(value=value, color=colour) for value, colour in limits]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    if link:
        # A link of the values, which are pressed themselves: one of the panel takes the place of its title.
        words, address = link
        panel.data_links([dashboard.DashboardLink(words).url(address)])
    return panel.description(description).no_value(nothing).thresholds(thresholds)
