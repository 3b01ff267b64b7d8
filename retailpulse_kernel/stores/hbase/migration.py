"""HBase tables of before: their names began with the namespace and ``_``, as those of another namespace may.

HBase can't rename a table, and its Thrift server takes no snapshot. So the rows are copied, once, and the old table
goes when all of them are there: killed before, it is done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retailpulse_kernel.ground.notes import note
from retailpulse_kernel.ground.settings import Namespace
from retailpulse_kernel.stores.hbase.tables import BATCH_ROWS

if TYPE_CHECKING:
    import happybase

__all__ = ["forget_old", "move_in"]


def move_in(hbase: happybase.Connection, namespace: Namespace, tables: Sequence[str]) -> None:
    """Copy the rows of old tables into those that took their place, and remove the old ones.

    Parameters
    ----------
    hbase : happybase.Connection
        Which puts the new prefix before a name.
    namespace : Namespace
        Whose tables they are.
    tables : sequence of str
        Their names without a prefix, which are there. Only these are looked for: the name of an old table alone
        does not tell where its namespace ends.
    """
    import happybase

    for table, old in _old(hbase, namespace, tables):
        with note(f"The HBase table {old} is copied to {namespace.hbase_prefix}.{table} …") as say:
            rows = 0
            if hbase.client.isTableEnabled(old.encode()):  # otherwise it was copied, and only has to go
                batches: dict[int, happybase.Batch] = {}
                found = happybase.Table(old.encode(), hbase).scan(include_timestamp=True, batch_size=BATCH_ROWS)
                for key, cells in found:
                    rows += 1
                    for column, (value, timestamp) in cells.items():
                        if timestamp not in batches:
                            batches[timestamp] = hbase.table(table).batch(timestamp=timestamp, batch_size=BATCH_ROWS)
                        batches[timestamp].put(key, {column: value})
                for batch in batches.values():
                    batch.send()
            _remove(hbase, old)
            say(f"The HBase table {old} is {namespace.hbase_prefix}.{table} now ({rows:,} rows).")


def forget_old(hbase: happybase.Connection, namespace: Namespace, tables: Sequence[str]) -> None:
    """Remove old tables with all that they hold.

    Parameters
    ----------
    hbase : Connection
        An open connection.
    namespace : Namespace
        Whose tables.
    tables : sequence of str
        The names that the tables have now.
    """
    for _, old in _old(hbase, namespace, tables):
        _remove(hbase, old)


def _old(hbase: happybase.Connection, namespace: Namespace, tables: Sequence[str]) -> Iterator[tuple[str, str]]:
    there = {name.decode() for name in hbase.client.getTableNames()}
    return ((table, old) for table in tables if (old := f"{namespace.hbase_prefix}_{table}") in there)


def _remove(hbase: happybase.Connection, old: str) -> None:
    if hbase.client.isTableEnabled(old.encode()):
        hbase.client.disableTable(old.encode())
    hbase.client.deleteTable(old.encode())
