"""Which machine this is, and whether it is quiet enough to measure on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.machine.java import find_java

__all__ = ["QUIET_SHARE", "busy_share", "describe"]

#: Share of all cores that others may use before a warning is given: a floor was seen to fall by as much.
QUIET_SHARE = 0.10

_PACKAGES = ("pyspark", "confluent-kafka", "cassandra-driver", "happybase", "pyhive", "polars", "pyarrow")


def busy_share(seconds: float = 2.0) -> float:
    """The share of all cores that is in use, looked at for some seconds."""
    return psutil.cpu_percent(interval=seconds) / 100


def describe() -> dict[str, Any]:
    """The machine and the versions that the figures hang on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except ModuleNotFoundError:
            continue
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "java": _java(),
        "python": platform.python_version(),
        "versions": versions,
        "load_before": round(psutil.getloadavg()[0], 2),
        "busy_before": round(busy_share(), 3),
        "commit": _commit(),
    }


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _java() -> str:
    try:
        java = find_java()
    except RetailPulseError as error:
        return str(error)
    said = subprocess.run([java.executable, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "([^"]+)"', said.stderr)
    return found[1] if found else str(java.path)


def _commit() -> str | None:
    """The checkout's commit, with a mark where files differ from it; None outside of one."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or None
