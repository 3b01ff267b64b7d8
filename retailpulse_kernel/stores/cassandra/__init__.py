"""Cassandra: the serving store of the figures, and a store of tables of rows."""

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.base import Expiring, ExpiringRows, FigureStore, RowStore, Store
from retailpulse_kernel.stores.registry import register


def _make(settings: Settings) -> Store:
    from retailpulse_kernel.stores.cassandra.store import CassandraStore

    return CassandraStore(settings)


register("cassandra", _make, FigureStore, RowStore, Expiring, ExpiringRows)
