"""The dashboard *Store pulse*: how the shop is doing."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, VariableRefresh

from retailpulse_kernel.dashboards.annotations import failed_reconciliations, promotions
from retailpulse_kernel.dashboards.panels import DASHES, Place, bars, line, number, pie, rows, told
from retailpulse_kernel.dashboards.queries import API, api_fields, api_query, corrections_query
from retailpulse_kernel.shop.figures import ACTIVE_USERS, AVERAGE_ORDER_VALUE, EVENTS, ORDERS, REVENUE, Figure, Ratio
from retailpulse_kernel.shop.tables import GRAINS

__all__ = ["store_pulse"]

#: Peaks are marked on the line of which they are a part.
_POINTS = [
    DynamicConfigValue("custom.drawStyle", "points"),
    DynamicConfigValue("custom.showPoints", "always"),
    DynamicConfigValue("custom.pointSize", 9),
]
_GRAIN = {"by": "bucket", "grain": "${grain}"}


def store_pulse() -> dashboard.Dashboard:
    """Money in each panel is one row of the API: of a chosen currency, added up there."""
    made = (
        dashboard.Dashboard("Store pulse")
        .uid("retailpulse-store-pulse")
        .description("Revenue, orders and visitors; every number is what `retailpulse figures` says.")
        .tags(["retailpulse", "business"])
        .timezone("utc")
        .time("now/d", "now")
        .refresh("5s")
        .annotation(promotions())
        .annotation(failed_reconciliations())
        .with_variable(_asked_variable("currency", "Currency", several=False))
        .with_variable(_asked_variable("category", "Category", several=True))
        .with_variable(
            dashboard.CustomVariable("grain").label("Grain").values(",".join(["auto", *GRAINS]))
        )
    )  # fmt: skip
    for panel in [*_numbers(), *_charts()]:
        made.with_panel(panel)
    return made


def _numbers() -> list[Any]:
    shown: list[tuple[Figure | Ratio, int]] = [(REVENUE, 2), (ORDERS, 0), (AVERAGE_ORDER_VALUE, 2), (ACTIVE_USERS, 0)]
    return [
        number(
            place + 1, figure.title, (6 * place, 0, 6, 4), [api_query(figure.name, ["value"], title=figure.title)],
            decimals=decimals,
        )
        for place, (figure, decimals) in enumerate(shown)
    ]  # fmt: skip


def _over_time(id_: int, title: str, place: Place, figure: Figure | Ratio, *columns: str, decimals: int = 2) -> Any:
    query = api_query(
        figure.name, ["bucket", "complete_value", "unfinished_value", *columns], title=figure.title, **_GRAIN
    )
    return line(id_, title, place, [query], decimals=decimals).override_by_name("So far", DASHES)


def _charts() -> list[Any]:
    top = api_query(REVENUE.name, ["category", "value"], title=REVENUE.title, by="category", limit=20)
    types = api_query(EVENTS.name, ["event_type", "value"], title=EVENTS.title, by="event_type")
    products = api_query("top_products", ["product_id", "value"], title=REVENUE.title, limit=15)
    funnel = api_query("funnel", ["step", "value"], title=EVENTS.title)
    total, hourly = ["bucket", "running_total"], {"by": "bucket", "grain": "hour"}
    today = [
        api_query(REVENUE.name, total, title="Today", **hourly),
        api_query(REVENUE.name, total, title="A week before", ref="B", shift="7d", **hourly),
    ]
    return [
        _over_time(5, "Revenue over time", (0, 4, 12, 9), REVENUE, "peak_value").override_by_name("Peak", _POINTS),
        _over_time(6, "Running total of revenue", (12, 4, 12, 9), REVENUE, "running_total"),
        bars(7, "Total revenue per category", (0, 13, 12, 9), [top], decimals=2),
        pie(8, "Event distribution", (12, 13, 6, 9), [types]),
        bars(9, "Conversion funnel", (18, 13, 6, 9), [funnel]),
        _over_time(10, "Average order value", (0, 22, 8, 8), AVERAGE_ORDER_VALUE),
        _over_time(11, "Orders", (8, 22, 8, 8), ORDERS, decimals=0),
        bars(13, "Top products by revenue", (0, 30, 24, 9), [products], decimals=2),
        told(
            rows(14, "Corrected windows", (0, 39, 24, 7), [_corrections()]),
            "Windows to which late events were added: how many, how much revenue, and when.",
            nothing="no late events in this range",
        ),
        line(12, "Revenue today, and the same day last week", (16, 22, 8, 8), today, decimals=2, today=True),
    ]


def _corrections() -> Any:
    columns = {
        "bucket": "Time", "late_events": "Late events", "added.revenue.value": "Revenue added",
        "corrected_at": "Corrected at",
    }  # fmt: skip
    return corrections_query(columns, grain="${grain}")


def _asked_variable(name: str, label: str, *, several: bool) -> dashboard.QueryVariable:
    """A variable whose values are those that the shown range has."""
    query = api_fields(EVENTS.name, [name], ref="variable", by=name, currency="", category="")
    made = dashboard.QueryVariable(name).label(label).datasource(API).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.query({"queryType": "infinity", "infinityQuery": query})
    return made.multi(True).include_all(True).all_value("all") if several else made
