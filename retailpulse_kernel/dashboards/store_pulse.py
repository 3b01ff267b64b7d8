"""The dashboard *Store pulse*: the shop's day in one look, from the top down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
)

from retailpulse_kernel.catalogue.tables import Catalogue
from retailpulse_kernel.dashboards.annotations import corrections, failed_reconciliations, promotions
from retailpulse_kernel.dashboards.panels import (
    COUNT,
    DASHES,
    MONEY,
    PERCENT,
    Place,
    bars,
    line,
    number,
    pie,
    rows,
    spark,
    told,
)
from retailpulse_kernel.dashboards.queries import API, api_query, corrections_query, values_fields
from retailpulse_kernel.ground.calendars import UTC_CALENDAR, Calendar
from retailpulse_kernel.shop.figures import ACTIVE_USERS, AVERAGE_ORDER_VALUE, EVENTS, ORDERS, REVENUE, Figure, Ratio
from retailpulse_kernel.shop.personal import is_personal
from retailpulse_kernel.shop.tables import GRAINS

__all__ = ["shop_dimensions", "store_pulse"]

#: Peaks are marked on the line of which they are a part.
_POINTS = [
    DynamicConfigValue("custom.drawStyle", "points"),
    DynamicConfigValue("custom.showPoints", "always"),
    DynamicConfigValue("custom.pointSize", 9),
    DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "orange"}),
]
#: The earlier day stands behind today.
_BEHIND = [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "text"}), *DASHES]
#: A change is good or bad; a number by itself is not.
_CHANGE = [
    DynamicConfigValue("unit", PERCENT),
    DynamicConfigValue("decimals", 1),
    DynamicConfigValue("noValue", "-"),
    DynamicConfigValue("thresholds", {"mode": "absolute", "steps": [
        {"value": None, "color": "text"}, {"value": -1e9, "color": "red"}, {"value": 0, "color": "green"}]}),
]  # fmt: skip
_RATE = [
    DynamicConfigValue("unit", PERCENT),
    DynamicConfigValue("decimals", 2),
    DynamicConfigValue("noValue", "-"),
    DynamicConfigValue("min", 0),
    DynamicConfigValue("max", 100),
    DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "blue"}),
    DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
]
#: Money of all currencies, converted.
_BASE = VariableOption(text="base currency", value="base")
#: Each figure has its colour, in the line below its number and in its own chart.
_COLOURS: dict[Figure | Ratio, str] = {
    REVENUE: "blue", ORDERS: "green", AVERAGE_ORDER_VALUE: "purple", ACTIVE_USERS: "orange",
}  # fmt: skip
_GRAIN = {"by": "bucket", "grain": "${grain}"}
_NOTHING = "no sales in this range"
_NO_EVENTS = "no events in this range"
#: Bars of categories, with that of all others, and of products.
_CATEGORIES, _PRODUCTS = 9, 10
_HEALTH = ("Is it fresh and right? Pipeline health", "/d/retailpulse-pipeline-health")
_THIS = "/d/retailpulse-store-pulse?${currency:queryparam}&${__url_time_range}"


def store_pulse(calendar: Calendar = UTC_CALENDAR, dimensions: Sequence[str] = ()) -> dashboard.Dashboard:
    """The dashboard of a shop. Money in each panel is one row of the API: of a chosen currency, added up there.

    Parameters
    ----------
    calendar : Calendar
        In whose zone the shop's days begin.
    dimensions : sequence of str
        Of what there are variables beside the currency and the category.
    """
    made = (
        dashboard.Dashboard("Store pulse")
        .uid("retailpulse-store-pulse")
        .description("Revenue, orders and visitors; every number is what `retailpulse figures` says.")
        .tags(["retailpulse", "business"])
        .timezone("utc" if calendar.is_utc else calendar.zone)
        .time("now/d", "now")
        .refresh("5s")
        .link(dashboard.DashboardLink("RetailPulse").type(DashboardLinkType.DASHBOARDS).tags(["retailpulse"])
              .as_dropdown(True).keep_time(True))
        .annotation(corrections())
        .annotation(promotions())
        .annotation(failed_reconciliations())
        .with_variable(_asked_variable("currency", "Currency", several=False).static_options([_BASE])
                       .static_options_order("after"))
        .with_variable(_asked_variable("category", "Category", several=True))
    )  # fmt: skip
    for name in dimensions:
        made.with_variable(_asked_variable(name, name, several=True))
    made.with_variable(dashboard.CustomVariable("grain").label("Grain").values(",".join(["auto", *GRAINS])))
    filters = ("currency", "category", *dimensions)
    for panel in [*_numbers(filters), *_over(filters), *_split(filters), *_below(filters)]:
        made.with_panel(panel)
    return made


def shop_dimensions(catalogue: Catalogue) -> list[str]:
    """The dimensions by which tables of revenue go, beside those that the dashboard has a place for.

    Parameters
    ----------
    catalogue : Catalogue
        The tables of a namespace.
    """
    tables = [one for one in catalogue.figures if one.figures and REVENUE.name in {f.name for f in one.figures.figures}]
    found = {name for one in tables for name in one.key if not is_personal(name, catalogue.contract)}
    return sorted(found - {"currency", "category", "event_type"})


def _money(figure: Figure | Ratio) -> tuple[str, int, str]:
    """The unit, the decimal places and the title of a figure."""
    if figure in (REVENUE, AVERAGE_ORDER_VALUE):
        return MONEY, 2, f"{figure.title}, $currency"
    return COUNT, 0, figure.title


def _numbers(filters: Sequence[str]) -> list[Any]:
    """Four numbers, each with its change against the same part of last week, and the line of the range below it."""
    panels = []
    for place, (figure, colour) in enumerate(_COLOURS.items()):
        unit, decimals, title = _money(figure)
        asked = [
            api_query(figure.name, ["value"], title="in this range", filters=filters),
            api_query(figure.name, ["change_percent"], ref="B", filters=filters, compare="last week"),
        ]
        made = number(place + 1, title, (6 * place, 0, 6, 4), asked, unit=unit, decimals=decimals, named=True)
        made.override_by_name("vs last week", _CHANGE)
        description = f"{figure.title} of the range, and its change against the same part of the range a week before."
        nothing = "no visitors" if figure is ACTIVE_USERS else "no sales"
        panels.append(told(made, description, nothing=nothing, link=_HEALTH))
        series = api_query(figure.name, ["bucket", "complete_value"], title=figure.title, filters=filters, **_GRAIN)
        drawn = spark(place + 15, "", (6 * place, 4, 6, 2), [series], unit=unit, decimals=decimals,
                      colour=colour)  # fmt: skip
        panels.append(told(drawn, f"{figure.title} of each window of the range that is over.", nothing=" "))
    return panels


def _over_time(id_: int, title: str, place: Place, figure: Figure | Ratio, filters: Sequence[str], *more: str) -> Any:
    unit, decimals, _ = _money(figure)
    columns = ["bucket", "complete_value", "unfinished_value", *more]
    query = api_query(figure.name, columns, title=figure.title, filters=filters, **_GRAIN)
    made = line(id_, title, place, [query], unit=unit, decimals=decimals, colour=_COLOURS.get(figure, "blue"))
    return made.override_by_name("So far", DASHES)


def _over(filters: Sequence[str]) -> list[Any]:
    total, hourly = ["bucket", "running_total"], {"by": "bucket", "grain": "hour", "filters": filters}
    today = [
        api_query(REVENUE.name, total, title="Today", **hourly),
        api_query(REVENUE.name, total, title="A week before", ref="B", shift="7d", **hourly),
    ]
    over = _over_time(5, "Revenue over time, $currency", (0, 6, 15, 9), REVENUE, filters, "peak_value")
    both = line(12, "Today and a week before, $currency", (15, 6, 9, 9), today, unit=MONEY, decimals=2,
                today=True, colour=_COLOURS[REVENUE])  # fmt: skip
    return [
        told(
            over.override_by_name("Peak", _POINTS),
            "Revenue of each window. Points are peaks. A dashed part is a window that is not over. Orange marks are "
            "windows that late events have corrected.",
            nothing=_NOTHING, link=_HEALTH,
        ),
        told(
            both.override_by_name("A week before", _BEHIND),
            "Revenue since the shop's midnight, added up, and that of the same day of last week.", nothing=_NOTHING,
            link=_HEALTH,
        ),
    ]  # fmt: skip


def _split(filters: Sequence[str]) -> list[Any]:
    top = api_query(REVENUE.name, ["category", "value"], title=REVENUE.title, filters=filters, by="category",
                    top=_CATEGORIES)  # fmt: skip
    types = api_query(EVENTS.name, ["event_type", "value"], title=EVENTS.title, filters=filters, by="event_type")
    funnel = api_query("funnel", ["step", "value", "of_before"], title="How many", filters=filters)
    categories = bars(7, "Total revenue per category, $currency", (0, 15, 10, 10), [top], unit=MONEY, decimals=2)
    categories.data_links([dashboard.DashboardLink("Only this category").url(
        f"{_THIS}&var-category=${{__data.fields.Category}}")])  # fmt: skip
    steps = rows(9, "Conversion funnel", (17, 15, 7, 10), [funnel]).unit(COUNT).filterable(False)
    return [
        told(categories, f"The {_CATEGORIES} largest categories, and all others together.", nothing=_NOTHING),
        told(pie(8, "Event distribution", (10, 15, 7, 10), [types]), "Events by their type.", nothing=_NO_EVENTS),
        told(
            steps.override_by_name("Of the step before", _RATE),
            "Events of each step, and how many percent they are of those of the step before.", nothing=_NO_EVENTS,
        ),
    ]  # fmt: skip


def _below(filters: Sequence[str]) -> list[Any]:
    products = api_query("top_products", ["product_id", "value"], title=REVENUE.title, filters=filters, limit=_PRODUCTS)
    order = _over_time(10, "Average order value, $currency", (0, 25, 12, 9), AVERAGE_ORDER_VALUE, filters)
    best = bars(13, "Top products today, $currency", (12, 25, 12, 9), [products], unit=MONEY, decimals=2)
    columns = {
        "bucket": "Begin of the window", "corrected_at": "Corrected at", "late_events": "Late events",
        "added.revenue.value": "Revenue added",
    }  # fmt: skip
    corrected = rows(14, "Corrected windows", (0, 34, 24, 6), [corrections_query(columns, grain="${grain}")]).unit(
        COUNT
    )
    corrected.override_by_name("Revenue added", [DynamicConfigValue("unit", MONEY), DynamicConfigValue("decimals", 2)])
    return [
        told(order, "Revenue divided by orders, of each window. A dashed part is a window that is not over.",
             nothing=_NOTHING),
        told(best.time_from("now/d"), "Revenue of each product since the shop's midnight, from the archive.",
             nothing=_NOTHING),
        told(corrected, "Windows to which late events were added: how many, how much revenue, and when.",
             nothing="no late events in this range"),
    ]  # fmt: skip


def _asked_variable(name: str, label: str, *, several: bool) -> dashboard.QueryVariable:
    """A variable whose values are those that the shown range has."""
    made = dashboard.QueryVariable(name).label(label).datasource(API).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.query({"queryType": "infinity", "infinityQuery": values_fields(name)})
    return made.multi(True).include_all(True).all_value("all") if several else made
