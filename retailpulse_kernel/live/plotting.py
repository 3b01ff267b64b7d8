"""How a notebook's own Plotly figures look and behave: readable in both themes, and nothing in them leads elsewhere."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["COLOURS", "CONFIG", "prepare"]

#: Of every chart; the same as in ``js/charts.mjs``. Plotly's own has a button that uploads the chart, and a link.
CONFIG = {
    "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "typesetMath": False, "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}  # fmt: skip
#: Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#767676")
#: A shown figure does not know the page's theme: this grey is read on white and on black alike.
_INK, _FAINT = "#7b7b7b", "rgba(128, 128, 128, 0.25)"
_NAME = "retailpulse"


def prepare() -> None:
    """Set Plotly up when something first imports it: to import it here would take half a second of every kernel."""
    if not any(isinstance(finder, _Afterwards) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Afterwards({"plotly.io": _set_template, "plotly.io._renderers": _set_renderers}))


class _Afterwards(importlib.abc.MetaPathFinder):
    """Does something to some modules once they are loaded."""

    def __init__(self, actions: Mapping[str, Callable[[Any], None]]) -> None:
        self._actions = actions

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._actions:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._actions[name])
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, action: Callable[[Any], None]) -> None:
        self._loader, self._action = loader, action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._action(module)


def _set_template(module: Any) -> None:
    axis = {
        "gridcolor": _FAINT, "zerolinecolor": _FAINT, "linecolor": _FAINT, "automargin": True,
        "separatethousands": True, "exponentformat": "none", "autotypenumbers": "strict",
    }  # fmt: skip
    clear = "rgba(0, 0, 0, 0)"
    layout = {
        "font": {"color": _INK}, "paper_bgcolor": clear, "plot_bgcolor": clear, "colorway": COLOURS,
        "xaxis": axis, "yaxis": axis, "title": {"font": {"size": 15}},
        # What is written as HTML or shown by another renderer knows no configuration of ours.
        "modebar": {"remove": ["sendChartToCloud"], "bgcolor": clear, "color": _INK, "activecolor": _INK},
    }  # fmt: skip
    module.templates[_NAME] = {"layout": layout}
    module.templates.default = f"plotly_white+{_NAME}"


def _set_renderers(module: Any) -> None:
    for name in module.renderers:
        renderer = module.renderers[name]
        if hasattr(renderer, "config"):
            renderer.config = {**(renderer.config or {}), **CONFIG}
