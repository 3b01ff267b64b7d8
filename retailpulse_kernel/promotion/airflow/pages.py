"""The page that shows a run's output notebook in Airflow's own user interface, to those who may see the run."""

from __future__ import annotations

import re

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from retailpulse_kernel.ground.names import is_name
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.overview import runs_folder

__all__ = ["RetailPulsePlugin"]

_FILE = re.compile(r"[\w.-]+\.ipynb")
#: What a cell printed may hold anything: nothing of it is run, and nothing is fetched.
_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"

app = FastAPI(title="RetailPulse", openapi_url=None)


@app.get(
    "/runs/{dag_id}/{notebook}",
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))],
)
def output_notebook(dag_id: str, notebook: str) -> HTMLResponse:
    """A run's output notebook as it is now.

    Parameters
    ----------
    dag_id : str
        The pipeline's name.
    notebook : str
        The output notebook's file name.
    """
    from nbconvert import HTMLExporter

    settings = Settings.load()
    path = runs_folder(settings, dag_id) / notebook
    if not is_name(dag_id) or not _FILE.fullmatch(notebook) or not path.is_file():
        raise HTTPException(404, "There is no such run here any more: the newest runs of each job are kept.")
    body, _ = HTMLExporter(embed_images=True).from_filename(str(path))
    return HTMLResponse(body, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})


class RetailPulsePlugin(AirflowPlugin):
    """Found by Airflow by the package's entry point."""

    name = "retailpulse"
    fastapi_apps = [{"app": app, "url_prefix": "/retailpulse", "name": "RetailPulse"}]
