"""Every metric, defined once: its name, unit, labels and meaning; ``docs/metrics.md`` is made of this.

Names follow Prometheus' conventions: base units, ``_total`` for counters. A label has few values: a job's name, a
store, a reason; never a user, a product or a process id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "table"]

Kind = Literal["counter", "gauge", "histogram"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_MINUTES = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
_LATENCY = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name : str
        As Prometheus has it.
    kind : str
        ``counter``, ``gauge`` or ``histogram``.
    labels : tuple of str
        All that it has, ``namespace`` among them where it belongs to one.
    help : str
        What it says, and its unit where the name does not tell.
    source : str
        Who measures it.
    kept : bool
        Whether a gauge still says something when its process has ended.
    buckets : tuple of float
        Upper bounds of a histogram.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: str
    kept: bool = False
    buckets: tuple[float, ...] = ()


def _job(name: str, kind: Kind, help: str, *more: str, kept: bool = False, buckets: tuple[float, ...] = ()) -> Metric:
    return Metric(f"retailpulse_{name}", kind, ("namespace", "job_name", *more), help, "each job", kept, buckets)


def _of(source: str, name: str, kind: Kind, help: str, *labels: str, kept: bool = False) -> Metric:
    return Metric(f"retailpulse_{name}", kind, labels, help, source, kept)


_ALL = (
    _job("job_messages_total", "counter", "Events of the messages taken from the topic, by what became of them: "
         "accepted, duplicate, late or bad. A message that holds several counts as several.", "status"),
    _job("job_ahead_messages_total", "counter", "Valid messages whose event was ahead of the broker's time. They are "
         "counted, and do not move their partition's clock."),
    _job("job_ahead_seconds", "gauge", "The largest lead of an event over the broker's time, since the "
         "job's run began."),
    _job("job_rows_total", "counter", "Rows written to the stores."),
    _job("job_batch_duration_seconds", "histogram", "A micro-batch from its trigger to its commit.", buckets=_SECONDS),
    _job("job_end_to_end_latency_seconds", "histogram", "From the arrival of a micro-batch's oldest message in Kafka "
         "to its figures in the store.", buckets=_LATENCY),
    _job("job_last_batch_timestamp_seconds", "gauge", "When the last micro-batch with messages was written.",
         kept=True),
    _job("job_watermark_timestamp_seconds", "gauge", "The event time before which windows are closed."),
    _job("job_state_rows", "gauge", "Rows that a job keeps as its state."),
    _job("job_state_bytes", "gauge", "Size of that state: its files, or its memory where Spark keeps it."),
    _job("job_reference_read_timestamp_seconds", "gauge", "When a reference table was read last.", "table"),
    _job("job_reference_failures_total", "counter", "Readings of a reference table that failed. The job goes on with "
         "the version that it has.", "table"),
    _job("job_expectation_failures_total", "counter", "Events that violated an expectation of the job: they were "
         "counted, or rejected.", "expectation"),
    _job("store_write_duration_seconds", "histogram", "One write of a micro-batch's rows into a store.", "store",
         buckets=_SECONDS),
    _job("store_retries_total", "counter", "Tries that failed because a store did not answer.", "store"),
    _of("the monitor", "job_lag_messages", "gauge", "Messages in the topic that the job has not taken, also while it "
        "waits or is dead.", "namespace", "job_name"),
    _of("the monitor", "topic_messages_total", "counter", "Messages that a topic ever got: its partitions' ends.",
        "namespace", "topic"),
    _of("the monitor", "bad_messages_total", "counter", "Messages in the dead-letter topic, by reason.", "namespace",
        "reason"),
    _of("the monitor", "revenue_to_usual_ratio", "gauge", "Revenue of the last complete hour over the median of the "
        "same hour in the four weeks before. A ratio: money itself is in the stores.", "namespace", "currency"),
    _of("each producer", "producer_messages_total", "counter", "Messages that Kafka has acknowledged to a producer.",
        "namespace", "producer"),
    _of("each producer", "producer_rejected_rows_total", "counter", "Rows of a file that are not events.", "namespace",
        "producer"),
    _of("each live view", "live_frames_total", "counter", "Frames sent to browsers.", "namespace"),
    _of("the read API", "api_requests_total", "counter", "Requests answered.", "namespace", "route", "status"),
    Metric("retailpulse_api_request_duration_seconds", "histogram", ("namespace", "route"), "Time to answer a request.",
           "the read API", buckets=_FAST),
    _of("the read API", "api_cache_hits_total", "counter", "Answers from the cache.", "namespace"),
    _of("the read API", "api_cache_misses_total", "counter", "Answers that were read from the store.", "namespace"),
    _of("reconcile", "reconcile_equal", "gauge", "1 when nothing differed in the last reconciliation, 0 when something "
        "did.", "namespace", kept=True),
    _of("reconcile", "reconcile_differences", "gauge", "Differences in the last reconciliation: tables, "
        "accounts, totals.", "namespace", kept=True),
    _of("reconcile", "reconcile_timestamp_seconds", "gauge", "When the last reconciliation ended.", "namespace",
        kept=True),
    _of("Airflow's operator", "airflow_runs_total", "counter", "Runs of promoted jobs that Airflow started, by how "
        "they ended: success, skipped or failed.", "namespace", "pipeline", "state"),
    _of("Airflow, by StatsD", "airflow_heartbeats_total", "counter", "Signs of life of Airflow's scheduler, "
        "dag-processor and triggerer.", "process"),
    _of("Airflow, by StatsD", "airflow_executor_slots", "gauge", "Tasks that run, wait for one of the executor's "
        "slots, and slots that are open.", "state"),
    _of("Airflow, by StatsD", "airflow_import_errors", "gauge", "Files of DAGs that could not be read in the last "
        "look at all."),
    _of("Airflow, by StatsD", "airflow_parse_duration_seconds", "gauge", "Duration of the last look at all files of "
        "DAGs."),
    Metric("retailpulse_airflow_run_duration_seconds", "histogram", ("pipeline", "state"), "A DAG's run from its start "
           "to its end, by how Airflow says that it ended: success or failed.", "Airflow, by StatsD", buckets=_MINUTES),
    Metric("retailpulse_airflow_run_delay_seconds", "histogram", ("pipeline",), "From when a scheduled run was due to "
           "the start of its task's last try.", "Airflow, by StatsD", buckets=_MINUTES),
    _of("Airflow, by StatsD", "airflow_task_tries_total", "counter", "Tries of tasks, by how they ended: success, "
        "skipped, up_for_retry, failed for good. One whose worker died is not among them.", "pipeline", "state"),
    _of("the monitor", "pipeline_version", "gauge", "The version of a promoted job that is the current one.",
        "pipeline"),
    _of("the monitor", "process_up", "gauge", "1 while a process that measures itself runs, 0 when it failed or fell "
        "silent without ending; absent once it ended in order.", "namespace", "component", "name"),
    _of("the monitor", "process_starts_total", "counter", "How often the process was started.", "namespace",
        "component", "name"),
    _of("the monitor", "process_memory_bytes", "gauge", "Resident memory of the process and all below it.", "namespace",
        "component", "name"),
    _of("the monitor", "service_up", "gauge", "1 when a server answered a real request.", "service"),
    _of("the monitor", "service_check_duration_seconds", "gauge", "Duration of the last request to a server.",
        "service"),
    _of("the monitor", "service_memory_bytes", "gauge", "Resident memory of a supervised program and all below it.",
        "service"),
    _of("the monitor", "service_restarts_total", "counter", "Times that a supervised program was seen with a new "
        "process.", "service"),
    _of("the monitor", "disk_free_bytes", "gauge", "Free space where the data is."),
    _of("the monitor", "disk_size_bytes", "gauge", "Size of the disk with the data."),
    _of("the monitor", "memory_available_bytes", "gauge", "Memory that the machine can still give."),
    _of("the monitor", "memory_size_bytes", "gauge", "All memory of the machine."),
    _of("Kafka's JVM", "kafka_bytes_total", "counter", "Bytes of messages, In and Out.", "direction"),
    _of("Kafka's JVM", "kafka_request_p99_seconds", "gauge", "99 % of requests (Produce, Fetch) took no longer.",
        "request"),
    _of("Kafka's JVM", "kafka_offline_log_directories", "gauge", "Folders that Kafka can no longer write."),
    _of("Cassandra's JVM", "cassandra_requests_total", "counter", "Requests of clients (Read, Write).", "request"),
    _of("Cassandra's JVM", "cassandra_request_p99_seconds", "gauge", "99 % of Cassandra's requests (Read, Write) took "
        "no longer.", "request"),
    _of("Cassandra's JVM", "cassandra_pending_compactions", "gauge", "Compactions that wait."),
    _of("Cassandra's JVM", "cassandra_load_bytes", "gauge", "Size of Cassandra's data."),
    _of("HBase's JVM", "hbase_requests_total", "counter", "Requests to the region server (read, write).", "request"),
    _of("HBase's JVM", "hbase_memstore_bytes", "gauge", "Bytes in HBase's memstores: written, but not yet in a file."),
    _of("HBase's JVM", "hbase_compaction_queue_length", "gauge", "Compactions that wait."),
    _of("the monitor", "monitor_failures_total", "counter", "Looks of the monitor that failed, by what it looked at.",
        "part"),
)  # fmt: skip

#: Every metric by its name.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def table() -> str:
    """The table of all metrics, in Markdown."""
    lines = ["| metric | kind | labels | says | measured by |", "|---|---|---|---|---|"]
    for metric in _ALL:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {metric.source} |")
    return "\n".join(lines) + "\n"
