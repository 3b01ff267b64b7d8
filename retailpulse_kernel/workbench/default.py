"""The default workbench: the one that ``rp.kafka``, ``rp.figures`` and the magics belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retailpulse_kernel.workbench.workbench import Workbench

__all__ = ["connect", "default_workbench", "use_workbench"]

_default: Workbench | None = None


def connect(profile: str | None = None, namespace: str | None = None) -> Workbench:
    """A workbench for other servers or another namespace than the default ones.

    ``rp.kafka``, ``rp.figures`` and their like, and the magics, stay with the default workbench: use what this returns
    in their place. In a notebook ``%rp connect`` switches them.

    >>> shop = rp.connect(namespace="shop")
    >>> shop.figures(last="1h")  # of the namespace shop; rp.figures(last="1h") is still of the default one

    Parameters
    ----------
    profile : str, optional
        Which servers: ``"local"``, ``"compose"``, ``"cluster"``, or the path of a .toml file.
    namespace : str, optional
        Which topics, tables and checkpoints.

    Returns
    -------
    Workbench
        It connects when it is first used.
    """
    from retailpulse_kernel.workbench.workbench import Workbench

    return Workbench(profile, namespace)


def default_workbench() -> Workbench:
    """The default workbench; made from the environment when it is first asked for."""
    global _default
    if _default is None:
        _default = connect()
    return _default


def use_workbench(bench: Workbench | None) -> None:
    """Make a workbench the default one; None forgets the present one.

    Parameters
    ----------
    bench : Workbench or None
        The new one.
    """
    global _default
    _default = bench
