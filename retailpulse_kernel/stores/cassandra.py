"""Cassandra: the serving store of the figures."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from retailpulse_kernel.errors import NoSuchTable, UsageError
from retailpulse_kernel.metrics import Figure
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import Only, Row, Rows, buckets, combined, in_range, is_among, plain_rows
from retailpulse_kernel.stores.binding import bound
from retailpulse_kernel.stores.cassandra_connection import TUPLES, connect, explained, said
from retailpulse_kernel.stores.cassandra_rows import (
    ADDED,
    TIMES,
    TYPES,
    choices_of,
    columns_of,
    ddl,
    from_cql,
    halves,
    portions,
    to_cql,
    unpack,
)
from retailpulse_kernel.stores.connection import Reconnecting
from retailpulse_kernel.stores.frames import ColumnKind, Form, cut, shaped, to_frame
from retailpulse_kernel.tables import GRAINS, FigureTable, Grain

if TYPE_CHECKING:
    import pandas as pd
    from cassandra.cluster import ResultSet, Session
    from cassandra.query import BatchStatement

__all__ = ["CassandraStore"]

_COLUMN_KINDS: dict[str, ColumnKind] = {
    "TimestampType": "time",
    "DateType": "time",
    "SimpleDateType": "time",
    "LongType": "integer",
    "Int32Type": "integer",
    "ShortType": "integer",
    "ByteType": "integer",
    "CounterColumnType": "integer",
    "BooleanType": "boolean",
    "DoubleType": "float",
    "FloatType": "float",
}

#: Requests under way at once.
_CONCURRENCY = 64
#: So few partitions are added up in two requests each.
_SPLIT = 4
_T = TypeVar("_T")


class CassandraStore:
    """Cassandra, connected when it is first used.

    Parameters
    ----------
    settings : Settings
        Its profile has the contact points, its namespace the keyspace.
    """

    name = "cassandra"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = settings.profile.cassandra
        self.keyspace = settings.namespace.keyspace
        self._connection = Reconnecting(
            lambda: connect(settings), close=lambda session: session.cluster.shutdown(), is_lost=_is_lost, shared=True
        )

    # -- connection -------------------------------------------------------------------------

    def _run(self, request: Callable[[Session], _T]) -> _T:
        """Run a request; a lost connection becomes `StoreUnavailable`, a bad query `UsageError`."""
        from cassandra import DriverException, RequestValidationException
        from cassandra.cluster import NoHostAvailable
        from cassandra.connection import ConnectionException
        from cassandra.protocol import SyntaxException

        try:
            return self._connection.run(request)
        except (RequestValidationException, SyntaxException) as error:
            if re.search("unconfigured table|(table|[Kk]eyspace) .* does not exist", str(error)):
                raise NoSuchTable(
                    f"Cassandra can't run this: {said(error)}.",
                    remedy="`rp.cassandra.tables()` lists what is there; a job makes its tables when it first runs.",
                ) from error
            raise UsageError(
                f"Cassandra can't run this: {said(error)}.",
                remedy="`rp.cassandra.columns()` shows the tables' columns and keys.",
            ) from error
        except (NoHostAvailable, ConnectionException, DriverException, OSError) as error:
            raise explained(self._settings, error) from error

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        self._connection.close()

    def ping(self) -> str:
        """Cassandra's version."""
        query = "select release_version from system.local"
        return self._run(lambda session: session.execute(query).one().release_version)

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The tables of the namespace's keyspace."""
        query = "select table_name from system_schema.tables where keyspace_name = %s"
        rows = self._run(lambda session: session.execute(query, (self.keyspace,)).all())
        return sorted(row.table_name for row in rows)

    def columns(self) -> dict[str, list[str]]:
        """The columns of each table of the namespace's keyspace, those of the key first."""
        query = "select table_name, column_name, kind, position from system_schema.columns where keyspace_name = %s"
        rows = self._run(lambda session: session.execute(query, (self.keyspace,)).all())
        places = {"partition_key": 0, "clustering": 1}
        found: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda r: (r.table_name, places.get(r.kind, 2), r.position, r.column_name)):
            found.setdefault(row.table_name, []).append(row.column_name)
        return found

    def query(
        self,
        cql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        as_: Form = "pandas",
        count_for: float = 0,
    ) -> Any:
        """Run CQL in the namespace's keyspace.

        Parameters
        ----------
        cql : str
            One statement; parameters are written ``:name``.
        parameters : mapping, optional
            Their values, bound by Cassandra and never part of the text.
        limit : int, optional
            At most this many rows.
        as_ : str
            ``"pandas"``, ``"polars"`` or ``"arrow"``.
        count_for : float
            Seconds to go on counting rows that `limit` cuts off.

        Returns
        -------
        pandas.DataFrame
            Decimals stay `decimal.Decimal`, timestamps are UTC. ``.attrs["more"]`` says whether
            rows were cut off by `limit`, ``.attrs["total"]`` how many there are, or None.

        Raises
        ------
        UsageError
            Cassandra does not accept the statement, or a value does not fit its column.
        StoreUnavailable
            Cassandra does not answer.
        """

        def run(session: Session) -> Any:
            result = self._execute(session, cql, parameters)
            rows, attributes = cut(result, limit, count_for=count_for)
            kinds = {
                place: _COLUMN_KINDS[column_type.__name__]
                for place, column_type in enumerate(result.column_types or [])
                if column_type.__name__ in _COLUMN_KINDS
            }
            values = ([from_cql(value) for value in row] for row in rows)
            return to_frame(result.column_names or [], values, kinds, **attributes)

        return shaped(self._run(run), as_)

    def trace(self, cql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Run CQL and tell what Cassandra did for it: a step a row, with its source and microseconds.

        CQL has no EXPLAIN: the statement is really run, and its rows are left aside.
        """

        def run(session: Session) -> Any:
            trace = self._execute(session, cql, parameters, trace=True).get_query_trace(max_wait_sec=5)
            events = (
                (e.description, str(e.source), e.source_elapsed // timedelta(microseconds=1)) for e in trace.events
            )
            return to_frame(["step", "source", "microseconds"], events, {2: "integer"}, total=len(trace.events))

        return self._run(run)

    def _execute(
        self, session: Session, cql: str, parameters: Mapping[str, Any] | None, *, trace: bool = False
    ) -> ResultSet:
        session.set_keyspace(self.keyspace)
        values = bound(cql, parameters, "cql")
        if not values:
            return session.execute(cql, trace=trace)
        try:
            statement = session.prepare(cql).bind(values)
        except (AttributeError, TypeError, ValueError, struct.error) as error:
            raise UsageError(
                f"The parameters do not fit the statement: {error}.",
                remedy="A column of dates takes a date, one of decimals a decimal.Decimal, one of text a str.",
            ) from error
        return session.execute(statement, trace=trace)

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the keyspace and the table of each grain where they are absent, and columns of new figures."""

        def run(session: Session) -> None:
            session.execute(
                f"create keyspace if not exists {self.keyspace} with replication = "
                f"{{'class': 'NetworkTopologyStrategy', '{self._address.datacenter}': "
                f"{self._address.replication_factor}}}"
            )
            for grain in table.every:
                session.execute(ddl(self.keyspace, table, grain))
                there = session.execute(
                    "select column_name from system_schema.columns where keyspace_name = %s and table_name = %s",
                    (self.keyspace, table.physical(grain)),
                )
                known = {row.column_name for row in there}
                for figure in (figure for figure in table.figures if figure.name not in known):
                    column = f"{figure.name} {TYPES[figure.measure.kind]}"
                    session.execute(f"alter table {self.keyspace}.{table.physical(grain)} add if not exists {column}")

        self._run(run)

    def remove(self, table: FigureTable) -> None:
        """Remove the table of each grain with all that it holds."""

        def run(session: Session) -> None:
            for grain in table.every:
                session.execute(f"drop table if exists {self.keyspace}.{table.physical(grain)}", timeout=60)

        self._run(run)

    def drop(self) -> None:
        """Remove the namespace's keyspace with all that it holds."""
        self._run(lambda session: session.execute(f"drop keyspace if exists {self.keyspace}", timeout=60))

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Set rows with a write timestamp made of the version, in batches by partition."""
        columns = columns_of(table, grain)
        insert = (
            f"insert into {self.keyspace}.{table.physical(grain)} ({', '.join(columns)}) "
            f"values ({', '.join('?' * len(columns))}) using timestamp ?"
        )
        self._apply(insert, grain, rows, lambda values: [*(to_cql(c, values[c]) for c in columns), version * 1000])

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Rows by key."""
        return {table.key(row, grain): row for row in self.read(table, grain, since=since)}

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Set rows."""
        self.write(table, grain, list(rows.values()), version=version)

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Remove rows up to a write timestamp made of the version, in batches by partition."""
        columns = columns_of(table, grain)[: -len(table.figures)]
        delete = (
            f"delete from {self.keyspace}.{table.physical(grain)} using timestamp ? "
            f"where {' and '.join(f'{column} = ?' for column in columns)}"
        )
        rows = [dict(zip(table.key_columns(grain), key, strict=True)) for key in keys]
        self._apply(delete, grain, rows, lambda values: [version * 1000, *(to_cql(c, values[c]) for c in columns)])

    def _apply(self, cql: str, grain: Grain, rows: Rows, arguments: Callable[[Row], list[Any]]) -> None:
        """Run a statement for each row, in batches by partition."""
        from cassandra.concurrent import execute_concurrent
        from cassandra.query import BatchStatement, BatchType

        bucket = GRAINS[grain.bucket]
        by_partition: dict[datetime, list[Row]] = defaultdict(list)
        for row in plain_rows(rows):
            by_partition[bucket.start(row[grain.name])].append(row)

        def batches(session: Session) -> Iterator[tuple[BatchStatement, None]]:
            statement = session.prepare(cql)
            for start, members in by_partition.items():
                for portion in portions(members):
                    batch = BatchStatement(BatchType.UNLOGGED)
                    batch.is_idempotent = True
                    for row in portion:
                        batch.add(statement, arguments({**row, bucket.name: start}))
                    yield batch, None

        self._run(lambda session: execute_concurrent(session, batches(session), concurrency=_CONCURRENCY))

    def read(
        self,
        table: FigureTable,
        grain: Grain,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        figures: Sequence[Figure] | None = None,
        by: Sequence[str] | None = None,
        only: Only | None = None,
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, one request a partition, all at the same time."""
        from cassandra.concurrent import execute_concurrent_with_args

        bucket = GRAINS[grain.bucket]
        physical = f"{self.keyspace}.{table.physical(grain)}"
        chosen = table.figures if figures is None else tuple(figures)
        # Cassandra adds up what shares the first columns of the key; what it can't is combined here.
        added = by is not None and tuple(by) == table.by[: len(by)] and all(f.measure.kind in ADDED for f in chosen)
        added = added and set(only or ()) <= set(by or ())
        dimensions = tuple(by or ()) if added else table.by
        columns = [grain.name, *dimensions, *(f.name for f in chosen)]
        values = [f"sum({f.name})" if added else f.name for f in chosen]
        conditions, choices = choices_of(only or {})
        select = (
            f"select {', '.join([grain.name, *dimensions, *values])} from {physical} "
            f"where {bucket.name} = ?{'' if bucket == grain else f' and {grain.name} >= ? and {grain.name} < ?'}"
            f"{conditions}"
        )
        if added:
            select += f" group by {', '.join(dict.fromkeys([bucket.name, grain.name, *dimensions]))}"
        if only:
            select += " allow filtering"  # within one partition

        def run(session: Session) -> list[Row]:
            if since is None or until is None:
                known = session.execute(f"select distinct {bucket.name} from {physical}")
                starts = sorted(from_cql(row[0]) for row in known)
            else:
                starts = list(buckets(grain, since, until))
            ranges = [
                (start, max(start, since or start), min(start + bucket.width, until or start + bucket.width))
                for start in starts
            ]
            if added and len(ranges) < _SPLIT:
                # One thread of Cassandra's adds up what one request asks for.
                ranges = [half for whole in ranges for half in halves(grain, *whole)]
            arguments = [
                (to_cql(bucket.name, start), *(() if bucket == grain else (first, end)), *choice)
                for start, first, end in ranges
                for choice in choices
            ]
            results = execute_concurrent_with_args(
                session, session.prepare(select), arguments, concurrency=_CONCURRENCY, execution_profile=TUPLES
            )
            return list(unpack(columns, {grain.name, *(f.name for f in chosen if f.measure.kind in TIMES)}, results))

        rows = [row for row in self._run(run) if in_range(row[grain.name], since, until) and is_among(row, only)]
        if len(choices) > 1:  # what two of them hold is one row
            rows = list({tuple(row[name] for name in (grain.name, *dimensions)): row for row in rows}.values())
        return rows if added or by is None else combined(rows, table, grain, chosen, by)


def _is_lost(error: Exception) -> bool:
    from cassandra.cluster import NoHostAvailable
    from cassandra.connection import ConnectionException

    return isinstance(error, (NoHostAvailable, ConnectionException))
