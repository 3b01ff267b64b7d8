"""Start what watches the stack, configured from the list of what there is to watch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yaml
from rich.console import Console

from retailpulse_kernel.ground.errors import ServiceError, UsageError
from retailpulse_kernel.ground.files import write_whole
from retailpulse_kernel.ground.settings import Settings, environment
from retailpulse_kernel.machine.daemon import tail
from retailpulse_kernel.monitoring.alerts import AlertSettings, rules
from retailpulse_kernel.stack import supervision
from retailpulse_kernel.stack.observers import OBSERVERS, Observer, answer_of, port_of, program_of
from retailpulse_kernel.stack.services import SERVICES, ports

__all__ = ["prometheus_configuration", "split", "up"]

_POLL_SECONDS = 0.2
_START_SECONDS = 60.0
_SCRAPE_SECONDS = 5
#: A server's agent takes some 50 ms of a core for an answer, the monitor a tenth of that.
_AGENT_SECONDS = 15


def split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of servers, and of observers with what these need, in the order of start.

    Parameters
    ----------
    names : sequence of str
        As given to ``retailpulse up``.
    """
    watchers: dict[str, None] = {}
    for name in names:
        if name in OBSERVERS:
            watchers |= dict.fromkeys((*OBSERVERS[name].needs, name))
    return [name for name in names if name not in OBSERVERS], list(watchers)


def up(settings: Settings, names: Iterable[str], *, console: Console) -> None:
    """Start observers under the stack's supervisor, and wait until each answers.

    Parameters
    ----------
    settings : Settings
        Where the home is.
    names : iterable of str
        From `split`.
    console : Console
        Gets a line for each.

    Raises
    ------
    UsageError
        The profile's servers are not on this machine.
    RequirementError
        A program is not installed.
    ServiceError
        One did not start.
    """
    observers = [OBSERVERS[name] for name in names]
    if observers and settings.profile.name != "local":
        raise UsageError(
            f"The servers of the profile {settings.profile.name!r} are not watched from here.",
            remedy="Run `retailpulse monitor` and `retailpulse serve` beside your own Prometheus.",
        )
    programs = {observer.name: program_of(observer) for observer in observers}  # before anything is started
    for observer in observers:
        _start(settings, observer, programs[observer.name], console)


def _start(settings: Settings, observer: Observer, program: str, console: Console) -> None:
    began = time.monotonic()
    home = settings.home / observer.name
    configured = _CONFIGURATIONS.get(observer.name, lambda _: {})(settings)
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "conf").mkdir(parents=True, exist_ok=True)
    for name, content in configured.items():
        # Only its owner reads it: a webhook's address is a secret.
        write_whole(home / "conf" / name, yaml.safe_dump(content, sort_keys=False, width=120), mode=0o600)
    said = yaml.safe_dump(configured)
    supervision.start_program(
        settings,
        observer.name,
        [program, *observer.arguments(settings)],
        env={
            **environment(settings),
            # A changed configuration is a changed program, which is started anew.
            "RETAILPULSE_CONFIGURATION": hashlib.sha256(said.encode()).hexdigest()[:16],
            # Ours, not that of the process that started supervisord.
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        },
        cwd=home,
    )
    while (reason := answer_of(settings, observer)) is not None:
        if time.monotonic() - began > _START_SECONDS:
            raise ServiceError(
                f"{observer.name} does not answer ({reason}). Its log ends with:\n{tail(settings, observer.name)}\n",
                remedy=f"See `retailpulse logs {observer.name}`.",
            )
        time.sleep(_POLL_SECONDS)
    where = f"127.0.0.1:{port_of(settings, observer)}"
    console.print(f"  {observer.name:<15} {where:<16} [green]healthy[/]  {time.monotonic() - began:5.1f} s")


def prometheus_configuration(settings: Settings) -> dict[str, Any]:
    """Its files by name: what it scrapes, the alert rules, where alerts go.

    Parameters
    ----------
    settings : Settings
        Home, ports and profile.
    """

    def scrape(name: str) -> dict[str, Any]:
        return {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port_of(settings, OBSERVERS[name])}"]}]}

    manager = f"127.0.0.1:{port_of(settings, OBSERVERS['alertmanager'])}"
    return {
        "prometheus.yml": {
            "global": {"scrape_interval": f"{_SCRAPE_SECONDS}s", "evaluation_interval": f"{_SCRAPE_SECONDS}s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
            # The monitor has what all others measure of themselves, the API too.
            "scrape_configs": [scrape("monitor"), scrape("prometheus"), *_own(settings)],
        },
        "rules.yml": rules(AlertSettings()),
    }


def _own(settings: Settings) -> list[dict[str, Any]]:
    """What servers tell of themselves. One that does not run is what the monitor says, so no alert is due to these."""
    return [
        {
            "job_name": name,
            "scrape_interval": f"{_AGENT_SECONDS}s",
            "static_configs": [
                {"targets": [f"127.0.0.1:{ports(settings, service)[role]}"], "labels": {"server": name}}
            ],
        }
        for name, service in SERVICES.items()
        if (role := f"{name}_jmx") in service.ports
    ]


def alertmanager_configuration(settings: Settings) -> dict[str, Any]:
    """Its file: one receiver, which posts to the webhook where there is one.

    Parameters
    ----------
    settings : Settings
        Home and profile; the webhook is a setting of the alerts.
    """
    alerting = AlertSettings()
    webhook = alerting.webhook_url()
    return {
        "alertmanager.yml": {
            "route": {
                "receiver": "webhook",
                "group_by": ["alertname", "namespace"],
                "group_wait": alerting.span("5s"),
                "group_interval": alerting.span("1m"),
                "repeat_interval": "4h",
            },
            # What is down makes what depends on it red: one alert is enough.
            "inhibit_rules": [
                {
                    "source_matchers": ['alertname="ServiceDown"'],
                    "target_matchers": ['alertname=~"LagGrowing|LatencyBudgetBurning|NoEvents"'],
                }
            ],
            "receivers": [
                {"name": "webhook", "webhook_configs": [{"url": webhook, "send_resolved": True}] if webhook else []}
            ],
        }
    }


_CONFIGURATIONS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "alertmanager": alertmanager_configuration,
    "prometheus": prometheus_configuration,
}
