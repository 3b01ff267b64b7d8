"""Dashboards on a Grafana that already runs: put there, or compared with what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from retailpulse_kernel.dashboards.writing import dashboards
from retailpulse_kernel.ground.credentials import Reference, resolve_secret
from retailpulse_kernel.ground.errors import RequirementError, ServiceError, UsageError

__all__ = ["Grafana", "GrafanaSettings"]

_FOLDER = {"uid": "retailpulse", "title": "RetailPulse"}
#: The promoted jobs' dashboards; the same as in ``grafana/provisioning``.
_JOBS = {"uid": "retailpulse-jobs", "title": "RetailPulse jobs"}
#: What Grafana itself adds to a dashboard.
_THEIRS = ("id", "version")


class GrafanaSettings(BaseSettings):
    """Which Grafana; from ``GRAFANA_URL`` and ``GRAFANA_TOKEN``.

    Attributes
    ----------
    url : str
        Its address.
    token : str
        Where a service account's token is found: ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``.
    """

    model_config = SettingsConfigDict(env_prefix="GRAFANA_", extra="ignore", hide_input_in_errors=True)

    url: str = ""
    token: Reference | None = Field(None)

    def require(self) -> GrafanaSettings:
        """These settings, where they lead to a Grafana.

        Raises
        ------
        UsageError
            They don't.
        """
        if not self.url.startswith(("http://", "https://")):
            raise UsageError(
                "No Grafana is named.", remedy="Set GRAFANA_URL, and GRAFANA_TOKEN to file:PATH or env:NAME."
            )
        return self


class Grafana:
    """A Grafana that runs.

    Parameters
    ----------
    settings : GrafanaSettings
    transport : httpx.BaseTransport, optional
        What carries requests, for tests.
    """

    def __init__(self, settings: GrafanaSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {resolve_secret(settings.token)!s}"} if settings.token else {}
        self._url = settings.url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=30, transport=transport)

    def push(self, jobs: Mapping[str, Any] | None = None) -> list[str]:
        """Put every dashboard into its folder, and remove those of jobs that are not promoted; the addresses.

        Parameters
        ----------
        jobs : mapping, optional
            The promoted jobs' dashboards, as `writing.job_dashboards` makes them; theirs are left alone when absent.
        """
        addresses = self._put(_FOLDER, dashboards())
        if jobs is None:
            return addresses
        kept = {made["uid"] for made in jobs.values()}
        for uid in self._there(_JOBS["uid"]) - kept:
            self._ask("DELETE", f"/api/dashboards/uid/{uid}")
        return addresses + self._put(_JOBS, jobs)

    def differing(self, jobs: Mapping[str, Any] | None = None) -> list[str]:
        """Dashboards that are not there, or not as in the code, or of a job that is not promoted.

        Parameters
        ----------
        jobs : mapping, optional
            As for `push`.
        """
        found = []
        for name, made in {**dashboards(), **(jobs or {})}.items():
            answer = self._ask("GET", f"/api/dashboards/uid/{made['uid']}")
            if answer is None or _ours(answer["dashboard"]) != _ours(made):
                found.append(name)
        others = set() if jobs is None else self._there(_JOBS["uid"]) - {made["uid"] for made in jobs.values()}
        return found + sorted(others)

    def _put(self, folder: dict[str, str], made: Mapping[str, Any]) -> list[str]:
        if made and self._ask("GET", f"/api/folders/{folder['uid']}") is None:
            self._ask("POST", "/api/folders", folder)
        addresses = []
        for one in made.values():
            body = {"dashboard": one, "folderUid": folder["uid"], "overwrite": True, "message": "retailpulse"}
            answer = self._ask("POST", "/api/dashboards/db", body) or {}
            addresses.append(f"{self._url}{answer.get('url', '')}")
        return addresses

    def _there(self, folder: str) -> set[str]:
        """The dashboards in a folder."""
        found: Any = self._ask("GET", f"/api/search?type=dash-db&folderUIDs={folder}&limit=5000")
        return {one["uid"] for one in found or []}

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """What Grafana answers; None when there is no such thing."""
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"Grafana at {self._url} does not answer: {error}.", remedy="Check GRAFANA_URL."
            ) from error
        if response.status_code in (401, 403):
            raise RequirementError(
                f"Grafana at {self._url} does not let us in ({response.status_code}).",
                remedy="Make a service account with the role Editor, and let GRAFANA_TOKEN lead to its token.",
            )
        if response.status_code == 404 and method == "GET":
            return None
        if response.is_error:
            raise ServiceError(f"Grafana refuses {path}: {response.status_code} {response.text[:200]}")
        answer: dict[str, Any] = response.json()
        return answer


def _ours(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name not in _THEIRS}
