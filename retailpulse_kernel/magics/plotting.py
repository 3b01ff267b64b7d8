"""Plots of pandas' frames, drawn by Plotly: the environment has no matplotlib, which pandas would ask for.

pandas is not imported for it: a notebook without a frame does not wait for pandas.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["install"]


def install() -> None:
    """Make Plotly the backend of ``frame.plot``, now or once pandas is imported; a backend that was chosen stays."""
    if "pandas" in sys.modules:
        _choose(sys.modules["pandas"])
    elif not any(isinstance(finder, _Pandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Pandas())


def _choose(pandas: ModuleType) -> None:
    if pandas.get_option("plotting.backend") == "matplotlib":  # pandas' default
        pandas.set_option("plotting.backend", "plotly")


class _Pandas(MetaPathFinder):
    """Finds pandas as Python does, and once only."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "pandas":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Choosing(spec.loader)
        return spec


class _Choosing(Loader):
    """Loads pandas, and chooses the backend of its plots."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _choose(module)
