"""Spark: SQL over Hive's tables and whatever a notebook registers, on the Connect server or in this process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from retailpulse_kernel.ground.errors import NoSuchTable, StoreUnavailable, UsageError
from retailpulse_kernel.ground.notes import note
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.stores.binding import bound, one_statement, with_literals
from retailpulse_kernel.stores.connection import Address, why_unreachable
from retailpulse_kernel.stores.frames import ColumnKind, cut, to_frame
from retailpulse_kernel.stores.statements import StatementStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["SparkStore"]

_T = TypeVar("_T")
#: The profile whose Spark runs in this process.
_started_for: list[str] = []
_MISSING = ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND")


class SparkStore(StatementStore):
    """SQL in a session of the profile's Connect server, or where it has none, in one of this process.

    Parameters
    ----------
    settings : Settings
        Its profile has the Connect server, the master and Hive's Metastore, its namespace the database.
    """

    name = "spark"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.database = settings.namespace.database

    # -- session ----------------------------------------------------------------------------

    @property
    def session(self) -> SparkSession:
        """The session, with Hive's tables in its catalog, for which `pyspark.sql.functions` are from now on.

        Raises
        ------
        StoreUnavailable
            The Connect server, or the profile's master, does not answer.
        """
        return self.shared() or self._own()

    def shared(self) -> SparkSession | None:
        """The session on the Connect server, for which `pyspark.sql.functions` are from now on; None without one."""
        from retailpulse_kernel.stores.spark.session import use_functions_of

        session = self._connected()
        if session is not None:
            use_functions_of(connect=True)
        return session

    def _connected(self) -> Any:
        """The session on the Connect server; None where there is none, and for a notebook that is being tried.

        The operating system confines a trial's own processes, and the server is not one of them.
        """
        if not self._settings.profile.spark.remote or self._settings.confined_to:
            return None
        from retailpulse_kernel.stores.spark.connect import connect_session

        return connect_session(self._settings)

    def _own(self) -> SparkSession:
        """The session of this process, which starts, with a note, when it is first used."""
        from retailpulse_kernel.stores.spark.session import spark_session, use_functions_of

        use_functions_of(connect=False)
        died = _forget_a_dead_one()
        name = f"retailpulse {self._settings.namespace.name}"
        profile = self._settings.profile_name
        if _active() is not None:
            if _started_for and _started_for[-1] != profile:
                raise UsageError(
                    f"Spark runs for the profile {_started_for[-1]!r} in this notebook, and a process has one Spark.",
                    remedy=f"Restart the kernel, and use the profile {profile!r} first.",
                )
            return spark_session(self._settings, name, hive=True)
        self._require("Spark's master", _masters(self._settings.profile.spark.master), "[spark] master")
        started = time.monotonic()
        why = (
            "its Java process has ended, and views that were registered are gone" if died else "once for this notebook"
        )
        with note(f"Spark is starting, {why}; it takes about 10 s …") as say:
            session = spark_session(self._settings, name, hive=True)
            say(f"Spark {session.version} is ready ({time.monotonic() - started:.0f} s).")
        _started_for[:] = [profile]
        return session

    def ping(self) -> str:
        """Spark's version."""
        return self._run(lambda session: f"{session.version}, {len(session.sql('show databases').collect())} databases")

    def close(self) -> None:
        """Nothing: the session is the process's, and other cells use it."""

    def _run(self, request: Callable[[SparkSession], _T]) -> _T:
        """Run a request; a lost server becomes `StoreUnavailable`, a bad statement `UsageError`."""
        from py4j.protocol import Py4JError, Py4JNetworkError
        from pyspark.errors import PySparkException

        # Spark's client of the Metastore tries for half a minute, and ends in a page of Java.
        places = [urlsplit(place) for place in self._settings.profile.hive.metastore.split(",")]
        metastores = [(place.hostname or "", place.port or 9083) for place in places]
        self._require("Hive's Metastore", metastores, "[hive] metastore")
        try:
            session = self._connected()
            if session is None:
                session = self._own()
                self._use_database(session)
            return request(session)
        except PySparkException as error:
            raise self._explained(error) from error
        except (Py4JError, ConnectionError, EOFError) as error:
            if not _forget_a_dead_one(wait=1.0) and not isinstance(error, Py4JNetworkError):
                said = str(error).splitlines()[0]
                raise StoreUnavailable("spark", f"Spark failed: {said}.", remedy="`%tb` shows all it said.") from error
            raise StoreUnavailable(
                "spark",
                "Spark's Java process has ended: it was killed, or this machine ran out of memory.",
                remedy="Run the cell again, which starts a new one; views that were registered are gone.",
            ) from error

    def _use_database(self, session: SparkSession) -> None:
        if session.conf.get("spark.sql.catalogImplementation") == "hive":
            with contextlib.suppress(Exception):  # a namespace without an archive has no database yet
                session.catalog.setCurrentDatabase(self.database)

    def _explained(self, error: Any) -> Exception:
        said = (error.getMessage() if hasattr(error, "getMessage") else None) or str(error)
        first = said.strip().splitlines()[0].rstrip(".")
        condition = error.getCondition() if hasattr(error, "getCondition") else ""
        if condition and condition.startswith(_MISSING):
            active = None if self._settings.profile.spark.remote else _active()
            if active is not None and active.conf.get("spark.sql.catalogImplementation") != "hive":
                remedy = (
                    "A job started Spark here, without Hive's tables: restart the kernel, and use `rp.spark` first."
                )
            else:
                remedy = "`rp.hive.tables()` lists Hive's tables; the job that archives makes them when it first runs."
            return NoSuchTable(f"Spark can't run this: {first}.", remedy=remedy)
        if "MetaException" in said or "TTransportException" in said:
            return StoreUnavailable(
                "spark", f"Hive's Metastore does not answer Spark: {first}.", remedy="See `retailpulse status`."
            )
        return UsageError(f"Spark can't run this: {first}.", remedy="`rp.hive.columns()` shows the tables' columns.")

    def _require(self, server: str, addresses: list[Address], setting: str) -> None:
        why = why_unreachable(addresses) if addresses else None
        if why is None:
            return
        where = ",".join(f"{host}:{port}" for host, port in addresses)
        local = self._settings.profile.name == "local"
        remedy = "Start it with `retailpulse up hive-metastore`." if local else f"Check {setting} in the profile."
        raise StoreUnavailable("spark", f"{server} at {where} does not answer Spark: {why}.", remedy=remedy)

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The tables and views that a statement may name without a database."""
        return sorted(self._run(lambda session: [table.name for table in session.catalog.listTables()]))

    def _found(
        self, statement: str, parameters: Mapping[str, Any] | None, limit: int | None, count_for: float
    ) -> pd.DataFrame:
        def run(session: SparkSession) -> Any:
            frame = self._statement(session, statement, parameters)
            found = (frame if limit is None else frame.limit(limit + 1)).toArrow()
            rows, attributes = cut(zip(*map(_values, found.column_names, found.columns), strict=True), limit)
            attributes["total"] = None if attributes["more"] else len(rows)
            return to_frame(found.column_names, rows, _kinds(found.schema), **attributes)

        return self._run(run)

    def explain(self, sql: str, parameters: Mapping[str, Any] | None = None) -> str:
        """The plan by which Spark would run a statement; nothing runs.

        Parameters
        ----------
        sql : str
            One statement, with ``:name`` for each parameter.
        parameters : mapping of str to object, optional
            The values by name.

        Raises
        ------
        UsageError
            Spark can't run the statement, or a parameter has no value.
        StoreUnavailable
            Spark does not answer.
        """

        def run(session: SparkSession) -> str:
            return str(self._statement(session, f"explain formatted {sql.strip()}", parameters).collect()[0][0])

        return self._run(run)

    def _statement(self, session: SparkSession, sql: str, parameters: Mapping[str, Any] | None) -> DataFrame:
        text = one_statement(sql, "spark")
        values: dict[str, Any] = {}
        given = bound(text, parameters, "spark")
        for name, value in given.items():
            # `in :names` wants each of a list's values by itself.
            parts = value if isinstance(value, list) else [value]
            values |= {_part(name, place, value): _typed(part) for place, part in enumerate(parts)}
        marks = {
            name: f"({', '.join(f':{_part(name, place, value)}' for place in range(len(value)))})"
            if isinstance(value, list)
            else f":{name}"
            for name, value in given.items()
        }
        return session.sql(with_literals(text, marks, "spark", str), args=values or None)


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except (OverflowError, ValueError) as error:  # the year 10,000, which Python lacks
        raise UsageError(
            f"Spark's answer has a value that Python can't hold: {name!r}, {error}.",
            remedy=f"Select it as text: `cast({name} as string)`.",
        ) from error


def _part(name: str, place: int, value: Any) -> str:
    return f"{name}__{place}" if isinstance(value, list) else name


def _active() -> SparkSession | None:
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession()


def _forget_a_dead_one(wait: float = 0) -> bool:
    """Let go of a session whose Java process has ended, so that the next one can start; whether there was one."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    from retailpulse_kernel.stores.spark.session import java_has_ended

    context, gateway = SparkContext._active_spark_context, SparkContext._gateway
    if gateway is None or not java_has_ended(wait):
        return False
    with contextlib.suppress(Exception):
        gateway.shutdown()
    if context is not None:
        context._jsc = None
    SparkContext._active_spark_context = SparkContext._gateway = SparkContext._jvm = None
    SparkSession._instantiatedSession = None
    return True


