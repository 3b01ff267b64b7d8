"""The tables that a plan names, in the stores. Tables whose keys have changed are removed."""

from __future__ import annotations

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.tables import with_late_part
from retailpulse_kernel.stores.base import EventArchive, FigureStore
from retailpulse_kernel.stores.registry import can, figure_store
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan

__all__ = ["archives", "drop_incompatible", "figure_tables"]


def figure_tables(plan: Plan) -> list[TablePlan]:
    """The tables of a plan that hold figures.

    Parameters
    ----------
    plan : Plan
        The plan.
    """
    return [table for table in plan.tables if table.rows is None and can(table.store, FigureStore)]


def archives(plan: Plan) -> bool:
    """Whether a plan's job writes the archive of events.

    Parameters
    ----------
    plan : Plan
        The plan.
    """
    return any(table.rows is None and can(table.store, EventArchive) for table in plan.tables)


def drop_incompatible(settings: Settings, old: Plan, new: Plan) -> list[str]:
    """Remove the tables that a new plan writes under another key or with other types.

    Their rows could not be told from the new ones. The new epoch writes the tables again from the topic's beginning.

    Parameters
    ----------
    settings : Settings
        The live namespace.
    old, new : Plan
        The plan of the tables as they are, and the plan that writes them from now on.

    Returns
    -------
    list of str
        The names of the removed tables.
    """
    before = {table.name: table for table in figure_tables(old)}
    removed: list[str] = []
    for table in figure_tables(new):
        was = before.get(table.name)
        if was is None or was.store != table.store:
            continue
        kinds = {figure.name: figure.kind for figure in was.figures}
        if was.by != table.by or any(kinds.get(figure.name, figure.kind) != figure.kind for figure in table.figures):
            store = figure_store(was.store, settings)
            for one in with_late_part(was.table):
                store.remove(one)
            removed += was.physical
    return removed
