"""The monitor: one process that gathers what all others have left, looks at the rest, and tells Prometheus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.monitoring.probes import (
    BadMessages,
    Business,
    Servers,
    Topics,
    look_at_machine,
    look_at_pipelines,
)
from retailpulse_kernel.monitoring.reading import Recorded, put_together, read_recorded
from retailpulse_kernel.telemetry.recording import folder
from retailpulse_kernel.telemetry.statsd import STATSD_PORT, Statsd
from retailpulse_kernel.telemetry.values import Values, families

__all__ = ["Monitor"]


@dataclass(frozen=True)
class _Look:
    part: str
    seconds: float
    look: Callable[[Values], object]


class Monitor(Collector):
    """Everything that is known of a home, for Prometheus.

    Parameters
    ----------
    settings : Settings
        Which home, which servers.
    further : mapping, optional
        What else is done every ten seconds, by its name in the metric of failures; each gets the values to measure in.
    """

    def __init__(self, settings: Settings, further: Mapping[str, Callable[[Values], object]] | None = None) -> None:
        self._settings = settings
        self._seen = Values()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._topics = Topics(settings, self._namespaces)
        self._looks = [
            _Look("machine", 10, lambda values: look_at_machine(settings, values)),
            _Look("pipelines", 10, lambda values: look_at_pipelines(settings, values)),
            _Look("topics", 5, self._topics.look),
            _Look("bad_messages", 10, BadMessages(settings, self._namespaces).look),
            # Each asks every server something real, which costs them and us.
            _Look("servers", 15, Servers(settings).look),
            _Look("business", 60, Business(settings, self._namespaces).look),
            *(_Look(name, 10, look) for name, look in (further or {}).items()),
        ]

    def serve(self, port: int, stop: threading.Event, *, statsd_host: str = "127.0.0.1") -> None:
        """Answer Prometheus on this machine until told to stop.

        Parameters
        ----------
        port : int
            Where Prometheus asks.
        stop : threading.Event
            Ends it.
        statsd_host : str
            Where Airflow's measurements are taken, on StatsD's port: ``0.0.0.0`` lets other machines send them.
        """
        registry = CollectorRegistry()
        registry.register(self)
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        self._begin("airflow", self._take_from_airflow, statsd_host)
        for look in self._looks:
            self._begin(look.part, self._run, look)
        try:
            stop.wait()
        finally:
            self._over.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def collect(self) -> Iterable[Family]:
        """All metrics as they are now."""
        recorded = read_recorded(folder(self._settings))
        together = put_together(recorded)
        for one in recorded:
            if (lag := self._lag(one)) is not None:
                labels = {"namespace": one.content["namespace"], "job_name": one.content["name"]}
                together.set("retailpulse_job_lag_messages", lag, **labels)
        return families(together, self._seen)

    def describe(self) -> Iterable[Family]:
        """Nothing: what there is depends on what runs."""
        return []

    def _begin(self, part: str, work: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, name=part, daemon=True))
        self._threads[-1].start()

    def _take_from_airflow(self, host: str) -> None:
        self._seen.add("retailpulse_monitor_failures_total", 0, part="airflow")
        try:
            Statsd(self._seen).listen(host, STATSD_PORT + self._settings.port_offset, self._over)
        except OSError:  # the port is another one's: everything else can still be known
            self._seen.add("retailpulse_monitor_failures_total", part="airflow")

    def _run(self, look: _Look) -> None:
        self._seen.add("retailpulse_monitor_failures_total", 0, part=look.part)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                look.look(self._seen)
            except Exception:  # a server that is down must not end the look at it, nor hide the others
                self._seen.add("retailpulse_monitor_failures_total", part=look.part)
            self._over.wait(max(1.0, look.seconds - (time.monotonic() - began)))

    def _namespaces(self) -> list[str]:
        """Those in which something runs, or should."""
        recorded = read_recorded(folder(self._settings))
        return sorted({one.content["namespace"] for one in recorded if one.state in ("running", "gone")})

    def _lag(self, one: Recorded) -> int | None:
        about: dict[str, Any] = one.content
        if about["component"] != "job" or one.state not in ("running", "gone") or "offset" not in about:
            return None
        end = self._topics.ends.get((about["namespace"], about["topic"]))
        return None if end is None else max(0, end - about["offset"])
