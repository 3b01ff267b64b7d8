"""``rp.browse()``: topics and tables to look through, with buttons that put code into the notebook.

The same page stands at JupyterLab's side (`lab/extension`): it gets the module and the content through a comm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from retailpulse_kernel.catalogue.browsing import listed
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.live import assets
from retailpulse_kernel.live.channel import heard_beside_cells

__all__ = ["Browser", "beside"]


class Browser(anywidget.AnyWidget):
    """The topics and tables of a namespace.

    Parameters
    ----------
    settings : Settings
        Whose namespace.

    Attributes
    ----------
    content : dict
        What is listed; see `catalogue.browsing.listed`.
    """

    _esm = assets.module("browse.mjs")
    _css = assets.styles()
    content = traitlets.Dict().tag(sync=True)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(content=listed(settings))
        heard_beside_cells(self)
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if isinstance(message, dict) and message.get("op") == "refresh":
            self.content = listed(self._settings)


def beside(comm: Any, settings_of: Callable[[], Settings]) -> None:
    """Fill the page at JupyterLab's side, now and whenever the page asks for it.

    Parameters
    ----------
    comm : object
        Jupyter's, opened by the page.
    settings_of : callable
        Gives the settings of the notebook's namespace, which may change.
    """
    comm.on_msg(lambda _message: comm.send({"content": listed(settings_of())}))
    comm.send({"esm": assets.module("browse.mjs"), "css": assets.styles(), "content": listed(settings_of())})
