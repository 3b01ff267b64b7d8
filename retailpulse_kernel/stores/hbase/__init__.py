"""HBase: sessions and users."""

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.base import FigureStore, RowStore, Store
from retailpulse_kernel.stores.registry import register


def _make(settings: Settings) -> Store:
    from retailpulse_kernel.stores.hbase.store import HBaseStore

    return HBaseStore(settings)


register("hbase", _make, FigureStore, RowStore)
