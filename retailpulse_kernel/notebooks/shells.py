"""The shell of this process in which notebooks are tried, as a kernel would run their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traitlets.config import Config

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_anew", "trial_shell"]

#: What the kernel RetailPulse loads.
_EXTENSION = "retailpulse_kernel"


def trial_shell() -> InteractiveShell:
    """The shell of this process; what is tried in it does not belong to the user's history."""
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))


def load_anew(shell: InteractiveShell) -> None:
    """Load what the kernel RetailPulse loads, as at its start.

    Parameters
    ----------
    shell : InteractiveShell
        What a notebook before has changed of it is gone.
    """
    extensions = shell.extension_manager
    assert extensions is not None, "a shell has one from its start"
    extensions.unload_extension(_EXTENSION)
    extensions.load_extension(_EXTENSION)
