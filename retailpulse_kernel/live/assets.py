"""The widget's JavaScript as one module, and Plotly as its Python package ships it."""

from __future__ import annotations

import base64
import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files

__all__ = ["PLOTLY", "module", "plotly_js", "styles"]

#: The version under which a browser keeps `plotly_js`.
PLOTLY = version("plotly")

_IMPORT = re.compile(r'from "\./([\w]+\.mjs)"')


@cache
def module(name: str) -> str:
    """A module in which those that it imports are held, as ``data:`` addresses: a widget is one text.

    Parameters
    ----------
    name : str
        A file of ``live/js``, such as ``"charts.mjs"``.
    """

    def inlined(match: re.Match[str]) -> str:
        content = base64.b64encode(module(match[1]).encode()).decode()
        return f'from "data:text/javascript;base64,{content}"'

    return _IMPORT.sub(inlined, _file(name))


@cache
def styles() -> str:
    """The widget's style sheet."""
    return _file("live.css")


def plotly_js() -> bytes:
    """``plotly.min.js``: it goes to the browser through the kernel, never from a network."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()


def _file(name: str) -> str:
    return files(__package__).joinpath("js", name).read_text()
