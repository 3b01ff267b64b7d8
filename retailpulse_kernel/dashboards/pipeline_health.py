"""The dashboard *Pipeline health*: whether events flow, how fast, and what is wrong, as Prometheus sees it."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import VariableRefresh

from retailpulse_kernel.dashboards.annotations import failed_reconciliations, promotions
from retailpulse_kernel.dashboards.panels import line, number
from retailpulse_kernel.dashboards.queries import PROMETHEUS, prometheus_query

__all__ = ["pipeline_health"]

_IN = 'namespace="$namespace"'
_RANGE = "[$__rate_interval]"


def pipeline_health() -> dashboard.Dashboard:
    """From the top: is anything down, do events flow, how late are they, what is rejected, what does it cost."""
    made = (
        dashboard.Dashboard("Pipeline health")
        .uid("retailpulse-pipeline-health")
        .description("What the jobs, servers and the read API measure of themselves; docs/metrics.md explains each.")
        .tags(["retailpulse", "operations"])
        .timezone("utc")
        .time("now-1h", "now")
        .refresh("10s")
        .with_variable(
            dashboard.QueryVariable("namespace")
            .label("Namespace")
            .datasource(PROMETHEUS)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .query({"query": "label_values(retailpulse_process_starts_total, namespace)", "refId": "variable"})
        )
        .annotation(failed_reconciliations())
        .annotation(promotions())
    )
    for panel in [*_state(), *_flow(), *_rejects(), *_stores(), *_machine(), *_api(), *_airflow(), *_reference()]:
        made.with_panel(panel)
    return made


def _line(id_: int, title: str, place: tuple[int, int, int, int], unit: str, *queries: tuple[str, str]) -> Any:
    asked = [prometheus_query(expr, legend, "ABC"[i]) for i, (expr, legend) in enumerate(queries)]
    return line(id_, title, place, asked, unit=unit, source=PROMETHEUS)


def _number(id_: int, title: str, place: tuple[int, int, int, int], expr: str, unit: str = "short") -> Any:
    # Over a range, each of its points would be a row, and so a number.
    return number(id_, title, place, [prometheus_query(expr, title, instant=True)], unit=unit, source=PROMETHEUS)


def _quantile(share: float, histogram: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket{{{_IN}}}{_RANGE})))"


def _rate(counter: str, by: str, *conditions: str) -> str:
    return f"sum by ({by}) (rate({counter}{{{','.join((_IN, *conditions))}}}{_RANGE}))"


def _state() -> list[Any]:
    # `or vector(0)`: of nothing that is down there is no series.
    down = f'count(retailpulse_process_up{{{_IN},component="job"}} == 0) or vector(0)'
    return [
        _number(4, "Jobs that are down", (0, 0, 6, 4), down),
        _number(5, "Servers that are down", (6, 0, 6, 4), "count(retailpulse_service_up == 0) or vector(0)"),
        _number(6, "Last reconciliation: differences", (12, 0, 6, 4), f"retailpulse_reconcile_differences{{{_IN}}}"),
        _number(7, "Since it", (18, 0, 6, 4), f"time() - retailpulse_reconcile_timestamp_seconds{{{_IN}}}", "s"),
    ]


def _flow() -> list[Any]:
    latency, batch = "retailpulse_job_end_to_end_latency_seconds", "retailpulse_job_batch_duration_seconds"
    fresh = f"time() - retailpulse_job_last_batch_timestamp_seconds{{{_IN}}}"
    return [
        _line(8, "Messages a second: in, by topic", (0, 4, 8, 8), "cps",
              (_rate("retailpulse_topic_messages_total", "topic"), "{{topic}}"),
              (_rate("retailpulse_producer_messages_total", "producer"), "sent by {{producer}}")),
        _line(9, "Messages a second: taken, by job", (8, 4, 8, 8), "cps",
              (_rate("retailpulse_job_messages_total", "job_name"), "{{job_name}}")),
        _line(10, "Rows a second: out, by job", (16, 4, 8, 8), "cps",
              (_rate("retailpulse_job_rows_total", "job_name"), "{{job_name}}")),
        _line(11, "End-to-end latency", (0, 12, 8, 8), "s",
              (_quantile(0.5, latency, "job_name"), "{{job_name}} p50"),
              (_quantile(0.99, latency, "job_name"), "{{job_name}} p99")),
        _line(12, "Lag by job", (8, 12, 8, 8), "short", (f"retailpulse_job_lag_messages{{{_IN}}}", "{{job_name}}")),
        _line(13, "Freshness: age of the newest figures", (16, 12, 8, 8), "s", (fresh, "{{job_name}}")),
        _line(14, "Batch duration (p95)", (0, 20, 8, 8), "s", (_quantile(0.95, batch, "job_name"), "{{job_name}}")),
        _line(15, "State: rows", (8, 20, 8, 8), "short", (f"retailpulse_job_state_rows{{{_IN}}}", "{{job_name}}")),
        _line(16, "State: size", (16, 20, 8, 8), "bytes",
              (f"retailpulse_job_state_bytes{{{_IN}}}", "{{job_name}}")),
    ]  # fmt: skip


def _rejects() -> list[Any]:
    def share(status: str) -> str:
        of = _rate("retailpulse_job_messages_total", "job_name", f'status="{status}"')
        return f"{of} / ({_rate('retailpulse_job_messages_total', 'job_name')} > 0)"

    return [
        _line(17, "Late, of all messages", (0, 28, 6, 8), "percentunit", (share("late"), "{{job_name}}")),
        _line(35, "Events ahead of the broker's time a minute, and by how much at most", (6, 28, 6, 8), "short",
              (f"60 * {_rate('retailpulse_job_ahead_messages_total', 'job_name')}", "{{job_name}}"),
              (f"retailpulse_job_ahead_seconds{{{_IN}}}", "{{job_name}}: seconds")),
        _line(18, "Duplicates, of all messages", (12, 28, 6, 8), "percentunit", (share("duplicate"), "{{job_name}}")),
        _line(19, "Bad messages a minute, by reason", (18, 28, 6, 8), "short",
              (f"60 * {_rate('retailpulse_bad_messages_total', 'reason')}", "{{reason}}")),
    ]  # fmt: skip


def _stores() -> list[Any]:
    write = "retailpulse_store_write_duration_seconds"
    return [
        _line(20, "Writes: duration (p95)", (0, 36, 8, 8), "s", (_quantile(0.95, write, "store"), "{{store}}")),
        _line(21, "Writes: retries a minute", (8, 36, 8, 8), "short",
              (f"60 * {_rate('retailpulse_store_retries_total', 'store')}", "{{store}}")),
        _line(22, "Servers: time to answer a real request", (16, 36, 8, 8), "s",
              ("retailpulse_service_check_duration_seconds", "{{service}}")),
    ]  # fmt: skip


def _reference() -> list[Any]:
    age = f"time() - retailpulse_job_reference_read_timestamp_seconds{{{_IN}}}"
    failures = f"increase(retailpulse_job_reference_failures_total{{{_IN}}}[1h])"
    violated = f"increase(retailpulse_job_expectation_failures_total{{{_IN}}}[1h])"
    return [
        _line(36, "Reference tables: age, by job", (0, 84, 12, 8), "s", (age, "{{job_name}} {{table}}")),
        _line(37, "Reference tables: failed readings an hour", (12, 84, 12, 8), "short",
              (failures, "{{job_name}} {{table}}")),
        _line(38, "Expectations: events an hour that violated one", (0, 92, 24, 8), "short",
              (violated, "{{job_name}} {{expectation}}")),
    ]  # fmt: skip


def _machine() -> list[Any]:
    process, service = f"retailpulse_process_memory_bytes{{{_IN}}}", "retailpulse_service_memory_bytes"
    starts = f"increase(retailpulse_process_starts_total{{{_IN}}}[1h])"
    runs = f"sum by (pipeline, state) (increase(retailpulse_airflow_runs_total{{{_IN}}}[1h]))"
    free = "retailpulse_disk_free_bytes / retailpulse_disk_size_bytes"
    left = "retailpulse_memory_available_bytes / retailpulse_memory_size_bytes"
    return [
        _line(23, "Memory by process", (0, 44, 8, 8), "bytes", (process, "{{component}} {{name}}"),
              (service, "{{service}}")),
        _line(24, "Disk and memory that are left", (8, 44, 8, 8), "percentunit", (free, "disk"), (left, "memory")),
        _line(25, "Restarts an hour", (16, 44, 8, 8), "short", (starts, "{{component}} {{name}}"),
              ("increase(retailpulse_service_restarts_total[1h])", "{{service}}")),
        _line(26, "Airflow: runs an hour, by end", (0, 52, 12, 8), "short", (runs, "{{pipeline}} {{state}}")),
        _line(27, "Promoted versions", (12, 52, 12, 8), "short", ("retailpulse_pipeline_version", "{{pipeline}}")),
        _line(28, "Kafka: bytes a second", (0, 68, 8, 8), "Bps",
              (f"rate(retailpulse_kafka_bytes_total{_RANGE})", "{{direction}}")),
        _line(29, "Kafka and Cassandra: requests (p99)", (8, 68, 8, 8), "s",
              ("retailpulse_kafka_request_p99_seconds", "Kafka {{request}}"),
              ("retailpulse_cassandra_request_p99_seconds", "Cassandra {{request}}")),
        _line(30, "HBase and Cassandra: requests a second", (16, 68, 8, 8), "reqps",
              (f"rate(retailpulse_hbase_requests_total{_RANGE})", "HBase {{request}}"),
              (f"rate(retailpulse_cassandra_requests_total{_RANGE})", "Cassandra {{request}}")),
    ]  # fmt: skip


def _api() -> list[Any]:
    duration = "retailpulse_api_request_duration_seconds_bucket"
    hits, misses = (f"sum(rate(retailpulse_api_cache_{name}_total[1m]))" for name in ("hits", "misses"))
    return [
        _line(1, "API: requests by status", (0, 60, 8, 8), "reqps",
              (f"sum by (status) (rate(retailpulse_api_requests_total{_RANGE}))", "{{status}}")),
        _line(2, "API: time to answer (p95)", (8, 60, 8, 8), "s",
              (f"histogram_quantile(0.95, sum by (le) (rate({duration}{_RANGE})))", "p95")),
        _line(3, "API: answers from the cache", (16, 60, 8, 8), "percentunit",
              (f"{hits} / ({hits} + {misses})", "share")),
    ]  # fmt: skip


def _airflow() -> list[Any]:
    def p95(histogram: str) -> str:
        # A run ends every few minutes, or hours.
        return f"histogram_quantile(0.95, sum by (le, pipeline) (increase(retailpulse_airflow_{histogram}_bucket[1h])))"

    failed = 'state=~"failed|up_for_retry"'
    return [
        _line(31, "Airflow: tasks and slots", (0, 76, 6, 8), "short",
              ("retailpulse_airflow_executor_slots", "{{state}}")),
        _line(32, "Airflow: signs of life a minute", (6, 76, 6, 8), "short",
              (f"60 * rate(retailpulse_airflow_heartbeats_total{_RANGE})", "{{process}}")),
        _line(33, "Airflow: length of runs, and their delay (p95)", (12, 76, 6, 8), "s",
              (p95("run_duration_seconds"), "{{pipeline}}"), (p95("run_delay_seconds"), "{{pipeline}} begins late")),
        _line(34, "Airflow: failed tries an hour, and files it can't read", (18, 76, 6, 8), "short",
              (f"sum by (pipeline) (increase(retailpulse_airflow_task_tries_total{{{failed}}}[1h]))", "{{pipeline}}"),
              ("retailpulse_airflow_import_errors", "files")),
    ]  # fmt: skip
