"""Hive: the archive of every event, in Parquet, read with HiveQL."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

from retailpulse_kernel.ground.errors import JobError, NoSuchTable, UsageError
from retailpulse_kernel.ground.extras import require_extra
from retailpulse_kernel.ground.settings import Settings
from retailpulse_kernel.ground.spans import range_of
from retailpulse_kernel.shop.contract.loading import contract_of
from retailpulse_kernel.shop.contract.model import Contract
from retailpulse_kernel.stores.binding import bound, hive_literal, one_statement, with_literals
from retailpulse_kernel.stores.confinement import require_own, require_own_statement
from retailpulse_kernel.stores.connection import Reconnecting
from retailpulse_kernel.stores.figure_rows import Only
from retailpulse_kernel.stores.frames import ColumnKind, Form, cut, from_arrow, one_of, shaped, to_frame
from retailpulse_kernel.stores.hive.archive import (
    ARCHIVE_COLUMNS,
    Archive,
    Staged,
    archive_columns,
    arrow_schema,
)
from retailpulse_kernel.stores.hive.compaction import Compaction, compact, recover, retire
from retailpulse_kernel.stores.hive.connection import connect, explained
from retailpulse_kernel.stores.hive.tables import HiveRows
from retailpulse_kernel.stores.statements import StatementStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyhive.hive import Connection
    from pyspark.sql import DataFrame

__all__ = ["ARCHIVE_COLUMNS", "HiveStore"]

_COLUMN_KINDS: dict[str, ColumnKind] = {
    "TIMESTAMP_TYPE": "time",
    "TIMESTAMPLOCALTZ_TYPE": "time",
    "DATE_TYPE": "date",
    "STRING_TYPE": "text",
    "VARCHAR_TYPE": "text",
    "CHAR_TYPE": "text",
    "BIGINT_TYPE": "integer",
    "INT_TYPE": "integer",
    "SMALLINT_TYPE": "integer",
    "TINYINT_TYPE": "integer",
    "BOOLEAN_TYPE": "boolean",
    "DOUBLE_TYPE": "float",
    "FLOAT_TYPE": "float",
}

# Thrift logs a refused connection with a traceback; our own message says it once.
logging.getLogger("thrift").setLevel(logging.CRITICAL)

_T = TypeVar("_T")


class HiveStore(HiveRows, StatementStore):
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
        self._settings = settings
        self.database = settings.namespace.database
        self._location = f"{settings.warehouse}/{self.database}.db/{self.table}"
        self._connection = Reconnecting(lambda: connect(settings), close=lambda hive: hive.close(), is_lost=_is_lost)
        self._partitions: set[str] = set()

    # -- connection -------------------------------------------------------------------------

    def _run(self, request: Callable[[Connection], _T]) -> _T:
        """Run a request; a lost connection becomes `StoreUnavailable`, a bad statement `UsageError`."""
        require_extra("hive")

        from pyhive.exc import OperationalError
        from thrift.transport.TTransport import TTransportException

        try:
            return self._connection.run(request)
        except OperationalError as error:
            said = _said(error)
            if "Table not found" in said or "Database does not exist" in said:
                raise NoSuchTable(
                    f"Hive can't run this: {said}.",
                    remedy="`rp.hive.tables()` lists the tables; the job that archives makes them when it first runs.",
                ) from error
            raise UsageError(
                f"Hive can't run this: {said}.", remedy="`rp.hive.columns()` shows the tables' columns."
            ) from error
        except (TTransportException, OSError, EOFError) as error:
            raise explained(self._settings, error) from error

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        self._connection.close()

    def ping(self) -> str:
        """Hive's version."""
        return str(self._rows("select version()")[0][0]).split()[0]

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        require_own_statement(self._settings, statement, "hive")

        def run(hive: Connection) -> list[tuple[Any, ...]]:
            cursor = hive.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

        return self._run(run)

    # -- for people -------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The tables of the namespace's database."""
        return sorted(row[0] for row in self._rows(f"show tables in `{self.database}`"))

    def columns(self, table: str | None = None) -> dict[str, list[str]]:
        """The columns of each table of the namespace's database, in their order; or of one table.

        Parameters
        ----------
        table : str, optional
            A stored table's name; all tables when absent.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        known = dict.fromkeys(self.tables(), "")
        return {
            name: list(
                dict.fromkeys(
                    column
                    for column, *_ in self._rows(f"describe `{self.database}`.`{name}`")
                    if column and column[0] != "#"
                )
            )
            for name in (known if table is None else one_of(known, table, "Hive table"))
        }

    def _found(
        self, statement: str, parameters: Mapping[str, Any] | None, limit: int | None, count_for: float
    ) -> pd.DataFrame:
        text = one_statement(statement, "hive")
        text = with_literals(text, bound(text, parameters, "hive"), "hive", hive_literal)
        require_own_statement(self._settings, text, "hive")

        def run(hive: Connection) -> Any:
            cursor = hive.cursor()
            cursor.arraysize = 10_000
            self._use_database(cursor)
            cursor.execute(text)
            description = cursor.description or []
            rows, attributes = cut(cursor if description else (), limit, count_for=count_for)
            kinds = {
                place: _COLUMN_KINDS[column[1]]
                for place, column in enumerate(description)
                if column[1] in _COLUMN_KINDS
            }
            # Hive writes table.column for `select *`.
            names = [column[0].split(".")[-1] for column in description]
            cursor.close()
            return to_frame(names, rows, kinds, **attributes)

        return self._run(run)

    def _use_database(self, cursor: Any) -> None:
        """Let the following statements mean the namespace's tables; its database is made where it is absent."""
        from pyhive.exc import OperationalError

        try:
            cursor.execute(f"use `{self.database}`")
        except OperationalError as error:
            if "Database does not exist" not in _said(error):
                raise
            # In Hive's own database a statement would find, or make, tables that are not the namespace's.
            cursor.execute(f"create database if not exists `{self.database}`")
            cursor.execute(f"use `{self.database}`")

    # -- archive ----------------------------------------------------------------------------

    @property
    def location(self) -> Path:
        """The archive's folder.

        Raises
        ------
        JobError
            The archive is not on a file system that this machine mounts.
        """
        parsed = urlparse(self._location)
        if parsed.scheme not in ("", "file"):
            raise JobError(
                f"The archive at {self._location} is not on a file system that this machine mounts.",
                remedy="Set hive.warehouse in the profile to a mounted folder.",
            )
        return Path(parsed.path)

    def folders(self) -> list[Path]:
        """The database's folder in the warehouse; none where that is not on this machine."""
        return [self.location.parent] if urlparse(self._location).scheme in ("", "file") else []

    def create(self) -> None:
        """Make the database and the archive's table where they are absent; an older table gets the columns it lacks.

        Raises
        ------
        UsageError
            A column of the table has another type than the contract says.
        """
        require_own(self._settings, "Making the archive")
        self.location.mkdir(parents=True, exist_ok=True)
        wanted = archive_columns(self.contract)
        columns = ", ".join(f"`{name}` {hive_type}" for name, hive_type in wanted.items())
        self._rows(f"create database if not exists `{self.database}`")
        self._rows(
            f"create external table if not exists `{self.database}`.`{self.table}` ({columns}) "
            f"partitioned by (`dt` string, `hour` int) stored as parquet location '{self.location.as_uri()}'"
        )
        if self.contract.own:
            self._add_columns(wanted)

    def _add_columns(self, wanted: Mapping[str, str]) -> None:
        """Let the table have the contract's own columns; what older files lack is null."""
        table = f"`{self.database}`.`{self.table}`"
        there = {name: kind for name, kind, *_ in reversed(self._rows(f"describe {table}")) if name and name[0] != "#"}
        for name, hive_type in wanted.items():
            if there.get(name, hive_type) != hive_type:
                raise UsageError(
                    f"The archive has a column {name!r} of the type {there[name]}, and the contract says {hive_type}.",
                    remedy="Give the field of the contract another name: files of before keep their type.",
                )
        new = ", ".join(f"`{name}` {hive_type}" for name, hive_type in wanted.items() if name not in there)
        if new:
            # Partitions of before have columns of their own in the Metastore.
            self._rows(f"alter table {table} add columns ({new}) cascade")

    def drop(self) -> None:
        """Remove the namespace's database and the archive's files."""
        require_own(self._settings, "Removing the archive")
        self._rows(f"drop database if exists `{self.database}` cascade")
        self._partitions.clear()
        self.__dict__.pop("archive", None)
        shutil.rmtree(self.location.parent, ignore_errors=True)  # an external table leaves its files

    def remove(self) -> None:
        """Remove the archive's table and its files; nothing where they are absent."""
        if self.database in {name for (name,) in self._rows("show databases")}:
            self._rows(f"drop table if exists `{self.database}`.`{self.table}`")
        self._partitions.clear()
        self.__dict__.pop("archive", None)
        shutil.rmtree(self.location, ignore_errors=True)  # an external table leaves its files

    @cached_property
    def archive(self) -> Archive:
        """The archive's files."""
        return Archive(self.location, self.contract)

    @cached_property
    def contract(self) -> Contract:
        """What an event holds."""
        return contract_of(self._settings).decoding

    def stage(self, rows: DataFrame, *, epoch: int, batch: int) -> Staged:
        """Write a micro-batch's rows into files that no reader looks at yet.

        Parameters
        ----------
        rows : DataFrame
            The columns `archive_columns`, dt and hour.
        epoch, batch : int
            Which batch; part of the files' names.
        """
        require_own(self._settings, "Writing the archive")
        import pyarrow.parquet as pq

        staging = self.archive.staging(epoch, batch)
        rows.write.partitionBy("dt", "hour").parquet(staging.as_uri())
        files = list(staging.glob("dt=*/hour=*/*.parquet"))
        # The files know it: to count the rows before would be to compute them twice.
        count = sum(pq.read_metadata(file).num_rows for file in files)
        return Staged(epoch, batch, count, frozenset(str(file.parent.relative_to(staging)) for file in files))

    def put(self, staged: Staged) -> None:
        """Put a staged micro-batch into the archive, in place of what it wrote before; again where Hive failed.

        Parameters
        ----------
        staged : Staged
            What `stage` gave.

        Raises
        ------
        JobError
            Compaction has merged this batch: the job runs on an old copy of its checkpoint.
        StoreUnavailable
            Hive can't be reached; the caller may do it again.
        """
        require_own(self._settings, "Writing the archive")
        recover(self.archive, wait=False)
        self.archive.put(staged.epoch, staged.batch)
        self._add_partitions(staged.partitions)

    def compact(self, *, target_bytes: int = 256 * 2**20, fewest: int = 2) -> Compaction:
        """Merge each hour's small files into one, also while the job goes on adding files.

        The newest batch of an epoch is left alone, since Spark may run it again. Killed at any moment,
        it is completed by the next compaction, by `recover`, or by the job's next batch.

        Parameters
        ----------
        target_bytes : int
            A merged file gets no larger than this; an hour of more has several.
        fewest : int
            Fewer files than this are left as they are.

        Returns
        -------
        Compaction
            partitions, files_before, files_after, rows, bytes.

        Raises
        ------
        JobError
            Another compaction does not end.
        """
        require_own(self._settings, "Compacting the archive")
        return compact(self.archive, target_bytes=target_bytes, fewest=fewest)

    def recover(self) -> None:
        """End a compaction that was killed; cheap where none was."""
        require_own(self._settings, "Compacting the archive")
        recover(self.archive)

    def retire(self, before_epoch: int, begin: Mapping[int, int], *, keep: Path | None = None) -> int:
        """Remove what older epochs hold of messages that a new epoch reads again.

        Call it before the new epoch writes. It may be killed and called again; once it has ended, calling
        it again costs one look at a file.

        Parameters
        ----------
        before_epoch : int
            The new epoch's number.
        begin : mapping of int to int
            The first offset that it reads, by partition; rows of other partitions stay.
        keep : Path, optional
            A folder on the same file system that gets what is removed, in the archive's own form.

        Returns
        -------
        int
            How many rows were removed.
        """
        require_own(self._settings, "Removing from the archive")
        return retire(self.archive, before_epoch, begin, keep=keep)

    def take_in(self, folder: Path, epoch: int) -> int:
        """Add the files of another archive, or of what `retire` kept, as those of an epoch; may be called again.

        Parameters
        ----------
        folder : Path
            In the archive's own form, on the same file system.
        epoch : int
            The number that the files get.

        Returns
        -------
        int
            How many files there are.
        """
        require_own(self._settings, "Writing the archive")
        added, partitions = self.archive.take_in(folder, epoch)
        self._add_partitions(partitions)
        return added

    def events(
        self,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        *,
        last: str | timedelta | None = None,
        columns: Sequence[str] | None = None,
        late: bool | None = None,
        limit: int | None = None,
        as_: Form = "pandas",
    ) -> Any:
        """The archive's events as a frame, straight from its files.

        Parameters
        ----------
        since, until : datetime or str, optional
            The range of event time ``[since, until)``, the shop's time unless it has a zone. All there is when absent.
        last : str or timedelta, optional
            The newest span (``"2h"``), instead of `since`.
        columns : sequence of str, optional
            Some of `archive_columns`; all but ``raw``, the message as it came, when absent.
        late : bool, optional
            Only late events, or only those that were in time; both when absent.
        limit : int, optional
            At most this many, the oldest hours first. Where others are left out, a note says so.
        as_ : str
            ``"pandas"``, ``"float"``, ``"polars"`` or ``"arrow"``.

        Returns
        -------
        pandas.DataFrame
            Prices are exact, each a `decimal.Decimal` (``float64`` with ``as_="float"``), times are UTC. Event type,
            category, brand and currency are categories. Rows come by hour, and within an hour as they were written.

        Raises
        ------
        UnknownName
            The archive has no such column.
        """
        begin, end = range_of(last, since, until, calendar=contract_of(self._settings).shop.calendar)
        found = self.record_batches(begin, end, columns=columns, late=late)
        return shaped(from_arrow(found, arrow_schema(columns, self.contract), limit=limit), as_)

    def record_batches(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
        late: bool | None = None,
        only: Only | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The archive's events as Arrow batches, one hour after the other, for more than fits into memory.

        Takes what `events` takes, and in `only` values of columns that are wanted, as `FigureStore.read` does.
        Each row comes once, whatever compaction does in the meantime.

        Parameters
        ----------
        since, until : datetime, optional
            The range of event time, without its end, UTC unless it has a zone; None is not a bound.
        columns : sequence of str, optional
            Some of `archive_columns`; all but ``raw`` when absent.
        late : bool, optional
            Only late events, or only those that were in time; both when absent.
        only : Only, optional
            The values that are wanted of some of `columns`; None is any.

        Raises
        ------
        UnknownName
            The archive has no such column.
        """
        return self.archive.record_batches(since, until, columns=columns, late=late, only=only)

    def _add_partitions(self, partitions: Set[str]) -> None:
        """Tell the Metastore of partitions that it may not know yet."""
        new = sorted(partitions - self._partitions)
        if not new:
            return
        specs = []
        for partition in new:
            day, hour = (part.split("=", 1)[1] for part in partition.split("/"))
            specs.append(f"partition (dt='{day}', hour={int(hour)})")
        self._rows(f"alter table `{self.database}`.`{self.table}` add if not exists {' '.join(specs)}")
        self._partitions |= set(new)


def _said(error: Exception) -> str:
    """What the server said, without its stack."""
    status = getattr(error.args[0], "status", None) if error.args else None
    said = str(getattr(status, "errorMessage", None) or error).splitlines()[0]
    return said.removeprefix("Error while compiling statement: FAILED: ").rstrip(".")


def _is_lost(error: Exception) -> bool:
    from pyhive.exc import OperationalError
    from thrift.transport.TTransport import TTransportException

    if isinstance(error, OperationalError):
        return "Invalid SessionHandle" in _said(error)  # the server was restarted
    return isinstance(error, (TTransportException, OSError, EOFError))
