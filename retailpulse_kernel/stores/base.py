"""What stores can do, each capability as a protocol.

A store is a class that has the methods of its capabilities, and registers them in `retailpulse_kernel.stores.registry`.
The contract tests in ``tests/integration/test_store_contract.py`` run against every store of figures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from retailpulse_kernel.shop.figures import Figure
from retailpulse_kernel.shop.rows import RowTable
from retailpulse_kernel.shop.tables import FigureTable, Grain, Row
from retailpulse_kernel.stores.figure_rows import Only, Rows

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

__all__ = [
    "EventArchive",
    "EventWriter",
    "Expiring",
    "ExpiringRows",
    "FigureStore",
    "FigureWriter",
    "Local",
    "MicroBatch",
    "RowStore",
    "RowWriter",
    "SentRows",
    "Store",
]

#: A micro-batch's events, staged: only the archive that staged them knows the form.
Staged = TypeVar("Staged")


class Store(Protocol):
    """What holds a part of a namespace."""

    name: str

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""

    def drop(self) -> None:
        """Remove all that the store holds of the namespace; nothing where it holds nothing."""

    def ping(self) -> str:
        """Ask the store something real; its version or size in words, or `StoreUnavailable`."""


class FigureWriter(Protocol):
    """Where a job's figures go."""

    name: str

    def write(self, table: FigureTable, grain: Grain, rows: Rows, *, version: int) -> None:
        """Set rows. Of two writes of a key the one with the higher version stays.

        Writing the same rows again with the same version changes nothing. Different rows under
        the same version are the caller's mistake: Cassandra then keeps the larger value of each
        column, HBase the newer one.

        Parameters
        ----------
        table : FigureTable
            Which figures by which dimensions.
        grain : Grain
            How long the rows' windows are.
        rows : Rows
            Each has the window's start, all dimensions and all figures.
        version : int
            The micro-batch's, in milliseconds; see `version_of`.

        Raises
        ------
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """


@runtime_checkable
class FigureStore(Store, FigureWriter, Protocol):
    """A store that keeps figure tables as absolute values under deterministic keys."""

    def create(self, table: FigureTable) -> None:
        """Make the table's physical tables where they are absent, and room for new figures where they are not.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached.
        """

    def remove(self, table: FigureTable) -> None:
        """Remove the table's physical tables with all that they hold; nothing where they are absent.

        Parameters
        ----------
        table : FigureTable
            At all of its grains.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached.
        """

    def dump(self, table: FigureTable, grain: Grain, *, since: datetime | None = None) -> dict[Any, Any]:
        """Rows as they lie in this kind of store, by key: what is equal has the same form.

        Nothing but `load` and `delete` of a store of this kind knows the form; a table that has the same columns takes
        such rows at a third of the cost of `read` and `write`.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        since : datetime, optional
            Only windows that start at or after this moment; all when absent.

        Raises
        ------
        NoSuchTable
            The stored table is absent.
        """

    def load(self, table: FigureTable, grain: Grain, rows: Mapping[Any, Any], *, version: int) -> None:
        """Set rows that `dump` gave, as `write` does.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        rows : mapping of object to object
            What `dump` of a store of this kind gave, or a part of that.
        version : int
            As `write` takes it.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        """

    def delete(self, table: FigureTable, grain: Grain, keys: Collection[Any], *, version: int) -> None:
        """Remove rows by the keys that `dump` gave, as far as they were written with this version or a lower one.

        A later write with a higher version brings a row back.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        keys : collection of object
            Some keys of what `dump` gave.
        version : int
            The highest version that is removed, in milliseconds.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        """

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
        """Rows whose window starts in ``[since, until)``, in no order; everything when both are None.

        With `figures` rows hold only these, with `by` they are combined over the table's other
        dimensions, with `only` there are no others: asking for little may be much cheaper than
        leaving away what is not needed.

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
            The table's physical table is absent.
        """

    def read_versions(
        self, table: FigureTable, grain: Grain, *, since: datetime, until: datetime, figures: Sequence[Figure]
    ) -> list[tuple[Row, int]]:
        """As `read`, each row with the version that it was written with; 0 where that is not known.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table.
        since, until : datetime
            The range of window starts, without its end.
        figures : sequence of Figure
            Those that the rows are to hold, at least one.

        Raises
        ------
        NoSuchTable
            The stored table is absent.
        """


class EventWriter(Protocol[Staged]):
    """Where a job's single events go, a micro-batch in two steps."""

    name: str
    table: str

    def stage(self, rows: DataFrame, *, epoch: int, batch: int) -> Staged:
        """Write a micro-batch's rows where no reader looks yet.

        Parameters
        ----------
        rows : DataFrame
            The columns of the archive, and its partition's dt and hour.
        epoch, batch : int
            The micro-batch's numbers: a batch that is done again has the same ones.
        """

    def put(self, staged: Staged) -> None:
        """Put a staged micro-batch into the archive, in place of what it wrote before; may be called again.

        Parameters
        ----------
        staged : Staged
            What `stage` gave.
        """


