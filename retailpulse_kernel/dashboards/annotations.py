"""What is marked on every chart: promotions of jobs, and reconciliations that found a difference."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from retailpulse_kernel.dashboards.queries import PROMETHEUS

__all__ = ["failed_reconciliations", "promotions"]


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
