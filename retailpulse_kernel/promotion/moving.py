"""Tables of a plan from one place to another: set aside, brought in, compared. Every step may be done again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from retailpulse_kernel import sketches
from retailpulse_kernel.metrics import Kind
from retailpulse_kernel.promotion.tables import figure_store, figure_table
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import FigureStore, Row
from retailpulse_kernel.stores.hive import HiveStore
from retailpulse_kernel.streaming.plan import Plan, TablePlan
from retailpulse_kernel.tables import FigureTable, Grain

__all__ = ["Compared", "bring_in", "compare_rows", "figure_tables", "forget", "kept_archive", "set_aside"]


@dataclass(frozen=True)
class Compared:
    """The figures that two versions share, row by row.

    Attributes
    ----------
    rows, differing : int
        Keys that were compared, and those whose figures differ or that only one of them has.
    first : str
        The first that differs, in words.
    """

    rows: int = 0
    differing: int = 0
    first: str = ""

    def __str__(self) -> str:
        if not self.rows:
            return "no rows to compare"
        if not self.differing:
            return f"{self.rows:,} rows equal"
        return f"{self.differing:,} of {self.rows:,} rows differ, the first is {self.first}"


def figure_tables(plan: Plan) -> Iterator[TablePlan]:
    """The tables of a plan that hold figures."""
    return (table for table in plan.tables if table.store != "hive")


def _aside(plan: TablePlan, epoch: int) -> FigureTable:
    """The table that keeps a table as an epoch left it."""
    return replace(figure_table(plan), name=f"{plan.name}__e{epoch:04d}")


def kept_archive(beside: Settings, epoch: int) -> str:
    """The folder that keeps what an epoch had in the archive."""
    return str(HiveStore(beside).location.parent / f"kept-e{epoch:04d}")


def set_aside(live: Settings, beside: Settings, plan: Plan, epoch: int, *, since: datetime | None) -> int:
    """Copy the live tables to where an epoch's are kept; how many rows that were."""
    rows = 0
    for table in figure_tables(plan):
        source, kept = figure_table(table), _aside(table, epoch)
        with closing(figure_store(live, table.store)) as mine, closing(figure_store(beside, table.store)) as other:
            mine.create(source)  # it may have been promoted and never run
            other.remove(kept)
            other.create(kept)
            for grain in source.every:
                found = mine.dump(source, grain, since=since)
                other.load(kept, grain, found, version=1)
                rows += len(found)
    return rows


def bring_in(
    live: Settings, beside: Settings, plan: Plan, kept: int | None, *, version: int, since: datetime | None
) -> tuple[int, int]:
    """Make the live tables equal to those beside; how many rows were written and removed.

    Parameters
    ----------
    kept : int, optional
        The epoch whose tables are brought back; those that were made beside when absent.
    version : int
        Of the rows; what the job writes from then on has a higher one.
    since : datetime, optional
        Windows before are left as they are: of their events the topic does not have all.
    """
    written = removed = 0
    for table in figure_tables(plan):
        target = figure_table(table)
        source = target if kept is None else _aside(table, kept)
        with closing(figure_store(live, table.store)) as mine, closing(figure_store(beside, table.store)) as other:
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


def forget(beside: Settings, plan: Plan, kept: int | None) -> None:
    """Remove what was made beside, or what an epoch left."""
    for table in figure_tables(plan):
        with closing(figure_store(beside, table.store)) as store:
            store.remove(figure_table(table) if kept is None else _aside(table, kept))


def compare_rows(
    live: Settings, beside: Settings, old: Plan, new: Plan, *, since: datetime | None, until: datetime | None
) -> Compared:
    """The figures that the live version and the one beside it both have, with the same definition.

    Parameters
    ----------
    until : datetime, optional
        Only windows that end before; all when absent.
    """
    found = Compared()
    before = {(table.store, table.name): table for table in figure_tables(old)}
    for table in figure_tables(new):
        was = before.get((table.store, table.name))
        if was is None or was.by != table.by:
            continue
        shared = tuple(figure for figure in table.figures if figure in was.figures)
        grains = tuple(grain for grain in table.every if grain in was.every)
        if shared and grains:
            both = figure_table(replace(table, figures=shared, every=grains))
            with closing(figure_store(live, table.store)) as mine, closing(figure_store(beside, table.store)) as other:
                for grain in both.every:
                    found = _compared(found, both, grain, mine, other, since, until)
    return found


def _compared(
    found: Compared,
    table: FigureTable,
    grain: Grain,
    mine: FigureStore,
    other: FigureStore,
    since: datetime | None,
    until: datetime | None,
) -> Compared:
    end = None if until is None else grain.start(until)
    one, two = (
        {table.key(row, grain): _plain(table, row) for row in store.read(table, grain, since=since, until=end)}
        for store in (mine, other)
    )
    differing = [key for key in one.keys() | two.keys() if one.get(key) != two.get(key)]
    first = found.first
    if differing and not first:
        key = min(differing, key=str)
        name = " ".join(part.isoformat() if isinstance(part, datetime) else str(part) for part in key)
        first = f"{table.physical(grain)} {name}: {_said(one.get(key), two.get(key))}"
    return Compared(found.rows + len(one.keys() | two.keys()), found.differing + len(differing), first)


def _plain(table: FigureTable, row: Row) -> Row:
    """A row whose sets of users are what they estimate: equal ones may be stored as different bytes."""
    users = [f.name for f in table.figures if f.measure.kind is Kind.USERS and row[f.name] is not None]
    return row | {name: sketches.estimate(row[name]) for name in users}


def _said(one: Row | None, two: Row | None) -> str:
    if one is None or two is None:
        return "only in the new one" if one is None else "not in the new one"
    name = next(name for name in one if one[name] != two[name])
    return f"{name} {one[name]} -> {two[name]}"
