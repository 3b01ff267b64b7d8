"""Reading some rows of a table of rows in Cassandra: by the partition, the next columns of the key, and a range."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.stores.cassandra.connection import TUPLES
from retailpulse_kernel.stores.cassandra.tables import CassandraRows
from retailpulse_kernel.stores.cassandra.values import from_cql, to_cql
from retailpulse_kernel.stores.rows import arrow_type
from retailpulse_kernel.stores.selecting import Conditions, looked_up

if TYPE_CHECKING:
    import pyarrow as pa
    from cassandra.cluster import Session

__all__ = ["CassandraSelection"]

_MILLISECOND = 1_000


class CassandraSelection(CassandraRows):
    """What `CassandraStore` does where only some rows are wanted; see `stores.selecting.Selecting`."""

    def select_rows(self, table: RowTable, conditions: Conditions) -> pa.Table:
        """The rows of some partitions, or the first rows; all rows where the partition is not known.

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
            Cassandra can't be reached.
        """
        import pyarrow as pa

        found = looked_up(table, conditions)
        if not found.equal and (found.limit is None or found.ranged):  # a range goes over all partitions
            return self.read_rows(table)
        texts = [f'"{name}" = ?' for name in found.equal]
        bounds = []
        for sign, bound in ((">=", conditions.since), ("<", conditions.until)):
            if found.ranged and bound is not None:
                texts.append(f'"{found.ranged}" {sign} ?')
                bounds.append(_driver_value(table, found.ranged, _whole_ms(bound)))
        names = ", ".join(f'"{name}"' for name in table.types)
        cql = f"select {names} from {self._place(table)}"
        cql += f" where {' and '.join(texts)}" if texts else ""
        cql += "" if found.limit is None else f" limit {found.limit}"
        values = [
            [_driver_value(table, name, one) for one in given if _is_storable(one)]
            for name, given in found.equal.items()
        ]

        def run(session: Session) -> pa.Table:
            prepared = session.prepare(cql)
            rows: list[Any] = []
            for choice in product(*values):
                rows += session.execute(prepared.bind([*choice, *bounds]), execution_profile=TUPLES).all()
            columns = list(zip(*rows, strict=True)) or [()] * len(table.types)
            parts = zip(columns, table.types.values(), strict=True)
            return pa.table([from_cql(column, kind) for column, kind in parts], names=list(table.types))

        return self._run(run)


def _driver_value(table: RowTable, name: str, value: Any) -> Any:
    """A value as the driver takes it."""
    import pyarrow as pa

    made = pa.array([value], arrow_type(table.types[name]))
    return to_cql(table, name, pa.chunked_array([made]))[0]


def _whole_ms(moment: datetime) -> datetime:
    """The first time at or after a moment that Cassandra can hold."""
    return moment + timedelta(microseconds=-moment.microsecond % _MILLISECOND)


def _is_storable(value: Any) -> bool:
    """Whether a row can have the value: no time with microseconds is stored."""
    return not isinstance(value, datetime) or not value.microsecond % _MILLISECOND
