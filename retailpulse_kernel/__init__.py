"""RetailPulse: a workbench for a live e-commerce event stream.

>>> import retailpulse_kernel as rp
>>> rp.kafka.tail(last="10m")
>>> rp.figures(by="category", last="1h")
>>> rp.cassandra.query("select * from category_day limit 10")

Nothing connects until it is used, and importing this pulls in neither Spark nor Airflow.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.errors import RetailPulseError

if TYPE_CHECKING:
    from retailpulse_kernel.workbench import Workbench

__all__ = [
    "RetailPulseError",
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
    "promote",
    "spark",
    "sql",
    "status",
]
__version__ = version("retailpulse-kernel")

_default: Workbench | None = None


def connect(profile: str | None = None, namespace: str | None = None) -> Workbench:
    """A workbench for other servers or another namespace than the default ones."""
    from retailpulse_kernel.workbench import Workbench

    return Workbench(profile, namespace)


def default_workbench() -> Workbench:
    """The default workbench, which ``rp.kafka`` and its like belong to; made when it is first asked for."""
    global _default
    if _default is None:
        _default = connect()
    return _default


def use_workbench(bench: Workbench) -> None:
    """Make a workbench the default one."""
    global _default
    _default = bench


def __getattr__(name: str) -> Any:
    # rp.kafka, rp.job ... are the default workbench's.
    if name in __all__:
        return getattr(default_workbench(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """Keeps ``rp.figures`` what it is, although importing the module of that name would put itself there."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def load_ipython_extension(ipython: Any) -> None:
    """Offer ``rp`` and the magics in a notebook or IPython session."""
    from retailpulse_kernel import magics

    ipython.push({"rp": sys.modules[__name__]}, interactive=False)
    magics.load(ipython)
