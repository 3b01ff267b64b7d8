"""RetailPulse: a workbench for a live e-commerce event stream.

>>> import retailpulse_kernel as rp
>>> rp.kafka.tail(last="10m")
>>> rp.figures(by="category", last="1h")
>>> rp.cassandra.query("select * from category_day limit 10")

Nothing connects until it is used, and importing this pulls in neither Spark nor Airflow.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from retailpulse_kernel import moved
from retailpulse_kernel.ground.errors import RetailPulseError
from retailpulse_kernel.workbench.default import connect, default_workbench, use_workbench

__all__ = [
    "RetailPulseError",
    "browse",
    "canvas",
    "cassandra",
    "connect",
    "explore",
    "figures",
    "hbase",
    "hive",
    "job",
    "jobs",
    "kafka",
    "live",
    "new_job",
    "promote",
    "reference",
    "serving",
    "settings",
    "spark",
    "sql",
    "status",
    "store",
    "table",
    "tables",
    "why",
]


def __getattr__(name: str) -> Any:
    # rp.kafka, rp.job ... are the default workbench's.
    if name in __all__:
        return getattr(default_workbench(), name)
    if name == "__version__":  # to look it up takes longer than all the rest of this import
        from importlib.metadata import version

        return version("retailpulse-kernel")
    if name in moved.MOVED:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """Keeps ``rp.figures`` what it is, although importing the module of that name would put itself there."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
moved.install()


def load_ipython_extension(ipython: Any) -> None:
    """Offer ``rp`` and the magics in a notebook or IPython session."""
    from retailpulse_kernel.live import plotting
    from retailpulse_kernel.magics import extension

    ipython.push({"rp": sys.modules[__name__]}, interactive=False)
    extension.load(ipython)
    plotting.prepare()


def unload_ipython_extension(ipython: Any) -> None:
    """Forget the default workbench; the next one is again that of the environment."""
    use_workbench(None)
