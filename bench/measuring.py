"""What measuring costs, of a micro-batch of a second and of the monitor's core: `python -m bench.measuring`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from retailpulse_kernel.monitoring.jobs import JobMetrics
from retailpulse_kernel.monitoring.monitor import Monitor
from retailpulse_kernel.monitoring.recording import BEAT_SECONDS, Recorder
from retailpulse_kernel.monitoring.values import exposition
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.streaming.accounts import Account

__all__ = ["main"]

_SCRAPE_SECONDS = 5
_JOBS = 10


def main() -> None:
    """Measure, and print the result as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(home=Path(folder), namespace="measured")
        recorders = [Recorder(settings, "job", f"job{i}", job_name=f"job{i}") for i in range(_JOBS)]
        for recorder in recorders:
            recorder.start()
        metrics = JobMetrics(recorders[0], "retail.events", None)
        account = Account("job0", 1, 0, {"retail.events": {str(p): 1 for p in range(4)}}, 9, 6, 1, 1, 1, 9, 0, 0, 900)
        account = Account(**{**vars(account), "arrived_ms": 1})

        def batch() -> None:
            metrics.add(account)
            recorders[0].observe("retailpulse_store_write_duration_seconds", 0.1, store="cassandra")
            metrics._followed = -2
            metrics.follow(_QUERY)  # type: ignore[arg-type]

        for recorder in recorders[1:]:
            JobMetrics(recorder, "retail.events", None).add(account)
        monitor = Monitor(settings)
        per_batch, per_flush = _processor(batch, 2_000), _processor(recorders[0].flush, 500)
        per_scrape = _processor(lambda: exposition(_Gathered(monitor)), 50)  # type: ignore[arg-type]
        for recorder in recorders:
            recorder.end()
    print(
        json.dumps(
            {
                "batch_ms": round(per_batch * 1000, 3),
                "flush_ms": round(per_flush * 1000, 3),
                "share_of_a_second": round(per_batch + per_flush / BEAT_SECONDS, 5),
                "scrape_ms": round(per_scrape * 1000, 1),
                "monitor_share_for_scrapes": round(per_scrape / _SCRAPE_SECONDS, 4),
            },
            indent=2,
        )
    )


def _processor(action: Callable[[], Any], times: int) -> float:
    """Seconds of the processor for one of many."""
    action()
    began = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - began) / times


class _Gathered:
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def items(self) -> Any:
        list(self._monitor.collect())
        return iter(())


_STATE = SimpleNamespace(numRowsTotal=10_000, memoryUsedBytes=10_000_000)
_QUERY = SimpleNamespace(
    lastProgress=SimpleNamespace(
        batchId=0,
        durationMs={"triggerExecution": 500},
        stateOperators=[_STATE] * 3,
        eventTime={"watermark": "2026-01-01T00:00:00.000Z"},
    )
)

if __name__ == "__main__":
    main()
