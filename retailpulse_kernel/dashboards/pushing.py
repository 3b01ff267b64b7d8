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

    def push(self, jobs: Mapping[str, Any] | None = None, shop: Mapping[str, Any] | None = None) -> list[str]:
        """Put every dashboard into its folder, and remove those of jobs that are not promoted; what was done to each.

        A dashboard that is there as in the code is not written again: its history in Grafana stays short.

        Parameters
        ----------
        jobs : mapping, optional
            The promoted jobs' dashboards, as `writing.job_dashboards` makes them; theirs are left alone when absent.
        shop : mapping, optional
            The other dashboards, as `writing.dashboards` makes them; those of the shipped contract when absent.
        """
        done = self._put(_FOLDER, dashboards() if shop is None else shop)
        if jobs is None:
            return done
        for uid in sorted(self._there(_JOBS) - {made["uid"] for made in jobs.values()}):
            self._ask("DELETE", f"/api/dashboards/uid/{uid}")
            done.append(f"removed {self._url}/d/{uid}")
        return done + self._put(_JOBS, jobs)

    def differing(self, jobs: Mapping[str, Any] | None = None, shop: Mapping[str, Any] | None = None) -> list[str]:
        """Dashboards that are not there, or not as in the code, or of a job that is not promoted.

        Parameters
        ----------
        jobs, shop : mapping, optional
            As for `push`.
        """
        found = []
        for folder, wanted in ((_FOLDER, dashboards() if shop is None else shop), (_JOBS, jobs or {})):
            there = self._there(folder)
            found += [name for name, made in wanted.items() if made["uid"] not in there or not self._is_same(made)]
        others = set() if jobs is None else self._there(_JOBS) - {made["uid"] for made in jobs.values()}
        return found + sorted(others)

    def _put(self, folder: dict[str, str], made: Mapping[str, Any]) -> list[str]:
        there, done = self._there(folder), []
        uid = self._folder(folder) if made else None
        if made and uid is None:
            self._ask("POST", "/api/folders", folder)
            uid = folder["uid"]
        for one in made.values():
            address = f"{self._url}/d/{one['uid']}"
            if one["uid"] in there and self._is_same(one):
                done.append(f"unchanged {address}")
                continue
            body = {"dashboard": one, "folderUid": uid, "overwrite": True, "message": "retailpulse"}
            self._ask("POST", "/api/dashboards/db", body)
            done.append(f"{'changed' if one['uid'] in there else 'made'} {address}")
        return done

    def _folder(self, folder: dict[str, str]) -> str | None:
        """The uid of a folder that is there, by its uid or by its title, so that there are never two; None of none."""
        # Asked for one folder that is absent, Grafana refuses an Editor; a search is answered for everybody.
        known: Any = self._ask("GET", "/api/search?type=dash-folder&limit=5000") or []
        for name in ("uid", "title"):
            for one in known:
                if one[name] == folder[name]:
                    return str(one["uid"])
        return None

    def _there(self, folder: dict[str, str]) -> set[str]:
        """The dashboards in a folder."""
        uid = self._folder(folder)
        if uid is None:
            return set()
        found: Any = self._ask("GET", f"/api/search?type=dash-db&folderUIDs={uid}&limit=5000")
        return {one["uid"] for one in found or []}

    def _is_same(self, made: dict[str, Any]) -> bool:
        """Whether a dashboard is there as it was made."""
        answer = self._ask("GET", f"/api/dashboards/uid/{made['uid']}")
        return answer is not None and _ours(answer["dashboard"]) == _ours(made)

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """What Grafana answers; None when there is no such thing."""
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"Grafana at {self._url} does not answer: {error}.", remedy="Check GRAFANA_URL."
            ) from error
        if response.status_code in (401, 403):
            raise self._refused(response)
        if response.status_code == 404 and method == "GET":
            return None
        if "provisioned dashboard" in response.text and response.is_error:
            raise RequirementError(
                f"Grafana at {self._url} reads {body['dashboard']['title']!r} from a file that is not as the code.",
                remedy="Bring the files of its provisioning up to date, or remove them from there.",
            )
        if response.is_error:
            raise ServiceError(f"Grafana refuses {path}: {response.status_code} {response.text[:200]}")
        answer: dict[str, Any] = response.json()
        return answer

    def _refused(self, response: httpx.Response) -> RequirementError:
        """The error of a token that is none, or has too few rights: Grafana says which one is missing."""
        if response.status_code == 401:
            return RequirementError(
                f"Grafana at {self._url} does not know the token (401).",
                remedy="Make a service account with the role Editor, and let GRAFANA_TOKEN lead to its token.",
            )
        _, _, missing = response.text.partition("Permissions needed: ")
        right = missing.partition('"')[0] or "a right"
        return RequirementError(
            f"The token has not the right that Grafana at {self._url} asks for (403): {right}.",
            remedy="Give its service account the role Editor, or this right. Where others made the folders "
            f"{_FOLDER['title']} and {_JOBS['title']}, an Editor needs the permission Edit on them.",
        )


def _ours(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name not in _THEIRS}
