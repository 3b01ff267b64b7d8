"""Put into the wheel what the package reads beside itself in a checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarryLocks(BuildHookInterface):
    """An editable install finds them in the checkout; a copy in site-packages would only grow old."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: D102
        if version != "editable":
            build_data["force_include"]["env/artifacts.lock"] = "retailpulse_kernel/env/artifacts.lock"
