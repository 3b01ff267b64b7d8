"""Cassandra: the serving store of the figures."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from retailpulse_kernel.ground.errors import NoSuchTable, UsageError
from retailpulse_kernel.ground.retrying import Patience
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.base import FigureStore
from retailpulse_kernel.stores.binding import bound, one_statement, places_of, with_literals
from retailpulse_kernel.stores.cassandra.batches import CONCURRENCY, run_in_batches
from retailpulse_kernel.stores.cassandra.connection import TUPLES, connect, explained, said
from retailpulse_kernel.stores.cassandra.parameters import require_fitting
from retailpulse_kernel.stores.cassandra.rows import (
    choices_of,
    columns_of,
    ddl,
    figure_column,
    from_cql,
    halves,
    keyspace_ddl,
    plain,
    times_of,
    to_cql,
    unpack,
)
from retailpulse_kernel.stores.cassandra.selection import CassandraSelection
from retailpulse_kernel.stores.confinement import require_own, require_own_statement
from retailpulse_kernel.stores.connection import Reconnecting
from retailpulse_kernel.stores.figure_rows import Only, Rows, buckets, combined, in_range, is_among, plain_rows
from retailpulse_kernel.stores.frames import ColumnKind, cut, one_of, to_frame
from retailpulse_kernel.stores.statements import StatementStore

if TYPE_CHECKING:
    import pandas as pd
    from cassandra.cluster import ResultSet, Session

__all__ = ["CassandraStore"]

_COLUMN_KINDS: dict[str, ColumnKind] = {
    "TimestampType": "time",
    "DateType": "time",
    "SimpleDateType": "date",
    "UTF8Type": "text",
    "VarcharType": "text",
    "AsciiType": "text",
    "LongType": "integer",
    "Int32Type": "integer",
    "ShortType": "integer",
    "ByteType": "integer",
    "CounterColumnType": "integer",
    "BooleanType": "boolean",
    "DoubleType": "float",
    "FloatType": "float",
}

#: A node that is busy has as long as one request and a half.
_PATIENCE = Patience(seconds=30.0)
#: So few partitions are added up in two requests each.
_SPLIT = 4
#: A row's write timestamp, beside its columns.
_WRITTEN = "writetime"
_T = TypeVar("_T")


class CassandraStore(CassandraSelection, StatementStore, FigureStore):
    """Cassandra, connected when it is first used.

    Parameters
    ----------
    settings : Settings
        Its profile has the contact points, its namespace the keyspace.
    """

    name = "cassandra"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
            return _PATIENCE.ask("Cassandra", lambda: self._connection.run(request))
        except (RequestValidationException, SyntaxException) as error:
            if re.search("unconfigured table|(table|[Kk]eyspace) .* does not exist|No keyspace has been", str(error)):
                absent = f"there is no keyspace {self.keyspace!r} yet"
                raise NoSuchTable(
                    f"Cassandra can't run this: {absent if 'No keyspace has been' in str(error) else said(error)}.",
                    remedy="`rp.cassandra.tables()` lists what is there; a job makes its tables when it first runs.",
                ) from error
            raise UsageError(
                f"Cassandra can't run this: {said(error)}.",
                remedy="`rp.cassandra.columns()` shows the tables' columns and keys.",
            ) from error
        except (NoHostAvailable, ConnectionException, DriverException, OSError) as error:
            if "Failed decoding result column" in str(error):
                raise UsageError(
                    f"Cassandra's answer has a value that Python can't hold: {error}.",
                    remedy="Select it as text: `cast(column as text)`.",
                ) from error
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

    def columns(self, table: str | None = None) -> dict[str, list[str]]:
        """The columns of each table of the namespace's keyspace, those of the key first; or of one table.

        Parameters
        ----------
        table : str, optional
            A stored table's name; all tables when absent.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        query = "select table_name, column_name, kind, position from system_schema.columns where keyspace_name = %s"
        rows = self._run(lambda session: session.execute(query, (self.keyspace,)).all())
        places = {"partition_key": 0, "clustering": 1}
        found: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda r: (r.table_name, places.get(r.kind, 2), r.position, r.column_name)):
            found.setdefault(row.table_name, []).append(row.column_name)
        return found if table is None else one_of(found, table, "Cassandra table")

    def _found(
        self, statement: str, parameters: Mapping[str, Any] | None, limit: int | None, count_for: float
    ) -> pd.DataFrame:
        def run(session: Session) -> Any:
            result = self._execute(session, statement, parameters)
            rows, attributes = cut(result, limit, count_for=count_for)
            kinds = {
                place: _COLUMN_KINDS[column_type.__name__]
                for place, column_type in enumerate(result.column_types or [])
                if column_type.__name__ in _COLUMN_KINDS
            }
            values = ([plain(value) for value in row] for row in rows)
            return to_frame(result.column_names or [], values, kinds, **attributes)

        return self._run(run)

    def trace(self, cql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Run CQL and tell what Cassandra did for it: a step a row, with its source and microseconds.

        CQL has no EXPLAIN: the statement is really run, and its rows are left aside.

        Parameters
        ----------
        cql : str
            One statement, with ``:name`` for each parameter.
        parameters : mapping of str to object, optional
            The values by name.

        Raises
        ------
        UsageError
            Cassandra refuses the statement, or a parameter has no value.
        StoreUnavailable
            Cassandra can't be reached.
        """

        def run(session: Session) -> Any:
            trace = self._execute(session, cql, parameters, trace=True).get_query_trace(max_wait_sec=5)
            events = (
                (e.description, str(e.source), e.source_elapsed // timedelta(microseconds=1)) for e in trace.events
            )
            kinds: dict[int, ColumnKind] = {0: "text", 1: "text", 2: "integer"}
            return to_frame(["step", "source", "microseconds"], events, kinds, total=len(trace.events))

        return self._run(run)

    def _execute(
        self, session: Session, cql: str, parameters: Mapping[str, Any] | None, *, trace: bool = False
    ) -> ResultSet:
        from cassandra import InvalidRequest

        cql = one_statement(cql, "cql")
        require_own_statement(self._settings, cql, "cql")
        try:
            session.set_keyspace(self.keyspace)
        except InvalidRequest as error:
            # A job makes it when it first runs; what names no table, or another keyspace, needs none.
            if "does not exist" not in str(error):
                raise
        values = bound(cql, parameters, "cql")
        if not values:
            return session.execute(cql, trace=trace)
        try:
            # By place: a name would be matched in lower case, and stay without a value where it is none.
            marked = with_literals(cql, dict.fromkeys(values, "?"), "cql", str)
            prepared, names = session.prepare(marked), places_of(cql, "cql")
            for name, column in zip(names, prepared.column_metadata, strict=True):
                require_fitting(name, column.type, values[name])
            statement = prepared.bind([values[name] for name in names])
        except (AttributeError, TypeError, ValueError, struct.error) as error:
            raise UsageError(
                f"The parameters do not fit the statement: {error}.",
                remedy="A column of dates takes a date, one of decimals a decimal.Decimal, one of text a str.",
            ) from error
        return session.execute(statement, trace=trace)

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the keyspace and the table of each grain where they are absent, and columns of new figures.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Cassandra can't be reached.
        """
        require_own(self._settings, f"Making the Cassandra table {table.name!r}")

        def run(session: Session) -> None:
            session.execute(keyspace_ddl(self._settings))
            for grain in table.every:
                session.execute(ddl(self.keyspace, table, grain))
                there = session.execute(
                    "select column_name from system_schema.columns where keyspace_name = %s and table_name = %s",
                    (self.keyspace, table.physical(grain)),
                )
                known = {row.column_name for row in there}
                for figure in (figure for figure in table.figures if figure.name not in known):
                    name, column = table.physical(grain), figure_column(figure)
                    session.execute(f"alter table {self.keyspace}.{name} add if not exists {column}")

        self._run(run)

    def remove(self, table: FigureTable) -> None:
        """Remove the table of each grain with all that it holds.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            Cassandra can't be reached.
        """
        require_own(self._settings, f"Removing the Cassandra table {table.name!r}")

        def run(session: Session) -> None:
            for grain in table.every:
                session.execute(f"drop table if exists {self.keyspace}.{table.physical(grain)}", timeout=60)

        self._run(run)

    def drop(self) -> None:
        """Remove the namespace's keyspace with all that it holds."""
        require_own(self._settings, f"Removing the keyspace {self.keyspace!r}")
        self._run(lambda session: session.execute(f"drop keyspace if exists {self.keyspace}", timeout=60))

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Set rows with a write timestamp made of the version, in batches by partition.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        rows : Rows
            Each has the window's start, all dimensions and all figures.
        version : int
            Of two writes of a key the one with the higher version stays, in milliseconds.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """
        columns = columns_of(table, grain)
        insert = (
            f"insert into {self.keyspace}.{table.physical(grain)} ({', '.join(columns)}) "
            f"values ({', '.join('?' * len(columns))}) using timestamp ?"
        )
        calendar = grain.bucket.calendar
        self._apply(
            insert, grain, rows, lambda values: [*(to_cql(c, values[c], calendar) for c in columns), version * 1000]
        )

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
        calendar = grain.bucket.calendar
        self._apply(
            delete, grain, rows, lambda values: [version * 1000, *(to_cql(c, values[c], calendar) for c in columns)]
        )

    def _apply(self, cql: str, grain: Grain, rows: Rows, arguments: Callable[[Row], list[Any]]) -> None:
        """Run a statement for each row, in batches by partition."""
        require_own(self._settings, "Writing a Cassandra table")
        bucket = grain.bucket
        by_partition: dict[datetime, list[Row]] = defaultdict(list)
        for row in plain_rows(rows):
            by_partition[bucket.start(row[grain.name])].append(row)

        def run(session: Session) -> None:
            partitions = (
                [arguments({**row, bucket.name: start}) for row in members] for start, members in by_partition.items()
            )
            run_in_batches(session, cql, partitions)

        self._run(run)

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
        """Rows whose window starts in ``[since, until)``, one request a partition, all at the same time.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        since, until : datetime, optional
            The range of window starts, without its end; None is not a bound.
        figures : sequence of Figure, optional
            Some of the table's; all when absent.
        by : sequence of str, optional
            The dimensions to keep; all of the table's when absent.
        only : Only, optional
            The values that are wanted of some dimensions; of a dot path also what is below it. None is any.

        Raises
        ------
        NoSuchTable
            The stored table is absent.
        """
        from cassandra.concurrent import execute_concurrent_with_args

        bucket = grain.bucket
        physical = f"{self.keyspace}.{table.physical(grain)}"
        chosen = table.figures if figures is None else tuple(figures)
        # Cassandra adds up what shares the first columns of the key; what it can't is combined here.
        added = by is not None and tuple(by) == table.by[: len(by)] and all(f.rules.is_added for f in chosen)
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
                starts = sorted(from_cql(row[0], bucket.calendar) for row in known)
            else:
                starts = list(buckets(grain, since, until))
            ranges = [
                (start, max(start, since or start), min(bucket.end(start), until or bucket.end(start)))
                for start in starts
            ]
            if added and len(ranges) < _SPLIT:
                # One thread of Cassandra's adds up what one request asks for.
                ranges = [half for whole in ranges for half in halves(grain, *whole)]
            arguments = [
                (to_cql(bucket.name, start, bucket.calendar), *(() if bucket == grain else (first, end)), *choice)
                for start, first, end in ranges
                for choice in choices
            ]
            results = execute_concurrent_with_args(
                session, session.prepare(select), arguments, concurrency=CONCURRENCY, execution_profile=TUPLES
            )
            return list(unpack(columns, times_of(grain, chosen), results, bucket.calendar))

        rows = [row for row in self._run(run) if in_range(row[grain.name], since, until) and is_among(row, only)]
        if len(choices) > 1:  # what two of them hold is one row
            rows = list({tuple(row[name] for name in (grain.name, *dimensions)): row for row in rows}.values())
        return rows if added or by is None else combined(rows, table, grain, chosen, by)

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        """Rows with what `write` made their write timestamp of, one request a partition, all at the same time."""
        from cassandra.concurrent import execute_concurrent_with_args

        bucket = grain.bucket
        columns = [grain.name, *table.by, *(figure.name for figure in figures)]
        select = (
            f"select {', '.join(columns)}, writetime({figures[0].name}) from {self.keyspace}.{table.physical(grain)} "
            f"where {bucket.name} = ?{'' if bucket == grain else f' and {grain.name} >= ? and {grain.name} < ?'}"
        )
        arguments = [
            (to_cql(bucket.name, start, bucket.calendar), *(() if bucket == grain else (since, until)))
            for start in buckets(grain, since, until)
        ]

        def run(session: Session) -> list[Row]:
            results = execute_concurrent_with_args(
                session, session.prepare(select), arguments, concurrency=CONCURRENCY, execution_profile=TUPLES
            )
            times = times_of(grain, figures)
            return list(unpack([*columns, _WRITTEN], times, results, bucket.calendar))

        rows = (row for row in self._run(run) if in_range(row[grain.name], since, until))
        return [(row, (row.pop(_WRITTEN) or 0) // 1000) for row in rows]

    def expire(self, table: FigureTable, grain: Grain, span: timedelta) -> list[str]:
        """Give rows a time to live, from when they are written.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table; nothing is done where it is absent.
        span : timedelta
            From when a row is written, in whole seconds.
        """
        name = table.physical(grain)
        if name not in self.tables():
            return []
        self.query(f"alter table {name} with default_time_to_live = {int(span.total_seconds())}")
        return [name]


def _is_lost(error: Exception) -> bool:
    from cassandra.cluster import NoHostAvailable
    from cassandra.connection import ConnectionException

    return isinstance(error, (NoHostAvailable, ConnectionException))
