"""Writing the dashboards, and telling whether the written ones are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

from retailpulse_kernel.errors import RequirementError

__all__ = ["built", "stale", "write"]


def built() -> dict[str, str]:
    """Each dashboard's JSON by its file's name.

    Raises
    ------
    RequirementError
        Grafana's SDK is not installed.
    """
    try:
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
    except ImportError as error:
        raise RequirementError(
            "Grafana's SDK, which dashboards are built with, is not installed.", remedy="Run `make setup`."
        ) from error
    from retailpulse_kernel.dashboards.pipeline_health import pipeline_health
    from retailpulse_kernel.dashboards.store_pulse import store_pulse

    return {
        f"{name}.json": json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, made in (("pipeline-health", pipeline_health()), ("store-pulse", store_pulse()))
    }


def write(folder: Path) -> list[Path]:
    """Write every dashboard; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in built().items():
        files.append(folder / name)
        files[-1].write_text(text)
    return files


def stale(folder: Path) -> list[str]:
    """Files of a folder that differ from the code, are missing, or are there without it."""
    texts = built()
    there = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in texts.keys() | there.keys() if texts.get(name) != there.get(name))
