"""What is marked on charts: promotions of jobs, reconciliations that found a difference, and corrected windows."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from retailpulse_kernel.dashboards.queries import API, PROMETHEUS, corrections_query

__all__ = ["corrections", "failed_reconciliations", "promotions"]


def _marked(name: str, color: str, expression: str, title: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(color)
        .expr(expression)
        .step("15s")
        .title_format(title)
    )


def promotions() -> dashboard.AnnotationQuery:
    """When another version of a job became the current one, be it by a promotion or a rollback."""
    changed = "changes(retailpulse_pipeline_version[1m]) > 0"
    return _marked("Promotions", "blue", changed, "{{pipeline}}: another version")


def failed_reconciliations() -> dashboard.AnnotationQuery:
    """As long as the last reconciliation differs."""
    return _marked(
        "Failed reconciliations", "red", "retailpulse_reconcile_equal == 0", "{{namespace}}: the stores differ"
    )


def corrections() -> dashboard.AnnotationQuery:
    """The windows to which late events were added after they had been shown."""
    found = corrections_query({"bucket": "time", "late_events": "text"}, ref="corrections", grain="auto")
    made = dashboard.AnnotationQuery().name("Corrected windows").datasource(API).enable(True).icon_color("orange")
    return made.target(found)
