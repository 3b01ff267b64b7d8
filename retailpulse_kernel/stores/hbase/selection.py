"""Reading some rows of a table of rows in HBase: the row keys begin with the key's first values, and sort by times."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.ground.errors import NoSuchTable
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.hbase.avro import unpack
from retailpulse_kernel.stores.hbase.tables import ROW_CELL, HBaseRows, key_texts, noted
from retailpulse_kernel.stores.rows import arrow_type
from retailpulse_kernel.stores.selecting import Conditions, LookedUp, looked_up

if TYPE_CHECKING:
    import happybase
    import pyarrow as pa

__all__ = ["HBaseSelection"]

_BATCH = 1_000
#: What follows the sign between the parts of a row key.
_AFTER = b"$"


class HBaseSelection(HBaseRows):
    """What `HBaseStore` does where only some rows are wanted; see `stores.selecting.Selecting`."""

    def select_rows(self, table: RowTable, conditions: Conditions) -> pa.Table:
        """The rows whose row keys lie where the conditions put them.

        Parameters
        ----------
        table : RowTable
            The table.
        conditions : Conditions
            Which rows are wanted.

        Raises
        ------
        NoSuchTable
            The table is absent.
        StoreUnavailable
            HBase can't be reached.
        """
        found = looked_up(table, conditions)

        def run(hbase: happybase.Connection) -> pa.Table:
            if table.name.encode() not in hbase.tables():
                raise NoSuchTable(
                    f"There is no HBase table {table.name!r}.", remedy="A job makes its tables when it first runs."
                )
            cells = [
                row[ROW_CELL]
                for start, stop in _ranges(table, found, conditions)
                for _, row in hbase.table(table.name).scan(
                    row_start=start, row_stop=stop, columns=[ROW_CELL], batch_size=_BATCH, limit=found.limit
                )
            ]
            return unpack(table, cells, noted(hbase, table.name)[1])

        return self._run(run)


def _ranges(table: RowTable, found: LookedUp, conditions: Conditions) -> Iterator[tuple[bytes | None, bytes | None]]:
    """The ranges of row keys to scan: one for each choice of the key's first values."""
    for choice in product(*found.equal.values()):
        parts = [_text(table, name, value) for name, value in zip(found.equal, choice, strict=True)]
        if len(parts) == len(table.key):
            key = b"#".join(parts)
            yield key, key + b"\0"
            continue
        prefix = b"".join(part + b"#" for part in parts)
        start, stop = prefix or None, (prefix[:-1] + _AFTER) if prefix else None
        if found.ranged and conditions.since is not None:
            start = prefix + _text(table, found.ranged, conditions.since)
        if found.ranged and conditions.until is not None:
            stop = prefix + _text(table, found.ranged, conditions.until)
        if start is None or stop is None or start < stop:
            yield start, stop


def _text(table: RowTable, name: str, value: Any) -> bytes:
    """A value as it stands in a row key."""
    import pyarrow as pa

    kind = table.types[name]
    return key_texts(pa.chunked_array([pa.array([value], arrow_type(kind))]), kind)[0].encode()
