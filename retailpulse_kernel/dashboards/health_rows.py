"""The topics of *Pipeline health* below its first screen, each a closed row of panels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from retailpulse_kernel.dashboards.measured import IN, RANGE, Measured, quantile, rate, share

__all__ = ["TOPICS"]


def _hour(counter: str) -> str:
    return f"increase({counter}{{{IN}}}[1h])"


def _p95(histogram: str) -> str:
    # A run ends every few minutes, or hours.
    return f"histogram_quantile(0.95, sum by (le, pipeline) (increase(retailpulse_airflow_{histogram}_bucket[1h])))"


_JOBS = (
    Measured(10, "Rows a second: out, by job", "rowsps", "Rows that each job wrote into the stores.",
             ((rate("retailpulse_job_rows_total", "job_name"), "{{job_name}}"),)),
    Measured(14, "Batch duration (p95)", "s", "How long a micro-batch takes. Runbook: LatencyBudgetBurning.",
             ((quantile(0.95, "retailpulse_job_batch_duration_seconds", "job_name"), "{{job_name}}"),)),
    Measured(42, "Lag: messages that wait, by job", "locale", "Messages in the topic that a job has not taken.",
             ((f"retailpulse_job_lag_messages{{{IN}}}", "{{job_name}}"),)),
    Measured(15, "State: rows", "locale", "Rows of the windows and ids that a job remembers.",
             ((f"retailpulse_job_state_rows{{{IN}}}", "{{job_name}}"),)),
    Measured(16, "State: size", "bytes", "Memory of the rows that a job remembers.",
             ((f"retailpulse_job_state_bytes{{{IN}}}", "{{job_name}}"),)),
    Measured(25, "Restarts an hour", "locale", "How often processes and servers were started. Runbook: JobDown.",
             ((_hour("retailpulse_process_starts_total"), "{{component}} {{name}}"),
              ("increase(retailpulse_service_restarts_total[1h])", "{{service}}"))),
)  # fmt: skip
_REJECTS = (
    Measured(17, "Late, of all messages", "percentunit", "Messages too late to be counted. Runbook: LateShareHigh.",
             ((share("late"), "{{job_name}}"),)),
    Measured(18, "Duplicates, of all messages", "percentunit", "Messages whose event had been counted before.",
             ((share("duplicate"), "{{job_name}}"),)),
    Measured(19, "Bad messages a minute, by reason", "locale", "Messages that are no valid events; they are in a topic "
             "of their own. Runbook: BadShareHigh.",
             ((f"60 * {rate('retailpulse_bad_messages_total', 'reason')}", "{{reason}}"),), "no bad messages"),
    Measured(35, "Events ahead of the broker's time a minute", "locale", "Events from the future: a sender's clock is "
             "wrong.", ((f"60 * {rate('retailpulse_job_ahead_messages_total', 'job_name')}", "{{job_name}}"),)),
    Measured(43, "Events ahead of the broker's time: how far at most", "s", "How far the clock of a sender is ahead.",
             ((f"retailpulse_job_ahead_seconds{{{IN}}}", "{{job_name}}"),)),
    Measured(38, "Expectations: events an hour that violated one", "locale", "What a job expects of events is in its "
             "notebook.", ((_hour("retailpulse_job_expectation_failures_total"), "{{job_name}} {{expectation}}"),),
             "none violated"),
)  # fmt: skip
_REFERENCE = (
    Measured(36, "Reference tables: age, by job", "s", "Since a job read a reference table.",
             ((f"time() - retailpulse_job_reference_read_timestamp_seconds{{{IN}}}", "{{job_name}} {{table}}"),),
             "no reference tables"),
    Measured(37, "Reference tables: failed readings an hour", "locale", "Readings of a reference table that failed; "
             "the job goes on with the version before.",
             ((_hour("retailpulse_job_reference_failures_total"), "{{job_name}} {{table}}"),), "none failed"),
)  # fmt: skip
_STORES = (
    Measured(20, "Writes: duration (p95)", "s", "How long a micro-batch's write into a store takes.",
             ((quantile(0.95, "retailpulse_store_write_duration_seconds", "store"), "{{store}}"),)),
    Measured(21, "Writes: retries a minute", "locale", "Writes that a store refused for the moment.",
             ((f"60 * {rate('retailpulse_store_retries_total', 'store')}", "{{store}}"),), "no retries"),
    Measured(22, "Servers: time to answer a real request", "s", "A read or write of the monitor. Runbook: ServiceDown.",
             (("retailpulse_service_check_duration_seconds", "{{service}}"),)),
    Measured(28, "Kafka: bytes a second", "Bps", "What Kafka takes and gives.",
             ((f"rate(retailpulse_kafka_bytes_total{RANGE})", "{{direction}}"),)),
    Measured(29, "Kafka and Cassandra: requests (p99)", "s", "As the servers measure it themselves.",
             (("retailpulse_kafka_request_p99_seconds", "Kafka {{request}}"),
              ("retailpulse_cassandra_request_p99_seconds", "Cassandra {{request}}"))),
    Measured(30, "HBase and Cassandra: requests a second", "reqps", "Reads and writes, as the servers count them.",
             ((f"rate(retailpulse_hbase_requests_total{RANGE})", "HBase {{request}}"),
              (f"rate(retailpulse_cassandra_requests_total{RANGE})", "Cassandra {{request}}"))),
)  # fmt: skip
_MACHINE = (
    Measured(23, "Memory by process", "bytes", "Memory of each process and server. Runbook: MemoryShort.",
             ((f"retailpulse_process_memory_bytes{{{IN}}}", "{{component}} {{name}}"),
              ("retailpulse_service_memory_bytes", "{{service}}"))),
    Measured(24, "Disk and memory that are left", "percentunit", "Shares of the disk and of the memory that are free. "
             "Runbooks: DiskShort, MemoryShort.",
             (("retailpulse_disk_free_bytes / retailpulse_disk_size_bytes", "disk"),
              ("retailpulse_memory_available_bytes / retailpulse_memory_size_bytes", "memory"))),
)  # fmt: skip
_API = (
    Measured(1, "API: requests by status", "reqps", "Requests to the read API; 5xx are failures.",
             ((f"sum by (status) (rate(retailpulse_api_requests_total{RANGE}))", "{{status}}"),)),
    Measured(2, "API: time to answer (p95)", "s", "95 % of the answers are as fast. Runbook: ApiBudgetBurning.",
             ((f"histogram_quantile(0.95, sum by (le) (rate(retailpulse_api_request_duration_seconds_bucket{RANGE})))",
               "p95"),)),
    Measured(3, "API: answers from the cache", "percentunit", "Answers that asked no store.",
             (("sum(rate(retailpulse_api_cache_hits_total[1m])) / (sum(rate(retailpulse_api_cache_hits_total[1m]))"
               " + sum(rate(retailpulse_api_cache_misses_total[1m])))", "share"),)),
)  # fmt: skip
_AIRFLOW = (
    Measured(26, "Airflow: runs an hour, by end", "locale", "Runs of the promoted versions.",
             ((f"sum by (pipeline, state) ({_hour('retailpulse_airflow_runs_total')})", "{{pipeline}} {{state}}"),),
             "no runs"),
    Measured(27, "Promoted versions", "none", "The version of each promoted job.",
             (("retailpulse_pipeline_version", "{{pipeline}}"),), "nothing is promoted"),
    Measured(31, "Airflow: tasks and slots", "locale", "What Airflow runs, and what it could run.",
             (("retailpulse_airflow_executor_slots", "{{state}}"),), "Airflow does not run"),
    Measured(32, "Airflow: signs of life a minute", "locale", "Heartbeats of Airflow's processes.",
             ((f"60 * rate(retailpulse_airflow_heartbeats_total{RANGE})", "{{process}}"),), "Airflow does not run"),
    Measured(33, "Airflow: length of runs, and their delay (p95)", "s", "How long runs take, and how late they begin.",
             ((_p95("run_duration_seconds"), "{{pipeline}}"), (_p95("run_delay_seconds"), "{{pipeline}} begins late")),
             "no runs"),
    Measured(34, "Airflow: failed tries an hour, and files it can't read", "locale", "Runbook: DagsUnreadable.",
             (('sum by (pipeline) (increase(retailpulse_airflow_task_tries_total{state=~"failed|up_for_retry"}[1h]))',
               "{{pipeline}}"), ("retailpulse_airflow_import_errors", "files")), "none failed"),
)  # fmt: skip

#: The panels of each topic.
TOPICS: Final[Mapping[str, tuple[Measured, ...]]] = {
    "Jobs: work and state": _JOBS,
    "Rejects and expectations": _REJECTS,
    "Reference tables": _REFERENCE,
    "Stores and servers": _STORES,
    "Machine": _MACHINE,
    "Read API": _API,
    "Airflow and promotions": _AIRFLOW,
}
