"""Hive: the archive of every event, in Parquet, read with HiveQL."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

from retailpulse_kernel.errors import JobError, StoreUnavailable, UsageError
from retailpulse_kernel.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from pyhive.hive import Connection
    from pyspark.sql import DataFrame

__all__ = ["ARCHIVE_COLUMNS", "HiveStore"]

#: The archive's columns, in Hive's types, and where it is partitioned.
ARCHIVE_COLUMNS = {
    "event_id": "string",
    "event_type": "string",
    "event_time": "timestamp",
    "user_id": "string",
    "session_id": "string",
    "product_id": "string",
    "category": "string",
    "brand": "string",
    "price": "decimal(18,4)",
    "quantity": "int",
    "currency": "string",
    "order_id": "string",
    "order_line": "int",
    "late": "boolean",
    "kafka_partition": "int",
    "kafka_offset": "bigint",
    "arrival": "timestamp",
    "raw": "string",
}

_T = TypeVar("_T")


class HiveStore:
    """Hive, connected when it is first used.

    The archive is the external table ``events``, partitioned by (dt, hour). The files of a
    micro-batch carry its epoch and number in their names; they are written aside, moved in, and
    replace those of the same batch, so that a replayed batch leaves each row once.

    Parameters
    ----------
    settings : Settings
        Its profile has HiveServer2's address and the warehouse, its namespace the database.
    """

    name = "hive"
    table = "events"

    def __init__(self, settings: Settings) -> None:
        self._address = settings.profile.hive
        self.database = settings.namespace.database
        self._location = f"{settings.warehouse}/{self.database}.db/{self.table}"
        self._connection: Connection | None = None
        self._partitions: set[str] = set()

    # -- connection -------------------------------------------------------------------------

    def _connect(self) -> Connection:
        from pyhive import hive

        address = self._address
        return hive.connect(
            host=address.host,
            port=address.port,
            auth=address.auth,
            username=address.username or "retailpulse",
            password=address.secret() if address.auth in ("LDAP", "CUSTOM") else None,
        )

    def _guarded(self, action: Callable[[Connection], _T]) -> _T:
        """Run a request; once more on a new connection when the old one was lost."""
        from pyhive.exc import OperationalError
        from thrift.transport.TTransport import TTransportException

        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return action(self._connection)
            except OperationalError as error:
                status = getattr(error.args[0], "status", None) if error.args else None
                message = getattr(status, "errorMessage", None) or str(error)
                if "Invalid SessionHandle" in message and attempt == 1:
                    self.close()  # the server was restarted
                    continue
                raise UsageError(f"Hive can't run this: {message.splitlines()[0]}") from error
            except (TTransportException, OSError) as error:
                self.close()
                if attempt == 2:
                    raise StoreUnavailable(
                        "hive",
                        f"HiveServer2 at {self._address.host}:{self._address.port} does not answer ({error}).",
                        remedy="Start it with `retailpulse up hiveserver2`, or check the profile.",
                    ) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._connection is not None:
            try:
                self._connection.close()
            except Exception:  # a broken connection can't always be closed in order
                pass
        self._connection = None

    def ping(self) -> str:
        """Hive's version."""
        return str(self._fetch("select version()", None)[1][0][0]).split()[0]

    def _fetch(
        self, sql: str, parameters: dict[str, Any] | None, limit: int | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        def run(connection: Connection) -> tuple[list[str], list[tuple[Any, ...]]]:
            cursor = connection.cursor()
            cursor.arraysize = 10_000
            cursor.execute(sql, parameters)
            if cursor.description is None:
                return [], []
            rows = list(itertools.islice(cursor, limit + 1 if limit is not None else None))
            return [column[0].split(".")[-1] for column in cursor.description], rows

        return self._guarded(run)

    def _run(self, statement: str) -> None:
        self._guarded(lambda connection: connection.cursor().execute(statement))

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The tables of the namespace's database."""
        return sorted(row[0] for row in self._fetch(f"show tables in `{self.database}`", None)[1])

    def query(self, sql: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None) -> pd.DataFrame:
        """Run HiveQL in the namespace's database.

        Parameters
        ----------
        sql : str
            One statement; parameters are written ``%(name)s``.
        parameters : dict, optional
            Their values, quoted by the client.
        limit : int, optional
            At most this many rows; ``.attrs["more"]`` says whether others were cut off.

        Raises
        ------
        UsageError
            Hive does not accept the statement.
        StoreUnavailable
            HiveServer2 does not answer.
        """
        import pandas as pd

        self._run(f"use `{self.database}`")
        columns, rows = self._fetch(sql, parameters, limit)
        frame = pd.DataFrame(rows[:limit], columns=columns)
        for column in ("event_time", "arrival"):
            if column in frame:
                frame[column] = pd.to_datetime(frame[column], utc=True)
        frame.attrs["more"] = limit is not None and len(rows) > limit
        return frame

    # -- archive ----------------------------------------------------------------------------

    @property
    def location(self) -> Path:
        """The archive's folder."""
        parsed = urlparse(self._location)
        if parsed.scheme not in ("", "file"):
            raise JobError(
                f"The archive at {self._location} is not on a file system that this machine mounts.",
                remedy="Set hive.warehouse in the profile to a mounted folder.",
            )
        return Path(parsed.path)

    def create(self) -> None:
        """Make the database and the archive's table where they are absent."""
        self.location.mkdir(parents=True, exist_ok=True)
        columns = ", ".join(f"`{name}` {hive_type}" for name, hive_type in ARCHIVE_COLUMNS.items())
        self._run(f"create database if not exists `{self.database}`")
        self._run(
            f"create external table if not exists `{self.database}`.`{self.table}` ({columns}) "
            f"partitioned by (`dt` string, `hour` int) stored as parquet location '{self.location.as_uri()}'"
        )

    def drop(self) -> None:
        """Remove the namespace's database and the archive's files."""
        self._run(f"drop database if exists `{self.database}` cascade")
        self._partitions.clear()
        shutil.rmtree(self.location.parent, ignore_errors=True)  # an external table leaves its files

    def write_batch(self, rows: DataFrame, *, epoch: int, batch: int) -> None:
        """Put a micro-batch's rows into the archive, in place of those it wrote before.

        Parameters
        ----------
        rows : DataFrame
            The columns `ARCHIVE_COLUMNS`, dt and hour.
        epoch, batch : int
            Which batch; part of the files' names.
        """
        prefix = f"e{epoch:04d}-b{batch:09d}-"
        # Hive and Spark skip folders that start with '_' or '.'.
        staging = self.location / f"_staging-{prefix}"
        shutil.rmtree(staging, ignore_errors=True)
        rows.write.partitionBy("dt", "hour").parquet(staging.as_uri())
        for stale in self.location.glob(f"dt=*/hour=*/{prefix}*.parquet"):
            stale.unlink()
        partitions = set()
        for number, part in enumerate(sorted(staging.glob("dt=*/hour=*/*.parquet"))):
            partition = part.parent.relative_to(staging)
            target = self.location / partition
            target.mkdir(parents=True, exist_ok=True)
            part.rename(target / f"{prefix}{number:03d}.parquet")
            partitions.add(str(partition))
        self._add_partitions(partitions)
        shutil.rmtree(staging)

    def _add_partitions(self, partitions: set[str]) -> None:
        """Tell the Metastore of partitions that it may not know yet."""
        new = sorted(partitions - self._partitions)
        if not new:
            return
        specs = []
        for partition in new:
            day, hour = (part.split("=", 1)[1] for part in partition.split("/"))
            specs.append(f"partition (dt='{day}', hour={int(hour)})")
        self._run(f"alter table `{self.database}`.`{self.table}` add if not exists {' '.join(specs)}")
        self._partitions |= set(new)
