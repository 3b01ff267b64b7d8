"""The promoted jobs and their runs, at a glance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from retailpulse_kernel.ground.errors import StoreUnavailable, UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.staging import behind
from retailpulse_kernel.promotion.registry.registry import Registry, Version
from retailpulse_kernel.stack.airflow import is_up
from retailpulse_kernel.stores.kafka.store import KafkaStore
from retailpulse_kernel.streaming.checkpoint.accounts import untaken
from retailpulse_kernel.streaming.checkpoint.epochs import find_epoch
from retailpulse_kernel.streaming.checkpoint.log import committed_batch
from retailpulse_kernel.streaming.checkpoint.writer import writer_lock
from retailpulse_kernel.streaming.plan.data import Plan

__all__ = ["overview", "runs_folder", "runs_of", "waits_for", "who_runs"]


def runs_folder(settings: Settings, name: str) -> Path:
    """The folder with the output notebooks of a pipeline's runs.

    Parameters
    ----------
    settings : Settings
        The namespace of the runs.
    name : str
        The pipeline's name.
    """
    return settings.home / "runs" / settings.namespace.name / name


def overview(settings: Settings, *, kafka: Callable[[Settings], KafkaStore] = KafkaStore) -> list[dict[str, Any]]:
    """A row for each promoted job.

    Parameters
    ----------
    settings : Settings
        The namespace in which the jobs run.
    kafka : callable
        Gives the topics of a namespace.
    """
    registry, rows = Registry(settings), []
    for name in registry.names():
        version, current = registry.version(name), registry.current(name)
        last = next(iter(runs_of(settings, name, limit=1)), None)
        plan = version.manifest.plan
        rows.append(
            {
                "job": name,
                "version": version.label,
                "next": _next(settings, registry, version),
                "schedule": version.manifest.schedule or "by hand",
                "state": _state(settings, plan, last, held=current.paused),
                "lag": None if plan is None else _lag(settings, plan, kafka),
                "last run": None if last is None else f"{last['started']} {last['state']}",
                "promoted": version.manifest.promoted[:19].replace("T", " "),
            }
        )
    return rows


def waits_for(settings: Settings) -> str:
    """What the promoted jobs wait for when Airflow does not run; empty when it runs.

    Parameters
    ----------
    settings : Settings
        The namespace in which the jobs run.
    """
    if settings.profile.name != "local" or is_up(settings):
        return ""
    option = settings.namespace.option
    return (
        f"Airflow does not run, so no promoted job starts by itself: `retailpulse up airflow{option}` starts Airflow; "
        f"`retailpulse run JOB{option}` runs a job once."
    )


def who_runs(settings: Settings, version: Version) -> str:
    """What runs a version that was just promoted, and how to start that.

    Parameters
    ----------
    settings : Settings
        The namespace in which the version runs.
    version : Version
        The promoted version.
    """
    name, schedule, option = version.manifest.name, version.manifest.schedule, settings.namespace.option
    if not schedule:
        return f"{name} has no schedule: `retailpulse run {name}{option}` runs the job once."
    if waits_for(settings):
        return f"Airflow will run {name} ({schedule}) once Airflow is started: `retailpulse up airflow{option}`."
    return f"Airflow runs {name} ({schedule})."


def _next(settings: Settings, registry: Registry, version: Version) -> str | None:
    """The newest version where its staged epoch catches up, and how far behind the epoch is."""
    newest, plan = registry.versions(version.manifest.name)[-1], version.manifest.plan
    wanted = newest.manifest.plan
    if newest.manifest.version <= version.manifest.version or plan is None or wanted is None:
        return None
    live = find_epoch(f"{settings.checkpoints}/{plan.job}")
    left = behind(settings, wanted, live) if live else None
    return None if left is None else f"{newest.label}, {left:,} messages behind"


def _state(settings: Settings, plan: Plan | None, last: Mapping[str, Any] | None, *, held: bool) -> str:
    """Held, running, starting (the notebook runs, its job not yet), failed in the last run, or waiting for a run."""
    ended = "" if last is None else last["state"]
    if held:
        return "held"
    if plan is not None and _is_running(settings, plan.job):
        return "running"
    if ended == "running":
        return "running" if plan is None else "starting"
    return "failed" if ended in ("failed", "killed") else "waiting"


def _is_running(settings: Settings, job: str) -> bool:
    lock = writer_lock(settings, job)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def _lag(settings: Settings, plan: Plan, kafka: Callable[[Settings], KafkaStore]) -> int | None:
    """Messages of all its topics that no batch of the job has taken; None where Kafka does not say."""
    epoch = find_epoch(f"{settings.checkpoints}/{plan.job}")
    # The newest batch in the log may be under way, and none of it written.
    done = committed_batch(epoch.path) if epoch else None
    taken, store = done.offsets if done else {}, kafka(settings)
    try:
        bounds = {topic: store.offsets(topic) for topic in map(settings.namespace.topic, plan.topics)}
    except (StoreUnavailable, UsageError):
        return None
    return sum(untaken(held, taken.get(topic, {})) for topic, held in bounds.items())


def runs_of(settings: Settings, name: str, *, limit: int) -> list[dict[str, Any]]:
    """A pipeline's newest runs, from their output notebooks.

    Parameters
    ----------
    settings : Settings
        The namespace of the runs.
    name : str
        The pipeline's name.
    limit : int
        At most so many runs.

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
    if told.get("error"):
        state = "failed"
    elif ran.get("end_time"):
        state = "failed" if ran.get("exception") else "finished"
    else:
        state = "running" if _is_alive(told.get("pid"), ran.get("start_time")) else "killed"
    return {
        "started": (ran.get("start_time") or "")[:19].replace("T", " "),
        "version": told.get("version"),
        "state": state,
        "seconds": None if ran.get("duration") is None else round(ran["duration"], 1),
        "parameters": " ".join(f"{key}={value}" for key, value in told.get("parameters", {}).items()),
        "error": told.get("error", ""),
        "output": str(path),
    }


def _is_alive(pid: int | None, started: str | None) -> bool:
    """Whether the process that began a run is still there: a pid may be another's by now."""
    try:
        process = psutil.Process(pid or -1)
        return started is None or process.create_time() <= datetime.fromisoformat(started).timestamp()
    except (psutil.NoSuchProcess, ValueError):
        return False
