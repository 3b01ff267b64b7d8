"""``python -m bench.costs``: what each part of a running stack takes of memory and processor, for who wants it lighter.

Memory is proportional (PSS): what processes share counts once, among all of them.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.machine.daemon import Supervisor
from retailpulse_kernel.machine.strays import tree

__all__ = ["measure"]

#: What the processes of a job are, by a word of their command line.
_PARTS = {
    "SparkSubmit": "Spark's Java",
    "SparkConnectServer": "Java",
    "worker_daemon": "Python workers",
    "ipykernel": "kernel",
    "LocalExecutor": "workers without a task",
}


def measure(settings: Settings, seconds: float) -> dict[str, tuple[float, float]]:
    """Memory in MB and cores in use over some seconds, by program and part."""
    begin, before = time.monotonic(), _processor_seconds(settings)
    time.sleep(seconds)
    elapsed, after = time.monotonic() - begin, _processor_seconds(settings)
    costs: dict[str, tuple[float, float]] = {}
    for part, process in after:
        spent = after[part, process] - before.get((part, process), 0.0)
        memory, cores = costs.get(part, (0.0, 0.0))
        costs[part] = memory + _proportional_mb(process), cores + spent / elapsed
    return costs


def _processor_seconds(settings: Settings) -> dict[tuple[str, psutil.Process], float]:
    found = {}
    supervisor = Supervisor(settings)
    programs = {name: info["pid"] for name, info in supervisor.processes().items() if info["pid"]}
    for name, pid in {**programs, "supervisord": supervisor.pid()}.items():
        for process in tree(pid) if name != "supervisord" else [psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[_part(name, process), process] = times.user + times.system
    return found


def _part(program: str, process: psutil.Process) -> str:
    said = " ".join(process.cmdline())
    if program in ("airflow-scheduler",) or program.startswith("job-"):
        return f"{program}: {next((part for word, part in _PARTS.items() if word in said), 'scheduler, tasks')}"
    return program


def _proportional_mb(process: psutil.Process) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


def main(seconds: float = 60) -> None:
    """Print the table."""
    costs = measure(Settings.load(), seconds)
    total: dict[int, float] = defaultdict(float)
    print(f"| {'part':<42} | MB (PSS) | cores |\n|{'-' * 44}|---:|---:|")
    for part, (memory, cores) in sorted(costs.items(), key=lambda item: -item[1][0]):
        print(f"| {part:<42} | {memory:8,.0f} | {cores:5.2f} |")
        total[0] += memory
        total[1] += cores
    print(f"| {'all':<42} | {total[0]:8,.0f} | {total[1]:5.2f} |")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
