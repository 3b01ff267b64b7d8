"""One DAG for each promoted job, made from its manifest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset

from retailpulse_kernel.promotion.manifest import CONTINUOUS
from retailpulse_kernel.promotion.operator import PipelineOperator
from retailpulse_kernel.promotion.registry import Current, Registry, Version
from retailpulse_kernel.promotion.schedules import asset_of
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.spans import span_of

__all__ = ["asset_name", "dag_of", "dags"]

#: Long enough for servers that restart; a job that fails for another reason fails again at once.
_RETRIES = 5
_RETRY_DELAY, _LONGEST_DELAY = timedelta(seconds=10), timedelta(minutes=5)
#: How long a batch notebook may take, and what a continuous run gets beyond its own length to start and to drain.
_BATCH_DEADLINE, _MARGIN = timedelta(hours=2), timedelta(minutes=15)
_START = datetime(2026, 1, 1, tzinfo=UTC)


def asset_name(pipeline: str) -> str:
    """The asset that a pipeline's runs update, and others may wait for."""
    return f"retailpulse_{pipeline}"


def dags(settings: Settings | None = None) -> dict[str, DAG]:
    """The DAGs of all promoted jobs, by name; a pipeline that can't be read leaves the others alone."""
    registry = Registry(settings or Settings.load())
    return {name: dag_of(registry.version(name), registry.current(name)) for name in registry.names()}


def dag_of(version: Version, current: Current) -> DAG:
    """The DAG of a version.

    Parameters
    ----------
    version : Version
        What is run, and when.
    current : Current
        Whether the pipeline is held.
    """
    manifest = version.manifest
    run_for = manifest.parameters.get("run_for")
    deadline = _BATCH_DEADLINE
    if manifest.schedule == CONTINUOUS and run_for:
        deadline = span_of(run_for) + _MARGIN
    with DAG(
        dag_id=manifest.name,
        schedule=None if current.paused else _schedule(manifest.schedule),
        start_date=_START,
        catchup=False,
        # Two runs at once would be two writers.
        max_active_runs=1,
        doc_md=_doc(version),
        tags=sorted({"retailpulse", manifest.kind, version.label}),
        default_args={
            "retries": _RETRIES,
            "retry_delay": _RETRY_DELAY,
            "retry_exponential_backoff": True,
            "max_retry_delay": _LONGEST_DELAY,
            # A continuous run without an end has no deadline.
            "execution_timeout": None if manifest.schedule == CONTINUOUS and not run_for else deadline,
        },
    ) as dag:
        PipelineOperator(task_id="run", pipeline=manifest.name, outlets=[Asset(asset_name(manifest.name))])
    return dag


def _schedule(schedule: str) -> Any:
    asset = asset_of(schedule)
    return [Asset(asset_name(asset))] if asset else schedule or None


def _doc(version: Version) -> str:
    manifest = version.manifest
    lines = [
        manifest.doc,
        "",
        f"**{version.label}**, promoted {manifest.promoted} from {manifest.environment.commit[:12] or 'no checkout'}: "
        f"{manifest.outcome or 'batch'}{': ' if manifest.reasons else ''}{'; '.join(manifest.reasons)}",
        "",
        f"Notebook: `{version.notebook.name}`, SHA-256 `{manifest.sha256[:12]}`",
    ]
    return "\n".join(lines)
