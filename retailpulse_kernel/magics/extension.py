"""The magics: ``%%cql``, ``%%hive``, ``%%sql``, ``%%hbase``, ``%kafka`` and ``%rp``.

They come with the kernel RetailPulse, or by ``%load_ext retailpulse_kernel`` in any other. Loading them imports
no client of any store: that happens when one is first used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load"]


def load(shell: Any) -> None:
    """Register magics and completion in a shell, and how it shows decimals, plots and errors.

    Parameters
    ----------
    shell : object
        IPython's.
    """
    from retailpulse_kernel.magics import completion, failures, plotting, showing, side
    from retailpulse_kernel.magics.hbase import HBaseMagics
    from retailpulse_kernel.magics.kafka import KafkaMagics
    from retailpulse_kernel.magics.rp import RetailPulseMagics
    from retailpulse_kernel.magics.statements import StatementMagics

    shell.register_magics(StatementMagics, HBaseMagics, KafkaMagics, RetailPulseMagics)
    completion.install(shell)
    failures.install(shell)
    plotting.install()
    showing.install(shell)
    side.install(shell)
