"""Hive: the archive of every event."""

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.base import EventArchive, Local, RowStore, Store
from retailpulse_kernel.stores.registry import register


def _make(settings: Settings) -> Store:
    from retailpulse_kernel.stores.hive.store import HiveStore

    return HiveStore(settings)


register("hive", _make, EventArchive, RowStore, Local)
