"""What is worth waking someone: each alert with its severity, a sentence, and a runbook.

Prometheus' rules are made of this, for the local stack and for ``grafana/alerts/``. ``critical`` wakes someone,
``warning`` is for the next working hour. Objectives alert by how fast their error budget burns, on two windows, so that
a short spike is none and a slow leak is one (the SRE workbook's multiwindow, multi-burn-rate alerts).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.ground.credentials import is_reference, resolve_secret
from retailpulse_kernel.ground.errors import UsageError

__all__ = ["ALERTS", "OBJECTIVES", "AlertSettings", "rules"]

#: Where the metrics of every alert are drawn.
_DASHBOARD = "/d/retailpulse-pipeline-health"
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
#: Pairs of windows, how many times the budget's own pace both must burn at, and what that is.
_BURNS: tuple[tuple[str, str, float, Literal["critical", "warning"]], ...] = (
    ("5m", "1h", 14.4, "critical"),
    ("30m", "6h", 6.0, "warning"),
)


class AlertSettings(BaseSettings):
    """What of alerts is another one's to say.

    Attributes
    ----------
    hold : float
        Times as long as the rules say must something last before it is an alert; a test takes less.
    webhook : str
        Where Alertmanager posts: an address, or ``file:PATH`` or ``env:NAME`` that leads to one.
    """

    model_config = SettingsConfigDict(env_prefix="RETAILPULSE_ALERT_", extra="ignore")

    hold: float = Field(1.0, gt=0, le=100)
    webhook: str = ""

    def span(self, text: str) -> str:
        """A duration of a rule, as it is held here.

        Parameters
        ----------
        text : str
            Prometheus' own form, such as ``"5m"``.
        """
        if self.hold == 1:
            return text
        number, unit = re.fullmatch(r"(\d+)([smh])", text).groups()  # type: ignore[union-attr]
        return f"{max(1, int(int(number) * _UNITS[unit] * self.hold))}ms"

    def webhook_url(self) -> str:
        """The address itself.

        Raises
        ------
        UsageError
            It is none.
        """
        url = str(resolve_secret(self.webhook)) if is_reference(self.webhook) else self.webhook
        if url and not re.match(r"https?://\S+$", url):
            raise UsageError(
                "RETAILPULSE_ALERT_WEBHOOK is not an address.", remedy="Write https://..., file:PATH or env:NAME."
            )
        return url


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes
    ----------
    name : str
        Also that of its runbook.
    expr : str
        PromQL; every series that it gives is an alert.
    hold : str
        How long it must last.
    severity : str
    summary : str
        One sentence, with the series' labels and value.
    """

    name: str
    expr: str
    hold: str
    severity: Literal["critical", "warning"]
    summary: str


@dataclass(frozen=True)
class Objective:
    """A share of something that must be good over 30 days.

    Attributes
    ----------
    name : str
        Of its alert, and of its runbook.
    record : str
        The middle of its recording rules' names.
    target : float
        The share.
    bad : str
        PromQL for the share that is not, with ``$window``.
    summary : str
        One sentence.
    """

    name: str
    record: str
    target: float
    bad: str
    summary: str


_SHARE = (
    'max by (namespace) (sum by (namespace, job_name) (rate(retailpulse_job_messages_total{status="%s"}[10m]))'
    " / (sum by (namespace, job_name) (rate(retailpulse_job_messages_total[10m])) > 0))"
)
_ROUTE = 'route="/api/v1/figures/{name}"'

