"""What JupyterLab's pages ask the Jupyter server for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.scaffold.jobs import default_folder, new_job

__all__ = ["add_handlers"]


class NewJobHandler(APIHandler):
    """Make the notebook of a new job."""

    auth_resource = "contents"

    @authorized
    def post(self) -> None:
        """Take a name and the folder that the person is in; answer with the notebook's path in JupyterLab.

        The notebook goes where `retailpulse new job` puts it, or into that folder if JupyterLab can't show the other.
        """
        asked = self.get_json_body() or {}
        try:
            status, answer = 201, {"path": _make(self.settings["server_root_dir"], asked)}
        except UsageError as error:
            status, answer = 400, {"message": str(error)}
        self.set_status(status)
        self.finish(json.dumps(answer))


def _make(server_root: str, asked: dict[str, Any]) -> str:
    root = Path(server_root).expanduser().resolve()
    folder = default_folder().resolve()
    if not folder.is_relative_to(root):
        folder = (root / str(asked.get("folder", ""))).resolve()
    if not folder.is_relative_to(root):
        raise UsageError("JupyterLab does not show that folder.", remedy="Choose another one in the file browser.")
    made = new_job(Settings.load(), str(asked.get("name", "")), folder)
    return made.notebook.relative_to(root).as_posix()


def add_handlers(application: Any) -> None:
    """Offer the handlers in a Jupyter server's application.

    Parameters
    ----------
    application : object
        Tornado's.
    """
    address = url_path_join(application.settings["base_url"], "retailpulse", "new-job")
    application.add_handlers(".*$", [(address, NewJobHandler)])
