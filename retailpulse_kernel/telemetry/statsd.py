"""What Airflow measures of itself: StatsD's datagrams, told by names and units of ours.

Airflow sends to a port and neither waits nor minds when nobody listens. Only what is listed here is kept: Airflow sends
some thirty datagrams a second, most of them about its own inside.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable

from retailpulse_kernel.telemetry.definitions import METRICS
from retailpulse_kernel.telemetry.values import Values

__all__ = ["STATSD_PORT", "Statsd"]

#: Where it listens, before the offset.
STATSD_PORT = 8125
#: Seconds after which a gauge that was not sent again means nothing any more: its sender does not run.
_SILENT = 120.0
_LARGEST = 65_535
_SECOND = 1.0


#: By Airflow's names, which its documentation explains under "Metrics": ours, and the labels that are in theirs.
_MEANINGS: dict[str, tuple[str, dict[str, str]]] = {
    "scheduler_heartbeat": ("retailpulse_airflow_heartbeats_total", {"process": "scheduler"}),
    "dag_processor_heartbeat": ("retailpulse_airflow_heartbeats_total", {"process": "dag-processor"}),
    "triggerer_heartbeat": ("retailpulse_airflow_heartbeats_total", {"process": "triggerer"}),
    "executor.open_slots": ("retailpulse_airflow_executor_slots", {"state": "open"}),
    "executor.queued_tasks": ("retailpulse_airflow_executor_slots", {"state": "queued"}),
    "executor.running_tasks": ("retailpulse_airflow_executor_slots", {"state": "running"}),
    "dag_processing.import_errors": ("retailpulse_airflow_import_errors", {}),
    "dag_processing.total_parse_time": ("retailpulse_airflow_parse_duration_seconds", {}),
    "dagrun.duration.success": ("retailpulse_airflow_run_duration_seconds", {"state": "success"}),
    "dagrun.duration.failed": ("retailpulse_airflow_run_duration_seconds", {"state": "failed"}),
    "dagrun.first_task_scheduling_delay": ("retailpulse_airflow_run_delay_seconds", {}),
    # Not `ti_failures`: Airflow leaves those out that no other try would mend.
    "ti.finish": ("retailpulse_airflow_task_tries_total", {}),
}
#: The tags that are the labels of ours; a promoted job's DAG has its name.
_TAGS = {"pipeline": "dag_id", "state": "state"}


class Statsd:
    """Puts what Airflow sends among the monitor's values.

    Parameters
    ----------
    values : Values
        Gets the metrics.
    clock : callable
        Seconds, for tests.
    """

    def __init__(self, values: Values, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._values, self._clock = values, clock
        self._heard: dict[str, float] = {}

    def listen(self, host: str, port: int, over: threading.Event) -> None:
        """Take datagrams until told to stop.

        Parameters
        ----------
        host : str
            The address to listen on.
        port : int
            A UDP port.
        over : threading.Event
            Set to end this.

        Raises
        ------
        OSError
            The port is another one's.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((host, port))
            taken.settimeout(_SECOND)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    self.take(taken.recv(_LARGEST))
                self.forget()

    def take(self, datagram: bytes) -> None:
        """Keep what is known of a datagram, which may hold several lines; anyone may have sent it.

        Parameters
        ----------
        datagram : bytes
            As it came from the network.
        """
        for line in datagram.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError):
                self._keep(line)

    def forget(self) -> None:
        """Drop gauges that nobody has sent for a while."""
        now = self._clock()
        for metric in [metric for metric, heard in self._heard.items() if now - heard > _SILENT]:
            self._values.clear(metric)
            del self._heard[metric]

    def _keep(self, line: str) -> None:
        """One line: ``airflow.dagrun.duration.success,dag_id=sales:1500|ms``."""
        head, _, kind = line.partition("|")
        name, _, number = head.rpartition(":")
        name, *pairs = name.removeprefix("airflow.").split(",")
        metric, labels = _MEANINGS[name]
        value = float(number)
        if not 0 <= value < math.inf:
            return
        tags = dict(pair.split("=", 1) for pair in pairs)
        labels = {label: labels.get(label) or tags[_TAGS[label]] for label in METRICS[metric].labels}
        match METRICS[metric].kind, kind.partition("|")[0]:
            case "counter", "c":
                self._values.add(metric, value, **labels)
            case "gauge", "g":
                self._heard[metric] = self._clock()
                self._values.set(metric, value, **labels)
            case "histogram", "ms":
                self._values.observe(metric, value / 1000, **labels)
