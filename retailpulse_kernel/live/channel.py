"""How the browser's messages to a widget reach the kernel while a cell runs."""

from __future__ import annotations

from typing import Any

__all__ = ["heard_beside_cells"]


def heard_beside_cells(widget: Any) -> None:
    """Let each message be handled by the subshell that the browser sent it to: a thread beside the running cell.

    Since 7.4 ipykernel hands a widget's messages to the shell from which it was updated last, so that a cell can wait
    for an answer (its `Comm._reply_subshell_for`). For a widget that a thread updates, that is the main shell: what
    the browser says would be heard only after the cell. With an older ipykernel, or none, there is nothing to do.

    Parameters
    ----------
    widget : ipywidgets.Widget
        It has its comm already.
    """
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked: asked
