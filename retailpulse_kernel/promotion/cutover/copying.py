"""Copies and compares a plan's tables in the live and the staging namespace. Every step may be done again."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial

from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.promotion.cutover.tables import figure_tables
from retailpulse_kernel.shop.comparison import Compared, comparable, compared_rows
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.shop.personal import masked
from retailpulse_kernel.shop.tables import FigureTable, Grain
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.registry import event_archive, figure_store
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan

__all__ = ["bring_in", "compare_rows", "discard_tables", "kept_archive", "set_aside"]


def _aside(plan: TablePlan, epoch: int) -> FigureTable:
    """The table that keeps the rows of a table as a replaced epoch left them."""
    return replace(plan.table, name=f"{plan.name}__e{epoch:04d}")


def kept_archive(staging: Settings, epoch: int) -> str:
    """The folder that keeps the archive's files of a replaced epoch.

    Parameters
    ----------
    staging : Settings
        The staging namespace.
    epoch : int
        The replaced epoch's number.
    """
    return str(event_archive(staging).location.parent / f"kept-e{epoch:04d}")


def set_aside(live: Settings, staging: Settings, plan: Plan, epoch: int, *, since: datetime | None) -> int:
    """Copy the live tables to where a replaced epoch's tables are kept.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace that keeps the copies.
    plan : Plan
        The live job's plan, which names the tables.
    epoch : int
        The number of the epoch that is replaced.
    since : datetime, optional
        Only windows from then on; all when absent.

    Returns
    -------
    int
        The number of rows that were copied.
    """
    rows = 0
    for table in figure_tables(plan):
        source, kept = table.table, _aside(table, epoch)
        with closing(figure_store(table.store, live)) as mine, closing(figure_store(table.store, staging)) as other:
            mine.create(source)  # the job may never have run
            other.remove(kept)
            other.create(kept)
            for grain in source.every:
                found = mine.dump(source, grain, since=since)
                other.load(kept, grain, found, version=1)
                rows += len(found)
    return rows


def bring_in(
    live: Settings, staging: Settings, plan: Plan, kept: int | None, *, version: int, since: datetime | None
) -> tuple[int, int]:
    """Make the live tables equal to those of a staged or a kept epoch.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace with the rows.
    plan : Plan
        The plan that names the tables.
    kept : int, optional
        The replaced epoch whose tables are restored; the staged epoch's tables when absent.
    version : int
        The version of the written rows. The job's later rows have a higher version.
    since : datetime, optional
        Earlier windows stay as they are: the topic no longer has all their events.

    Returns
    -------
    tuple of int and int
        The numbers of rows that were written, and that were removed.
    """
    written = removed = 0
    for table in figure_tables(plan):
        target = table.table
        source = target if kept is None else _aside(table, kept)
        with closing(figure_store(table.store, live)) as mine, closing(figure_store(table.store, staging)) as other:
            mine.create(target)
            other.create(source)
            for grain in target.every:
                wanted, there = other.dump(source, grain, since=since), mine.dump(target, grain, since=since)
                new = {key: row for key, row in wanted.items() if there.get(key) != row}
                gone = there.keys() - wanted.keys()
                mine.load(target, grain, new, version=version)
                mine.delete(target, grain, gone, version=version)
                written, removed = written + len(new), removed + len(gone)
    return written, removed


def discard_tables(staging: Settings, plan: Plan, kept: int | None) -> None:
    """Remove the tables of a staged epoch, or those kept of a replaced one.

    Parameters
    ----------
    staging : Settings
        The staging namespace.
    plan : Plan
        The plan that names the tables.
    kept : int, optional
        The replaced epoch's number; the staged epoch when absent.
    """
    for table in figure_tables(plan):
        with closing(figure_store(table.store, staging)) as store:
            store.remove(table.table if kept is None else _aside(table, kept))


def compare_rows(
    live: Settings, staging: Settings, old: Plan, new: Plan, *, since: datetime | None, until: datetime | None
) -> Compared:
    """Compare the figures that the live and the staged epoch both have, with the same definition.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace.
    old, new : Plan
        The live job's plan, and the staged one's.
    since : datetime, optional
        Only windows from then on; all when absent.
    until : datetime, optional
        Only windows that end before; all when absent.
    """
    found, shop = Compared(), contract_of(live)
    before = {(table.store, table.name): table for table in figure_tables(old)}
    for table in figure_tables(new):
        was = before.get((table.store, table.name))
        if was is None or was.by != table.by:
            continue
        shared = tuple(figure for figure in table.figures if figure in was.figures)
        kept = {grain.name for grain in was.table.every if grain in table.table.every}
        grains = tuple(grain for grain in table.every if grain in kept)
        if shared and grains:
            both = replace(table, figures=shared, every=grains).table
            with closing(figure_store(table.store, live)) as mine, closing(figure_store(table.store, staging)) as other:
                for grain in both.every:
                    found += _compared(both, grain, mine, other, since, until, shop)
    return found


def _compared(
    table: FigureTable,
    grain: Grain,
    mine: FigureStore,
    other: FigureStore,
    since: datetime | None,
    until: datetime | None,
    shop: Contract,
) -> Compared:
    end = None if until is None else grain.start(until)
    one, two = (
        {table.key(row, grain): row for row in store.read(table, grain, since=since, until=end)}
        for store in (mine, other)
    )
    told = partial(masked, contract=shop, figures=table.figures)
    return compared_rows(table.physical(grain), table.key_columns(grain), one, two, partial(comparable, table), told)