@runtime_checkable
class EventArchive(Store, EventWriter[Any], Protocol):
    """A store that keeps single events, in files of this machine, and answers HiveQL over them."""

    @property
    def location(self) -> Path:
        """The folder of the files; all that the archive keeps of the namespace is below its parent."""

    @property
    def archive(self) -> Any:
        """The files, as `retailpulse_kernel.stores.hive.archive.Archive` has them."""

    def create(self) -> None:
        """Make the archive's table where it is absent."""

    def remove(self) -> None:
        """Remove the archive's table with its files; nothing where it is absent."""

    def retire(self, before_epoch: int, begin: Mapping[int, int], *, keep: Path | None = None) -> int:
        """Remove what older epochs hold of messages that a new epoch reads again; how many rows that were.

        Parameters
        ----------
        before_epoch : int
            The new epoch's number.
        begin : mapping of int to int
            The first offset that the new epoch reads, by partition; rows of other partitions stay.
        keep : Path, optional
            A folder that gets what is removed; None removes it for good.
        """

    def take_in(self, folder: Path, epoch: int) -> int:
        """Add the files of another archive, or of what `retire` kept, as those of an epoch; how many there are.

        Parameters
        ----------
        folder : Path
            In the archive's own form, on the same file system.
        epoch : int
            The number that the files get.
        """

    def tables(self) -> list[str]:
        """The tables of the namespace."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Run a statement of HiveQL; its rows as a pandas frame.

        Parameters
        ----------
        sql : str
            One statement, with ``:name`` for each parameter.
        parameters : mapping of str to object, optional
            The values by name; None where the statement has no parameters.
        """


class MicroBatch(NamedTuple):
    """Which micro-batch writes: a batch that is done again has the same numbers.

    Attributes
    ----------
    epoch, batch : int
        The epoch's number, and the batch's within the epoch, from 0.
    version : int
        The write version of both, in milliseconds; see `version_of`.
    writer : str
        The job's output that writes, as ``job/output``: its micro-batches are numbered by themselves.
    """

    epoch: int
    batch: int
    version: int
    writer: str


class RowWriter(Protocol):
    """Where a job's rows go, that are not figures."""

    name: str

    def write_rows(self, table: RowTable, rows: pa.Table, *, by: MicroBatch) -> None:
        """Write a micro-batch's rows, once: written again by the same micro-batch, they change nothing.

        With a key, each row takes the place of what an earlier micro-batch, or an earlier row of this one, wrote under
        its key, or removes it where the column `shop.rows.DELETED` is true. Without a key, the rows are appended.

        Parameters
        ----------
        table : RowTable
            The table.
        rows : pyarrow.Table
            The table's columns, and on wish `DELETED`.
        by : MicroBatch
            Who writes.

        Raises
        ------
        UsageError
            A column is absent, null in the key, or has a value that the store has no form for: the error names the
            column. Nothing is written.
        JobError
            Another process writes for the same output, or the checkpoint is older than what was written.
        StoreUnavailable
            The store can't be reached; the caller may write the same rows again.
        """


@runtime_checkable
class RowStore(Store, RowWriter, Protocol):
    """A store that keeps tables of rows."""

    def check_rows(self, table: RowTable) -> None:
        """Refuse a table that the store can't hold; nothing is asked of the store.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            The store has no form for the table: the error names the column, and says what to do.
        """

    def create_rows(self, table: RowTable) -> None:
        """Make the table where it is absent, and columns that are new.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        UsageError
            A table of this name is there, and has another key or another type of a column.
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached.
        """

    def remove_rows(self, table: RowTable) -> None:
        """Remove the table with all that it holds, whatever its key and columns are; nothing where it is absent.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        ConfinedError
            A notebook is being tried, and this is not its namespace.
        StoreUnavailable
            The store can't be reached.
        """

    def read_rows(self, table: RowTable) -> pa.Table:
        """All rows that are there, in no order: the table's columns, in their types.

        Parameters
        ----------
        table : RowTable
            The table.

        Raises
        ------
        NoSuchTable
            The table is absent.
        """


@runtime_checkable
class SentRows(RowStore, Protocol):
    """A store of rows whose readers take each row as it comes: what was sent can't be taken back."""

    def sent_to(self, table: RowTable) -> str:
        """The name under which readers get the table's rows.

        Parameters
        ----------
        table : RowTable
            The table.
        """


@runtime_checkable
class Expiring(Protocol):
    """A store of figures that lets rows go some time after they were written."""

    def expire(self, table: FigureTable, grain: Grain, span: timedelta) -> list[str]:
        """Keep rows that are written from now on for a span; the stored tables that this is said of.

        Parameters
        ----------
        table, grain : FigureTable, Grain
            Which stored table; nothing is done where it is absent.
        span : timedelta
            From when a row is written, in whole seconds.
        """


@runtime_checkable
class ExpiringRows(Protocol):
    """A store of rows that lets rows go some time after they were written."""

    def expire_rows(self, table: RowTable, span: timedelta) -> list[str]:
        """Keep rows that are written from now on for a span; the tables that this is said of.

        Parameters
        ----------
        table : RowTable
            The table; nothing is done where it is absent.
        span : timedelta
            From when a row is written, in whole seconds.
        """


@runtime_checkable
class Local(Protocol):
    """A store that keeps a namespace in files of this machine."""

    def folders(self) -> list[Path]:
        """The folders of the namespace, and of no other: a notebook that is tried may write them."""
