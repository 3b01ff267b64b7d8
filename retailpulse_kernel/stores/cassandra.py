"""Cassandra: the serving store of the figures."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from retailpulse_kernel.errors import StoreUnavailable, UsageError
from retailpulse_kernel.metrics import Kind
from retailpulse_kernel.settings import Settings
from retailpulse_kernel.stores.base import Row, batched_rows, buckets
from retailpulse_kernel.tables import GRAINS, FigureTable, Grain

if TYPE_CHECKING:
    import pandas as pd
    from cassandra.cluster import Session
    from cassandra.query import PreparedStatement

__all__ = ["CassandraStore"]

# The driver logs every reconnection attempt with a traceback; our own message says it once.
logging.getLogger("cassandra").setLevel(logging.CRITICAL)

_TYPES = {
    Kind.COUNT: "bigint",
    Kind.SUM: "bigint",
    Kind.MONEY: "decimal",
    Kind.FIRST: "timestamp",
    Kind.LAST: "timestamp",
    Kind.USERS: "blob",
}

#: Rows in one unlogged batch; batches of one partition were measured fastest at this size.
_BATCH_ROWS = 20
#: Requests under way at once.
_CONCURRENCY = 64

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
        self._address = settings.profile.cassandra
        self.keyspace = settings.namespace.keyspace
        self._session: Session | None = None
        self._prepared: dict[str, PreparedStatement] = {}

    # -- connection -------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The driver's session; connects on first use, and again after `close`."""
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _connect(self) -> Session:
        from cassandra.auth import PlainTextAuthProvider
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
        from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy

        address = self._address
        auth = None
        if address.username:
            auth = PlainTextAuthProvider(address.username, address.secret())
        tls = None
        if address.ca_location:
            import ssl

            tls = ssl.create_default_context(cafile=address.ca_location)
        cluster = Cluster(
            list(address.hosts),
            port=address.port,
            auth_provider=auth,
            ssl_context=tls,
            connect_timeout=5,
            reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
            execution_profiles={
                EXEC_PROFILE_DEFAULT: ExecutionProfile(
                    load_balancing_policy=DCAwareRoundRobinPolicy(address.datacenter), request_timeout=20
                )
            },
        )
        try:
            return cluster.connect()
        except Exception as error:
            cluster.shutdown()
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        where = f"{','.join(self._address.hosts)}:{self._address.port}"
        text = str(error)
        if "AuthenticationFailed" in text or "credentials" in text.lower():
            return StoreUnavailable(
                "cassandra",
                f"Cassandra at {where} refuses the user {self._address.username!r}.",
                remedy="Check username and password reference in the profile.",
            )
        return StoreUnavailable(
            "cassandra",
            f"Cassandra at {where} does not answer.",
            remedy="Start it with `retailpulse up cassandra`, or check the profile.",
        )

    def _guarded(self, action: Callable[[], _T]) -> _T:
        """Run a request; a lost connection becomes `StoreUnavailable`, a bad query `UsageError`."""
        from cassandra import InvalidRequest, OperationTimedOut, RequestExecutionException
        from cassandra.cluster import NoHostAvailable
        from cassandra.connection import ConnectionException
        from cassandra.protocol import SyntaxException

        try:
            return action()
        except (InvalidRequest, SyntaxException) as error:
            raise UsageError(f"Cassandra can't run this: {error}") from error
        except (NoHostAvailable, OperationTimedOut, ConnectionException, RequestExecutionException, OSError) as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._session is not None:
            self._session.cluster.shutdown()
        self._session, self._prepared = None, {}

    def ping(self) -> str:
        """Cassandra's version."""
        return self._guarded(
            lambda: self.session.execute("select release_version from system.local").one().release_version
        )

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The tables of the namespace's keyspace."""
        query = "select table_name from system_schema.tables where keyspace_name = %s"
        rows = self._guarded(lambda: self.session.execute(query, (self.keyspace,)).all())
        return sorted(row.table_name for row in rows)

    def query(self, cql: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None) -> pd.DataFrame:
        """Run CQL in the namespace's keyspace.

        Parameters
        ----------
        cql : str
            One statement; parameters are written ``%(name)s``.
        parameters : dict, optional
            Their values, bound by the driver and never pasted into the text.
        limit : int, optional
            At most this many rows.

        Returns
        -------
        pandas.DataFrame
            Decimals stay `decimal.Decimal`, timestamps are UTC. ``.attrs["more"]`` says whether
            rows were cut off by `limit`.

        Raises
        ------
        UsageError
            Cassandra does not accept the statement.
        StoreUnavailable
            Cassandra does not answer.
        """
        import itertools

        import pandas as pd

        def run() -> tuple[list[str], list[tuple[Any, ...]], bool]:
            self.session.set_keyspace(self.keyspace)
            result = self.session.execute(cql, parameters)
            rows = list(result if limit is None else itertools.islice(result, limit + 1))
            cut = limit is not None and len(rows) > limit
            return list(result.column_names or []), rows[:limit], cut

        columns, rows, more = self._guarded(run)
        frame = pd.DataFrame([tuple(row) for row in rows], columns=columns)
        for column in frame.columns:
            if frame[column].map(lambda v: isinstance(v, datetime)).any():
                frame[column] = pd.to_datetime(frame[column], utc=True)
        frame.attrs["more"] = more
        return frame

    # -- figures ----------------------------------------------------------------------------

    def create(self, table: FigureTable) -> None:
        """Make the keyspace and the table of each grain where they are absent."""

        def run() -> None:
            self.session.execute(
                f"create keyspace if not exists {self.keyspace} with replication = "
                f"{{'class': 'NetworkTopologyStrategy', '{self._address.datacenter}': "
                f"{self._address.replication_factor}}}"
            )
            for grain in table.every:
                self.session.execute(self._ddl(table, grain))

        self._guarded(run)

    def drop(self) -> None:
        """Remove the namespace's keyspace with all that it holds."""
        self._guarded(lambda: self.session.execute(f"drop keyspace if exists {self.keyspace}", timeout=60))

    def _ddl(self, table: FigureTable, grain: Grain) -> str:
        bucket = GRAINS[grain.bucket]
        columns = {bucket.name: _time_type(bucket), grain.name: _time_type(grain)}
        columns |= dict.fromkeys(table.by, "text")
        columns |= {figure.name: _TYPES[figure.measure.kind] for figure in table.figures}
        clustering = [c for c in table.key_columns(grain) if c != bucket.name]
        return (
            f"create table if not exists {self.keyspace}.{table.physical(grain)} ("
            + ", ".join(f"{name} {cql_type}" for name, cql_type in columns.items())
            + f", primary key (({bucket.name}), {', '.join(clustering)}))"
        )

    def write(self, table: FigureTable, grain: Grain, rows: Sequence[Row], *, version: int) -> None:
        """Set rows with a write timestamp made of the version, in batches by partition."""
        from cassandra.concurrent import execute_concurrent
        from cassandra.query import BatchStatement, BatchType

        bucket = GRAINS[grain.bucket]
        columns = list(dict.fromkeys([bucket.name, *table.key_columns(grain), *(f.name for f in table.figures)]))
        by_partition: dict[datetime, list[Row]] = defaultdict(list)
        for row in rows:
            by_partition[bucket.start(row[grain.name])].append(row)

        def batches() -> list[tuple[BatchStatement, None]]:
            insert = self._prepare(
                f"insert into {self.keyspace}.{table.physical(grain)} ({', '.join(columns)}) "
                f"values ({', '.join('?' * len(columns))}) using timestamp ?"
            )
            statements = []
            for start, members in by_partition.items():
                for chunk in batched_rows(members, _BATCH_ROWS):
                    batch = BatchStatement(BatchType.UNLOGGED)
                    batch.is_idempotent = True
                    for row in chunk:
                        values = {**row, bucket.name: start}
                        batch.add(
                            insert, [_to_cql(c, values[c], grain, bucket) for c in columns] + [version * 1000]
                        )
                    statements.append((batch, None))
            return statements

        self._guarded(lambda: execute_concurrent(self.session, batches(), concurrency=_CONCURRENCY))

    def read(
        self, table: FigureTable, grain: Grain, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[Row]:
        """Rows whose window starts in ``[since, until)``, one request a partition."""
        from cassandra.concurrent import execute_concurrent_with_args

        bucket = GRAINS[grain.bucket]
        physical = f"{self.keyspace}.{table.physical(grain)}"
        columns = [*table.key_columns(grain), *(f.name for f in table.figures)]
        select = f"select {', '.join(columns)} from {physical} where {bucket.name} = ?"

        def run() -> list[Row]:
            if since is None or until is None:
                known = self.session.execute(f"select distinct {bucket.name} from {physical}")
                starts = sorted(_from_cql(row[0]) for row in known)
            else:
                starts = list(buckets(grain, since, until))
            arguments = [(_to_cql(bucket.name, start, bucket, bucket),) for start in starts]
            statement = self._prepare(select)
            results = execute_concurrent_with_args(self.session, statement, arguments, concurrency=_CONCURRENCY)
            return [
                {column: _from_cql(value) for column, value in zip(columns, row, strict=True)}
                for _, found in results
                for row in found
            ]

        return [
            row
            for row in self._guarded(run)
            if (since is None or row[grain.name] >= since) and (until is None or row[grain.name] < until)
        ]

    def _prepare(self, cql: str) -> PreparedStatement:
        if cql not in self._prepared:
            statement = self.session.prepare(cql)
            statement.is_idempotent = True
            self._prepared[cql] = statement
        return self._prepared[cql]


def _time_type(grain: Grain) -> str:
    return "date" if grain.name == "day" else "timestamp"


def _to_cql(column: str, value: Any, grain: Grain, bucket: Grain) -> Any:
    if isinstance(value, datetime) and column == "day" and "day" in (grain.name, bucket.name):
        return value.astimezone(UTC).date()
    return value


def _from_cql(value: Any) -> Any:
    from cassandra.util import Date

    if isinstance(value, Date):
        value = value.date()
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value