ALERTS: tuple[Alert, ...] = (
    Alert(
        "JobDown",
        'retailpulse_process_up{component="job"} == 0'
        ' or increase(retailpulse_process_starts_total{component="job"}[15m]) > 5',
        "30s", "critical", "The job {{ $labels.name }} of {{ $labels.namespace }} failed, was killed, or ends again "
        "and again.",
    ),
    Alert(
        "ServiceDown", "retailpulse_service_up == 0", "1m", "critical", "{{ $labels.service }} does not answer.",
    ),
    Alert(
        "TargetGone", 'up{server=""} == 0', "1m", "critical", "Prometheus does not reach {{ $labels.job }} at "
        "{{ $labels.instance }}: nothing else can be known.",
    ),
    Alert(
        "DagsUnreadable", "retailpulse_airflow_import_errors > 0", "2m", "critical", "Airflow can't read {{ $value }} "
        "of its files of DAGs: no run of what they define begins.",
    ),
    Alert(
        "ReconcileDiffers", "retailpulse_reconcile_equal == 0", "0s", "critical", "The stores of "
        "{{ $labels.namespace }} do not hold what the topic holds.",
    ),
    Alert(
        "NoEvents",
        'max by (namespace) (retailpulse_process_up{component="job"}) == 1 unless on (namespace)'
        ' sum by (namespace) (increase(retailpulse_topic_messages_total[10m])) > 0',
        "5m", "warning", "No event has come into {{ $labels.namespace }} for 10 minutes.",
    ),
    Alert(
        "LagGrowing",
        "retailpulse_job_lag_messages > 10000 and delta(retailpulse_job_lag_messages[10m]) > 0",
        "5m", "warning", "The job {{ $labels.job_name }} of {{ $labels.namespace }} is {{ $value }} messages behind, "
        "and falls back.",
    ),
    Alert(
        "BadShareHigh", _SHARE % "bad" + " > 0.05", "5m", "warning", "{{ $value | humanizePercentage }} of the "
        "messages of {{ $labels.namespace }} are not valid events.",
    ),
    Alert(
        "LateShareHigh", _SHARE % "late" + " > 0.05", "5m", "warning", "{{ $value | humanizePercentage }} of the "
        "messages of {{ $labels.namespace }} are too late to be counted.",
    ),
    Alert(
        "RevenueLow", "retailpulse_revenue_to_usual_ratio < 0.5", "5m", "warning", "Revenue in {{ $labels.currency }} "
        "of the last hour is {{ $value | humanizePercentage }} of what is usual at this hour.",
    ),
    Alert(
        "DiskShort", "retailpulse_disk_free_bytes / retailpulse_disk_size_bytes < 0.1", "5m", "warning",
        "Only {{ $value | humanizePercentage }} of the data's disk are free.",
    ),
    Alert(
        "MemoryShort", "retailpulse_memory_available_bytes / retailpulse_memory_size_bytes < 0.05", "5m", "warning",
        "Only {{ $value | humanizePercentage }} of the memory are left.",
    ),
)  # fmt: skip

OBJECTIVES: tuple[Objective, ...] = (
    Objective(
        "LatencyBudgetBurning", "latency_slow", 0.99,
        '1 - sum by (namespace) (rate(retailpulse_job_end_to_end_latency_seconds_bucket{le="10.0"}[$window]))'
        " / sum by (namespace) (rate(retailpulse_job_end_to_end_latency_seconds_count[$window]))",
        "Micro-batches of {{ $labels.namespace }} take more than 10 s from Kafka to the stores: "
        "{{ $value | humanizePercentage }} of them, 1 % are allowed.",
    ),
    Objective(
        "ApiBudgetBurning", "api_bad", 0.99,
        "clamp_max(1 - ("
        'sum by (namespace) (rate(retailpulse_api_request_duration_seconds_bucket{le="0.25",' + _ROUTE + "}[$window]))"
        " - (sum by (namespace) (rate(retailpulse_api_requests_total{status=~\"5..\"," + _ROUTE + "}[$window]))"
        " or 0 * sum by (namespace) (rate(retailpulse_api_request_duration_seconds_count{" + _ROUTE + "}[$window]))))"
        " / sum by (namespace) (rate(retailpulse_api_request_duration_seconds_count{" + _ROUTE + "}[$window])), 1)",
        "The read API of {{ $labels.namespace }} fails or takes more than 250 ms: {{ $value | humanizePercentage }} of "
        "its answers, 1 % are allowed.",
    ),
)  # fmt: skip


def rules(settings: AlertSettings) -> dict[str, Any]:
    """Prometheus' rule file: objectives' shares, and all alerts.

    Parameters
    ----------
    settings : AlertSettings
        Thresholds and durations.
    """
    windows = sorted({w for burn in _BURNS for w in burn[:2]}, key=lambda w: int(w[:-1]) * _UNITS[w[-1]])
    recorded = [
        {"record": _recorded(objective, window), "expr": objective.bad.replace("$window", window)}
        for objective in OBJECTIVES
        for window in windows
    ]
    alerts = [_rule(a.name, a.expr, settings.span(a.hold), a.severity, a.summary) for a in ALERTS]
    alerts += [
        _rule(objective.name, _burning(objective, *burn[:3]), settings.span("2m"), burn[3], objective.summary)
        for objective in OBJECTIVES
        for burn in _BURNS
    ]
    return {
        "groups": [
            {"name": "retailpulse-objectives", "interval": "15s", "rules": recorded},
            {"name": "retailpulse", "rules": alerts},
        ]
    }


def _recorded(objective: Objective, window: str) -> str:
    return f"retailpulse:{objective.record}:ratio_rate{window}"


def _burning(objective: Objective, short: str, long: str, times: float) -> str:
    limit = round(times * (1 - objective.target), 6)
    return f"{_recorded(objective, short)} > {limit} and {_recorded(objective, long)} > {limit}"


def _rule(name: str, expr: str, hold: str, severity: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        "for": hold,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "runbook": f"docs/runbooks/{name}.md", "dashboard": _DASHBOARD},
    }
