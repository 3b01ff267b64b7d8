"""The kernel of a run, whose own words go to a file.

What cells print comes out as outputs. What is left on the kernel's standard error is what the kernel says before its
first cell and after its last one, where an ipykernel that ends now and then complains of a socket that it has just
closed. A kernel that dies may have said there why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode
from traitlets.config import Config

__all__ = ["RunKernelManager", "kernel_config", "last_words"]


class RunKernelManager(AsyncKernelManager):
    """A kernel whose standard error is a file."""

    stderr_path = Unicode(help="The file.").tag(config=True)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        with Path(self.stderr_path).open("ab") as file:
            await super()._async_launch_kernel(kernel_cmd, **kw, stderr=file)


def kernel_config(folder: Path) -> Config:
    """Let papermill and its kernel talk through sockets in a folder that nobody else may enter, and not over TCP.

    Parameters
    ----------
    folder : Path
        The run's temporary one.
    """
    manager = {"transport": "ipc", "ip": str(folder / "kernel"), "stderr_path": str(_stderr(folder))}
    return Config(RunKernelManager=manager)


def last_words(folder: Path) -> str:
    """The last line that the kernel wrote to its standard error, warnings aside; empty where it wrote none.

    Parameters
    ----------
    folder : Path
        The run's temporary one.
    """
    path = _stderr(folder)
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    said = (line.strip() for line in reversed(lines))
    return next((line for line in said if line and not line.startswith("WARNING: ")), "")


def _stderr(folder: Path) -> Path:
    return folder / "stderr"
