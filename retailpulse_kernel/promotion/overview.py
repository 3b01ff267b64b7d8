"""The promoted jobs and their runs, at a glance."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from retailpulse_kernel.errors import StoreUnavailable, UsageError
from retailpulse_kernel.promotion.beside import behind
from retailpulse_kernel.promotion.registry import Registry, Version
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.kafka import KafkaStore
from retailpulse_kernel.streaming.checkpoint import find_epoch, newest_batch
from retailpulse_kernel.streaming.plan import Plan
from retailpulse_kernel.streaming.writer import writer_lock

__all__ = ["overview", "runs_folder", "runs_of"]


def runs_folder(settings: Settings, name: str) -> Path:
    """Where the output notebooks of a pipeline's runs are."""
    return settings.home / "runs" / settings.namespace.name / name


def overview(settings: Settings) -> list[dict[str, Any]]:
    """A row for each promoted job."""
    registry, rows = Registry(settings), []
    for name in registry.names():
        version, current = registry.version(name), registry.current(name)
        last = next(iter(runs_of(settings, name, limit=1)), None)
        plan = version.manifest.plan
        running = last is not None and last["state"] == "running"
        if plan is not None:
            running = _is_running(settings, plan.job)
        rows.append(
            {
                "job": name,
                "version": version.label,
                "next": _next(settings, registry, version),
                "schedule": version.manifest.schedule or "by hand",
                "state": "held" if current.paused else "running" if running else "waiting",
                "lag": None if plan is None else _lag(settings, plan),
                "last run": None if last is None else f"{last['started']} {last['state']}",
                "promoted": version.manifest.promoted[:19].replace("T", " "),
            }
        )
    return rows


def _next(settings: Settings, registry: Registry, version: Version) -> str | None:
    """The newest version where it is made beside the current one, and how far behind it is."""
    newest, plan = registry.versions(version.manifest.name)[-1], version.manifest.plan
    wanted = newest.manifest.plan
    if newest.manifest.version <= version.manifest.version or plan is None or wanted is None:
        return None
    live = find_epoch(f"{settings.checkpoints}/{plan.job}")
    left = behind(settings, wanted, live) if live else None
    return None if left is None else f"{newest.label}, {left:,} messages behind"


def _is_running(settings: Settings, job: str) -> bool:
    lock = writer_lock(settings, job)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def _lag(settings: Settings, plan: Plan) -> int | None:
    """Messages that no batch of the job has taken; None where Kafka does not say."""
    epoch = find_epoch(f"{settings.checkpoints}/{plan.job}")
    newest = newest_batch(epoch.path) if epoch else None
    topic = settings.namespace.topic(plan.topic)
    taken = newest.offsets.get(topic, {}) if newest else {}
    try:
        bounds = KafkaStore(settings).offsets(topic)
    except (StoreUnavailable, UsageError):
        return None
    return sum(end - taken.get(str(partition), begin) for partition, (begin, end) in bounds.items())


def runs_of(settings: Settings, name: str, *, limit: int) -> list[dict[str, Any]]:
    """A pipeline's newest runs, from their output notebooks.

    Raises
    ------
    UnknownName
        There is no such pipeline.
    """
    Registry(settings).current(name)
    outputs = sorted(runs_folder(settings, name).glob("*.ipynb"), reverse=True)
    return [_run(path) for path in outputs[:limit]]


def _run(path: Path) -> dict[str, Any]:
    metadata = json.loads(path.read_text()).get("metadata", {})
    told, ran = metadata.get("retailpulse", {}), metadata.get("papermill", {})
    if ran.get("end_time"):
        state = "failed" if ran.get("exception") else "finished"
    else:
        state = "running" if _lives(told.get("pid"), ran.get("start_time")) else "killed"
    return {
        "started": (ran.get("start_time") or "")[:19].replace("T", " "),
        "version": told.get("version"),
        "state": state,
        "seconds": None if ran.get("duration") is None else round(ran["duration"], 1),
        "parameters": " ".join(f"{key}={value}" for key, value in told.get("parameters", {}).items()),
        "output": str(path),
    }


def _lives(pid: int | None, started: str | None) -> bool:
    """Whether the process that began a run is still there: a pid may be another's by now."""
    try:
        process = psutil.Process(pid or -1)
        return started is None or process.create_time() <= datetime.fromisoformat(started).timestamp()
    except (psutil.NoSuchProcess, ValueError):
        return False


def label_of(version: Version) -> dict[str, str]:
    """What a run's output notebook says of its version."""
    return {"pipeline": version.manifest.name, "version": version.label}
