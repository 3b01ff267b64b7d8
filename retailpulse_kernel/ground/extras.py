"""The package's extras: groups of dependencies that only some rooms need.

A room that needs one calls `require_extra` before it imports anything of it. The groups are those of
``pyproject.toml``; a test compares them.
"""

from __future__ import annotations

import functools
import sys
from importlib.util import find_spec

from retailpulse_kernel.ground.errors import MissingExtra

__all__ = ["EXTRAS", "require_extra"]

#: The top-level modules of each extra. Extras that an extra includes are not repeated.
EXTRAS = {
    "airflow": ("airflow", "fastapi", "nbconvert"),
    "api": ("fastapi", "plotly", "uvicorn"),
    "hbase": ("happybase", "thriftpy2"),
    "hive": ("pyhive", "thrift", "thrift_sasl", "thriftpy2"),
    "keyring": ("keyring",),
    "lab": ("anywidget", "ipywidgets", "jupyter_core", "jupyter_server", "jupyterlab", "plotly"),
    "monitoring": ("grafana_foundation_sdk", "yaml"),
    "notebooks": (
        "IPython", "croniter", "ipykernel", "jsonschema", "jupyter_client", "jupytext", "nbformat", "papermill",
        "tomli_w", "traitlets",
    ),
    "polars": ("polars",),
    "registry": ("confluent_kafka", "fastavro", "google"),
    "stack": ("jgo", "packaging", "supervisor"),
    "streaming": ("grpc", "py4j", "pyspark"),
}  # fmt: skip


@functools.cache
def require_extra(extra: str) -> None:
    """Make sure that an extra is installed, so that the imports which follow succeed.

    Parameters
    ----------
    extra : str
        A name of `EXTRAS`.

    Raises
    ------
    MissingExtra
        Some of its packages are not installed. The remedy is the command that installs them.
    """
    if missing := [name for name in EXTRAS[extra] if name not in sys.modules and find_spec(name) is None]:
        raise MissingExtra(extra, missing)
