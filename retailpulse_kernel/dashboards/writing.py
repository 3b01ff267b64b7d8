"""Writing what is made of code, dashboards, alerts and the table of metrics, and telling whether the files are it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from retailpulse_kernel.catalogue.tables import catalogue_of
from retailpulse_kernel.ground.errors import RequirementError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.monitoring.alerts import AlertSettings, rules
from retailpulse_kernel.telemetry.definitions import table

__all__ = ["dashboards", "file_text", "job_dashboards", "stale", "write"]

_GENERATED = "# Written by `retailpulse dashboards build`; change the code, not this.\n"
_PAGE = """\
# Metrics

Every process writes its metrics every two seconds into a file of its own in `<home>/metrics/`. `retailpulse monitor`
collects the files for Prometheus, and adds its own probes of servers, topics and the machine. A file needs no port
and no discovery, and remains after its process: a notebook that ran for three seconds loses nothing, and a process
that was killed loses at most its last two seconds. A counter belongs to a role, such as a job of a namespace: the
next run continues the counter of the last run. The read API also answers `/metrics` itself.

Kafka, Cassandra and HBase of the local stack expose the metrics of their JVMs by Prometheus' JMX agent, each on a
port of its own: the metrics below, and the agent's `jvm_*` (memory, garbage collection, threads). Airflow sends its
metrics to the monitor by StatsD (UDP). The monitor keeps a few of them, under the names below.

This table is written from the definitions (`retailpulse_kernel/telemetry/definitions.py`), which are also used to
check every measurement.

"""


def as_json(made: Any) -> dict[str, Any]:
    """A dashboard as Grafana takes it.

    Parameters
    ----------
    made : grafana_foundation_sdk.builders.dashboard.Dashboard
        The dashboard.

    Raises
    ------
    RequirementError
        Grafana's SDK is not installed.
    """
    _require_sdk()
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    found: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return found


def dashboards(settings: Settings | None = None) -> dict[str, Any]:
    """Each dashboard of the checkout by its file's name.

    Parameters
    ----------
    settings : Settings, optional
        Whose shop: in its zone, and with a variable for each dimension that its tables of revenue go by. The shipped
        contract's when absent.

    Raises
    ------
    RequirementError
        Grafana's SDK is not installed.
    """
    _require_sdk()
    from retailpulse_kernel.dashboards.pipeline_health import pipeline_health
    from retailpulse_kernel.dashboards.store_pulse import shop_dimensions, store_pulse

    if settings is None:
        pulse = store_pulse()
    else:
        catalogue = catalogue_of(settings)
        pulse = store_pulse(catalogue.contract.shop.calendar, shop_dimensions(catalogue))
    made = {"pipeline-health": pipeline_health(), "store-pulse": pulse}
    return {f"{name}.json": as_json(one) for name, one in made.items()}


def job_dashboards(settings: Settings) -> dict[str, Any]:
    """The dashboard of each promoted job by its file's name.

    Parameters
    ----------
    settings : Settings
        Whose jobs.

    Raises
    ------
    RequirementError
        Grafana's SDK is not installed.
    """
    _require_sdk()
    from retailpulse_kernel.dashboards.job import job_dashboard, promoted_jobs

    catalogue = catalogue_of(settings)
    promoted = promoted_jobs(catalogue)
    return {f"{job}.json": as_json(job_dashboard(job, tables, catalogue)) for job, tables in promoted.items()}


def file_text(made: dict[str, Any]) -> str:
    """A dashboard as it stands in a file.

    Parameters
    ----------
    made : dict
        The dashboard, as `as_json` gives it.
    """
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _require_sdk() -> None:
    try:
        import grafana_foundation_sdk  # noqa: F401
    except ImportError as error:
        raise RequirementError(
            "Grafana's SDK, which dashboards are built with, is not installed.", remedy="Run `make setup`."
        ) from error


def built(settings: Settings | None = None) -> dict[str, str]:
    """The text of every file, by its path in the checkout.

    Parameters
    ----------
    settings : Settings, optional
        Whose shop. Where it has no contract of its own, the files are those of the shipped one, whatever has run.
    """
    from retailpulse_kernel.dashboards.business_alerts import business_alerts

    shop = None if settings is None or settings.contract is None else settings
    return {
        **{f"grafana/dashboards/{name}": file_text(made) for name, made in dashboards(shop).items()},
        "grafana/alerts/retailpulse.yml": _GENERATED + _yaml(rules(AlertSettings(hold=1, webhook=""))),
        "grafana/provisioning/alerting/business.yaml": _GENERATED + _yaml(business_alerts()),
        "docs/metrics.md": _PAGE + table(),
    }


def write(root: Path, settings: Settings | None = None) -> list[Path]:
    """Write every file; their paths.

    Parameters
    ----------
    root : Path
        The checkout; files go below its folder ``grafana``.
    settings : Settings, optional
        Whose shop; the shipped contract's when absent.
    """
    files = []
    for name, text in built(settings).items():
        files.append(root / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(text)
    return files


def stale(root: Path, settings: Settings | None = None) -> list[str]:
    """Files that differ from the code, are missing, or are dashboards without it.

    Parameters
    ----------
    root : Path
        The checkout.
    settings : Settings, optional
        Whose shop; the shipped contract's when absent.
    """
    texts = built(settings)
    there = {name: (root / name).read_text() for name in texts if (root / name).is_file()}
    # One that the code no longer makes is stale, too.
    others = {f"grafana/dashboards/{path.name}" for path in (root / "grafana" / "dashboards").glob("*.json")}
    return sorted({name for name in texts if texts[name] != there.get(name)} | others - texts.keys())


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, width=118, allow_unicode=True)
