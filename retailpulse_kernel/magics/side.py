"""What JupyterLab's side view gets from the kernel: topics and tables, through a comm."""

from __future__ import annotations

from typing import Any

__all__ = ["install"]

#: The comm's name, which `lab/extension` opens.
_TARGET = "retailpulse.browse"


def install(shell: Any) -> None:
    """Answer the side view of a notebook; a terminal has none.

    Parameters
    ----------
    shell : object
        IPython's.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        kernel.comm_manager.register_target(_TARGET, _opened)


def _opened(comm: Any, _message: Any) -> None:
    # The list needs the stores' clients, which a kernel does without until one is used.
    from retailpulse_kernel.live.browsing import beside
    from retailpulse_kernel.workbench.default import default_workbench

    beside(comm, lambda: default_workbench().settings)
