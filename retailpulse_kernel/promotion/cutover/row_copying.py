"""Copies and compares the tables of rows of a plan in the live and the staging namespace. Every step may be done again.

What a step writes is made of tables that no step changes: the incoming epoch's, and those that were set aside. So a
step that is done again writes the same. What was sent to readers, as to a topic, is neither copied nor replaced.
Only the rows of a topic that is new are sent.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.names import is_name
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.comparison import Compared, compared_rows, shared_columns
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.personal import masked
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.base import MicroBatch
from retailpulse_kernel.stores.registry import row_store
from retailpulse_kernel.stores.rows import rows_if_any, with_removals
from retailpulse_kernel.streaming.plan.data import Plan, TablePlan
from retailpulse_kernel.streaming.run.changes import is_sent

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["bring_rows_in", "compare_row_tables", "discard_row_tables", "set_rows_aside"]

#: Who writes; no job's output has this name.
_WRITER = "cutover"
#: Hexadecimal digits that tell long names apart.
_DIGITS = 8


def set_rows_aside(live: Settings, staging: Settings, plan: Plan, epoch: int) -> int:
    """Copy the live tables to where a replaced epoch's tables are kept.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace that keeps the copies.
    plan : Plan
        The live job's plan, which names the tables.
    epoch : int
        The number of the epoch that is replaced.

    Returns
    -------
    int
        The number of rows that were copied.
    """
    copied = 0
    for table in _replaceable(plan):
        kept = _aside(table.row_table, epoch)
        with closing(row_store(table.store, live)) as mine, closing(row_store(table.store, staging)) as other:
            rows = rows_if_any(mine, table.row_table)
            other.remove_rows(kept)
            other.create_rows(kept)
            other.write_rows(kept, rows, by=MicroBatch(epoch, 0, 1, _WRITER))
            copied += rows.num_rows
    return copied


def bring_rows_in(
    live: Settings,
    staging: Settings,
    old: Plan,
    new: Plan,
    kept: int | None,
    *,
    replaced: int,
    number: int,
    version: int,
) -> int:
    """Make the live tables equal to those of a staged or a kept epoch.

    A keyed table stays, so that its readers always find one. Any other is made anew. A topic that the staged epoch has
    and the live one has not gets all rows.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace with the rows.
    old, new : Plan
        The plan of the tables as they are, and the plan that writes them from now on.
    kept : int, optional
        The replaced epoch whose tables are restored; the staged epoch's tables when absent.
    replaced : int
        The number of the epoch that is replaced, whose tables are set aside.
    number : int
        The number that the incoming epoch gets.
    version : int
        The version of the written rows. The job's later rows have a higher version.

    Returns
    -------
    int
        The number of rows that were written.
    """
    before = {(table.store, table.name): table.row_table for table in old.rows}
    written = 0
    for table in new.rows:
        target, was = table.row_table, before.get((table.store, table.name))
        if is_sent(table) and (was is not None or kept is not None):
            continue
        source = target if kept is None else _aside(target, kept)
        with closing(row_store(table.store, live)) as mine, closing(row_store(table.store, staging)) as other:
            # A staged epoch that has found no messages has made no tables; what was set aside is there.
            rows = rows_if_any(other, source) if kept is None else other.read_rows(source)
            written += rows.num_rows
            if was is not None and target.is_keyed and _is_same_form(was, target):
                rows = with_removals(target, rows, other.read_rows(_aside(was, replaced)))
            elif not is_sent(table):
                mine.remove_rows(target)
            mine.create_rows(target)
            mine.write_rows(target, rows, by=MicroBatch(number, 0, version, _WRITER))
    return written


def discard_row_tables(staging: Settings, plan: Plan, kept: int | None) -> None:
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
    for table in plan.rows if kept is None else _replaceable(plan):
        with closing(row_store(table.store, staging)) as store:
            store.remove_rows(table.row_table if kept is None else _aside(table.row_table, kept))


def compare_row_tables(live: Settings, staging: Settings, old: Plan, new: Plan) -> Compared:
    """Compare the rows of the live and of the staged epoch, in the columns that both have.

    Parameters
    ----------
    live, staging : Settings
        The live namespace, and the staging namespace.
    old, new : Plan
        The live job's plan, and the staged one's.
    """
    found, told = Compared(), partial(masked, contract=contract_of(live))
    before = {(table.store, table.name): table.row_table for table in _replaceable(old)}
    for table in _replaceable(new):
        was, now = before.get((table.store, table.name)), table.row_table
        if was is None or was.key != now.key:
            continue
        shared = [name for name, kind in now.types.items() if was.types.get(name) == kind]
        with closing(row_store(table.store, live)) as mine, closing(row_store(table.store, staging)) as other:
            one, two = (_by_key(now.key, rows, shared) for rows in (rows_if_any(mine, was), rows_if_any(other, now)))
        columns = shared_columns(now.name, was.types, now.types) if one or two else ""
        key = now.key or tuple(shared)
        found += replace(compared_rows(now.name, key, one, two, told=told), columns=columns)
    return found


def _replaceable(plan: Plan) -> list[TablePlan]:
    """The tables of rows that can be replaced: what was sent to readers can't be taken back."""
    return [table for table in plan.rows if not is_sent(table)]


def _aside(table: RowTable, epoch: int) -> RowTable:
    """The table that keeps the rows of a table as a replaced epoch left them."""
    end = f"__e{epoch:04d}"
    name = table.name + end
    if not is_name(name):
        digest = hashlib.blake2b(table.name.encode(), digest_size=_DIGITS // 2).hexdigest()
        name = f"{table.name[: -len(end) - _DIGITS - 1]}_{digest}{end}"
    return replace(table, name=name)


def _is_same_form(one: RowTable, other: RowTable) -> bool:
    return (one.key, one.types) == (other.key, other.types)


def _by_key(key: Sequence[str], rows: pa.Table, names: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by their key; without a key, how often each is there."""
    found = rows.select(list(names)).to_pylist()
    if key:
        return {
            tuple(row[name] for name in key): {name: _equal_to_itself(row[name]) for name in names} for row in found
        }
    times = Counter(tuple(f"{name} {row[name]}" for name in names) for row in found)
    return {values: {"times": count} for values, count in times.items()}


def _equal_to_itself(value: Any) -> Any:
    """A value that equals an equal one: not a number is not, in itself and in lists."""
    if isinstance(value, list):
        return [_equal_to_itself(one) for one in value]
    return "NaN" if value != value else value
