"""The dashboard *Pipeline health*: so far the read API, as Prometheus sees it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from retailpulse_kernel.dashboards.panels import line
from retailpulse_kernel.dashboards.queries import PROMETHEUS, prometheus_query

__all__ = ["pipeline_health"]

_ANSWERED = "retailpulse_api_requests_total"
_DURATION = "retailpulse_api_request_duration_seconds_bucket"
_P95 = f"histogram_quantile(0.95, sum by (le) (rate({_DURATION}[$__rate_interval])))"
_HITS, _MISSES = "rate(retailpulse_api_cache_hits_total[1m])", "rate(retailpulse_api_cache_misses_total[1m])"


def pipeline_health() -> dashboard.Dashboard:
    """Requests, their duration, and what the cache spares Cassandra."""
    rate = prometheus_query(f"sum by (status) (rate({_ANSWERED}[$__rate_interval]))", "{{status}}")
    return (
        dashboard.Dashboard("Pipeline health")
        .uid("retailpulse-pipeline-health")
        .tags(["retailpulse", "operations"])
        .timezone("utc")
        .time("now-1h", "now")
        .refresh("10s")
        .with_panel(line(1, "API: requests by status", (0, 0, 8, 8), [rate], unit="reqps", source=PROMETHEUS))
        .with_panel(
            line(2, "API: time to answer (p95)", (8, 0, 8, 8), [prometheus_query(_P95, "p95")], unit="s",
                 source=PROMETHEUS)
        )
        .with_panel(
            line(3, "API: answers from the cache", (16, 0, 8, 8),
                 [prometheus_query(f"sum({_HITS}) / (sum({_HITS}) + sum({_MISSES}))", "share")],
                 unit="percentunit", source=PROMETHEUS)
        )
    )  # fmt: skip
