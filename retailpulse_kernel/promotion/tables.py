"""The tables that a plan names, in the stores; and making way for those whose keys have changed."""

from __future__ import annotations

from collections.abc import Callable

from retailpulse_kernel.errors import UnknownName
from retailpulse_kernel.metrics import Figure, Kind, Measure
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.cassandra import CassandraStore
from retailpulse_kernel.stores.hbase import HBaseStore
from retailpulse_kernel.streaming.plan import Plan, TablePlan
from retailpulse_kernel.tables import GRAINS, FigureTable

__all__ = ["figure_store", "figure_table", "make_way"]

_STORES: dict[str, Callable[[Settings], FigureStore]] = {"cassandra": CassandraStore, "hbase": HBaseStore}


def figure_store(settings: Settings, name: str) -> FigureStore:
    """A store of figures by its name.

    Raises
    ------
    UnknownName
        There is none.
    """
    if name not in _STORES:
        raise UnknownName("store of figures", name, _STORES)
    return _STORES[name](settings)


def figure_table(plan: TablePlan) -> FigureTable:
    """The table that a plan describes."""
    figures = (Figure(f.name, f.name, Measure(Kind(f.kind), f.of), f.where) for f in plan.figures)
    return FigureTable(plan.name, tuple(figures), plan.by, tuple(GRAINS[grain] for grain in plan.every))


def make_way(settings: Settings, old: Plan, new: Plan) -> list[str]:
    """Remove the tables that the new plan writes under another key, or with other types; returns their names.

    Their rows could not be told from the new ones. The new epoch makes them again from the topic's beginning.
    """
    before = {table.name: table for table in old.tables}
    removed: list[str] = []
    for table in new.tables:
        was = before.get(table.name)
        if was is None or was.store != table.store or was.store not in _STORES:
            continue
        kinds = {figure.name: figure.kind for figure in was.figures}
        if was.by != table.by or any(kinds.get(figure.name, figure.kind) != figure.kind for figure in table.figures):
            figure_store(settings, was.store).remove(figure_table(was))
            removed += was.physical
    return removed
