"""One DAG for each promoted job, made from its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronTriggerTimetable

from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import span_of
from retailpulse_kernel.promotion.airflow.operator import PipelineOperator
from retailpulse_kernel.promotion.registry.manifest import CONTINUOUS, Manifest
from retailpulse_kernel.promotion.registry.registry import Current, Registry, Version
from retailpulse_kernel.promotion.registry.schedules import asset_of, is_cron
from retailpulse_kernel.shop.contract.loading import contract_of

__all__ = ["dags"]

#: Long enough for servers that restart; a job that fails for another reason fails again at once.
_RETRIES = 5
_RETRY_DELAY, _LONGEST_DELAY = timedelta(seconds=10), timedelta(minutes=5)
#: How long a batch notebook may take, and what a continuous run gets beyond its own length to start and to drain.
_BATCH_DEADLINE, _MARGIN = timedelta(hours=2), timedelta(minutes=15)
#: More than half of the places that Airflow's default pool has: one batch notebook at a time, whichever ticks were
#: missed together, beside streams, which take one place each.
_BATCH_SLOTS = 100
_START = datetime(2026, 1, 1, tzinfo=UTC)
#: A first tick this old still runs: so long the scheduler may take to see it.
_FIRST_GRACE = timedelta(seconds=30)


def asset_name(pipeline: str) -> str:
    """The name of the Airflow asset that a pipeline's runs update, and that other pipelines may wait for.

    Parameters
    ----------
    pipeline : str
        The pipeline's name.
    """
    return f"retailpulse_{pipeline}"


def dags(settings: Settings | None = None) -> dict[str, DAG]:
    """The DAGs of all promoted jobs, by name. A pipeline that can't be read gets a DAG that says why.

    Parameters
    ----------
    settings : Settings, optional
        The promoted versions are read from its `pipelines`; from the environment when absent.
    """
    settings = settings or Settings.load()
    registry, made = Registry(settings), {}
    for name in registry.names():
        try:
            made[name] = dag_of(registry.version(name), registry.current(name), contract_of(settings).shop.zone)
        except (RetailPulseError, OSError, ValueError) as error:
            # On the page of the DAG itself: an error of this file would take all DAGs away.
            made[name] = DAG(
                name,
                schedule=None,
                doc_md=f"**The promoted job {name} can't be read.** {error}",
                tags=["retailpulse", "damaged"],
            )
    return made


def dag_of(version: Version, current: Current, zone: str = "UTC") -> DAG:
    """The DAG of a version.

    Parameters
    ----------
    version : Version
        What is run, and when.
    current : Current
        Whether the pipeline is held.
    zone : str
        The shop's, whose clock a cron schedule goes by: midnight is where a day of the shop ends.
    """
    manifest = version.manifest
    with DAG(
        dag_id=manifest.name,
        schedule=None if current.paused else _schedule(manifest.schedule, zone),
        # With a start, Airflow would run a cron DAG's last tick, maybe of last night, as soon as it meets the DAG.
        start_date=None if is_cron(manifest.schedule) else _START,
        # Of the ticks that passed while Airflow was away, the last one is made up for.
        catchup=False,
        # Two runs at once would be two writers.
        max_active_runs=1,
        # What was promoted is in production.
        is_paused_upon_creation=False,
        doc_md=_doc(version),
        tags=sorted({"retailpulse", manifest.kind, version.label}),
        default_args={
            "retries": _RETRIES,
            "retry_delay": _RETRY_DELAY,
            "retry_exponential_backoff": True,
            "max_retry_delay": _LONGEST_DELAY,
            "execution_timeout": _deadline(manifest),
        },
    ) as dag:
        PipelineOperator(
            task_id="run",
            pipeline=manifest.name,
            pool_slots=1 if manifest.schedule == CONTINUOUS else _BATCH_SLOTS,
            inlets=[Asset(name) for name in _read(manifest)],
            outlets=[Asset(asset_name(manifest.name)), *map(Asset, _written(manifest))],
        )
    return dag


def _deadline(manifest: Manifest) -> timedelta | None:
    if manifest.schedule != CONTINUOUS:
        return _BATCH_DEADLINE
    run_for = manifest.parameters.get("run_for")
    # A continuous run without an end has no deadline.
    return span_of(run_for) + _MARGIN if run_for else None


def _schedule(schedule: str, zone: str) -> Any:
    if asset := asset_of(schedule):
        return [Asset(asset_name(asset))]
    if is_cron(schedule):
        # Not False: Airflow takes that for a tenth of the time between two ticks.
        return CronTriggerTimetable(schedule, timezone=zone, run_immediately=_FIRST_GRACE)
    return schedule or None


def _read(manifest: Manifest) -> Iterator[str]:
    """The assets that a run reads: a job's topics, the pipeline that it waits for."""
    if manifest.plan is not None:
        yield from (f"kafka/{topic}" for topic in manifest.plan.topics)
    if asset := asset_of(manifest.schedule):
        yield asset_name(asset)


def _written(manifest: Manifest) -> Iterator[str]:
    """The tables that a run writes."""
    for table in manifest.plan.tables if manifest.plan else ():
        for physical in table.physical:
            yield f"{table.store}/{physical}"


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
