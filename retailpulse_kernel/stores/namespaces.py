"""Removing a namespace: its topics, what its stores hold, its checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from retailpulse_kernel.ground.errors import UsageError
from retailpulse_kernel.ground.settings import Namespace, Settings
from retailpulse_kernel.stores.confinement import require_own
from retailpulse_kernel.stores.registry import open_store, used
from retailpulse_kernel.telemetry.recording import forget

__all__ = ["drop"]


def drop(settings: Settings) -> None:
    """Remove all that a namespace holds, in every store.

    Parameters
    ----------
    settings : Settings
        Whose namespace, and which stores the profile uses.

    Raises
    ------
    UsageError
        It is the default namespace, which is never dropped as a whole.
    ConfinedError
        A notebook is being tried, and this is not its namespace.
    StoreUnavailable
        A store does not answer.
    """
    require_own(settings, "Removing the namespace")
    name = settings.namespace.name
    if name == Namespace.DEFAULT:
        raise UsageError(
            f"The namespace {name!r} is not dropped.", remedy="Use `retailpulse down --wipe` to remove all data."
        )
    _drop(settings)
    staging = settings.within(settings.namespace.staging)
    if Path(staging.checkpoints.removeprefix("file://")).is_dir():
        _drop(staging)


def _drop(settings: Settings) -> None:
    for name in used(settings):
        store = open_store(name, settings)
        store.drop()
        store.close()
    for folder in (settings.checkpoints.removeprefix("file://"), str(settings.home / "runs" / settings.namespace.name)):
        shutil.rmtree(folder, ignore_errors=True)
    forget(settings)
