"""The dashboard *Pipeline health*: is it right, is it fresh, does it keep up, what broke, as Prometheus sees it.

The first screen answers these four. All else lies in closed rows by topic (`health_rows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, VariableRefresh, VariableSort

from retailpulse_kernel.dashboards.annotations import failed_reconciliations, promotions
from retailpulse_kernel.dashboards.grid import Grid
from retailpulse_kernel.dashboards.health_rows import TOPICS
from retailpulse_kernel.dashboards.measured import IN, Measured, quantile, rate, share
from retailpulse_kernel.dashboards.panels import COUNT, Place, number, told
from retailpulse_kernel.dashboards.queries import PROMETHEUS, prometheus_query

__all__ = ["pipeline_health"]

#: Namespaces, those with the most processes that run first.
_NAMESPACES = (
    "query_result(sort_desc(sum by (namespace) (retailpulse_process_up)"
    " or 0 * sum by (namespace) (retailpulse_process_starts_total)))"
)
_NUMBER, _LINE = 3, 8
#: None is good, one is bad; and from when on figures or a reconciliation are old, in seconds.
_NONE = ((1.0, "red"),)
_OLD, _UNCHECKED = ((120.0, "orange"), (600.0, "red")), ((7_200.0, "orange"), (86_400.0, "red"))
_JOBS = ("The dashboards of the jobs", "/dashboards?tag=job")
_SHOP = ("Store pulse", "/d/retailpulse-store-pulse?${__url_time_range}")
_ALERTS = ("All alerts", "/alerting/list?search=retailpulse")
#: Ids of the rows, beside those of the panels.
_ROWS = 100


def pipeline_health() -> dashboard.Dashboard:
    """On one screen what is down, wrong, old or behind; what else is measured in rows that are closed."""
    made = (
        dashboard.Dashboard("Pipeline health")
        .uid("retailpulse-pipeline-health")
        .description("What the jobs, servers and the read API measure of themselves; docs/metrics.md explains each.")
        .tags(["retailpulse", "operations"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .link(dashboard.DashboardLink("RetailPulse").type(DashboardLinkType.DASHBOARDS).tags(["retailpulse"])
              .as_dropdown(True).keep_time(True))
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(PROMETHEUS)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.DISABLED)
            .regex('/namespace="([^"]+)"/')
            .query({"query": _NAMESPACES, "qryType": 3, "refId": "variable"})
        )
        .annotation(failed_reconciliations())
        .annotation(promotions())
    )  # fmt: skip
    grid = Grid()
    for panel in [*_state(grid), *_flow(grid)]:
        made.with_panel(panel)
    for place, (topic, panels) in enumerate(TOPICS.items()):
        made.with_row(grid.closed(_ROWS + place, topic, (panel.at for panel in panels), _LINE))
    return made


def _state(grid: Grid) -> list[Any]:
    """What is wrong now; each number is one row of an instant query."""
    # `or vector(0)`: of nothing that is down there is no series.
    down = f'count(retailpulse_process_up{{{IN},component="job"}} == 0) or vector(0)'
    oldest = f"max(time() - retailpulse_job_last_batch_timestamp_seconds{{{IN}}})"
    checked = f"time() - retailpulse_reconcile_timestamp_seconds{{{IN}}}"
    shown: list[tuple[int, str, str, str, str, Sequence[tuple[float, str]], tuple[str, str], str]] = [
        (4, "Jobs down", down, COUNT, "Jobs that failed, were killed or fell silent. Runbook: JobDown.",
         _NONE, _JOBS, "no job has run"),
        (5, "Servers down", "count(retailpulse_service_up == 0) or vector(0)", COUNT,
         "Servers that did not answer a real request. Runbook: ServiceDown.", _NONE, _ALERTS, "not measured"),
        (39, "Alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', COUNT,
         "Alerts of Prometheus, of all namespaces. Each has a runbook.", _NONE, _ALERTS, "not measured"),
        (6, "Differences found", f"retailpulse_reconcile_differences{{{IN}}}", COUNT,
         "What the last reconciliation found different between the topic and the stores. Runbook: ReconcileDiffers.",
         _NONE, _SHOP, "not reconciled yet"),
        (7, "Last reconciliation", checked, "s", "How long ago the stores were compared with the topic.", _UNCHECKED,
         _SHOP, "not reconciled yet"),
        (40, "Oldest figures", oldest, "s", "Since the job that is behind most wrote its last micro-batch. "
         "Runbook: LagGrowing.", _OLD, _JOBS, "no job has run"),
    ]  # fmt: skip
    return [
        told(
            number(id_, title, place, [prometheus_query(expr, title, instant=True)], unit=unit, source=PROMETHEUS),
            description, nothing=nothing, limits=limits, link=link,
        )
        for (id_, title, expr, unit, description, limits, link, nothing), place in zip(
            shown, _two_bands(grid, _NUMBER), strict=True
        )
    ]  # fmt: skip


def _flow(grid: Grid) -> list[Any]:
    """Whether events flow, in time and whole."""
    latency = "retailpulse_job_end_to_end_latency_seconds"
    taken = rate("retailpulse_job_messages_total", "job_name")
    lag = f"sum by (job_name) (retailpulse_job_lag_messages{{{IN}}})"
    panels = (
        Measured(8, "Messages a second: in, by topic", "mps", "Messages that came into each topic, and those that our "
                 "own producers sent.",
                 ((rate("retailpulse_topic_messages_total", "topic"), "{{topic}}"),
                  (rate("retailpulse_producer_messages_total", "producer"), "sent by {{producer}}"))),
        Measured(9, "Messages a second: taken, by job", "mps", "Messages that each job took from its topic.",
                 ((taken, "{{job_name}}"),)),
        # What waits, at the pace of the job; a job that takes nothing and has nothing to take is not behind.
        Measured(12, "Lag: time to catch up, by job", "s", "How long each job needs at its present pace for the "
                 "messages that wait. Runbook: LagGrowing.",
                 ((f"({lag} / ({taken} > 0)) or ({lag} == 0)", "{{job_name}}"),)),
        Measured(13, "Freshness: age of the newest figures", "s", "Since each job wrote its last micro-batch.",
                 ((f"time() - retailpulse_job_last_batch_timestamp_seconds{{{IN}}}", "{{job_name}}"),)),
        Measured(11, "End-to-end latency", "s", "From a message's arrival in Kafka to its figures in the stores.",
                 ((quantile(0.5, latency, "job_name"), "{{job_name}} p50"),
                  (quantile(0.99, latency, "job_name"), "{{job_name}} p99"))),
        Measured(41, "Bad and late, of all messages", "percentunit", "The shares of messages that are no valid events, "
                 "and of those that came too late. Runbooks: BadShareHigh, LateShareHigh.",
                 ((share("bad"), "{{job_name}}: bad"), (share("late"), "{{job_name}}: late"))),
    )  # fmt: skip
    return [panel.at(place) for panel, place in zip(panels, _two_bands(grid, _LINE), strict=True)]


def _two_bands(grid: Grid, height: int) -> list[Place]:
    """Places for six panels. Three beside one another show their titles on a screen of 900 pixels, too."""
    return [place for _ in range(2) for place in grid.band(height, 8, 8, 8)]