def _masters(master: str) -> list[Address]:
    """Where a standalone cluster's masters listen; nothing to ask for a local or a YARN one."""
    if not master.startswith("spark://"):
        return []
    places = (urlsplit(f"//{place}") for place in master.removeprefix("spark://").split(","))
    return [(place.hostname or "", place.port or 7077) for place in places]


def _typed(value: Any) -> Any:
    """A value as Spark's client takes it: a UUID as its text, a whole number of more than 64 bits as a decimal.

    A time without a zone is UTC here as everywhere; the client would take it for this machine's.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        if abs(value) >= 10**38:
            raise UsageError("Spark's decimals have at most 38 digits.", remedy="Bind the number as text.")
        return Decimal(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _kinds(schema: pa.Schema) -> dict[int, ColumnKind]:
    import pyarrow as pa

    kinds: dict[int, ColumnKind] = {}
    for place, field in enumerate(schema):
        if pa.types.is_timestamp(field.type):
            kinds[place] = "time"
        elif pa.types.is_date(field.type):
            kinds[place] = "date"
        elif pa.types.is_string(field.type):
            kinds[place] = "text"
        elif pa.types.is_integer(field.type):
            kinds[place] = "integer"
        elif pa.types.is_boolean(field.type):
            kinds[place] = "boolean"
        elif pa.types.is_floating(field.type):
            kinds[place] = "float"
    return kinds
