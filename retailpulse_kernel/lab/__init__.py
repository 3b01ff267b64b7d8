"""What JupyterLab gets from this package: settings, an extension of its pages, and the server's side of that."""

from __future__ import annotations

from typing import Any

from retailpulse_kernel.ground.extras import require_extra

__all__: list[str] = []

require_extra("lab")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "retailpulse_kernel.lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from retailpulse_kernel.lab.handlers import add_handlers

    add_handlers(server.web_app)
